"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd
from diabetes.features import select_features
from diabetes.metrics import Metric
from diabetes.schema import COLUMNS
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


METRICS: dict[str, Metric] = {
    "log_loss": Metric(_log_loss, "lower"),
    "brier": Metric(_brier, "lower"),
    "roc_auc": Metric(_area_under_roc, "higher"),
}
# The metric that decides: what a search minimizes, and what models and slices are compared by.
PRIMARY = "log_loss"
# What a version must reach at the gate, by how much its primary metric may be above the champion's, and how
# many times that of all rows it may be on a slice.
THRESHOLDS: dict[str, float] = {"log_loss": 0.3, "roc_auc": 0.95}
MARGIN = 0.02
MAX_SLICE_RATIO = 2.5
# How many times that of the holdout the primary metric may be on the rows that were scored since.
MAX_ERROR_RATIO = 2.0


def slice_rows(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are of each size: boolean masks of shape (n,) by slice name."""
    sizes = select_features(table)["SIZE"]
    return {f"SIZE={name}": (sizes == name).to_numpy() for name in COLUMNS["SIZE"].categories}
