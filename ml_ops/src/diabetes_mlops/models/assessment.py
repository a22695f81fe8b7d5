"""Measures a fitted pipeline on the holdout in every way that the run, its report and the gate show."""

from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
from diabetes.tabular.features import select_label
from diabetes.tabular.fitting import fit_baseline
from diabetes.tabular.measuring import (
    Interval,
    bootstrap_metrics,
    evaluate_slices,
    feature_importance,
)
from diabetes.tabular.problem import Problem
from diabetes.tabular.scoring import predict
from matplotlib.figure import Figure
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline


@dataclass(frozen=True)
class Assessment:
    """What is known about a pipeline from the holdout's rows.

    `actual` and `predicted` are as `Metric` takes them. `slices` has one row a slice, `importance` one a
    feature.
    """

    metrics: dict[str, float]
    baseline: dict[str, float]
    intervals: dict[str, Interval]
    slices: pd.DataFrame
    importance: pd.DataFrame
    actual: np.ndarray
    predicted: np.ndarray
    is_of_classifier: bool


def assess(
    problem: Problem, model: Pipeline, train: pd.DataFrame, holdout: pd.DataFrame, *, seed: int
) -> Assessment:
    """Measure a model and the baseline, both fitted on `train`, on the rows of `holdout`."""
    schema, evaluation = problem.schema, problem.evaluation
    actual, predicted = select_label(schema, holdout), predict(schema, model, holdout)
    by_baseline = predict(schema, fit_baseline(problem, train), holdout)
    return Assessment(
        metrics=evaluation.measure(actual, predicted),
        baseline=evaluation.measure(actual, by_baseline),
        intervals=bootstrap_metrics(evaluation, actual, predicted, seed=seed),
        slices=evaluate_slices(problem, actual, predicted, holdout),
        importance=feature_importance(problem, model, holdout, seed=seed),
        actual=actual,
        predicted=predicted,
        is_of_classifier=is_classifier(model),
    )


def name_metrics(assessment: Assessment) -> dict[str, float]:
    """Give every number that is defined a name of its own: rmse, rmse_low, rmse_high, baseline_rmse, ..."""
    named = dict(assessment.metrics)
    for name, interval in assessment.intervals.items():
        named |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return defined(named | {f"baseline_{name}": value for name, value in assessment.baseline.items()})


def defined(numbers: dict[str, float]) -> dict[str, float]:
    """Leave out the numbers that these rows do not define."""
    return {name: value for name, value in numbers.items() if np.isfinite(value)}


def log(assessment: Assessment, figures: dict[str, Figure]) -> None:
    """Log the tables and the figures into the active run."""
    mlflow.log_table(assessment.slices.reset_index(), "slices.json")
    mlflow.log_table(assessment.importance.reset_index(), "importance.json")
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"plots/{name}.png")
