"""Reads back what became of a scored table: batches, their drift, failed runs and, with labels, the error.

Rows are aggregated in Spark; what comes to the driver has one row a batch, a version or a column.
"""

from collections.abc import Iterable, Sequence
from datetime import UTC, datetime, timedelta

import numpy as np
import pandas as pd
from diabetes.tabular.columns import Schema
from diabetes.tabular.drift import PREDICTION
from diabetes.tabular.problem import Problem
from mlflow import MlflowClient
from mlflow.entities import Run
from pyspark.sql import Column, DataFrame, SparkSession, Window
from pyspark.sql import functions as F

from diabetes_mlops.data import places, reading
from diabetes_mlops.data.delta_tables import KEY_TYPES
from diabetes_mlops.data.staged_batch import check_predictions
from diabetes_mlops.data.worker import KEY, LABEL, PROBABILITIES, REASONS, LabelPicker
from diabetes_mlops.models import registry
from diabetes_mlops.monitoring import drift
from diabetes_mlops.monitoring.health import name_holdout, name_share
from diabetes_mlops.runs.tracking import ERROR, SCORING_JOB

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_NAMES = ["p5", "p25", "p50", "p75", "p95"]
BATCH, VERSION = ["batch_id", "run_id"], ["model_name", "model_version"]
FAILURE = [
    "ended_at",
    "batch_id",
    "input_data",
    "rejected_share",
    "error",
    "run_id",
    "cancelled",
    "published_since",
]
# The job ends its runs after two hours (timeout_seconds); the third is for a slow end and for clocks.
LONGEST_RUN = timedelta(hours=3)
LOST = "never ended: its process or cluster was lost"
LABELLED = "labelled"
_RUNS_A_PAGE = 1000


class NoHistoryError(LookupError):
    """Nothing was scored yet."""


class LabelsError(ValueError):
    """The table of labels does not say which label each ID has."""


def open_scored(spark: SparkSession, table: str, schema: Schema | None = None) -> DataFrame:
    """Give the table that scoring writes; raises NoHistoryError where there is none.

    Raises SchemaError where its predictions are not of the kind of the schema's label.
    """
    try:
        scored = reading.read_table(spark, table)
    except places.SourceNotFoundError as error:
        raise NoHistoryError(f"there is no table {table} yet; batch scoring makes it") from error
    if schema is not None:
        check_predictions(scored.schema, table, schema)
    return scored


def summarize_batches(scored: DataFrame, classes: Sequence[str] = ()) -> pd.DataFrame:
    """Return one row a batch in the order in which they were scored; raises NoHistoryError without any.

    Columns: batch_id, model_name, model_version, run_id, scored_at (UTC), rows, and of the predictions mean
    and the quantiles p5 to p95 (approximate), or of classes the share of each, as share_<class>.
    """
    batches = (
        scored.groupBy(*BATCH, *VERSION)
        .agg(
            F.unix_millis(F.max("scored_at")).alias("scored_at"),
            F.count("*").alias("rows"),
            *_summarize_predictions(classes),
        )
        .toPandas()
    )
    if batches.empty:
        raise NoHistoryError("the table of scored rows is empty; nothing to monitor yet")
    batches["scored_at"] = pd.to_datetime(batches["scored_at"], unit="ms")
    names = [name_share(name) for name in classes] or QUANTILE_NAMES
    batches[names] = np.stack(batches.pop("summary").map(np.asarray).tolist())
    return batches.sort_values(["scored_at", "batch_id"]).reset_index(drop=True)


def _summarize_predictions(classes: Sequence[str]) -> list[Column]:
    if not classes:
        quantiles = F.percentile_approx(PREDICTION, list(QUANTILES))
        return [F.avg(PREDICTION).alias("mean"), quantiles.alias("summary")]
    shares = [F.avg((F.col(PREDICTION) == F.lit(name)).cast("double")) for name in classes]
    return [F.array(*shares).alias("summary")]


def find_experiment(client: MlflowClient, name: str) -> str:
    """Give the id of the experiment of the scoring runs; raises NoHistoryError where there is none."""
    experiment = client.get_experiment_by_name(name)
    if experiment is None:
        raise NoHistoryError(f"there is no experiment {name}; experiment_name must be that of batch scoring")
    return str(experiment.experiment_id)


def find_runs(client: MlflowClient, experiment_id: str) -> dict[str, Run]:
    """Find the scoring runs of an experiment, by id, however they ended; deleted ones are left out."""
    found: dict[str, Run] = {}
    query, token = f"attributes.run_name = '{SCORING_JOB}'", None
    while True:
        page = client.search_runs([experiment_id], query, max_results=_RUNS_A_PAGE, page_token=token)
        found |= {run.info.run_id: run for run in page}
        token = page.token
        if not token:
            return found


