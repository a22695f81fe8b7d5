"""Measures a model on labelled rows, says how sure that is, and describes the features that it reads."""

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np
import pandas as pd
from sklearn.inspection import permutation_importance
from sklearn.metrics import mean_absolute_error, r2_score, root_mean_squared_error
from sklearn.pipeline import Pipeline

from diabetes.features import select_features, select_label
from diabetes.schema import CATEGORY_NAMES, COLUMNS, FEATURE_NAMES, SchemaError
from diabetes.scoring import predict
from diabetes.training import fit_baseline

# Each band of AGE, in years: from the first number up to, and without, the second.
AGE_BANDS: dict[str, tuple[float, float]] = {
    "AGE<40": (-np.inf, 40),
    "AGE 40-59": (40, 60),
    "AGE>=60": (60, np.inf),
}

_METRICS = {"rmse": root_mean_squared_error, "mae": mean_absolute_error, "r2": r2_score}
# Row numbers of shape (n, k) are measured as k resamples of n rows each, shape (metrics, k).
_Measure = Callable[[np.ndarray], np.ndarray]
# Bounds the memory of one step: this many resampled values are held at once.
_VALUES_AT_ONCE = 1_000_000


@dataclass(frozen=True)
class Interval:
    """A measured value, and the low and high end of its confidence interval, in the value's unit."""

    value: float
    low: float
    high: float


def evaluate(model: Pipeline, table: pd.DataFrame) -> dict[str, float]:
    """Return rmse and mae (in units of the label) and r2 of the model's predictions against the labels.

    Raises SchemaError when a label is missing or when there are fewer than two rows (r2 needs two).
    """
    labels = select_label(table)
    if len(labels) < 2:
        raise SchemaError(f"evaluation needs at least 2 labelled rows; the table has {len(labels)}")
    predictions = predict(model, table)
    return {
        "rmse": float(root_mean_squared_error(labels, predictions)),
        "mae": float(mean_absolute_error(labels, predictions)),
        "r2": float(r2_score(labels, predictions)),
    }


def predict_baseline(train: pd.DataFrame, holdout: pd.DataFrame) -> np.ndarray:
    """Return the mean label of the training rows once a holdout row, float64 of shape (n,)."""
    return predict(fit_baseline(train), holdout)


