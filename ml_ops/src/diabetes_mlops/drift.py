"""Holds a scored batch against the rows that its model was trained on, and logs what has moved."""

from typing import Any

import mlflow
from diabetes.drift import Counts, DriftThresholds, Profile, classify, compare, worst

from diabetes_mlops import plots

# The names under which a run's metrics and its tag hold the findings; the monitoring job reads them.
TAG = "drift"
PSI, P_VALUE, MISSING = "psi_", "drift_p_", "missing_share_"


def log(profile: Profile, counts: Counts, thresholds: DriftThresholds) -> dict[str, Any]:
    """Log into the active run how far a batch has moved; returns what the job reports, as JSON has it.

    Metrics `psi_<column>`, `drift_p_<column>` and `missing_share_<column>`, the thresholds as params, the
    table drift.json, the figure plots/drift.png and the tag `drift`: ok, warn or alert.
    """
    comparison = compare(profile, counts)
    statuses = classify(comparison, thresholds)
    status = worst(statuses.values())
    for prefix, numbers in ((PSI, "psi"), (P_VALUE, "p_value"), (MISSING, "missing_batch")):
        mlflow.log_metrics({f"{prefix}{name}": value for name, value in comparison[numbers].items()})
    mlflow.log_params(describe(thresholds))
    mlflow.log_table(comparison.assign(status=list(statuses.values())).reset_index(), "drift.json")
    mlflow.log_figure(plots.draw_drift(profile, counts, comparison, statuses), "plots/drift.png")
    mlflow.set_tag(TAG, status)
    return {
        "status": status,
        "drifted": {name: found for name, found in statuses.items() if found != "ok"},
        "psi": {str(name): float(value) for name, value in comparison["psi"].items()},
    }


def describe(thresholds: DriftThresholds) -> dict[str, float]:
    """Give the thresholds by the names of the widgets that set them."""
    return {
        "psi_warn": thresholds.psi_warn,
        "psi_alert": thresholds.psi_alert,
        "drift_significance": thresholds.significance,
    }
