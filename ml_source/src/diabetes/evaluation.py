"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd

from diabetes.features import select_features
from diabetes.metrics import Metric
from diabetes.schema import COLUMNS, TARGET

# Each band of AGE, in years: from the first number up to, and without, the second.
AGE_BANDS: dict[str, tuple[float, float]] = {
    "AGE<40": (-np.inf, 40),
    "AGE 40-59": (40, 60),
    "AGE>=60": (60, np.inf),
}


# scikit-learn's functions check their arrays anew each time, and a bootstrap measures thousands of times.


def _root_mean_squared_error(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def _mean_absolute_error(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.abs(actual - predicted)))


def _r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Return the share of the labels' variance that the predictions explain; NaN where all are equal."""
    if np.ptp(actual) == 0:
        return np.nan
    return float(1 - np.sum((actual - predicted) ** 2) / np.sum((actual - np.mean(actual)) ** 2))


METRICS: dict[str, Metric] = {
    "rmse": Metric(_root_mean_squared_error, "lower", COLUMNS[TARGET].unit),
    "mae": Metric(_mean_absolute_error, "lower", COLUMNS[TARGET].unit),
    "r2": Metric(_r2, "higher"),
}
# The metric that decides: what a search minimizes, and what models and slices are compared by.
PRIMARY = "rmse"
# What a version must reach at the gate, by how much its primary metric may be above the champion's, and how
# many times that of all rows it may be on a slice.
THRESHOLDS: dict[str, float] = {"rmse": 70.0, "r2": 0.2}
MARGIN = 2.0
MAX_SLICE_RATIO = 1.5
# How many times that of the holdout the primary metric may be on the rows that were scored since.
MAX_ERROR_RATIO = 1.5


def slice_rows(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are in each slice by SEX and by AGE: boolean masks of shape (n,) by slice name.

    Each row is in one slice of each column. A slice may be empty; "SEX missing" and "AGE missing" are there
    only when they have rows. Raises SchemaError as `select_features`.
    """
    features = select_features(table)
    sex, age = features["SEX"], features["AGE"]
    masks = {f"SEX={name}": sex == name for name in COLUMNS["SEX"].categories}
    masks |= {name: (age >= low) & (age < high) for name, (low, high) in AGE_BANDS.items()}
    masks |= {f"{values.name} missing": values.isna() for values in (sex, age) if values.isna().any()}
    return {name: mask.to_numpy(dtype=bool) for name, mask in masks.items()}
