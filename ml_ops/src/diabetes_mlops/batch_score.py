"""The scoring job: checks a batch, scores it in the Spark workers and writes it to a Delta table."""

from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from datetime import UTC, datetime
from hashlib import sha256
from pathlib import PurePosixPath
from typing import Any

import mlflow
import numpy as np
import pyarrow as pa
from diabetes.schema import ID
from diabetes.scoring import predict_arrow
from mlflow import MlflowClient
from mlflow.data.meta_dataset import MetaDataset
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from sklearn.pipeline import Pipeline

from diabetes_mlops import models, plots, registry, storage
from diabetes_mlops.screening import REASONS, ROW, reject_repeated, screen
from diabetes_mlops.settings import ScoringSettings, is_file
from diabetes_mlops.tracking import dataset_source, log_input, open_run

JOB = "diabetes_batch_scoring"
PREDICTION = "prediction"
SCORED = {
    ID: "BIGINT",
    PREDICTION: "DOUBLE",
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


class RowCountError(RuntimeError):
    """The rows written are not the rows read."""


@dataclass(frozen=True)
class Overview:
    """What one pass over a batch tells: its rows, a digest of them, and what is wrong with them."""

    rows: int
    digest: str
    unreadable: int
    repeated: int


def run(spark: SparkSession, settings: ScoringSettings) -> dict[str, Any]:
    """Score one batch; returns what the job reports, as values that JSON has.

    Whatever stops the job leaves its MLflow run FAILED and is raised as it is. Scoring the same batch
    again replaces its rows, and no others.
    """
    with open_run(settings.experiment_name, JOB, settings.git_commit) as active:
        version = registry.resolve_version(MlflowClient(), settings.model_name, settings.model_version)
        mlflow.set_tags({"model_name": version.name, "model_version": version.version})
        model = models.load(version)
        print(f"loaded {version.name} version {version.version}")

        screened, overview = read(spark, settings.input_data, model.input_names)
        batch_id = settings.batch_id or derive_batch_id(settings.input_data, overview.digest)
        mlflow.set_tag("batch_id", batch_id)
        print(f"read {overview.rows} rows of {settings.input_data} as batch {batch_id}")

        written = {"batch_id": batch_id, "run_id": active.info.run_id}
        origin = {"model_name": version.name, "model_version": str(version.version), **written}
        scored = write_scored(screened, model.pipeline, settings.output_table, origin)
        rejected = write_rejected(screened, overview, f"{settings.output_table}_rejected", written)
        print(f"wrote {scored} rows to {settings.output_table}, set {rejected} aside")

        counts = count_rows(overview.rows, scored, rejected)
        output = {"output_table": settings.output_table, "experiment_id": active.info.experiment_id}
        return counts | origin | output | {"sample": read_sample(spark, settings.output_table, batch_id)}


def read(spark: SparkSession, source: str, features: list[str]) -> tuple[DataFrame, Overview]:
    """Read a batch, give its rows their types and reasons to be set aside, and count them."""
    screened = screen(storage.read_as_found(spark, source), features)
    overview = look_over(screened)
    _log_input(source, overview.digest)
    return (reject_repeated(screened) if overview.repeated else screened), overview


def look_over(screened: DataFrame) -> Overview:
    """Count a batch's rows and what is wrong with them, in one pass before anything is written."""
    counts = screened.agg(
        F.count("*"),
        storage.content_digest(F.col(ROW)),
        F.count_if(F.size(REASONS) > 0),
        F.count(ID) - F.count_distinct(ID),
    )
    return Overview(*counts.collect()[0])


def read_sample(spark: SparkSession, table: str, batch_id: str, rows: int = 10) -> list[dict[str, Any]]:
    """Read the first rows of a batch back from its table, for people to look at."""
    batch = storage.read_batch(spark, table, batch_id).orderBy(ID).limit(rows)
    scored_at = F.date_format("scored_at", "yyyy-MM-dd HH:mm:ss").alias("scored_at")
    return [row.asDict() for row in batch.select(ID, PREDICTION, "model_version", scored_at).collect()]


def derive_batch_id(source: str, digest: str) -> str:
    """Name a batch after its source, with a digest of source and rows: the same input, the same id."""
    stem = PurePosixPath(source).name.split(".")[0] if is_file(source) else source
    return f"{stem}-{sha256(f'{source} {digest}'.encode()).hexdigest()[:12]}"


def write_scored(screened: DataFrame, model: Pipeline, table: str, origin: dict[str, str]) -> int:
    """Score the rows without a reason not to, write them, and count what the table then holds."""
    readable = screened.where(F.size(REASONS) == 0).drop(REASONS, ROW)
    predictions = readable.mapInArrow(make_scorer(model), f"{ID} bigint, {PREDICTION} double")
    labels = {name: F.lit(value) for name, value in origin.items()}
    rows = predictions.withColumns(labels | {"scored_at": F.lit(datetime.now(UTC))})
    spark = screened.sparkSession
    storage.ensure_table(spark, table, SCORED)
    storage.replace_batch(rows.select(*SCORED), table, origin["batch_id"])
    return _log_predictions(storage.read_batch(spark, table, origin["batch_id"]))


def make_scorer(model: Pipeline) -> Callable[[Iterable[pa.RecordBatch]], Iterable[pa.RecordBatch]]:
    """Give the function that Spark runs in its workers: Arrow batches of features in, of predictions out."""

    def score(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        for batch in batches:
            predictions = pa.array(predict_arrow(model, batch))
            yield pa.RecordBatch.from_arrays([batch.column(ID), predictions], names=[ID, PREDICTION])

    return score


def write_rejected(screened: DataFrame, overview: Overview, table: str, origin: dict[str, str]) -> int:
    """Write the rows that were set aside, with their reasons, and count what the table then holds."""
    spark, batch_id = screened.sparkSession, origin["batch_id"]
    if not (overview.unreadable or overview.repeated):
        storage.clear_batch(spark, table, batch_id)
        return 0
    labels = {name: F.lit(value) for name, value in origin.items()}
    rows = screened.where(F.size(REASONS) > 0).withColumns(labels | {"rejected_at": F.lit(datetime.now(UTC))})
    storage.ensure_table(spark, table, REJECTED)
    storage.replace_batch(rows.select(*REJECTED), table, batch_id)
    return storage.read_batch(spark, table, batch_id).count()


def count_rows(rows_in: int, rows_scored: int, rows_rejected: int) -> dict[str, int]:
    """Log the counts and return them; raises RowCountError unless each row read is in one of the tables."""
    counts = {"rows_in": rows_in, "rows_scored": rows_scored, "rows_rejected": rows_rejected}
    mlflow.log_metrics({name: float(count) for name, count in counts.items()})
    if rows_in != rows_scored + rows_rejected:
        raise RowCountError(f"{rows_in} rows read, but {rows_scored} scored and {rows_rejected} set aside")
    return counts


def _log_predictions(batch: DataFrame) -> int:
    """Log the distribution of a batch's predictions; returns its rows."""
    rows, bins = batch.agg(F.count("*"), F.histogram_numeric(PREDICTION, F.lit(200))).collect()[0]
    if rows:
        values, counts = np.array([(bin["x"], bin["y"]) for bin in bins]).T
        mlflow.log_figure(plots.draw_predictions(values, counts), "plots/predictions.png")
    return int(rows)


def _log_input(source: str, digest: str) -> None:
    name, short = "diabetes_batch", sha256(digest.encode()).hexdigest()[:8]
    dataset = MetaDataset(dataset_source(source), name=name, digest=short)  # type: ignore[abstract]
    log_input(dataset, context="scoring")
