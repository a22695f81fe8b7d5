"""Predicts with a fitted pipeline; nothing is learned here."""

import math
import warnings
from collections.abc import Sequence
from itertools import product
from typing import Any

import numpy as np
import pandas as pd
from scipy.sparse import issparse
from sklearn import get_config
from sklearn.base import BaseEstimator, is_classifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import FeatureUnion, Pipeline
from sklearn.preprocessing import FunctionTransformer

from diabetes.tabular.columns import Column, Schema
from diabetes.tabular.features import select_features

# Up to this many combinations of categories, each is transformed once and not once a row.
_COMBINATIONS = 10_000


def predict(schema: Schema, model: Pipeline, table: pd.DataFrame) -> np.ndarray:
    """Return one prediction a row, float64 of shape (n,), in the order of the rows.

    A classifier of the classes 0 and 1 predicts the probability of 1. For a label that has classes it is the
    probability of each of the k classes in their order, shape (n, k). Features are found by name: column
    order, other columns and the index do not matter.
    """
    return predict_features(model, select_features(schema, table), schema.classes)


def predict_features(model: Pipeline, features: Any, classes: Sequence[str] = ()) -> np.ndarray:
    """Return what `predict` returns, from features as the model takes them; `classes` are the label's.

    A class that no training row had has probability 0. Raises ValueError for a classifier of other classes.
    """
    if not len(features):
        return _no_predictions(classes)
    if classes:
        return _predict_classes(model, features, classes)
    if not is_classifier(model):
        return np.asarray(model.predict(features), dtype=np.float64)
    if (classes := model.classes_.tolist()) != [0, 1]:
        raise ValueError(f"a classifier must have learned the classes 0 and 1; got {classes}")
    return np.asarray(model.predict_proba(features)[:, 1], dtype=np.float64)


def predict_arrays(schema: Schema, model: Pipeline, numbers: np.ndarray, codes: np.ndarray) -> np.ndarray:
    """Return what `predict` returns, from the arrays of `screening.ScreenedBatch`, several times as fast.

    Where the pipeline begins with a ColumnTransformer, each of its parts gets its columns as they are:
    no table is put together, and categories are transformed once each instead of once a row.
    """
    if not len(numbers):
        return _no_predictions(schema.classes)
    parts = _find_parts(schema, model)
    if parts is None:
        return predict_features(model, _to_table(schema, numbers, codes), schema.classes)
    with warnings.catch_warnings():
        # The parts were fitted on named columns; here they get the same columns without the names.
        warnings.filterwarnings("ignore", "X does not have valid feature names")
        blocks = [_transform(schema, part, names, numbers, codes) for part, names in parts]
        return predict_features(model[1:], np.hstack(blocks), schema.classes)


def _no_predictions(classes: Sequence[str]) -> np.ndarray:
    # scikit-learn refuses to transform zero rows, which an empty Spark partition has.
    return np.empty((0, len(classes)) if classes else 0)


def _predict_classes(model: Pipeline, features: Any, classes: Sequence[str]) -> np.ndarray:
    learned = list(model.classes_) if is_classifier(model) else []
    if not {*learned} or not {*learned} <= {*range(len(classes))}:
        raise ValueError(
            f"a classifier of {list(classes)} must have learned their places, 0 to {len(classes) - 1}; "
            f"got {learned or 'a model that is not a classifier'}"
        )
    found = np.zeros((len(features), len(classes)))
    found[:, np.asarray(learned, dtype=np.int64)] = model.predict_proba(features)
    return found


def _find_parts(schema: Schema, model: Pipeline) -> list[tuple[BaseEstimator, list[str]]] | None:
    """Give the parts of the first step, each with the columns it takes; None where they cannot be told apart.

    Each part has to take numbers alone or categories alone, without their names, and to give an array.
    """
    first = model[0]
    if not isinstance(first, ColumnTransformer) or len(model) < 2:
        return None
    if first.transformer_weights or _gives_tables(first):
        return None
    used = [(part, list(names)) for _, part, names in first.transformers_ if not isinstance(part, str)]
    parts = [(part, names) for part, names in used if names]  # without columns a part is not fitted
    kept = [part for _, part, _ in first.transformers_ if part == "passthrough"]
    kinds = set(schema.numeric_names), set(schema.category_names)
    told_apart = all(any(set(names) <= kind for kind in kinds) for _, names in parts)
    plain = all(_needs_no_names(part) for part, _ in parts)
    return parts if parts and told_apart and plain and not kept else None


def _gives_tables(first: ColumnTransformer) -> bool:
    asked = getattr(first, "_sklearn_output_config", {}).get("transform")
    return bool((asked or get_config()["transform_output"]) != "default")


def _needs_no_names(part: BaseEstimator) -> bool:
    """Whether a part is made of scikit-learn's own steps, of which none hands a table to somebody's code."""
    steps = [step for _, step in part.steps] if isinstance(part, Pipeline) else [part]
    others = (FunctionTransformer, ColumnTransformer, FeatureUnion, Pipeline)
    return all(
        type(step).__module__.startswith("sklearn.") and not isinstance(step, others) for step in steps
    )


def _transform(
    schema: Schema, part: BaseEstimator, names: list[str], numbers: np.ndarray, codes: np.ndarray
) -> np.ndarray:
    if set(names) <= set(schema.numeric_names):
        whole = names == schema.numeric_names
        columns = numbers if whole else numbers[:, [schema.numeric_names.index(name) for name in names]]
        return _as_dense(part.transform(columns))
    columns = codes[:, [schema.category_names.index(name) for name in names]]
    values = [_values_by_code(schema.columns[name]) for name in names]
    sizes = [len(known) for known in values]
    if math.prod(sizes) > _COMBINATIONS:
        rows = np.column_stack([known[column + 1] for known, column in zip(values, columns.T, strict=True)])
        return _as_dense(part.transform(rows))
    combinations = np.array(list(product(*values)), dtype=object)
    places = np.ravel_multi_index(tuple(columns.T + 1), sizes)
    return np.asarray(_as_dense(part.transform(combinations))[places])


def _as_dense(block: Any) -> np.ndarray:
    return np.asarray(block.toarray() if issparse(block) else block)


def _values_by_code(column: Column) -> np.ndarray:
    """Give the values that a category's codes stand for: the one of -1, missing, comes first."""
    return np.array([np.nan, *column.categories], dtype=object)


def _to_table(schema: Schema, numbers: np.ndarray, codes: np.ndarray) -> pd.DataFrame:
    columns = {name: numbers[:, place] for place, name in enumerate(schema.numeric_names)}
    for place, name in enumerate(schema.category_names):
        columns[name] = _values_by_code(schema.columns[name])[codes[:, place] + 1]
    return pd.DataFrame(
        {name: pd.Series(columns[name], dtype=columns[name].dtype) for name in schema.feature_names}
    )
