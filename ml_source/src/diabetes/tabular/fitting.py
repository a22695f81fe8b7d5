"""Fits the pipeline of a problem, and the baseline that it has to beat."""

from collections.abc import Mapping

import pandas as pd
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.parameters import Value, fill_in
from diabetes.tabular.problem import Problem


def make(problem: Problem, params: Mapping[str, Value]) -> Pipeline:
    """Return the pipeline, not fitted, with these parameters and the defaults of the others.

    Raises ParameterError for a parameter that the problem does not have, or a value that it cannot take, and
    TypeError where what the problem makes is not a pipeline.
    """
    model: object = problem.make_pipeline(**fill_in(problem.parameters, params))
    if not isinstance(model, Pipeline):
        raise TypeError(f"make_pipeline must return a Pipeline of scikit-learn; got {model!r}")
    return model


def fit(problem: Problem, table: pd.DataFrame, params: Mapping[str, Value]) -> Pipeline:
    """Return a pipeline fitted on the features and the label of the table, which stays as it was.

    Raises what `make` raises, and SchemaError for a table that nothing can be learned from.
    """
    model, features = make(problem, params), select_features(problem.schema, table)
    empty = [name for name, values in features.items() if values.isna().all()]
    if empty:
        raise SchemaError(f"columns {empty} have no value in {len(table)} rows: nothing to learn from")
    return model.fit(features, select_label(problem.schema, table))


def fit_baseline(problem: Problem, table: pd.DataFrame) -> Pipeline:
    """Return a pipeline that looks at no feature, to compare a model with: the mean label, or class shares.

    Raises SchemaError for a table without rows, columns or labels.
    """
    labels = select_label(problem.schema, table)
    if not len(labels):
        raise SchemaError("the table has 0 rows: no label to take the mean of")
    learns_classes = is_classifier(make(problem, {}))
    dummy = DummyClassifier(strategy="prior") if learns_classes else DummyRegressor(strategy="mean")
    return Pipeline([("predict", dummy)]).fit(select_features(problem.schema, table), labels)
