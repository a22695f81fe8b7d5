"""Decides whether a version may become champion, from numbers alone; nothing is read or written here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from diabetes.evaluation import MARGIN, MAX_SLICE_RATIO, METRICS, PRIMARY, THRESHOLDS
from diabetes.measuring import Interval

# A slice with fewer rows says too little to stop a version.
MIN_SLICE_ROWS = 10


@dataclass(frozen=True)
class Thresholds:
    """What a version must reach: each of `metrics`, and three bounds on its error, the primary metric.

    `margin` bounds how much worse than the champion a version may be: the upper end of the interval of
    error(version) - error(champion), by paired bootstrap on the same holdout rows, must not be above it. So
    an equal model passes, and one that may well be worse by more than the margin does not. A slice's error
    may be `max_slice_ratio` times that of all rows.
    """

    metrics: Mapping[str, float] = field(default_factory=lambda: dict(THRESHOLDS))
    margin: float = MARGIN
    max_slice_ratio: float = MAX_SLICE_RATIO


@dataclass(frozen=True)
class Slice:
    """How a version does on a part of the holdout."""

    rows: int
    error: float


@dataclass(frozen=True)
class Champion:
    """The present champion on the same holdout rows.

    `difference` is error(version) - error(champion). Where the champion could not be scored, `problem` says
    why, and there are no numbers.
    """

    version: str
    error: float = float("nan")
    difference: Interval | None = None
    problem: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on; without a champion, this is the first version.

    Errors are the primary metric, `baseline` is that of the baseline.
    """

    metrics: Mapping[str, float]
    baseline: float
    slices: Mapping[str, Slice] = field(default_factory=dict)
    champion: Champion | None = None

    @property
    def error(self) -> float:
        """The primary metric of the version."""
        return self.metrics[PRIMARY]


@dataclass(frozen=True)
class Check:
    """One question of the gate, and what was found."""

    name: str
    passed: bool
    finding: str


@dataclass(frozen=True)
class Decision:
    """The answers to all questions of the gate, with every number that they rest on."""

    checks: tuple[Check, ...]
    numbers: dict[str, float]

    @property
    def promote(self) -> bool:
        """Whether the version passed every check."""
        return all(check.passed for check in self.checks)

    @property
    def reasons(self) -> list[str]:
        """Why the version was refused, one text for each check that it failed; empty when it passed."""
        return [check.finding for check in self.checks if not check.passed]


def decide(evidence: Evidence, thresholds: Thresholds) -> Decision:
    """Ask every question of the gate, also after one was failed, so that all reasons are known.

    A number that is not a number fails its check.
    """
    checks = [_beats_baseline(evidence), *_meets_thresholds(evidence, thresholds)]
    checks += _check_slices(evidence, thresholds)
    if evidence.champion is not None:
        checks.append(_check_champion(evidence.champion, thresholds))
    return Decision(tuple(checks), _collect_numbers(evidence, thresholds))


# Each comparison is written so that NaN fails it.


def _beats_baseline(evidence: Evidence) -> Check:
    passed = evidence.error < evidence.baseline
    word = "below" if passed else "not below"
    finding = f"{PRIMARY} {evidence.error:.4g} is {word} the baseline's {evidence.baseline:.4g}"
    return Check("better than the baseline", passed, finding)


def _meets_thresholds(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    words = {"lower": ("small", "within", "above"), "higher": ("large", "above", "below")}
    for name, threshold in thresholds.metrics.items():
        value, metric = evidence.metrics[name], METRICS[name]
        size, reached, missed = words[metric.better]
        passed = metric.reaches(value, threshold)
        word = reached if passed else missed
        finding = f"{name} {value:.4g} is {word} the threshold of {threshold:.4g}"
        yield Check(f"{size} enough {name}", passed, finding)


def _check_slices(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    limit = thresholds.max_slice_ratio * evidence.error
    counted = {name: part for name, part in evidence.slices.items() if part.rows >= MIN_SLICE_ROWS}
    for name, part in counted.items():
        passed = part.error <= limit
        word = "within" if passed else "above"
        finding = (
            f"{PRIMARY} {part.error:.4g} of the {part.rows} rows of {name} is {word} {limit:.4g}, "
            f"{thresholds.max_slice_ratio:.4g} times the {PRIMARY} of all rows"
        )
        yield Check(f"slice {name}", passed, finding)


def _check_champion(champion: Champion, thresholds: Thresholds) -> Check:
    name = "not worse than the champion"
    if champion.difference is None:
        return Check(name, False, f"champion version {champion.version} {champion.problem}")
    difference, passed = champion.difference, champion.difference.high <= thresholds.margin
    word = "within" if passed else "above"
    finding = (
        f"{PRIMARY} is {difference.value:+.4g} against champion version {champion.version}; "
        f"its interval, from {difference.low:+.4g} to {difference.high:+.4g}, "
        f"ends {word} the margin of {thresholds.margin:.4g}"
    )
    return Check(name, passed, finding)


def _collect_numbers(evidence: Evidence, thresholds: Thresholds) -> dict[str, float]:
    limits = {"lower": "max", "higher": "min"}
    numbers = {
        **{name: evidence.metrics[name] for name in (PRIMARY, *thresholds.metrics)},
        f"baseline_{PRIMARY}": evidence.baseline,
        **{f"{limits[METRICS[name].better]}_{name}": value for name, value in thresholds.metrics.items()},
        "margin": thresholds.margin,
        "max_slice_ratio": thresholds.max_slice_ratio,
    }
    errors = [part.error for part in evidence.slices.values() if part.rows >= MIN_SLICE_ROWS]
    if errors:
        numbers[f"worst_slice_{PRIMARY}"] = max(errors)
    if evidence.champion is not None and (difference := evidence.champion.difference) is not None:
        numbers |= {
            f"champion_{PRIMARY}": evidence.champion.error,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
    return numbers
