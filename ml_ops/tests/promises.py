"""What a problem promises to the machinery, checked on a table of its own; a broken promise is a sentence."""

from collections.abc import Iterator
from contextlib import contextmanager

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pyarrow as pa
from diabetes.tabular import Problem
from diabetes.tabular.checking import check_table
from diabetes.tabular.features import select_features, select_label, select_labelled
from diabetes.tabular.fitting import fit, fit_baseline, make
from diabetes.tabular.scoring import predict, predict_arrays, predict_features
from diabetes.tabular.screening import screen
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.models import model_files
from sklearn.pipeline import Pipeline

# Enough to learn from, and quick.
MOST_ROWS = 2_000


class BrokenPromise(AssertionError):
    """Something that the science does otherwise than the machinery counts on."""


def check(problem: Problem, table: pd.DataFrame) -> None:
    """Raise BrokenPromise for the first promise that does not hold on a labelled table.

    The model is saved in the experiment that is set.
    """
    with told("schema.py: its own table does not pass"):
        check_table(problem.schema, table, labelled=True)
    train, holdout = split_by_key(problem.schema, select_labelled(problem.schema, table.head(MOST_ROWS)))
    _check_making(problem)
    with told("training.py: make_pipeline's pipeline does not fit the table"):
        model = fit(problem, train, {})
    predicted = _check_predicting(problem, model, holdout)
    _check_measuring(problem, train, holdout, predicted)
    _check_slices(problem, holdout)
    _check_saving(problem, model, holdout, predicted)


def promise(holds: bool | np.bool_, broken: str) -> None:
    if not holds:
        raise BrokenPromise(broken)


@contextmanager
def told(sentence: str) -> Iterator[None]:
    try:
        yield
    except BrokenPromise:
        raise
    except Exception as error:  # what a science does wrong has no end
        raise BrokenPromise(f"{sentence}: {type(error).__name__}: {error}") from error


def _check_making(problem: Problem) -> None:
    with told("training.py: make_pipeline does not take the parameters as they are declared"):
        first, second = make(problem, {}), make(problem, {})
    promise(
        isinstance(first, Pipeline),
        f"training.py: make_pipeline gives a {type(first).__name__}, not a Pipeline",
    )
    promise(
        first is not second,
        "training.py: make_pipeline gives the same pipeline twice, so that one fit undoes another",
    )
    for parameter in problem.parameters:
        for value in parameter.search:
            with told(
                f"training.py: {parameter.name} may be searched at {value}, and make_pipeline refuses it"
            ):
                make(problem, {parameter.name: value})
    with told("training.py: what make_pipeline gives cannot be saved"):
        model_files.check(problem, first)


def _check_predicting(problem: Problem, model: Pipeline, rows: pd.DataFrame) -> np.ndarray:
    schema = problem.schema
    with told("training.py: the fitted pipeline does not predict the holdout"):
        predicted = predict(schema, model, rows)
    shape = (len(rows), *([len(schema.classes)] if schema.classes else []))
    promise(
        predicted.shape == shape,
        f"training.py: {len(rows)} rows give predictions of shape {predicted.shape}",
    )
    promise(np.isfinite(predicted).all(), "training.py: a prediction is not a finite number")
    features = select_features(schema, rows)
    kept = features.copy(deep=True)
    predict_features(model, features, schema.classes)
    promise(features.equals(kept), "training.py: predicting changes the table that it is given")
    apart = [predict(schema, model, part) for part in (rows.head(1), rows.iloc[1:])]
    _compare(np.concatenate(apart), predicted, "which rows are predicted together")
    batch = pa.RecordBatch.from_pandas(rows.drop(columns=schema.label.name), preserve_index=False)
    screened = screen(schema, batch)
    with told("training.py: the fitted pipeline does not predict what scoring hands to it"):
        arrays = predict_arrays(schema, model, screened.numbers, screened.codes)
    _compare(arrays, predicted, "whether a table or arrays are predicted")
    _check_values(problem, model, rows)
    return predicted


def _check_values(problem: Problem, model: Pipeline, rows: pd.DataFrame) -> None:
    """A feature may be missing, and a category may be one that the training rows had not."""
    row = rows.head(1)
    for column in problem.schema.features:
        values = [None, *column.categories]
        for value in values:
            with told(f"training.py: a row whose {column.name} is {value!r} cannot be predicted"):
                changed = row.assign(**{column.name: pd.Series([value], dtype=object, index=row.index)})
                number = predict(problem.schema, model, changed)[0]
            promise(
                np.isfinite(number).all(),
                f"training.py: a row whose {column.name} is {value!r} gives {number}",
            )


def _check_measuring(
    problem: Problem, train: pd.DataFrame, holdout: pd.DataFrame, predicted: np.ndarray
) -> None:
    evaluation, actual = problem.evaluation, select_label(problem.schema, holdout)
    primary = evaluation.primary
    for name, metric in evaluation.metrics.items():
        with told(f"evaluation.py: the metric {name} cannot be measured on the holdout"):
            value = float(metric.function(actual, predicted))
        promise(
            np.isfinite(value), f"evaluation.py: the metric {name} is {value} on {len(actual)} holdout rows"
        )
        with told(
            f"evaluation.py: the metric {name} cannot be measured on one row; NaN says that it is not defined"
        ):
            float(metric.function(actual[:1], predicted[:1]))
    classes = len(problem.schema.classes)
    right = np.eye(classes)[actual.astype(np.int64)] if classes else actual.astype(float)
    perfect, error = (evaluation.measure(actual, values)[primary] for values in (right, predicted))
    promise(
        perfect <= error,
        f"evaluation.py: {primary} is {perfect} where each label is predicted, more than the model's {error}",
    )
    baseline = predict(problem.schema, fit_baseline(problem, train), holdout)
    promise(
        np.isfinite(evaluation.measure(actual, baseline)[primary]),
        f"evaluation.py: {primary} is not defined for the baseline, which each version has to beat",
    )


def _check_slices(problem: Problem, holdout: pd.DataFrame) -> None:
    features = select_features(problem.schema, holdout)
    with told("evaluation.py: slice_rows does not take the features of the holdout"):
        masks = problem.evaluation.slice_rows(features)
    for name, mask in masks.items():
        promise(
            isinstance(mask, np.ndarray) and mask.dtype == bool and mask.shape == (len(features),),
            f"evaluation.py: the slice {name} is not a boolean NumPy array of shape ({len(features)},)",
        )


def _check_saving(problem: Problem, model: Pipeline, rows: pd.DataFrame, predicted: np.ndarray) -> None:
    with told("training.py: the model cannot be saved and loaded"):
        with mlflow.start_run():
            logged = model_files.log_model(problem, model, select_features(problem.schema, rows).head(2))
        loaded = predict(problem.schema, mlflow.sklearn.load_model(logged.model_uri), rows)
    _compare(loaded, predicted, "whether the model was saved and loaded")


def _compare(found: np.ndarray, expected: np.ndarray, what: str) -> None:
    promise(
        np.allclose(found, expected, rtol=1e-6, atol=1e-9), f"training.py: a prediction depends on {what}"
    )
