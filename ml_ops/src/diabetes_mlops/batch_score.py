"""The scoring job: reads and scores a batch once, checks it as a whole, and only then publishes it."""

import re
from collections.abc import Mapping
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import mlflow
from diabetes.tabular.columns import Schema
from diabetes.tabular.drift import PREDICTION, DriftThresholds
from diabetes.tabular.problem import Problem
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops.data import delta_tables
from diabetes_mlops.data.places import quote, quote_name
from diabetes_mlops.data.reading import read_as_found
from diabetes_mlops.data.staged_batch import (
    RowCountError,
    StagedBatch,
    check_carried,
    check_columns,
    check_predictions,
    predicted_columns,
    staging,
)
from diabetes_mlops.data.worker import PROBABILITY, REASONS, ROW, LoadedModel
from diabetes_mlops.models import model_files, registry
from diabetes_mlops.monitoring import drift
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.reports import plots
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.settings import ScoringSettings
from diabetes_mlops.runs.telemetry import say, step
from diabetes_mlops.runs.tracking import SCORING_JOB, dataset_source, log_input, open_run
from diabetes_mlops.runs.widgets import is_path

# After the key and the prediction, which come first.
SCORED = {
    "model_name": "STRING",
    "model_version": "STRING",
    "batch_id": "STRING",
    "scored_at": "TIMESTAMP",
    "run_id": "STRING",
}
REJECTED = {
    ROW: "STRING",
    REASONS: "ARRAY<STRING>",
    "batch_id": "STRING",
    "rejected_at": "TIMESTAMP",
    "run_id": "STRING",
}
LISTED_REASONS = 20


class TooManyRejectedError(ValueError):
    """A larger share of a batch than the settings allow cannot be scored."""


def run(
    spark: SparkSession,
    settings: ScoringSettings,
    problem: Problem,
    target: telemetry.Target | None = None,
) -> dict[str, Any]:
    """Score one batch; returns what the job reports, as values that JSON has.

    Whatever stops the job leaves its MLflow run FAILED and is raised, as `open_run` does; before everything
    was checked nothing is published. Scoring the same batch again replaces its rows, and no others. Telemetry
    goes to `target`.
    """
    with (
        telemetry.job(SCORING_JOB, target, model_name=settings.model_name),
        open_run(settings.experiment_name, SCORING_JOB, settings.git_commit) as active,
    ):
        log_settings(settings)
        check_output(spark, settings.output_table, problem.schema)
        with step("load"):
            version = registry.resolve_version(MlflowClient(), settings.model_name, settings.model_version)
            mlflow.set_tags({"model_name": version.name, "model_version": version.version})
            telemetry.describe(model_version=str(version.version))
            model = model_files.load(version, problem.schema)
            say(f"loaded {version.name} version {version.version}")

        run_id, table, carried = active.info.run_id, settings.output_table, settings.carry_columns
        key, features = model.schema.key.name, model.schema.feature_names
        with step("read"):
            found = read_as_found(
                spark, settings.input_data, settings.input_format, [key, *features], carried
            )
            taken = (*predicted_columns(model.schema), *SCORED)
            check_columns(found, model.schema, carried, taken=taken)
            delta_tables.check_key(spark, model.schema.key, table)
            check_carried(found, carried, table)
        with staging(found, model, carried, table=table, run_id=run_id) as batch:
            batch_id = settings.batch_id or derive_batch_id(settings.input_data, batch.digest)
            mlflow.set_tag("batch_id", batch_id)
            _log_input(settings.input_data, batch.digest)
            say(f"scored {batch.rows_in} rows of {settings.input_data} as batch {batch_id}")
            with step("check"):
                check_rejected(batch, settings.max_rejected_share)
                found_drift = log_drift(model, batch, settings.drift)

            written = {"batch_id": batch_id, "run_id": run_id}
            origin = {"model_name": version.name, "model_version": str(version.version), **written}
            with step("publish"):
                rejected = publish_rejected(batch, f"{table}_rejected", written)
                scored = publish_scored(batch, table, origin, model.schema, carried)
                say(f"published {scored} rows in {table}, set {rejected} aside")
            counts = count_rows(batch.rows_in, scored, rejected)

        output = {"output_table": table, "experiment_id": active.info.experiment_id}
        sample = read_sample(spark, table, batch_id, model.schema)
        return counts | origin | output | found_drift | {"sample": sample}


def log_settings(settings: ScoringSettings) -> None:
    """Log what is read, where it goes and what ends the run: monitoring tells by it also of failed runs."""
    names = ("input_data", "output_table", "max_rejected_share")
    mlflow.log_params({name: getattr(settings, name) for name in names})
    if settings.batch_id:
        mlflow.set_tag("batch_id", settings.batch_id)


def check_output(spark: SparkSession, table: str, schema: Schema) -> None:
    """Raise SchemaError where the output table is there with predictions of another kind."""
    if spark.catalog.tableExists(table):
        check_predictions(spark.table(quote_name(table)), table, schema)


