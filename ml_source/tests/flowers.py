"""A problem of three classes, whose names are as odd as names get, and its table."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pandas as pd
import problems
from diabetes.tabular import Column, Metric, Problem, Schema
from sklearn.base import BaseEstimator
from sklearn.datasets import load_iris

# Blanks, a quote, a comma, an umlaut; what others read as missing; what others read as a number.
CLASSES = ("Iris «schön», 'blau'", "nan", "1")
SMALLEST = 1e-15


def log_loss(actual: np.ndarray, predicted: np.ndarray) -> float:
    """Of labels as places, shape (n,), and probabilities, shape (n, k)."""
    said = predicted[np.arange(len(actual)), actual.astype(int)]
    return float(-np.log(np.clip(said, SMALLEST, 1)).mean())


def accuracy(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(predicted.argmax(axis=1) == actual))


def slice_flowers(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """By the place where they grew."""
    return {name: (features["PLACE"] == name).to_numpy(dtype=bool) for name in ("sun", "shade")}


def make_flowers_problem(
    classes: tuple[str, ...] = CLASSES,
    make: Callable[[float], BaseEstimator] = problems.make_logistic,
    label: Column | None = None,
) -> Problem:
    return problems.make_problem(
        Schema(
            key=Column("NO", "integer", "number of the flower", low=1, high=2**53 - 1),
            features=(
                Column("SEPAL_LENGTH", "number", "length of a sepal", "cm", 0, 20),
                Column("SEPAL_WIDTH", "number", "width of a sepal", "cm", 0, 20),
                Column("PETAL_LENGTH", "number", "length of a petal", "cm", 0, 20),
                Column("PETAL_WIDTH", "number", "width of a petal", "cm", 0, 20),
                Column("PLACE", "category", "where it grew", categories=("sun", "shade")),
            ),
            label=label or Column("KIND", "category", "kind of the flower", categories=classes),
        ),
        make,
        metrics={"log_loss": Metric(log_loss, "lower"), "accuracy": Metric(accuracy, "higher")},
        primary="log_loss",
        thresholds={"accuracy": 0.8},
        margin=0.05,
        # A few flowers that are hard to tell are many among thirty.
        max_slice_ratio=4.0,
        slice_rows=slice_flowers,
    )


FLOWERS = make_flowers_problem()


def make_flowers(classes: tuple[str, ...] = CLASSES) -> pd.DataFrame:
    """450 labelled rows of three classes: the 150 irises three times, each time measured a little anew."""
    frame = load_iris(as_frame=True).frame
    random = np.random.default_rng(150)
    rows = pd.concat([frame] * 3, ignore_index=True)
    measured = rows.iloc[:, :4] * random.uniform(0.95, 1.05, (len(rows), 4))
    table = measured.set_axis(FLOWERS.schema.numeric_names, axis=1).round(2)
    table.insert(0, "NO", np.arange(1, len(table) + 1))
    place = random.choice(np.array(["sun", "shade"], dtype=object), len(table))
    kinds = np.array(classes, dtype=object)[rows["target"]]
    table = table.assign(PLACE=place, KIND=kinds)
    gaps = random.random((len(table), 5)) < problems.MISSING_SHARE
    names = FLOWERS.schema.feature_names
    return table.assign(**{name: table[name].mask(gap) for name, gap in zip(names, gaps.T, strict=True)})


def make_flowers_batch(rows: int = 60, **changes: Any) -> pd.DataFrame:
    """Rows like those of `make_flowers`, other numbers, no label."""
    drawn = make_flowers().drop(columns="KIND").sample(rows, random_state=1)
    return drawn.assign(NO=np.arange(rows) + 1001, **changes).reset_index(drop=True)


def with_classes(problem: Problem, classes: tuple[str, ...]) -> Problem:
    label = replace(problem.schema.label, categories=classes)
    return replace(problem, schema=replace(problem.schema, label=label))
