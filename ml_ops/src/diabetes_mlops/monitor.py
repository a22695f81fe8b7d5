"""The monitoring job: what was scored and what failed, how far it drifted and how wrong it was."""

from collections.abc import Mapping
from datetime import UTC, datetime
from typing import Any

import mlflow
import pandas as pd
from diabetes.tabular.columns import Schema
from diabetes.tabular.drift import DriftThresholds
from diabetes.tabular.problem import Problem
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.entities import Run
from pyspark.sql import DataFrame, SparkSession

from diabetes_mlops.data import delta_tables
from diabetes_mlops.data.places import SourceNotFoundError
from diabetes_mlops.monitoring import drift, history
from diabetes_mlops.monitoring.health import Health, History, judge
from diabetes_mlops.reports import plots, report
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.settings import MonitoringSettings
from diabetes_mlops.runs.telemetry import say, step
from diabetes_mlops.runs.tracking import describe_code, open_run

JOB = "diabetes_monitoring"
TAG = "monitoring"


class MonitoringAlert(RuntimeError):
    """Things are as bad as the job was told to fail on."""


def run(
    spark: SparkSession,
    settings: MonitoringSettings,
    problem: Problem,
    target: telemetry.Target | None = None,
) -> dict[str, Any]:
    """Look at the history of a scored table; returns what the job reports, as values that JSON has.

    Raises NoHistoryError when nothing was scored yet, SourceNotFoundError where `labels_data` names nothing
    and, after everything was logged, MonitoringAlert when things are as bad as `settings.fail_on`.
    Telemetry goes to `target`.
    """
    client = MlflowClient()
    experiment_id = history.find_experiment(client, settings.experiment_name)
    with (
        telemetry.job(JOB, target),
        open_run(settings.experiment_name, JOB, settings.git_commit) as active,
    ):
        _log_settings(settings)
        with step("read"):
            labels, about_labels = read_labels(spark, settings.labels_data, problem.schema)
            runs = history.find_runs(client, experiment_id)
            known = read_history(problem, spark, client, settings.output_table, runs, labels)
            telemetry.describe(**{name: str(known.latest[name]) for name in ("model_name", "model_version")})
            say(f"read {known.batches['rows'].sum()} rows in {len(known.batches)} batches; {about_labels}")

        with step("judge"):
            health = judge(
                known,
                lookback_days=settings.lookback_days,
                rejected_share_warn=settings.rejected_share_warn,
                max_error_ratio=settings.max_error_ratio,
            )
        with step("report"):
            start = known.start_of_last(settings.lookback_days)
            figure = plots.draw_monitoring(problem, known, find_thresholds(known.batches, runs), start)
            origin = {"run": active.info.run_id, **describe_code(settings.git_commit)}
            page = report.render_monitoring(
                problem.evaluation,
                settings.output_table,
                health,
                about_labels,
                known,
                figure,
                origin,
                classes=problem.schema.classes,
            )
            log(problem, health, known, figure, page)
        say(f"status {health.status}: {'; '.join(health.findings) or 'nothing to worry about'}")
        if health.is_at_least(settings.fail_on):
            raise MonitoringAlert(f"{health.status}: {'; '.join(health.findings)}")
        where = {"run_id": active.info.run_id, "experiment_id": active.info.experiment_id}
        return summarize(problem, health, known) | {"labels": about_labels} | where


def read_labels(spark: SparkSession, source: str, schema: Schema) -> tuple[DataFrame | None, str]:
    """Read the labels, if the job was given any, and say in a sentence what is known about them.

    Raises SourceNotFoundError where there is nothing under that name.
    """
    if not source:
        return None, "No labels_data is given, so the true error is not known."
    try:
        labels = history.read_labels(spark, source, schema)
    except SourceNotFoundError as error:
        raise SourceNotFoundError(
            f"labels_data: {error}; leave it empty as long as there are no labels"
        ) from error
    return labels, f"{labels.count()} labels have arrived in {source}."


def read_history(
    problem: Problem,
    spark: SparkSession,
    client: MlflowClient,
    table: str,
    runs: dict[str, Run],
    labels: DataFrame | None,
) -> History:
    """Put together what is known about a scored table; raises NoHistoryError when nothing was scored yet."""
    scored = history.open_scored(spark, table, problem.schema)
    if labels is not None:
        delta_tables.check_key(scored.schema, problem.schema.key, table)
    primary = problem.evaluation.primary
    batches = history.summarize_batches(scored, problem.schema.classes)
    errors = history.measure_errors(problem, scored, labels)
    batches = history.add_errors(history.add_logged(problem.schema, batches, runs), errors)
    versions = history.summarize_versions(client, batches, errors, primary)
    failures = history.list_failures(runs.values(), table, batches, datetime.now(UTC))
    return History(batches, versions, failures, primary)


def find_thresholds(batches: pd.DataFrame, runs: Mapping[str, Run]) -> DriftThresholds:
    """Give the thresholds of drift that the latest batch was held against, else the default ones."""
    for run_id in reversed(batches["run_id"].tolist()):
        if run_id in runs and (found := drift.read_thresholds(runs[run_id].data.params)):
            return found
    return DriftThresholds()


def log(problem: Problem, health: Health, known: History, figure: Figure, page: str) -> None:
    """Log status, numbers, tables, figure and page into the active run."""
    mlflow.set_tag(TAG, health.status)
    mlflow.log_metrics({name: float(value) for name, value in _numbers(problem, known).items()})
    batches, failures = known.batches, known.failures
    mlflow.log_table(batches.assign(scored_at=batches["scored_at"].astype(str)), "batches.json")
    mlflow.log_table(failures.assign(ended_at=failures["ended_at"].astype(str)), "failed_runs.json")
    mlflow.log_table(known.versions, "versions.json")
    mlflow.log_figure(figure, "plots/monitoring.png")
    mlflow.log_text(page, "monitoring.html")


def summarize(problem: Problem, health: Health, known: History) -> dict[str, Any]:
    """Give what the job reports: status, findings, the latest batch, and the numbers that are known."""
    return {
        "status": health.status,
        "findings": {check.name: check.finding for check in health.checks},
        "latest_batch": known.latest["batch_id"],
        "model_version": known.latest["model_version"],
        **_numbers(problem, known),
    }


def _numbers(problem: Problem, known: History) -> dict[str, float]:
    """Give the counts, and of the version in use the true error where it is known."""
    batches, used, metrics = known.batches, known.version_in_use, problem.evaluation.metrics
    errors = {f"true_{name}": used[name] for name in metrics} | {f"{known.primary}_ratio": used["ratio"]}
    return {
        "batches": len(batches),
        "rows_scored": int(batches["rows"].sum()),
        "rows_rejected": int(batches["rejected"].sum()),
        "rows_labelled": int(known.versions["labelled"].sum()),
        "failed_runs": len(known.failed),
        **{name: float(value) for name, value in errors.items() if pd.notna(value)},
    }


def _log_settings(settings: MonitoringSettings) -> None:
    limits = ("lookback_days", "rejected_share_warn", "max_error_ratio", "fail_on")
    names = ("output_table", "labels_data", *limits)
    mlflow.log_params({name: getattr(settings, name) for name in names})
