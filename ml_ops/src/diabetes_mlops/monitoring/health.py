"""Judges what is known about scored batches, from numbers alone; nothing is read or written here."""

from dataclasses import dataclass, replace
from typing import Literal, Self

import pandas as pd
from diabetes.tabular.drift import STATUSES, Status, worst

# With fewer labels an error says too little: the rmse of 30 normal errors is 1.5 times what it should be
# about once in 10,000 times, as their sum of squares is chi-squared distributed.
MIN_LABELLED = 30
# How many batches or runs a finding names.
NAMED = 3


@dataclass(frozen=True)
class History:
    """What is known about a scored table; `history` makes the parts and says their columns.

    `batches` has one row a batch in the order of their scoring, at least one; `versions` one a model
    version; `failures` one for each scoring run that failed, was cancelled or published no row, in the order
    of their end. `primary` is the name of the metric that decides.
    """

    batches: pd.DataFrame
    versions: pd.DataFrame
    failures: pd.DataFrame
    primary: str

    @property
    def holdout(self) -> str:
        """The name of the column with the error of a version on its holdout."""
        return name_holdout(self.primary)

    @property
    def latest(self) -> pd.Series:
        """The batch that was scored last."""
        return self.batches.iloc[-1]

    @property
    def version_in_use(self) -> pd.Series:
        """The model version that scored the latest batch."""
        keys = ["model_name", "model_version"]
        return self.versions[(self.versions[keys] == self.latest[keys]).all(axis=1)].iloc[0]

    @property
    def failed(self) -> pd.DataFrame:
        """The failures that nobody asked for: all but the cancelled runs."""
        return self.failures[~self.failures["cancelled"]]

    @property
    def moments(self) -> pd.Series:
        """When each batch was scored and each failed run ended."""
        return pd.concat([self.batches["scored_at"], self.failures["ended_at"]], ignore_index=True)

    def start_of_last(self, days: float) -> pd.Timestamp:
        """Give the moment that many days before the newest batch or failed run."""
        newest: pd.Timestamp = self.moments.max()
        return newest - pd.Timedelta(days=days)

    def since(self, start: pd.Timestamp) -> Self:
        """Give the history without the batches and failed runs up to `start`; there may be none left."""
        batches = self.batches[self.batches["scored_at"] > start]
        return replace(self, batches=batches, failures=self.failures[self.failures["ended_at"] > start])


@dataclass(frozen=True)
class Check:
    """One question, and what was found; the status is None where nothing is known."""

    name: str
    status: Status | None
    finding: str


@dataclass(frozen=True)
class Health:
    """The answers to all questions."""

    checks: tuple[Check, ...]

    @property
    def status(self) -> Status:
        """The worst answer; what is not known is no worry."""
        return worst(check.status for check in self.checks if check.status)

    @property
    def findings(self) -> list[str]:
        """What is not as it should be, a text each; empty when all is well."""
        return [check.finding for check in self.checks if check.status in ("warn", "alert")]

    def is_at_least(self, status: Status | Literal[""]) -> bool:
        """Whether things are as bad as `status` or worse; nothing is as bad as an empty one."""
        return status != "" and STATUSES.index(self.status) >= STATUSES.index(status)


def judge(
    history: History, *, lookback_days: float, rejected_share_warn: float, max_error_ratio: float
) -> Health:
    """Judge drift, rejected rows and failed runs of the last days, and the true error of the version in use.

    A bad batch is told until it is older than that or was scored again: a good one after it does not undo it.
    """
    recent = history.since(history.start_of_last(lookback_days))
    days = "the last day" if lookback_days == 1 else f"the last {lookback_days:g} days"
    return Health(
        (
            _check_drift(recent.batches, days),
            _check_rejected(recent.batches, days, rejected_share_warn),
            _check_runs(recent.failures, history.latest, days),
            _check_error(history, max_error_ratio),
        )
    )


def _check_drift(batches: pd.DataFrame, days: str) -> Check:
    name, measured = "drift", batches.dropna(subset="drift")
    unknown = len(batches) - len(measured)
    if measured.empty:
        return Check(name, None, f"not measured in {with_noun(unknown, 'batch')} of {days}")
    left = f"; {unknown} not measured" if unknown else ""
    drifted = measured[measured["drift"] != "ok"]
    if drifted.empty:
        return Check(name, "ok", f"none in {with_noun(len(measured), 'batch')} of {days}{left}")
    newest_first = drifted.iloc[::-1]
    order = newest_first["drift"].map(STATUSES.index).sort_values(ascending=False, kind="stable")
    told = [
        f"batch {batch['batch_id']} ({with_noun(batch['rows'], 'row')}): {batch['drifted']}"
        for _, batch in newest_first.loc[order.index].iterrows()
    ]
    found = f"drift in {len(drifted)} of {with_noun(len(measured), 'batch')} of {days}"
    return Check(name, worst(drifted["drift"]), f"{found}: {_name(told)}{left}")


