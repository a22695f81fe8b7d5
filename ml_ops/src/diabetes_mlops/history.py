"""Reads back what became of scored rows: batches, their drift and, where labels have arrived, their error.

Rows are aggregated in Spark; what comes to the driver has one row a batch, a version or a column.
"""

from collections.abc import Collection

import numpy as np
import pandas as pd
from diabetes.drift import PREDICTION
from diabetes.schema import FEATURE_NAMES, ID, TARGET, check_columns
from mlflow import MlflowClient
from mlflow.entities import Run
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops import drift, registry, sources

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)
QUANTILE_NAMES = ["p5", "p25", "p50", "p75", "p95"]
BATCH, VERSION = ["batch_id", "run_id"], ["model_name", "model_version"]
SUMS = ["labelled", "squares", "absolutes", "label_mean", "label_squares"]
_RUNS_A_PAGE = 1000


class NoHistoryError(LookupError):
    """Nothing was scored yet."""


class LabelsError(ValueError):
    """The table of labels does not say which label each ID has."""


def open_scored(spark: SparkSession, table: str) -> DataFrame:
    """Give the table that scoring writes; raises NoHistoryError where there is none."""
    try:
        return sources.read_table(spark, table)
    except sources.SourceNotFoundError as error:
        raise NoHistoryError(f"there is no table {table} yet; batch scoring makes it") from error


def summarize_batches(scored: DataFrame) -> pd.DataFrame:
    """Return one row a batch in the order in which they were scored; raises NoHistoryError without any.

    Columns: batch_id, model_name, model_version, run_id, scored_at (UTC), rows, and of the predictions mean
    and the quantiles p5 to p95 (approximate).
    """
    quantiles = F.percentile_approx(PREDICTION, list(QUANTILES))
    batches = (
        scored.groupBy(*BATCH, *VERSION)
        .agg(
            F.unix_millis(F.max("scored_at")).alias("scored_at"),
            F.count("*").alias("rows"),
            F.avg(PREDICTION).alias("mean"),
            quantiles.alias("quantiles"),
        )
        .toPandas()
    )
    if batches.empty:
        raise NoHistoryError("the table of scored rows is empty; nothing to monitor yet")
    batches["scored_at"] = pd.to_datetime(batches["scored_at"], unit="ms")
    batches[QUANTILE_NAMES] = np.stack(batches.pop("quantiles").map(np.asarray).tolist())
    return batches.sort_values(["scored_at", "batch_id"]).reset_index(drop=True)


def find_runs(client: MlflowClient, experiment_id: str, run_ids: Collection[str]) -> dict[str, Run]:
    """Find the scoring runs of an experiment, by id; those that were deleted are left out."""
    found: dict[str, Run] = {}
    wanted, token = set(run_ids), None
    while True:
        page = client.search_runs(
            [experiment_id], "tags.batch_id != ''", max_results=_RUNS_A_PAGE, page_token=token
        )
        found |= {run.info.run_id: run for run in page if run.info.run_id in wanted}
        token = page.token
        if not token or len(found) == len(wanted):
            return found


def add_drift(batches: pd.DataFrame, runs: dict[str, Run]) -> pd.DataFrame:
    """Return the batches with what their runs logged, one more column each.

    drift (ok, warn, alert, or None where it was not measured), drifted (the columns that moved, as text), and
    the index of each column as psi_<column>, NaN where it was not measured.
    """
    tags = [runs[run_id].data.tags if run_id in runs else {} for run_id in batches["run_id"]]
    metrics = [runs[run_id].data.metrics if run_id in runs else {} for run_id in batches["run_id"]]
    names = [f"{drift.PSI}{name}" for name in (*FEATURE_NAMES, PREDICTION)]
    psi = {name: [found.get(name, np.nan) for found in metrics] for name in names}
    statuses = pd.Series([found.get(drift.TAG) for found in tags], dtype="object")
    drifted = [found.get(drift.COLUMNS_TAG, "") for found in tags]
    return batches.assign(drift=statuses, drifted=drifted, **psi)


