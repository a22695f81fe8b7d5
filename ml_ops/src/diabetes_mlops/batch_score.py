"""The scoring job: reads and scores a batch once, checks it as a whole, and only then publishes it."""

import re
from collections.abc import Iterator, Mapping
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePosixPath
from tempfile import TemporaryDirectory
from typing import Any

import mlflow
from diabetes.tabular.drift import Counts, DriftThresholds, Profile
from diabetes.tabular.problem import Problem
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from mlflow.exceptions import MlflowException
from pyspark.errors import PySparkException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops.data import delta_tables, scored_tables
from diabetes_mlops.data.places import quote, table_exists
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
from diabetes_mlops.data.worker import REASONS, ROW, LoadedModel
from diabetes_mlops.models import model_files, registry
from diabetes_mlops.monitoring import drift
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.reports import plots
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.settings import ScoringSettings
from diabetes_mlops.runs.spark_errors import reason_of
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
# The tag of a run whose rows nobody is shown, or not yet; its value is the output table.
UNPUBLISHED = "unpublished_in"


@dataclass(frozen=True)
class Published:
    """How many rows a batch has in its output, since when, and whose rows it had until long ago."""

    scored: int
    rejected: int
    scored_at: datetime
    replaced: list[str]


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
        with step("load"):
            version = registry.resolve_version(MlflowClient(), settings.model_name, settings.model_version)
            names = {"model_name": version.name, "model_version": version.version}
            mlflow.set_tags(names | {UNPUBLISHED: settings.output_table})
            telemetry.describe(model_version=str(version.version))
            model = model_files.load(version, problem.schema)
            say(f"loaded {version.name} version {version.version}")

        run_id, table, carried = active.info.run_id, settings.output_table, settings.carry_columns
        key, features = model.schema.key.name, model.schema.feature_names
        with step("read"):
            output = scored_tables.find_output(spark, table)
            check_predictions(output.columns, table, model.schema)
            source = (settings.input_data, settings.input_format)
            found = read_as_found(spark, *source, [key, *features], carried)
            taken = (*predicted_columns(model.schema), *SCORED)
            check_columns(found, model.schema, carried, taken=taken)
            delta_tables.check_key(output.columns, model.schema.key, table)
            check_carried(found, carried, output.columns, table)
        with staging(found, model, carried, output=output, run_id=run_id) as batch:
            batch_id = settings.batch_id or derive_batch_id(settings.input_data, batch.digest)
            batch.stage.ask_for_earlier_runs(batch_id)
            mlflow.set_tag("batch_id", batch_id)
            _log_input(settings.input_data, batch.digest)
            mlflow.set_tag("scored_by", batch.way)
            say(f"scored {batch.rows_in} rows of {settings.input_data} as batch {batch_id}{_tell_way(batch)}")
            with step("check"):
                check_rejected(batch, settings.max_rejected_share)
                measured = measure_drift(model, batch, settings.drift)

            origin = {"model_name": version.name, "model_version": str(version.version)}
            origin |= {"batch_id": batch_id, "run_id": run_id}
            with drawing(model.profile, batch.counts, measured):
                found_drift = log_drift(measured)
                with step("publish"):
                    published = publish(batch, origin, carried, found_drift["drift"]["status"])
                    say(f"published {published.scored} rows in {table}, rejected {published.rejected}")
                counts = count_rows(batch.rows_in, published.scored, published.rejected)
                sample = read_sample(batch, origin["model_version"], published.scored_at)

        remove_left_overs(spark, table, active.info.experiment_id, published.replaced)
        place = {"output_table": table, "experiment_id": active.info.experiment_id}
        return counts | origin | place | found_drift | {"sample": sample}


def log_settings(settings: ScoringSettings) -> None:
    """Log what is read, where it goes and what ends the run: monitoring tells by it also of failed runs."""
    names = ("input_data", "output_table", "max_rejected_share")
    mlflow.log_params({name: getattr(settings, name) for name in names})
    if settings.batch_id:
        mlflow.set_tag("batch_id", settings.batch_id)


def check_rejected(batch: StagedBatch, limit: float) -> None:
    """Log how many rows cannot be scored, and why; raises TooManyRejectedError for too large a share."""
    mlflow.log_metric("rejected_share", batch.rejected / max(batch.rows_in, 1))
    if not batch.rejected:
        return
    reasons = summarize_reasons(batch)
    mlflow.log_table({"reason": list(reasons), "rows": list(reasons.values())}, "rejected_reasons.json")
    say("rejected:", *(f"{rows} rows: {reason}" for reason, rows in reasons.items()))
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


def publish(
    batch: StagedBatch, origin: Mapping[str, str], carried: tuple[str, ...], drift_status: str
) -> Published:
    """Show the rows of a batch in the views of the output, or copy them where a Delta table is there."""
    table = batch.stage.output.name
    if batch.stage.output.is_table:
        written = {name: origin[name] for name in ("batch_id", "run_id")}
        rejected = publish_rejected(batch, f"{table}{scored_tables.REJECTED}", written)
        scored_at = datetime.now(UTC)
        scored = publish_scored(batch, table, origin, scored_at, carried)
        replaced: list[str] = []
    else:
        scored, rejected = batch.rows_in - batch.rejected, batch.rejected
        counts = {"rows_in": batch.rows_in, "rows_scored": scored, "rows_rejected": rejected}
        line = {**origin, **counts, "drift": drift_status}
        scored_at, replaced = scored_tables.publish_run(batch.stage, line)
    mlflow.delete_tag(UNPUBLISHED)
    return Published(scored, rejected, scored_at, replaced)


