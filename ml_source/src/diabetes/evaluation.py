"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd

from diabetes.schema import SCHEMA
from diabetes.tabular import Evaluation, Metric

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


def slice_rows(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are in each slice by SEX and by AGE: boolean masks of shape (n,) by slice name.

    Each row is in one slice of each column. A slice may be empty; "SEX missing" and "AGE missing" are there
    only when they have rows.
    """
    sex, age = features["SEX"], features["AGE"]
    masks = {f"SEX={name}": sex == name for name in SCHEMA.columns["SEX"].categories}
    masks |= {name: (age >= low) & (age < high) for name, (low, high) in AGE_BANDS.items()}
    masks |= {f"{values.name} missing": values.isna() for values in (sex, age) if values.isna().any()}
    return {name: mask.to_numpy(dtype=bool) for name, mask in masks.items()}


EVALUATION = Evaluation(
    metrics={
        "rmse": Metric(_root_mean_squared_error, "lower", SCHEMA.label.unit),
        "mae": Metric(_mean_absolute_error, "lower", SCHEMA.label.unit),
        "r2": Metric(_r2, "higher"),
    },
    primary="rmse",
    thresholds={"rmse": 70.0, "r2": 0.2},
    margin=2.0,
    max_slice_ratio=1.5,
    max_error_ratio=1.5,
    slice_rows=slice_rows,
)
