"""Measures a fitted pipeline on the holdout in every way that the run, its report and the gate show."""

from dataclasses import dataclass

import mlflow
import numpy as np
import pandas as pd
from diabetes.evaluation import (
    Interval,
    bootstrap_metrics,
    evaluate,
    evaluate_slices,
    feature_importance,
)
from diabetes.features import select_label
from diabetes.scoring import predict
from diabetes.training import fit_baseline
from matplotlib.figure import Figure
from sklearn.pipeline import Pipeline

from diabetes_mlops import plots


@dataclass(frozen=True)
class Assessment:
    """What is known about a pipeline from the holdout's rows.

    `actual` and `predicted` have shape (n,). `slices` has one row a slice, `importance` one a feature.
    """

    metrics: dict[str, float]
    baseline: dict[str, float]
    intervals: dict[str, Interval]
    slices: pd.DataFrame
    importance: pd.DataFrame
    actual: np.ndarray
    predicted: np.ndarray


def assess(model: Pipeline, train: pd.DataFrame, holdout: pd.DataFrame, *, seed: int) -> Assessment:
    """Measure a model and the baseline, both fitted on `train`, on the rows of `holdout`."""
    actual, predicted = select_label(holdout), predict(model, holdout)
    return Assessment(
        metrics=evaluate(model, holdout),
        baseline=evaluate(fit_baseline(train), holdout),
        intervals=bootstrap_metrics(actual, predicted, seed=seed),
        slices=evaluate_slices(actual, predicted, holdout),
        importance=feature_importance(model, holdout, seed=seed),
        actual=actual,
        predicted=predicted,
    )


def draw(assessment: Assessment) -> dict[str, Figure]:
    """Draw the assessment's figures, each under the name of its file."""
    actual, predicted = assessment.actual, assessment.predicted
    return {
        "predicted_vs_actual": plots.draw_predicted_vs_actual(actual, predicted),
        "residuals": plots.draw_residuals(actual, predicted),
        "importance": plots.draw_importance(assessment.importance),
    }


def name_metrics(assessment: Assessment) -> dict[str, float]:
    """Give every number a name of its own: rmse, rmse_low, rmse_high, baseline_rmse, and so on."""
    named = dict(assessment.metrics)
    for name, interval in assessment.intervals.items():
        named |= {f"{name}_low": interval.low, f"{name}_high": interval.high}
    return named | {f"baseline_{name}": value for name, value in assessment.baseline.items()}


def log(assessment: Assessment, figures: dict[str, Figure]) -> None:
    """Log the tables and the figures into the active run."""
    mlflow.log_table(assessment.slices.reset_index(), "slices.json")
    mlflow.log_table(assessment.importance.reset_index(), "importance.json")
    for name, figure in figures.items():
        mlflow.log_figure(figure, f"plots/{name}.png")
