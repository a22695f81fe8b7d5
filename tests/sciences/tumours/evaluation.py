"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd
from diabetes.schema import SCHEMA
from diabetes.tabular import Evaluation, Metric
from scipy.stats import rankdata


def _log_loss(actual: np.ndarray, predicted: np.ndarray) -> float:
    found = np.where(actual == 1, predicted, 1 - predicted)
    return float(-np.mean(np.log(np.clip(found, 1e-15, 1))))


def _brier(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean((actual - predicted) ** 2))


def _area_under_roc(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return how often a malignant case is ranked above another one; NaN where all labels are equal."""
    ones = np.sum(actual == 1)
    pairs = ones * (len(actual) - ones)
    if not pairs:
        return np.nan
    return float((np.sum(rankdata(predicted)[actual == 1]) - ones * (ones + 1) / 2) / pairs)


def slice_rows(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are of each size: boolean masks of shape (n,) by slice name."""
    sizes = features["SIZE"]
    return {f"SIZE={name}": (sizes == name).to_numpy() for name in SCHEMA.columns["SIZE"].categories}


EVALUATION = Evaluation(
    metrics={
        "log_loss": Metric(_log_loss, "lower"),
        "brier": Metric(_brier, "lower"),
        "roc_auc": Metric(_area_under_roc, "higher"),
    },
    primary="log_loss",
    thresholds={"log_loss": 0.3, "roc_auc": 0.95},
    margin=0.02,
    max_slice_ratio=2.5,
    max_error_ratio=2.0,
    slice_rows=slice_rows,
)
