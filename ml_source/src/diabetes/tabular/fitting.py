"""Fits the pipeline of a problem, and the baseline that it has to beat."""

from collections.abc import Mapping

import numpy as np
import pandas as pd
from sklearn.base import is_classifier
from sklearn.dummy import DummyClassifier, DummyRegressor
from sklearn.pipeline import Pipeline

from diabetes.tabular.columns import Schema, SchemaError
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

    A label that has classes is learned as its codes, int64. Raises what `make` raises, and SchemaError for a
    table that nothing can be learned from and for a pipeline that `check_kind` refuses.
    """
    model, features = make(problem, params), select_features(problem.schema, table)
    check_kind(problem.schema, model, table)
    empty = [name for name, values in features.items() if values.isna().all()]
    if empty:
        raise SchemaError(f"columns {empty} have no value in {len(table)} rows: nothing to learn from")
    return model.fit(features, _select_target(problem.schema, table))


def check_kind(schema: Schema, model: Pipeline, table: pd.DataFrame) -> None:
    """Raise SchemaError where a pipeline, fitted or not, is not of the kind that the label asks for.

    A label that has classes takes a classifier, and a number takes a regressor, unless it is 0 or 1 alone.
    """
    label, last = schema.label, type(model[-1]).__name__
    if schema.classes and not is_classifier(model):
        raise SchemaError(
            f"{label.name} has the classes {list(schema.classes)}, which take a classifier; "
            f"make_pipeline gives a pipeline that ends in {last}, which is not one"
        )
    if schema.classes or not is_classifier(model):
        return
    labels = select_label(schema, table)
    if others := np.setdiff1d(labels, [0, 1])[:3].tolist():
        raise SchemaError(
            f"{label.name} is a number with values such as {others}, and {last} is a classifier, which takes "
            "the numbers 0 and 1 alone; make the label's column a category with these classes, or give a "
            "regressor"
        )


def fit_baseline(problem: Problem, table: pd.DataFrame) -> Pipeline:
    """Return a pipeline that looks at no feature, to compare a model with: the mean label, or class shares.

    Raises SchemaError for a table without rows, columns or labels.
    """
    labels = _select_target(problem.schema, table)
    if not len(labels):
        raise SchemaError("the table has 0 rows: no label to take the mean of")
    learns_classes = is_classifier(make(problem, {}))
    dummy = DummyClassifier(strategy="prior") if learns_classes else DummyRegressor(strategy="mean")
    return Pipeline([("predict", dummy)]).fit(select_features(problem.schema, table), labels)


def _select_target(schema: Schema, table: pd.DataFrame) -> np.ndarray:
    """Give the label as a pipeline learns it: some classifiers take no class that is not a whole number."""
    labels = select_label(schema, table)
    return labels.astype(np.int64) if schema.classes else labels
