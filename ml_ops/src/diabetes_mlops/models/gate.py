"""Decides whether a version may become champion, from numbers alone; nothing is read or written here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from diabetes.tabular.measuring import Interval
from diabetes.tabular.metrics import Evaluation

from diabetes_mlops.runs.settings import Thresholds

# A slice with fewer rows says too little to stop a version.
MIN_SLICE_ROWS = 10


@dataclass(frozen=True)
class Slice:
    """How a version does on a part of the holdout."""

    rows: int
    error: float


@dataclass(frozen=True)
class Champion:
    """The present champion on the same holdout rows.

    `difference` is error(version) - error(champion); `note` says on which rows, if not on all. Where the
    champion could not be scored, `problem` says why, and there are no numbers.
    """

    version: str
    error: float = float("nan")
    difference: Interval | None = None
    problem: str = ""
    note: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on; without a champion, this is the first version.

    Errors are the primary metric of `evaluation`, `baseline` is that of the baseline.
    """

    evaluation: Evaluation
    metrics: Mapping[str, float]
    baseline: float
    slices: Mapping[str, Slice] = field(default_factory=dict)
    champion: Champion | None = None

    @property
    def error(self) -> float:
        """The primary metric of the version."""
        return self.metrics[self.primary]

    @property
    def primary(self) -> str:
        """The name of the primary metric."""
        return self.evaluation.primary


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
        checks.append(_check_champion(evidence.primary, evidence.champion, thresholds))
    return Decision(tuple(checks), _collect_numbers(evidence, thresholds))


# Each comparison is written so that NaN fails it.


def _beats_baseline(evidence: Evidence) -> Check:
    passed = evidence.error < evidence.baseline
    word = "below" if passed else "not below"
    finding = f"{evidence.primary} {evidence.error:.4g} is {word} the baseline's {evidence.baseline:.4g}"
    return Check("better than the baseline", passed, finding)


def _meets_thresholds(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    words = {"lower": ("small", "within", "above"), "higher": ("large", "above", "below")}
    for name, threshold in thresholds.metrics.items():
        value, metric = evidence.metrics[name], evidence.evaluation.metrics[name]
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
            f"{evidence.primary} {part.error:.4g} of the {part.rows} rows of {name} is {word} {limit:.4g}, "
            f"{thresholds.max_slice_ratio:.4g} times the {evidence.primary} of all rows"
        )
        yield Check(f"slice {name}", passed, finding)


def _check_champion(primary: str, champion: Champion, thresholds: Thresholds) -> Check:
    name = "not worse than the champion"
    if champion.difference is None:
        return Check(name, False, f"champion version {champion.version} {champion.problem}")
    difference, passed = champion.difference, champion.difference.high <= thresholds.margin
    word = "within" if passed else "above"
    finding = (
        f"{primary} is {difference.value:+.4g} against champion version {champion.version}"
        f"{champion.note and ' '}{champion.note}; "
        f"its interval, from {difference.low:+.4g} to {difference.high:+.4g}, "
        f"ends {word} the margin of {thresholds.margin:.4g}"
    )
    return Check(name, passed, finding)


def _collect_numbers(evidence: Evidence, thresholds: Thresholds) -> dict[str, float]:
    limits, primary = {"lower": "max", "higher": "min"}, evidence.primary
    metrics = evidence.evaluation.metrics
    numbers = {
        **{name: evidence.metrics[name] for name in (primary, *thresholds.metrics)},
        f"baseline_{primary}": evidence.baseline,
        **{f"{limits[metrics[name].better]}_{name}": value for name, value in thresholds.metrics.items()},
        "margin": thresholds.margin,
        "max_slice_ratio": thresholds.max_slice_ratio,
    }
    errors = [part.error for part in evidence.slices.values() if part.rows >= MIN_SLICE_ROWS]
    if errors:
        numbers[f"worst_slice_{primary}"] = max(errors)
    if evidence.champion is not None and (difference := evidence.champion.difference) is not None:
        numbers |= {
            f"champion_{primary}": evidence.champion.error,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
    return numbers
