"""Fits one scikit-learn pipeline that holds everything learned from the data."""

import pandas as pd
from diabetes.features import select_features, select_label
from diabetes.schema import CATEGORY_NAMES, COLUMNS, NUMERIC_NAMES
from sklearn.compose import ColumnTransformer
from sklearn.dummy import DummyClassifier
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# The lowest and the highest value of each parameter that a search may try, to be drawn on a log scale.
SEARCH_SPACE: dict[str, tuple[float, float]] = {"alpha": (0.01, 100.0)}


def fit(table: pd.DataFrame, *, alpha: float) -> Pipeline:
    """Return a logistic regression fitted on the table; `alpha` is the strength of its penalty."""
    known = [list(COLUMNS[name].categories) for name in CATEGORY_NAMES]
    categories = make_pipeline(SimpleImputer(strategy="most_frequent"), OneHotEncoder(categories=known))
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    preprocess = ColumnTransformer(
        [("numbers", numbers, NUMERIC_NAMES), ("categories", categories, CATEGORY_NAMES)]
    )
    model = Pipeline([("preprocess", preprocess), ("classify", LogisticRegression(C=1 / alpha))])
    return model.fit(select_features(table), select_label(table))


def fit_baseline(table: pd.DataFrame) -> Pipeline:
    """Return a pipeline that predicts the share of malignant cases of the table for every row."""
    baseline = Pipeline([("classify", DummyClassifier(strategy="prior"))])
    return baseline.fit(select_features(table), select_label(table))
