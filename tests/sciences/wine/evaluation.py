"""Says what a good model is: the metrics, the one that decides, what the gate asks for, and the slices."""

import numpy as np
import pandas as pd
from diabetes.schema import SCHEMA
from diabetes.tabular import Evaluation, Metric


def _log_loss(actual: np.ndarray, predicted: np.ndarray) -> float:
    right = predicted[np.arange(len(actual)), actual.astype(np.int64)]
    return float(-np.mean(np.log(np.clip(right, 1e-15, 1))))


def _accuracy(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(predicted.argmax(axis=1) == actual))


def slice_rows(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are of each hue: boolean masks of shape (n,) by slice name."""
    hues = features["HUE"]
    return {f"HUE={name}": (hues == name).to_numpy() for name in SCHEMA.columns["HUE"].categories}


EVALUATION = Evaluation(
    metrics={"log_loss": Metric(_log_loss, "lower"), "accuracy": Metric(_accuracy, "higher")},
    primary="log_loss",
    thresholds={"log_loss": 0.6, "accuracy": 0.8},
    margin=0.1,
    max_slice_ratio=4.0,
    max_error_ratio=3.0,
    slice_rows=slice_rows,
)