def add_logged(schema: Schema, batches: pd.DataFrame, runs: dict[str, Run]) -> pd.DataFrame:
    """Return the batches with what their runs logged, one more column each.

    rejected (rows) and rejected_share, drift (ok, warn, alert, or None where it was not measured),
    drifted (the columns that moved, as text), and the index of each column as psi_<column>; numbers are NaN
    where they are not known.
    """
    found = [runs[run_id].data if run_id in runs else None for run_id in batches["run_id"]]
    names = {name: name for name in ("rows_rejected", "rejected_share")}
    for column in (*schema.feature_names, PREDICTION):
        names[f"{drift.PSI}{column}"] = drift.name_metric(drift.PSI, column)
    metrics = {
        name: [data.metrics.get(logged, np.nan) if data else np.nan for data in found]
        for name, logged in names.items()
    }
    statuses = pd.Series([data.tags.get(drift.TAG) if data else None for data in found], dtype="object")
    drifted = [drift.tell_drifted(data) if data else "" for data in found]
    return batches.assign(rejected=metrics.pop("rows_rejected"), drift=statuses, drifted=drifted, **metrics)


def list_failures(runs: Iterable[Run], table: str, batches: pd.DataFrame, now: datetime) -> pd.DataFrame:
    """Return one row for each scoring run for `table` that failed or published no row, as they ended.

    A run that MLflow still calls running after LONGEST_RUN is lost: nobody was left to say how it ended.
    Columns: ended_at (UTC; of a lost run, when it began), batch_id (empty where the run did not come to it),
    input_data, rejected_share (NaN where it was not known yet), error (type and first line), run_id,
    cancelled (whether it was told to stop), and published_since: whether the batch of that id was published
    later, or by this run before it failed.
    """
    mine = [run for run in runs if run.data.params.get("output_table", "").lower() == table.lower()]
    failed = [(run, error) for run in mine if (error := _find_error(run, now))]
    rows = [(*_describe(run), error, run.info.run_id, _is_cancelled(error)) for run, error in failed]
    failures = pd.DataFrame(rows, columns=FAILURE[:-1])
    failures["cancelled"] = failures["cancelled"].astype("bool")
    failures["ended_at"] = pd.to_datetime(failures["ended_at"], unit="ms").astype("datetime64[ns]")
    published = failures["batch_id"].map(batches.groupby("batch_id")["scored_at"].max())
    is_shown = failures["run_id"].isin(batches["run_id"])
    failures["published_since"] = is_shown | (pd.to_datetime(published) > failures["ended_at"])
    return failures.sort_values(["ended_at", "run_id"]).reset_index(drop=True)


def read_labels(spark: SparkSession, source: str, schema: Schema) -> DataFrame:
    """Read key and label of the rows whose label has arrived: a missing one has not, a class is its place.

    Raises SchemaError where a column is missing or a line of a CSV is broken, LabelsError where an ID is
    there twice or training or scoring would refuse a value, SourceNotFoundError where there is nothing.
    """
    key, label = schema.key.name, schema.label.name
    found = reading.read_table(spark, source, [schema.key, schema.label])
    # By their places, as in staging: Spark takes a dot or a quote in a name for its own.
    key_type = KEY_TYPES[schema.key.kind].simpleString()
    read = found.toDF("0", "1").mapInArrow(
        LabelPicker(schema), f"{KEY} {key_type}, {LABEL} double, {REASONS} string"
    )
    labels = read.select(F.col(KEY).alias(key), F.col(LABEL).alias(label))
    wrong = read.where(F.col(REASONS).isNotNull()).select(REASONS)
    with places.reaching(source):
        what = (
            f"are not one of {list(schema.classes)}, or the ID cannot be read"
            if schema.classes
            else "are outside what is possible or are no numbers"
        )
        _refuse(wrong, source, what)
        _refuse(
            labels.groupBy(places.quote(key)).count().where("count > 1"), source, "have more than one label"
        )
    return labels


