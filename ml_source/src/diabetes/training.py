"""Fits one scikit-learn pipeline that holds everything learned from the data."""

import math

import pandas as pd
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from diabetes.columns import SchemaError
from diabetes.features import select_features, select_label
from diabetes.schema import CATEGORY_NAMES, COLUMNS, NUMERIC_NAMES

# The lowest and the highest value of each parameter that a search may try, to be drawn on a log scale.
SEARCH_SPACE: dict[str, tuple[float, float]] = {"alpha": (0.01, 1000.0)}


def fit(table: pd.DataFrame, *, alpha: float) -> Pipeline:
    """Return a pipeline fitted on the features and the label of the table, which stays as it was.

    Raises ValueError for a wrong alpha, SchemaError for a table that nothing can be learned from.
    """
    if not (math.isfinite(alpha) and alpha > 0):
        raise ValueError(f"alpha must be a positive, finite number; got {alpha}")
    features = select_features(table)
    empty = [name for name, values in features.items() if values.isna().all()]
    if empty:
        raise SchemaError(f"columns {empty} have no value in {len(table)} rows: nothing to learn from")
    return make_pipeline(alpha).fit(features, select_label(table))


def fit_baseline(table: pd.DataFrame) -> Pipeline:
    """Return a pipeline that predicts the mean label of the table for every row, to compare a model with.

    Raises SchemaError for a table without rows, columns or labels.
    """
    labels = select_label(table)
    if not len(labels):
        raise SchemaError("the table has 0 rows: no label to take the mean of")
    return Pipeline([("regress", DummyRegressor(strategy="mean"))]).fit(select_features(table), labels)


def make_pipeline(alpha: float) -> Pipeline:
    """Return the pipeline, not fitted: fill gaps, scale numbers, one-hot categories, ridge regression.

    `alpha` is the strength of the ridge penalty. Only scikit-learn's own classes are used, so the fitted
    pipeline loads where this package is not installed.
    """
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    categories = Pipeline([("fill", SimpleImputer(strategy="most_frequent")), ("encode", _make_encoder())])
    preprocess = ColumnTransformer(
        [("numbers", numbers, NUMERIC_NAMES), ("categories", categories, CATEGORY_NAMES)],
        verbose_feature_names_out=False,
    )
    return Pipeline([("preprocess", preprocess), ("regress", Ridge(alpha=alpha))])


def _make_encoder() -> OneHotEncoder:
    # The schema names the categories, so a table with one sex gives the same columns as any other.
    known = [list(COLUMNS[name].categories) for name in CATEGORY_NAMES]
    return OneHotEncoder(categories=known, handle_unknown="error", sparse_output=False)
