"""Holds a scored batch against the rows that its model was trained on, and logs what has moved."""

from collections.abc import Mapping
from typing import Any

import mlflow
from diabetes.drift import Counts, DriftThresholds, Profile, classify, compare, worst

from diabetes_mlops import plots

# The names under which a run's metrics and tags hold the findings; the monitoring job reads them.
TAG, COLUMNS_TAG = "drift", "drift_columns"
PSI, P_VALUE, MISSING = "psi_", "drift_p_", "missing_share_"
# The widgets that set the thresholds, which are the params of a run as well.
WIDGETS = {"psi_warn": "psi_warn", "psi_alert": "psi_alert", "drift_significance": "significance"}


def log(profile: Profile, counts: Counts, thresholds: DriftThresholds) -> dict[str, Any]:
    """Log into the active run how far a batch has moved; returns what the job reports, as JSON has it.

    Metrics `psi_<column>`, `drift_p_<column>` and `missing_share_<column>`, the thresholds as params, the
    table drift.json, the figure plots/drift.png, and the tags `drift` (ok, warn or alert) and
    `drift_columns`, the columns that have moved.
    """
    comparison = compare(profile, counts)
    statuses = classify(comparison, thresholds)
    status = worst(statuses.values())
    for prefix, numbers in ((PSI, "psi"), (P_VALUE, "p_value"), (MISSING, "missing_batch")):
        mlflow.log_metrics({f"{prefix}{name}": value for name, value in comparison[numbers].items()})
    mlflow.log_params({widget: getattr(thresholds, field) for widget, field in WIDGETS.items()})
    mlflow.log_table(comparison.assign(status=list(statuses.values())).reset_index(), "drift.json")
    mlflow.log_figure(plots.draw_drift(profile, counts, comparison, statuses), "plots/drift.png")
    drifted = {name: found for name, found in statuses.items() if found != "ok"}
    mlflow.set_tags({TAG: status} | ({COLUMNS_TAG: ", ".join(drifted)} if drifted else {}))
    return {
        "status": status,
        "drifted": drifted,
        "psi": {str(name): float(value) for name, value in comparison["psi"].items()},
    }


def read_thresholds(params: Mapping[str, str]) -> DriftThresholds | None:
    """Read the thresholds from the params of a run that `log` has logged into; None for any other run."""
    if not params.keys() >= WIDGETS.keys():
        return None
    return DriftThresholds(**{field: float(params[widget]) for widget, field in WIDGETS.items()})
