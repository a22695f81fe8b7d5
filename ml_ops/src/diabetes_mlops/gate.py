"""Decides whether a version may become champion, from numbers alone; nothing is read or written here."""

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field

from diabetes.evaluation import Interval

# A slice with fewer rows says too little to stop a version.
MIN_SLICE_ROWS = 10


@dataclass(frozen=True)
class Thresholds:
    """What a version must reach; rmse and `margin` are in the unit of the label.

    `margin` bounds how much worse than the champion a version may be: the upper end of the interval of
    rmse(version) - rmse(champion), by paired bootstrap on the same holdout rows, must not be above it. So an
    equal model passes, and one that may well be worse by more than the margin does not.
    """

    max_rmse: float = 70.0
    min_r2: float = 0.2
    margin: float = 2.0
    max_slice_ratio: float = 1.5


@dataclass(frozen=True)
class Slice:
    """How a version does on a part of the holdout."""

    rows: int
    rmse: float


@dataclass(frozen=True)
class Champion:
    """The present champion on the same holdout rows.

    `difference` is rmse(version) - rmse(champion). Where the champion could not be scored, `problem` says
    why, and there are no numbers.
    """

    version: str
    rmse: float = float("nan")
    difference: Interval | None = None
    problem: str = ""


@dataclass(frozen=True)
class Evidence:
    """All that a decision rests on; without a champion, this is the first version."""

    rmse: float
    r2: float
    baseline_rmse: float
    slices: Mapping[str, Slice] = field(default_factory=dict)
    champion: Champion | None = None


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
    passed = evidence.rmse < evidence.baseline_rmse
    word = "below" if passed else "not below"
    finding = f"rmse {evidence.rmse:.4g} is {word} the baseline's {evidence.baseline_rmse:.4g}"
    return Check("better than the baseline", passed, finding)


def _meets_thresholds(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    passed = evidence.rmse <= thresholds.max_rmse
    word = "within" if passed else "above"
    finding = f"rmse {evidence.rmse:.4g} is {word} the threshold of {thresholds.max_rmse:.4g}"
    yield Check("small enough rmse", passed, finding)
    passed = evidence.r2 >= thresholds.min_r2
    word = "above" if passed else "below"
    finding = f"r2 {evidence.r2:.4g} is {word} the threshold of {thresholds.min_r2:.4g}"
    yield Check("large enough r2", passed, finding)


def _check_slices(evidence: Evidence, thresholds: Thresholds) -> Iterator[Check]:
    limit = thresholds.max_slice_ratio * evidence.rmse
    counted = {name: part for name, part in evidence.slices.items() if part.rows >= MIN_SLICE_ROWS}
    for name, part in counted.items():
        passed = part.rmse <= limit
        word = "within" if passed else "above"
        finding = (
            f"rmse {part.rmse:.4g} of the {part.rows} rows of {name} is {word} {limit:.4g}, "
            f"{thresholds.max_slice_ratio:.4g} times the rmse of all rows"
        )
        yield Check(f"slice {name}", passed, finding)


def _check_champion(champion: Champion, thresholds: Thresholds) -> Check:
    name = "not worse than the champion"
    if champion.difference is None:
        return Check(name, False, f"champion version {champion.version} {champion.problem}")
    difference, passed = champion.difference, champion.difference.high <= thresholds.margin
    word = "within" if passed else "above"
    finding = (
        f"rmse is {difference.value:+.4g} against champion version {champion.version}; its interval, from "
        f"{difference.low:+.4g} to {difference.high:+.4g}, ends {word} the margin of {thresholds.margin:.4g}"
    )
    return Check(name, passed, finding)


def _collect_numbers(evidence: Evidence, thresholds: Thresholds) -> dict[str, float]:
    numbers = {
        "rmse": evidence.rmse,
        "r2": evidence.r2,
        "baseline_rmse": evidence.baseline_rmse,
        "max_rmse": thresholds.max_rmse,
        "min_r2": thresholds.min_r2,
        "margin": thresholds.margin,
        "max_slice_ratio": thresholds.max_slice_ratio,
    }
    errors = [part.rmse for part in evidence.slices.values() if part.rows >= MIN_SLICE_ROWS]
    if errors:
        numbers["worst_slice_rmse"] = max(errors)
    if evidence.champion is not None and (difference := evidence.champion.difference) is not None:
        numbers |= {
            "champion_rmse": evidence.champion.rmse,
            "difference": difference.value,
            "difference_low": difference.low,
            "difference_high": difference.high,
        }
    return numbers