def measure_errors(problem: Problem, scored: DataFrame, labels: DataFrame | None) -> pd.DataFrame:
    """Return each metric of batches and versions on the rows that have a label, one row each.

    Columns: BATCH (None in the row of a version), VERSION, labelled (rows) and the metrics, NaN where one is
    not defined for these rows. In a version's row each ID counts once, with the prediction that the version
    made last: a row that is scored every night is no more evidence than one. A Spark worker holds the labels
    and predictions of a batch, or of a version, at once.
    """
    evaluation, classes = problem.evaluation, problem.schema.classes
    key, label = problem.schema.key.name, problem.schema.label.name
    errors = [LABELLED, *evaluation.metrics]
    if labels is None:
        return pd.DataFrame(columns=[*BATCH, *VERSION, *errors]).astype(dict.fromkeys(errors, "float64"))
    ids, keys = F.col(places.quote(key)).alias(KEY), [*BATCH, *VERSION]
    prediction = _list_probabilities(classes) if classes else F.col(PREDICTION)
    predicted = scored.select(ids, *keys, "scored_at", prediction.alias(PREDICTION))
    arrived = labels.select(ids, F.col(places.quote(label)).alias(LABEL))
    predictions = Window.partitionBy(*VERSION, KEY).orderBy(F.desc("scored_at"), F.desc("batch_id"))
    labelled = predicted.join(arrived, KEY).withColumn("place", F.row_number().over(predictions))
    none = {name: F.lit(None).cast("string") for name in BATCH}
    both = labelled.unionByName(labelled.where("place = 1").withColumns(none))

    def measure_rows(key: tuple[str | None, ...], rows: pd.DataFrame) -> pd.DataFrame:
        predicted = rows[PREDICTION].to_numpy()
        found = evaluation.measure(
            rows[LABEL].to_numpy(), np.stack(predicted.tolist()) if classes else predicted
        )
        # As objects, because Spark cannot take the strings of pandas 3.
        return pd.DataFrame([[*key, len(rows), *found.values()]], dtype="object")

    types = [f"{name} string" for name in keys]
    types += [f"{LABELLED} bigint", *[f"{places.quote(name)} double" for name in evaluation.metrics]]
    groups = both.select(*keys, LABEL, PREDICTION).groupBy(*keys)
    return groups.applyInPandas(measure_rows, ", ".join(types)).toPandas()


def _list_probabilities(classes: Sequence[str]) -> Column:
    """Give the probabilities of a row in the order of the classes; a class that it does not name has none."""
    found = [F.col(PROBABILITIES).getItem(name) for name in classes]
    return F.array(*[F.coalesce(probability, F.lit(0.0)) for probability in found])


def add_errors(batches: pd.DataFrame, errors: pd.DataFrame) -> pd.DataFrame:
    """Return the batches with their true error: labelled (rows) and the metrics, NaN without labels."""
    return _join_errors(batches, errors[errors["batch_id"].notna()], BATCH)


def summarize_versions(
    client: MlflowClient, batches: pd.DataFrame, errors: pd.DataFrame, primary: str
) -> pd.DataFrame:
    """Return one row a model version, in the order of their first batches.

    Columns: model_name, model_version, batches, rows, labelled, the metrics, `name_holdout(primary)` (the
    version's error on its holdout, NaN where the version is gone) and ratio, the true error in that of the
    holdout.
    """
    versions = batches.groupby(VERSION, sort=False).agg(batches=("rows", "size"), rows=("rows", "sum"))
    versions = _join_errors(versions.reset_index(), errors[errors["batch_id"].isna()], VERSION)
    known = versions[VERSION].itertuples(index=False)
    holdout = [registry.find_metric(client, name, number, primary) for name, number in known]
    versions[name_holdout(primary)] = pd.Series(holdout, dtype="float64")
    versions["ratio"] = versions[primary] / versions[name_holdout(primary)]
    return versions


def _find_error(run: Run, now: datetime) -> str:
    """Say why a run failed or published no row; empty where it did well, had no rows, or is at it."""
    began = datetime.fromtimestamp(run.info.start_time / 1000, UTC)
    if run.info.status == "RUNNING" and now - began > LONGEST_RUN:
        return LOST
    if run.info.status in ("FAILED", "KILLED"):
        return str(run.data.tags.get(ERROR, "no error was kept"))
    metrics = run.data.metrics
    if run.info.status == "FINISHED" and metrics.get("rows_scored") == 0 and metrics.get("rows_rejected"):
        return f"none of its {metrics['rows_rejected']:.0f} rows could be scored"
    return ""


def _is_cancelled(error: str) -> bool:
    return error.startswith("KeyboardInterrupt") or "run cancelled" in error.lower()


def _describe(run: Run) -> tuple[int, str, str, float]:
    data = run.data
    batch_id, source = data.tags.get("batch_id", ""), data.params.get("input_data", "")
    share = data.metrics.get("rejected_share", np.nan)
    return run.info.end_time or run.info.start_time, batch_id, source, share


def _join_errors(table: pd.DataFrame, errors: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    measured = [name for name in errors.columns if name not in (*BATCH, *VERSION)]
    joined = table.merge(errors[[*keys, *measured]], how="left", on=keys)
    types = dict.fromkeys(measured, "float64") | {LABELLED: "int64"}
    return joined.fillna({LABELLED: 0}).astype(types)


def _refuse(wrong: DataFrame, source: str, what: str) -> None:
    """Raise LabelsError where there are such rows, with three of them."""
    if not (rows := wrong.limit(3).collect()):
        return
    examples = [row[0] if len(row) == 1 else row.asDict() for row in rows]
    raise LabelsError(f"{source}: {wrong.count()} IDs or labels {what}, such as {examples}")
