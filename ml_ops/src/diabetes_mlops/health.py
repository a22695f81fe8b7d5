"""Judges what is known about scored batches, from numbers alone; nothing is read or written here."""

from dataclasses import dataclass
from typing import Literal

import pandas as pd
from diabetes.drift import STATUSES, Status, worst

# With fewer labels the rmse says too little: that of 30 normal errors is 1.5 times what it should be about
# once in 10,000 times, as their sum of squares is chi-squared distributed.
MIN_LABELLED = 30


@dataclass(frozen=True)
class Check:
    """One question about the model in use, and what was found; the status is None where nothing is known."""

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


def judge(batches: pd.DataFrame, versions: pd.DataFrame, *, max_rmse_ratio: float) -> Health:
    """Judge the latest batch's drift, and the true error of the version that scored it.

    `batches` and `versions` are those of `diabetes_mlops.history`.
    """
    latest = batches.iloc[-1]
    return Health((_check_drift(latest), _check_error(select_version(versions, latest), max_rmse_ratio)))


def select_version(versions: pd.DataFrame, batch: pd.Series) -> pd.Series:
    """Give the row of the version that scored a batch."""
    keys = ["model_name", "model_version"]
    return versions[(versions[keys] == batch[keys]).all(axis=1)].iloc[0]


def _check_drift(batch: pd.Series) -> Check:
    name, status = "drift of the latest batch", batch["drift"]
    if pd.isna(status):
        return Check(name, None, f"not measured for batch {batch['batch_id']}")
    rows = f"in the {batch['rows']} rows of batch {batch['batch_id']}"
    return Check(name, status, f"drift {rows}: {batch['drifted']}" if batch["drifted"] else f"none {rows}")


def _check_error(version: pd.Series, max_rmse_ratio: float) -> Check:
    name, number = "true error of the version in use", version["model_version"]
    rows = f"version {number} on {version['labelled']} rows with a label"
    rmse = f"rmse {version['rmse']:.4g} of {rows}"
    if version["labelled"] < MIN_LABELLED:
        return Check(name, None, f"not judged: {rows}, and it takes {MIN_LABELLED}")
    if pd.isna(version["ratio"]):
        return Check(name, None, f"not judged: {rmse}, and its holdout is not known")
    above = version["ratio"] > max_rmse_ratio
    times = f"{version['ratio']:.3g} times the {version['holdout_rmse']:.4g} of its holdout"
    word = "above" if above else "within"
    return Check(name, "alert" if above else "ok", f"{rmse} is {times}, {word} {max_rmse_ratio:g}")