def read_labels(spark: SparkSession, source: str) -> DataFrame:
    """Read ID and Y of the rows whose label has arrived: a missing Y has not.

    Raises SchemaError where a column is missing, LabelsError where an ID is there twice or a value is no
    number, SourceNotFoundError where there is nothing.
    """
    found = sources.read_table(spark, source)
    check_columns(found.columns, [ID, TARGET])
    text = F.trim(F.col(TARGET).cast("string"))
    arrived = found.where(text.isNotNull() & ~text.isin("", "NaN"))
    number, key = F.col(TARGET).try_cast("double"), F.col(ID).try_cast("double")
    key = F.when(F.rint(key) == key, key).try_cast("bigint")
    broken = key.isNull() | number.isNull() | F.isnan(number) | (F.abs(number) == float("inf"))
    _refuse(arrived.where(broken), source, "are no numbers")
    labels = arrived.select(key.alias(ID), number.alias(TARGET))
    _refuse(labels.groupBy(ID).count().where("count > 1"), source, "have more than one label")
    return labels


def sum_errors(scored: DataFrame, labels: DataFrame | None) -> pd.DataFrame:
    """Return one row a batch that has labels: what the errors of batches and versions are made of.

    Columns: BATCH and VERSION, labelled (rows), squares and absolutes (sums over the errors), label_mean, and
    label_squares (sum over the squared deviations from it). A row that several batches scored counts in each.
    """
    if labels is None:
        return pd.DataFrame(columns=[*BATCH, *VERSION, *SUMS]).astype(dict.fromkeys(SUMS, "float64"))
    error = F.col(TARGET) - F.col(PREDICTION)
    sums = (
        F.count("*").alias("labelled"),
        F.sum(error * error).alias("squares"),
        F.sum(F.abs(error)).alias("absolutes"),
        F.avg(TARGET).alias("label_mean"),
        (F.var_pop(TARGET) * F.count("*")).alias("label_squares"),
    )
    return scored.join(labels, ID).groupBy(*BATCH, *VERSION).agg(*sums).toPandas()


def to_errors(sums: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    """Return labelled, rmse, mae (in units of the label) and r2 for each value of `keys`, a row each.

    They are those of `diabetes.evaluation.evaluate` on all its rows; r2 is NaN where all labels are equal.
    """
    rows, means = sums["labelled"], sums["label_mean"]
    totals = (
        sums[keys].assign(rows=rows, labels=rows * means).groupby(keys)[["rows", "labels"]].transform("sum")
    )
    between = rows * (means - totals["labels"] / totals["rows"]) ** 2
    parts = sums.assign(spread=sums["label_squares"] + between).groupby(keys)
    total = parts[["labelled", "squares", "absolutes", "spread"]].sum().reset_index()
    # Rounding leaves a little spread among equal labels.
    spread = total["spread"].where(total["spread"] > 1e-9 * total["labelled"])
    return total[[*keys, "labelled"]].assign(
        rmse=np.sqrt(total["squares"] / total["labelled"]),
        mae=total["absolutes"] / total["labelled"],
        r2=1 - total["squares"] / spread,
    )


def add_errors(batches: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Return the batches with their true error: labelled (rows), rmse, mae and r2, NaN without labels."""
    return _join_errors(batches, sums, BATCH)


def summarize_versions(client: MlflowClient, batches: pd.DataFrame, sums: pd.DataFrame) -> pd.DataFrame:
    """Return one row a model version, in the order of their first batches.

    Columns: model_name, model_version, batches, rows, labelled, rmse, mae, r2 (of all its labelled rows),
    holdout_rmse (NaN where the version is gone) and ratio, the true rmse in holdout_rmse.
    """
    versions = batches.groupby(VERSION, sort=False).agg(batches=("rows", "size"), rows=("rows", "sum"))
    versions = _join_errors(versions.reset_index(), sums, VERSION)
    known = versions[VERSION].itertuples(index=False)
    holdout = [registry.find_holdout_rmse(client, name, number) for name, number in known]
    versions["holdout_rmse"] = pd.Series(holdout, dtype="float64")
    versions["ratio"] = versions["rmse"] / versions["holdout_rmse"]
    return versions


def _join_errors(table: pd.DataFrame, sums: pd.DataFrame, keys: list[str]) -> pd.DataFrame:
    joined = table.merge(to_errors(sums, keys), how="left", on=keys)
    return joined.fillna({"labelled": 0}).astype({"labelled": "int64"})


def _refuse(wrong: DataFrame, source: str, what: str) -> None:
    """Raise LabelsError where there are such rows, with three of them."""
    if not (examples := [row.asDict() for row in wrong.limit(3).collect()]):
        return
    raise LabelsError(f"{source}: {wrong.count()} IDs or labels {what}, such as {examples}")
