"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd
from diabetes.schema import SCHEMA
from diabetes.tabular import Evaluation, Metric


def _mean_absolute_error(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.abs(actual - predicted)))


def _mean_absolute_percentage_error(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.abs(actual - predicted) / actual))


def slice_rows(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are of each district: boolean masks of shape (n,) by slice name."""
    districts = features["DISTRICT"]
    return {
        f"DISTRICT={name}": (districts == name).to_numpy() for name in SCHEMA.columns["DISTRICT"].categories
    }


EVALUATION = Evaluation(
    metrics={
        "mae": Metric(_mean_absolute_error, "lower", SCHEMA.label.unit),
        "mape": Metric(_mean_absolute_percentage_error, "lower"),
    },
    primary="mae",
    thresholds={"mape": 0.25},
    margin=10.0,
    max_slice_ratio=3.0,
    max_error_ratio=2.0,
    slice_rows=slice_rows,
)