def _check_rejected(batches: pd.DataFrame, days: str, limit: float) -> Check:
    name, known = "rejected rows", batches.dropna(subset="rejected_share")
    if known.empty:
        return Check(name, None, f"not known of {with_noun(len(batches), 'batch')} of {days}")
    rejected = int(known["rejected"].sum())
    rows = rejected + int(known["rows"].sum())
    found = f"{with_noun(rows, 'row')} in {with_noun(len(known), 'batch')} of {days}"
    if not rejected:
        return Check(name, "ok", f"none among {found}")
    above = known[known["rejected_share"] > limit].sort_values("rejected_share", ascending=False)
    if above.empty:
        return Check(
            name, "ok", f"{rejected:,} of {found}, {known['rejected_share'].max():.2%} of a batch at most"
        )
    told = [f"batch {name} {share:.2%}" for name, share in above[["batch_id", "rejected_share"]].to_numpy()]
    return Check(name, "warn", f"{rejected:,} of {found}, above {limit:.2%}: {_name(told)}")


def _check_runs(failures: pd.DataFrame, latest: pd.Series, days: str) -> Check:
    """Judge the runs whose batch was not published since; the newest failed one is an alert until another is.

    A cancelled run is a warning at most: mostly a person wanted it, but a run that took longer than its job
    may was stopped in the same way, and its rows are missing all the same.
    """
    name, open_ones = "scoring runs", failures[~failures["published_since"]]
    if open_ones.empty:
        return Check(name, "ok", f"each batch of {days} was published")
    failed, cancelled = (open_ones[open_ones["cancelled"] == is_so] for is_so in (False, True))
    told = [_tell_runs(failed, "failed", days)] if len(failed) else []
    if len(failed) and failed["ended_at"].iloc[-1] > latest["scored_at"]:
        told.append("no batch was published since")
    status: Status = "alert" if len(told) > 1 else "warn"
    if len(cancelled):
        told.append(_tell_runs(cancelled, "cancelled", days))
    return Check(name, status, "; ".join(told))


def _tell_runs(runs: pd.DataFrame, what: str, days: str) -> str:
    newest = runs.iloc[-1]
    found = f"{with_noun(len(runs), 'scoring run')} of {days} {what}"
    return f"{found}, the newest of {newest['ended_at']:%Y-%m-%d %H:%M} UTC: {newest['error']}"


def _check_error(history: History, max_error_ratio: float) -> Check:
    version, primary = history.version_in_use, history.primary
    name, number = "true error", version["model_version"]
    rows = f"version {number} on {with_noun(version['labelled'], 'row')} with a label"
    error = f"{primary} {version[primary]:.4g} of {rows}"
    if version["labelled"] < MIN_LABELLED:
        return Check(name, None, f"not judged: {rows}, and it takes {MIN_LABELLED}")
    if pd.isna(version["ratio"]):
        return Check(name, None, f"not judged: {error}, and its holdout is not known")
    above = version["ratio"] > max_error_ratio
    times = f"{version['ratio']:.3g} times the {version[history.holdout]:.4g} of its holdout"
    word = "above" if above else "within"
    return Check(name, "alert" if above else "ok", f"{error} is {times}, {word} {max_error_ratio:g}")


def name_holdout(metric: str) -> str:
    """Name the column with a metric of a version on its holdout."""
    return f"holdout_{metric}"


def name_share(predicted: str) -> str:
    """Name the column with the share of a batch's rows for which a class is predicted."""
    return f"share_{predicted}"


def with_noun(number: int, what: str) -> str:
    """Write a number with its noun: 1 batch, 2,000 batches."""
    ending = "" if number == 1 else "es" if what.endswith("ch") else "s"
    return f"{number:,} {what}{ending}"


def _name(told: list[str]) -> str:
    more = [f"and {len(told) - NAMED} more"] if len(told) > NAMED else []
    return "; ".join(told[:NAMED] + more)
