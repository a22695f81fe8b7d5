"""Predicts with a fitted pipeline; nothing is learned here."""

import numpy as np
import pandas as pd
import pyarrow as pa
from sklearn.pipeline import Pipeline

from diabetes.features import select_features, select_features_from_arrow


def predict(model: Pipeline, table: pd.DataFrame) -> np.ndarray:
    """Return one prediction a row, float64 of shape (n,), in the order of the rows.

    Features are found by name: column order, other columns and the index do not matter.
    """
    return _predict(model, select_features(table))


def predict_arrow(model: Pipeline, batch: pa.RecordBatch) -> np.ndarray:
    """Return what `predict` returns, from Arrow."""
    return _predict(model, select_features_from_arrow(batch))


def _predict(model: Pipeline, features: pd.DataFrame) -> np.ndarray:
    # scikit-learn refuses to transform zero rows, which an empty Spark partition has.
    if features.empty:
        return np.empty(0)
    return np.asarray(model.predict(features), dtype=np.float64)