def bootstrap_metrics(
    actual: np.ndarray,
    predicted: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> dict[str, Interval]:
    """Return the metrics of `evaluate`, each with its percentile bootstrap interval.

    Rows (shape (n,) both) are drawn with replacement, a label together with its prediction; the interval
    lies between the quantiles of the metric over the resamples (Efron and Tibshirani, "An Introduction to
    the Bootstrap", 1993, chapter 13). It says nothing of what another training sample would change.
    Raises ValueError for arrays of unequal shape, fewer than two rows, or a number outside its range.
    """
    _check_rows(actual=actual, predicted=predicted)

    def measure(rows: np.ndarray) -> np.ndarray:
        pairs = actual[rows], predicted[rows]
        return np.stack([metric(*pairs, multioutput="raw_values") for metric in _METRICS.values()])

    intervals = _bootstrap(measure, len(actual), seed=seed, resamples=resamples, confidence=confidence)
    return dict(zip(_METRICS, intervals, strict=True))


def compare_rmse(
    actual: np.ndarray,
    challenger: np.ndarray,
    champion: np.ndarray,
    *,
    seed: int,
    resamples: int = 2000,
    confidence: float = 0.95,
) -> Interval:
    """Return rmse(challenger) - rmse(champion) with its paired bootstrap interval; below 0 is better.

    `challenger` and `champion` are predictions for the rows of `actual`, shape (n,) each. Both are measured
    on the same drawn rows, so what makes a row hard for both cancels out. Raises as `bootstrap_metrics`.
    """
    _check_rows(actual=actual, challenger=challenger, champion=champion)

    def measure(rows: np.ndarray) -> np.ndarray:
        first, second = (
            root_mean_squared_error(actual[rows], predicted[rows], multioutput="raw_values")
            for predicted in (challenger, champion)
        )
        return np.stack([first - second])

    return _bootstrap(measure, len(actual), seed=seed, resamples=resamples, confidence=confidence)[0]


def slice_rows(table: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return which rows are in each slice by SEX and by AGE: boolean masks of shape (n,) by slice name.

    Each row is in one slice of each column. A slice may be empty; "SEX missing" and "AGE missing" are there
    only when they have rows. Raises SchemaError as `select_features`.
    """
    features = select_features(table)
    sex, age = features["SEX"], features["AGE"]
    masks = {f"SEX={name}": sex == name for name in COLUMNS["SEX"].categories}
    masks |= {name: (age >= low) & (age < high) for name, (low, high) in AGE_BANDS.items()}
    masks |= {f"{values.name} missing": values.isna() for values in (sex, age) if values.isna().any()}
    return {name: mask.to_numpy(dtype=bool) for name, mask in masks.items()}


def evaluate_slices(actual: np.ndarray, predicted: np.ndarray, table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a slice of `slice_rows`: rows, rmse, mae, r2; the index is named slice.

    `actual` and `predicted` belong to the rows of the table in their order. A metric is NaN where it is not
    defined: rmse and mae without rows, r2 with fewer than two. Raises ValueError for unequal lengths.
    """
    if not actual.shape == predicted.shape == (len(table),):
        shapes = f"actual {actual.shape}, predicted {predicted.shape}"
        raise ValueError(f"a table of {len(table)} rows needs one value a row; got {shapes}")
    measured = {
        name: _measure_slice(actual[rows], predicted[rows]) for name, rows in slice_rows(table).items()
    }
    return pd.DataFrame.from_dict(measured, orient="index").rename_axis("slice").astype({"rows": "int64"})


def feature_importance(model: Pipeline, table: pd.DataFrame, *, seed: int, repeats: int = 10) -> pd.DataFrame:
    """Return one row a feature, the most important first: how much worse rmse gets without its values.

    Each feature's column is shuffled `repeats` times among the rows of the labelled table (permutation
    importance: Breiman, "Random Forests", 2001, section 10). `mean` and `std` of the growth of rmse are in
    units of the label; about 0 is a feature that the model does not need, or that others stand in for.
    """
    shuffled = permutation_importance(
        model,
        select_features(table),
        select_label(table),
        scoring="neg_root_mean_squared_error",
        n_repeats=repeats,
        random_state=seed,
    )
    importance = {"mean": shuffled.importances_mean, "std": shuffled.importances_std}
    names = pd.Index(FEATURE_NAMES, name="feature")
    return pd.DataFrame(importance, index=names).sort_values("mean", ascending=False, kind="stable")


def describe_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return one row a feature, in its unit: count, missing, mean, std, min, quartiles, max, categories.

    A category has no mean: its `categories` says how often each occurs, such as "Female 5, Male 3".
    """
    features = select_features(table)
    statistics = features.drop(columns=CATEGORY_NAMES).describe().T.reindex(features.columns)
    statistics["count"] = features.count()
    statistics.insert(1, "missing", features.isna().sum())
    statistics["categories"] = [_count_categories(features[name]) for name in features.columns]
    return statistics.rename_axis("feature")


def _check_rows(**arrays: np.ndarray) -> None:
    shapes = {name: values.shape for name, values in arrays.items()}
    if len(set(shapes.values())) > 1 or any(len(shape) != 1 or shape[0] < 2 for shape in shapes.values()):
        raise ValueError(f"arrays must have one shape (n,) with at least 2 rows; got {shapes}")


def _bootstrap(
    measure: _Measure, rows: int, *, seed: int, resamples: int, confidence: float
) -> list[Interval]:
    if resamples < 1 or not 0 < confidence < 1:
        raise ValueError(
            f"resamples must be at least 1 and confidence between 0 and 1; got {resamples} and {confidence}"
        )
    # scipy's bootstrap renamed its argument for the seed in 1.15, and clusters have versions of both sides.
    random = np.random.default_rng(seed)
    width = max(1, _VALUES_AT_ONCE // rows)
    widths = [min(width, resamples - start) for start in range(0, resamples, width)]
    drawn = np.concatenate([measure(random.integers(rows, size=(rows, k))) for k in widths], axis=1)
    values = measure(np.arange(rows)[:, np.newaxis])[:, 0]
    lows, highs = np.quantile(drawn, [(1 - confidence) / 2, (1 + confidence) / 2], axis=1)
    return [
        Interval(float(v), float(low), float(high)) for v, low, high in zip(values, lows, highs, strict=True)
    ]


def _measure_slice(actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
    needed = {"rmse": 1, "mae": 1, "r2": 2}
    measured = {
        name: float(metric(actual, predicted)) if len(actual) >= needed[name] else np.nan
        for name, metric in _METRICS.items()
    }
    return {"rows": len(actual), **measured}


def _count_categories(values: pd.Series) -> str:
    return ", ".join(f"{name} {(values == name).sum()}" for name in COLUMNS[str(values.name)].categories)
