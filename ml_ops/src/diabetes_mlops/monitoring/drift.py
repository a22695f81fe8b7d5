"""Holds a scored batch against the rows that its model was trained on, and logs what has moved."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any, Self

import mlflow
import pandas as pd
from diabetes.tabular.drift import Counts, DriftThresholds, Profile, Status, classify, compare, worst
from mlflow.entities import RunData

# The names under which a run's metrics and tags hold the findings; the monitoring job reads them.
TAG, COLUMNS_TAG = "drift", "drift_columns"
PSI, P_VALUE, MISSING = "psi_", "drift_p_", "missing_share_"
# How many columns the report of a run, and a sentence, name at most.
REPORTED, TOLD = 3, 5
# The widgets that set the thresholds, which are the params of a run as well.
WIDGETS = {"psi_warn": "psi_warn", "psi_alert": "psi_alert", "drift_significance": "significance"}


@dataclass(frozen=True)
class Drift:
    """How far each column of a batch has moved: `comparison` as `compare` gives it, one row a column."""

    comparison: pd.DataFrame
    statuses: Mapping[str, Status]
    thresholds: DriftThresholds

    @classmethod
    def of(cls, profile: Profile, counts: Counts, thresholds: DriftThresholds) -> Self:
        """Hold a batch's counts against the profile of the training rows."""
        comparison = compare(profile, counts)
        return cls(comparison, classify(comparison, thresholds), thresholds)


def log(found: Drift) -> dict[str, Any]:
    """Log into the active run how far a batch has moved; returns what the job reports, as JSON has it.

    Metrics `psi_<column>`, `drift_p_<column>` and `missing_share_<column>`, the thresholds as params, the
    table drift.json, and the tags `drift` (ok, warn or alert) and `drift_columns`, the columns that have
    moved. Reported are the largest psi; drift.json has them all.
    """
    comparison, statuses = found.comparison, found.statuses
    status = worst(statuses.values())
    for prefix, numbers in ((PSI, "psi"), (P_VALUE, "p_value"), (MISSING, "missing_batch")):
        values = comparison[numbers].items()
        mlflow.log_metrics({name_metric(prefix, str(name)): value for name, value in values})
    mlflow.log_params({widget: getattr(found.thresholds, field) for widget, field in WIDGETS.items()})
    mlflow.log_table(comparison.assign(status=list(statuses.values())).reset_index(), "drift.json")
    drifted = {name: moved for name, moved in statuses.items() if moved != "ok"}
    mlflow.set_tags({TAG: status} | ({COLUMNS_TAG: ", ".join(drifted)} if drifted else {}))
    largest = comparison["psi"].nlargest(REPORTED)
    return {
        "status": status,
        "drifted": drifted,
        "psi": {str(name): float(value) for name, value in largest.items()},
        "every_psi": "in drift.json of the MLflow run",
    }


def name_metric(prefix: str, column: str) -> str:
    """Name the metric of a column; a character that MLflow takes in no name becomes its code, as `:25:`."""
    return prefix + re.sub(r"[^\w.\- :]", lambda found: f":{ord(found[0]):x}:", column)


def tell_drifted(data: RunData) -> str:
    """Say which columns moved in a run that `log` has logged into, the one that moved most first.

    In this form: `BMI psi 1.23 (alert from 0.25), AGE psi 0.15 (warn from 0.1)`.
    """
    names = filter(None, data.tags.get(COLUMNS_TAG, "").split(", "))
    psi = {name: data.metrics.get(name_metric(PSI, name), 0.0) for name in names}
    thresholds = read_thresholds(data.params) or DriftThresholds()
    largest = sorted(psi, key=lambda name: -psi[name])
    told = [f"{name} psi {psi[name]:.3g} ({_tell_level(psi[name], thresholds)})" for name in largest[:TOLD]]
    return ", ".join(told) + (f" and {len(largest) - TOLD} more" if len(largest) > TOLD else "")


def read_thresholds(params: Mapping[str, str]) -> DriftThresholds | None:
    """Read the thresholds from the params of a run that `log` has logged into; None for any other run."""
    if not params.keys() >= WIDGETS.keys():
        return None
    return DriftThresholds(**{field: float(params[widget]) for widget, field in WIDGETS.items()})


def _tell_level(psi: float, thresholds: DriftThresholds) -> str:
    if psi >= thresholds.psi_alert:
        return f"alert from {thresholds.psi_alert:g}"
    return f"warn from {thresholds.psi_warn:g}"
