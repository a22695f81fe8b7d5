"""The monitoring job: what was scored, how far it has drifted and, where labels arrived, how wrong it was."""

from collections.abc import Mapping
from typing import Any

import mlflow
import pandas as pd
from diabetes.drift import DriftThresholds
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from pyspark.sql import DataFrame, SparkSession

from diabetes_mlops import drift, history, plots, report
from diabetes_mlops.health import Health, judge, select_version
from diabetes_mlops.settings import MonitoringSettings
from diabetes_mlops.sources import SourceNotFoundError
from diabetes_mlops.tracking import describe_code, open_run

JOB = "diabetes_monitoring"
TAG = "monitoring"


class MonitoringAlert(RuntimeError):
    """Things are as bad as the job was told to fail on."""


def run(spark: SparkSession, settings: MonitoringSettings) -> dict[str, Any]:
    """Look at the history of a scored table; returns what the job reports, as values that JSON has.

    Raises NoHistoryError when nothing was scored yet and, after everything was logged, MonitoringAlert when
    things are as bad as `settings.fail_on`.
    """
    with open_run(settings.experiment_name, JOB, settings.git_commit) as active:
        _log_settings(settings)
        scored = history.open_scored(spark, settings.output_table)
        batches = history.summarize_batches(scored)
        runs = history.find_runs(MlflowClient(), active.info.experiment_id, batches["run_id"])
        labels, about_labels = read_labels(spark, settings.labels_data)
        print(f"read {batches['rows'].sum()} rows in {len(batches)} batches; {about_labels}")

        sums = history.sum_errors(scored, labels)
        batches = history.add_errors(history.add_drift(batches, runs), sums)
        versions = history.summarize_versions(MlflowClient(), batches, sums)
        health = judge(batches, versions, max_rmse_ratio=settings.max_rmse_ratio)

        figure = plots.draw_monitoring(batches, versions, find_thresholds(batches, runs))
        origin = {"run": active.info.run_id, **describe_code(settings.git_commit)}
        page = report.render_monitoring(
            settings.output_table, health, about_labels, batches, versions, figure, origin
        )
        log(health, batches, versions, figure, page)
        print(f"status {health.status}: {'; '.join(health.findings) or 'nothing to worry about'}")
        if health.is_at_least(settings.fail_on):
            raise MonitoringAlert(f"{health.status}: {'; '.join(health.findings)}")
        where = {"run_id": active.info.run_id, "experiment_id": active.info.experiment_id}
        return summarize(health, batches, versions) | {"labels": about_labels} | where


def read_labels(spark: SparkSession, source: str) -> tuple[DataFrame | None, str]:
    """Read the labels that have arrived, if any, and say in a sentence what is known about them."""
    if not source:
        return None, "No labels_data is given, so the true error is not known."
    try:
        labels = history.read_labels(spark, source)
    except SourceNotFoundError:
        return None, f"There is nothing at {source} yet, so the true error is not known."
    return labels, f"{labels.count()} labels have arrived in {source}."


def find_thresholds(batches: pd.DataFrame, runs: Mapping[str, Run]) -> DriftThresholds:
    """Give the thresholds of drift that the latest batch was held against, else the default ones."""
    for run_id in reversed(batches["run_id"].tolist()):
        if run_id in runs and (found := drift.read_thresholds(runs[run_id].data.params)):
            return found
    return DriftThresholds()


def log(health: Health, batches: pd.DataFrame, versions: pd.DataFrame, figure: Figure, page: str) -> None:
    """Log status, numbers, tables, figure and page into the active run."""
    mlflow.set_tag(TAG, health.status)
    mlflow.log_metrics({name: float(value) for name, value in _numbers(batches, versions).items()})
    mlflow.log_table(batches.assign(scored_at=batches["scored_at"].astype(str)), "batches.json")
    mlflow.log_table(versions, "versions.json")
    mlflow.log_figure(figure, "plots/monitoring.png")
    mlflow.log_text(page, "monitoring.html")


def summarize(health: Health, batches: pd.DataFrame, versions: pd.DataFrame) -> dict[str, Any]:
    """Give what the job reports: status, findings, the latest batch, and the numbers that are known."""
    latest = batches.iloc[-1]
    return {
        "status": health.status,
        "findings": {check.name: check.finding for check in health.checks},
        "latest_batch": latest["batch_id"],
        "model_version": latest["model_version"],
        **_numbers(batches, versions),
    }


def _numbers(batches: pd.DataFrame, versions: pd.DataFrame) -> dict[str, float]:
    """Give the counts, and of the version in use the true error where it is known."""
    used = select_version(versions, batches.iloc[-1])
    errors = {f"true_{name}": used[name] for name in ("rmse", "mae", "r2")} | {"rmse_ratio": used["ratio"]}
    return {
        "batches": len(batches),
        "rows_scored": int(batches["rows"].sum()),
        "rows_labelled": int(batches["labelled"].sum()),
        **{name: float(value) for name, value in errors.items() if pd.notna(value)},
    }


def _log_settings(settings: MonitoringSettings) -> None:
    names = ("output_table", "labels_data", "max_rmse_ratio", "fail_on")
    mlflow.log_params({name: getattr(settings, name) or "" for name in names})