def remove_left_overs(spark: SparkSession, table: str, experiment_id: str, replaced: list[str]) -> None:
    """Remove the rows of runs that were replaced, or killed, long ago; what cannot be removed is told.

    A run that is killed before it has published leaves rows that nobody is shown, and a tag that says where.
    """
    client, oldest = MlflowClient(), datetime.now(UTC) - scored_tables.KEPT_REPLACED
    told = f"tags.{UNPUBLISHED} = '{table}' and attributes.start_time < {int(oldest.timestamp() * 1000)}"
    try:
        killed = [run.info.run_id for run in client.search_runs([experiment_id], told, max_results=100)]
        unlisted = scored_tables.find_unlisted(spark, table, killed) if killed else []
        if gone := [*replaced, *unlisted]:
            scored_tables.remove_runs(spark, table, gone)
        for run_id in killed:
            client.delete_tag(run_id, UNPUBLISHED)
    except (MlflowException, PySparkException) as error:
        say(f"rows of earlier runs stay in {table}{scored_tables.ROWS}, unseen: {reason_of(error)}")


def publish_scored(
    batch: StagedBatch, table: str, origin: Mapping[str, str], scored_at: datetime, carried: tuple[str, ...]
) -> int:
    """Make the scored rows the batch's only rows in a Delta table; returns how many that are."""
    kinds = dict(batch.rows.dtypes)
    first = (batch.schema.key.name, *predicted_columns(batch.schema))
    columns = {name: kinds[name] for name in first} | SCORED | {name: kinds[name] for name in carried}
    return _publish(batch.scored_rows, table, columns, {**origin, "scored_at": scored_at})


def publish_rejected(batch: StagedBatch, table: str, origin: Mapping[str, str]) -> int:
    """Make the rejected rows the batch's only rows in their Delta table; returns how many that are."""
    spark = batch.rows.sparkSession
    if not batch.rejected and not table_exists(spark, table):
        return 0
    return _publish(batch.rejected_rows, table, REJECTED, {**origin, "rejected_at": datetime.now(UTC)})


def measure_drift(model: LoadedModel, batch: StagedBatch, thresholds: DriftThresholds) -> Drift | None:
    """Measure how far the batch has moved from the rows that the model was trained on.

    None for a model without a profile, and where no row was scored.
    """
    if model.profile is None or batch.counts is None or not batch.counts.rows:
        return None
    return Drift.of(model.profile, batch.counts, thresholds)


def log_drift(found: Drift | None) -> dict[str, Any]:
    """Log how far the batch has moved; where nobody measured it is `unknown`, and the run has no tag."""
    if found is None:
        return {"drift": {"status": "unknown"}}
    reported = drift.log(found)
    say(f"drift: {reported['status']}", *[f"{name} {size}" for name, size in reported["drifted"].items()])
    return {"drift": reported}


@contextmanager
def drawing(profile: Profile | None, counts: Counts | None, found: Drift | None) -> Iterator[None]:
    """Draw the drift in another thread while this one waits for Spark; log the figure on the way out."""
    if profile is None or counts is None or found is None:
        yield
        return
    with TemporaryDirectory() as folder, ThreadPoolExecutor(1) as other_thread:
        file = f"{folder}/drift.png"
        drawn = other_thread.submit(lambda: plots.draw_drift(profile, counts, found).savefig(file))
        yield
        drawn.result()
        mlflow.log_artifact(file, "plots")


def count_rows(rows_in: int, rows_scored: int, rows_rejected: int) -> dict[str, int]:
    """Log the counts and return them; raises RowCountError unless each row read is in one of the tables."""
    counts = {"rows_in": rows_in, "rows_scored": rows_scored, "rows_rejected": rows_rejected}
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    telemetry.count(**counts)
    if rows_in != rows_scored + rows_rejected:
        raise RowCountError(f"{rows_in} rows read, but {rows_scored} scored and {rows_rejected} rejected")
    return counts


def read_sample(batch: StagedBatch, model_version: str, scored_at: datetime) -> list[dict[str, Any]]:
    """Read a few of the rows that were written back, for people to look at."""
    shown = {"model_version": model_version, "scored_at": f"{scored_at:%Y-%m-%d %H:%M:%S}"}
    return [row | shown for row in batch.read_sample()]


def derive_batch_id(source: str, digest: str) -> str:
    """Name a batch after its source, with a digest of source and rows: the same input, the same id."""
    stem = PurePosixPath(source).name.split(".")[0] if is_path(source) else source
    stem = re.sub(r"[^\w.-]+", "_", stem, flags=re.ASCII)[:100]
    return f"{stem}-{sha256(f'{source} {digest}'.encode()).hexdigest()[:12]}"


def _publish(rows: DataFrame, table: str, columns: Mapping[str, str], labels: Mapping[str, Any]) -> int:
    """Publish rows in a Delta table, each with where it comes from and when."""
    literals = {name: F.lit(value) for name, value in labels.items()}
    labelled = rows.withColumns(literals).select(*map(quote, columns))
    delta_tables.ensure_table(rows.sparkSession, table, columns)
    return delta_tables.replace_batch(labelled, table, labels["batch_id"], labels["run_id"])


def _tell_way(batch: StagedBatch) -> str:
    if batch.way != "sql":
        return ", on the driver" if batch.way == "driver" else ""
    others = batch.rows_in - batch.rows_by_sql
    return f", as SQL but for {others} rows" if others else ", as SQL"


def _log_input(source: str, digest: str) -> None:
    name, short = "diabetes_batch", sha256(digest.encode()).hexdigest()[:8]
    dataset = MetaDataset(dataset_source(source), name=name, digest=short)  # type: ignore[abstract]
    log_input(dataset, context="scoring")