def check_rejected(batch: StagedBatch, limit: float) -> None:
    """Log how many rows cannot be scored, and why; raises TooManyRejectedError for too large a share."""
    mlflow.log_metric("rejected_share", batch.rejected / max(batch.rows_in, 1))
    if not batch.rejected:
        return
    reasons = summarize_reasons(batch)
    mlflow.log_table({"reason": list(reasons), "rows": list(reasons.values())}, "rejected_reasons.json")
    say("set aside:", *(f"{rows} rows: {reason}" for reason, rows in reasons.items()))
    if batch.rejected > limit * batch.rows_in:
        raise TooManyRejectedError(
            f"{batch.rejected} of {batch.rows_in} rows cannot be scored, a share of "
            f"{batch.rejected / batch.rows_in:.4g}; max_rejected_share is {limit:g}. Nothing was published. "
            f"Rows by reason: {reasons}"
        )


def summarize_reasons(batch: StagedBatch) -> dict[str, int]:
    """Count the rejected rows by reason, the most frequent first, without the values that are in them."""
    reasons = batch.rejected_rows.select(F.explode(REASONS).alias("reason"))
    kind = F.split_part("reason", F.lit(": "), F.lit(1))
    counted = reasons.groupBy(kind.alias("kind")).count()
    top = counted.orderBy(F.desc("count"), "kind").limit(LISTED_REASONS).collect()
    return {row["kind"]: row["count"] for row in top}


def publish_scored(
    batch: StagedBatch, table: str, origin: Mapping[str, str], schema: Schema, carried: tuple[str, ...]
) -> int:
    """Make the scored rows the batch's only rows in the output table; returns how many that are."""
    kinds = dict(batch.rows.dtypes)
    predicted = {name: kind.simpleString() for name, kind in predicted_columns(schema).items()}
    key = {schema.key.name: kinds[schema.key.name]}
    columns = key | predicted | SCORED | {name: kinds[name] for name in carried}
    return _publish(batch.scored_rows, table, columns, origin, moment="scored_at")


def publish_rejected(batch: StagedBatch, table: str, origin: Mapping[str, str]) -> int:
    """Make the rejected rows the batch's only rows in their table; returns how many that are."""
    spark = batch.rows.sparkSession
    if not batch.rejected and not spark.catalog.tableExists(table):
        return 0
    return _publish(batch.rejected_rows, table, REJECTED, origin, moment="rejected_at")


def log_drift(model: LoadedModel, batch: StagedBatch, thresholds: DriftThresholds) -> dict[str, Any]:
    """Log how far the batch has moved from the rows that the model was trained on.

    It is `unknown`, and the run has no tag, for a model without a profile and where no row was scored.
    """
    if model.profile is None or batch.counts is None or not batch.counts.rows:
        return {"drift": {"status": "unknown"}}
    found = Drift.of(model.profile, batch.counts, thresholds)
    mlflow.log_figure(plots.draw_drift(model.profile, batch.counts, found), "plots/drift.png")
    reported = drift.log(found)
    say(f"drift: {reported['status']}", *[f"{name} {size}" for name, size in reported["drifted"].items()])
    return {"drift": reported}


def count_rows(rows_in: int, rows_scored: int, rows_rejected: int) -> dict[str, int]:
    """Log the counts and return them; raises RowCountError unless each row read is in one of the tables."""
    counts = {"rows_in": rows_in, "rows_scored": rows_scored, "rows_rejected": rows_rejected}
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    telemetry.count(**counts)
    if rows_in != rows_scored + rows_rejected:
        raise RowCountError(f"{rows_in} rows read, but {rows_scored} scored and {rows_rejected} set aside")
    return counts


def read_sample(
    spark: SparkSession, table: str, batch_id: str, schema: Schema, rows: int = 10
) -> list[dict[str, Any]]:
    """Read a few rows of a batch back from its table, for people to look at."""
    batch = delta_tables.read_batch(spark, table, batch_id).limit(rows)
    scored_at = F.date_format("scored_at", "yyyy-MM-dd HH:mm:ss").alias("scored_at")
    predicted = [name for name in predicted_columns(schema) if name in (PREDICTION, PROBABILITY)]
    shown = batch.select(quote(schema.key.name), *predicted, "model_version", scored_at)
    return [row.asDict() for row in shown.collect()]


def derive_batch_id(source: str, digest: str) -> str:
    """Name a batch after its source, with a digest of source and rows: the same input, the same id."""
    stem = PurePosixPath(source).name.split(".")[0] if is_path(source) else source
    stem = re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII)[:100]
    return f"{stem}-{sha256(f'{source} {digest}'.encode()).hexdigest()[:12]}"


def _publish(
    rows: DataFrame, table: str, columns: Mapping[str, str], origin: Mapping[str, str], *, moment: str
) -> int:
    """Publish rows with where they come from and, in the column `moment`, with the time of now."""
    labels = {name: F.lit(value) for name, value in origin.items()} | {moment: F.lit(datetime.now(UTC))}
    labelled = rows.withColumns(labels).select(*map(quote, columns))
    delta_tables.ensure_table(rows.sparkSession, table, columns)
    return delta_tables.replace_batch(labelled, table, origin["batch_id"], origin["run_id"])


def _log_input(source: str, digest: str) -> None:
    name, short = "diabetes_batch", sha256(digest.encode()).hexdigest()[:8]
    dataset = MetaDataset(dataset_source(source), name=name, digest=short)  # type: ignore[abstract]
    log_input(dataset, context="scoring")
