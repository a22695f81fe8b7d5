"""Measures models by the metrics of a problem, says how sure that is, and describes the features."""

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.pipeline import Pipeline

from diabetes.tabular.columns import Schema, SchemaError, show_day
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.fitting import fit
from diabetes.tabular.metrics import Evaluation
from diabetes.tabular.parameters import Value
from diabetes.tabular.problem import Problem
from diabetes.tabular.scoring import predict, predict_features
from diabetes.tabular.splitting import assign_folds

# Row numbers of shape (n,) are measured as one resample of n rows, a value a metric.
_Measure = Callable[[np.ndarray], list[float]]
# Bounds the memory of one step: this many row numbers are drawn at once.
_VALUES_AT_ONCE = 1_000_000

# What is a day where a column is a date; the rest of its statistics are numbers.
_DAYS = ("mean", "min", "25%", "50%", "75%", "max")


@dataclass(frozen=True)
class Interval:
    """A measured value, and the low and high end of its confidence interval, in the value's unit."""

    value: float
    low: float
    high: float


def evaluate(problem: Problem, model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    """Return each metric of the model's predictions against the labels of the table.

    Raises SchemaError when a label is missing or when there are fewer than two rows.
    """
    labels = select_label(problem.schema, table)
    if len(labels) < 2:
        raise SchemaError(f"evaluation needs at least 2 labelled rows; the table has {len(labels)}")
    return problem.evaluation.measure(labels, predict(problem.schema, model, table))


def cross_validate(
    problem: Problem, table: pd.DataFrame, params: Mapping[str, Value], *, folds: int = 5, seed: int
) -> float:
    """Return the mean over the folds of what `validate` measures on each.

    Raises what `fit` and `assign_folds` raise.
    """
    assigned = assign_folds(problem.schema, table, folds=folds, seed=seed, split=problem.split)
    return average_folds([validate(problem, table, assigned == fold, params) for fold in range(folds)])


def average_folds(errors: Sequence[float]) -> float:
    """Return the mean of the folds on which the primary metric is defined; raises SchemaError for none."""
    defined = [error for error in errors if not np.isnan(error)]
    if not defined:
        raise SchemaError(
            f"the primary metric is not defined on any of {len(errors)} folds: each has too few rows"
        )
    return float(np.mean(defined))


def validate(
    problem: Problem, table: pd.DataFrame, held_out: np.ndarray, params: Mapping[str, Value]
) -> float:
    """Return the primary metric on the rows that the mask `held_out`, shape (n,), marks.

    The whole pipeline, preprocessing included, is fitted on the other rows. Raises what `fit` raises.
    """
    model, rows, schema = fit(problem, table[~held_out], params), table[held_out], problem.schema
    return float(problem.evaluation.error.function(select_label(schema, rows), predict(schema, model, rows)))


def bootstrap_metrics(
    evaluation: Evaluation,
    actual: np.ndarray,
    predicted: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return the metrics of `evaluate`, each with its percentile bootstrap interval.

    Rows (of arrays as `Metric` takes them) are drawn with replacement, a label together with its prediction;
    the interval lies between the quantiles of the metric over the resamples (Efron and Tibshirani, "An
    Introduction to the Bootstrap", 1993, chapter 13), without those that it is not defined for. It says
    nothing of what another training sample would change. Raises ValueError for arrays of unequal shape,
    fewer than two rows, a value that is not finite, or a number outside its range.
    """
    _check_rows(actual, predicted=predicted)

    def measure_rows(rows: np.ndarray) -> list[float]:
        return list(evaluation.measure(actual[rows], predicted[rows]).values())

    intervals = _bootstrap(measure_rows, len(actual), seed=seed, resamples=resamples, confidence=confidence)
    return dict(zip(evaluation.metrics, intervals, strict=True))


def compare_models(
    evaluation: Evaluation,
    actual: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return how much higher the challenger's primary metric is than the champion's; below 0 is better.

    It comes with its paired bootstrap interval. `challenger` and `champion` are predictions for the rows of
    `actual`, shape (n,) each, or (n, k) of k classes. Both are measured on the same drawn rows, so what makes
    a row hard for both cancels out. Raises as `bootstrap_metrics`.
    """
    _check_rows(actual, challenger=challenger, champion=champion)
    error = evaluation.error.function

    def measure_rows(rows: np.ndarray) -> list[float]:
        labels = actual[rows]
        return [error(labels, challenger[rows]) - error(labels, champion[rows])]

    return _bootstrap(measure_rows, len(actual), seed=seed, resamples=resamples, confidence=confidence)[0]


def evaluate_slices(
    problem: Problem, actual: np.ndarray, predicted: np.ndarray, table: pd.DataFrame
) -> pd.DataFrame:
    """Return one row a slice of the problem: rows, and each metric; the index is named slice.

    `actual` and `predicted` belong to the rows of the table in their order. A metric is NaN where it is not
    defined, as for a slice without rows. Raises ValueError for unequal lengths, and for a slice that is not a
    mask of the rows.
    """
    if not actual.shape == predicted.shape[:1] == (len(table),):
        shapes = f"actual {actual.shape}, predicted {predicted.shape}"
        raise ValueError(f"a table of {len(table)} rows needs one value a row; got {shapes}")
    evaluation = problem.evaluation
    slices = evaluation.slice_rows(select_features(problem.schema, table))
    masks = {name: _check_mask(name, np.asarray(rows), len(table)) for name, rows in slices.items()}
    measured = {
        name: {"rows": int(rows.sum()), **evaluation.measure(actual[rows], predicted[rows])}
        for name, rows in masks.items()
    }
    found = pd.DataFrame.from_dict(measured, orient="index", columns=["rows", *evaluation.metrics])
    return found.rename_axis("slice").astype({"rows": "int64"})


def feature_importance(
    problem: Problem, model: Pipeline, table: pd.DataFrame, *, seed: int, repeats: int = 10
) -> pd.DataFrame:
    """Return one row a feature, the most important first: how much the primary metric grows without it.

    Each feature's column is shuffled `repeats` times among the rows of the labelled table (permutation
    importance: Breiman, "Random Forests", 2001, section 10). `mean` and `std` of the growth are in the
    metric's unit; about 0 is a feature that the model does not need, or that others stand in for.
    """
    error, schema = problem.evaluation.error.function, problem.schema

    def score(model: Pipeline, features: pd.DataFrame, labels: np.ndarray) -> float:
        return -error(labels, predict_features(model, features, schema.classes))

    shuffled = permutation_importance(
        model,
        select_features(schema, table),
        select_label(schema, table),
        scoring=score,
        n_repeats=repeats,
        random_state=seed,
    )
    importance = {"mean": shuffled.importances_mean, "std": shuffled.importances_std}
    names = pd.Index(schema.feature_names, name="feature")
    return pd.DataFrame(importance, index=names).sort_values("mean", ascending=False, kind="stable")


def describe_features(schema: Schema, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a feature, in its unit: count, missing, mean, std, min, quartiles, max, categories.

    Of a date they are days, as text, and its std is a number of them. A category has no mean: its
    `categories` says how often each occurs, such as "Female 5, Male 3".
    """
    features, numeric = select_features(schema, table), schema.numeric_names
    numbers = features[numeric].describe().T if numeric else pd.DataFrame()
    statistics = numbers.reindex(features.columns)
    if schema.first_days:
        statistics = statistics.astype(object)
    for name, first in schema.first_days.items():
        days = numbers.loc[name].astype("float64").to_dict()
        for each in _DAYS:
            statistics.at[name, each] = _show_day(first, days[each])
    statistics["count"] = features.count()
    statistics.insert(1, "missing", features.isna().sum())
    statistics["categories"] = [
        _count_values(features[column.name], column.categories) for column in schema.features
    ]
    return statistics.rename_axis("feature")


def _check_mask(name: str, rows: np.ndarray, count: int) -> np.ndarray:
    if rows.dtype != bool or rows.shape != (count,):
        got = f"{rows.dtype} of shape {rows.shape}"
        raise ValueError(f"slice {name!r} must be a boolean mask of shape ({count},); got {got}")
    return rows


def _check_rows(actual: np.ndarray, **predictions: np.ndarray) -> None:
    arrays = {"actual": actual, **predictions}
    shapes = {name: values.shape for name, values in arrays.items()}
    predicted = {values.shape for values in predictions.values()}
    fits = all(shape[:1] == actual.shape and _is_a_number_or_classes(shape) for shape in predicted)
    if len(actual.shape) != 1 or len(actual) < 2 or len(predicted) > 1 or not fits:
        raise ValueError(
            "arrays must have one shape (n,) or, of classes, predictions of shape (n, k), "
            f"with at least 2 rows; got {shapes}"
        )
    for name, values in arrays.items():
        if not np.isfinite(values).all():
            raise ValueError(f"{name} contains NaN or infinity")


def _is_a_number_or_classes(shape: tuple[int, ...]) -> bool:
    return len(shape) == 1 or (len(shape) == 2 and shape[1] > 1)


def _bootstrap(
    measure_rows: _Measure, rows: int, *, seed: int, resamples: int, confidence: float
) -> list[Interval]:
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"resamples must be at least 1 and confidence between 0 and 1; got {resamples} and {confidence}"
        )
    random = np.random.default_rng(seed)
    width = max(1, _VALUES_AT_ONCE // rows)
    widths = [min(width, resamples - start) for start in range(0, resamples, width)]
    drawn = [measure_rows(sample) for k in widths for sample in random.integers(rows, size=(rows, k)).T]
    values, ends = measure_rows(np.arange(rows)), ((1 - confidence) / 2, (1 + confidence) / 2)
    return [
        Interval(float(value), *_find_quantiles(column, ends))
        for value, column in zip(values, np.array(drawn).T, strict=True)
    ]


def _find_quantiles(values: np.ndarray, shares: tuple[float, float]) -> tuple[float, float]:
    """Return the quantiles of the values that are numbers; NaN where none is."""
    defined = values[~np.isnan(values)]
    low, high = np.quantile(defined, shares) if len(defined) else (np.nan, np.nan)
    return float(low), float(high)


def _show_day(first: str, days: float) -> str | float:
    return days if np.isnan(days) else show_day(first, days)


def _count_values(values: pd.Series, categories: tuple[str, ...]) -> str:
    return ", ".join(f"{name} {(values == name).sum()}" for name in categories)
