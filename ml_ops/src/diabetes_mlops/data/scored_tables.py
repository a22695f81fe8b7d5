"""Where scored rows are: each is written once, with its run, and shown from when that run is listed.

`<output_table>_rows` has the rows of every run, and `<output_table>_runs` a line for each run that was
published. Two views show the rows of the newest run of each batch: `<output_table>` those with a prediction,
`<output_table>_rejected` the others. So a batch is published, and replaced, by one line.
"""

from collections.abc import Collection, Mapping
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from datetime import UTC, datetime, timedelta
from functools import partial
from hashlib import sha256
from itertools import pairwise
from typing import Any

from diabetes.tabular.columns import SchemaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, DataFrameWriter, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import LongType, StructField, StructType

from diabetes_mlops.data.delta_tables import (
    BATCH_ID,
    RUN_ID,
    create_staging_table,
    drop_table,
    ensure_table,
    list_other_types,
    retry,
)
from diabetes_mlops.data.places import (
    NOT_FOUND,
    SourceNotFoundError,
    open_source,
    quote,
    quote_name,
    table_exists,
)
from diabetes_mlops.data.worker import REASONS, ROW, TALLY
from diabetes_mlops.runs.spark_errors import is_of_spark, reason_of
from diabetes_mlops.runs.telemetry import say

ROWS, RUNS, REJECTED = "_rows", "_runs", "_rejected"
# The rows of a run that another has replaced: a query that began before goes on reading them.
KEPT_REPLACED = timedelta(days=2)
# The number of a run in each of its rows. A text that is the same in each of millions of rows takes half the
# time of writing them: it is compared, copied and looked up once a row.
RUN = "_run"
# What a view of scored rows has of the run, after the prediction.
ORIGIN = ("model_name", "model_version", BATCH_ID, "scored_at")
_LINE = {
    RUN: "BIGINT",
    RUN_ID: "STRING",
    BATCH_ID: "STRING",
    "model_name": "STRING",
    "model_version": "STRING",
    "scored_at": "TIMESTAMP",
    "rows_in": "BIGINT",
    "rows_scored": "BIGINT",
    "rows_rejected": "BIGINT",
    "drift": "STRING",
}
_OF_A_ROW = (RUN, REASONS, ROW, TALLY)
NOTHING = StructType()


@dataclass(frozen=True)
class Output:
    """What a run finds under the name of the output table: its columns, and those of the rows behind it.

    `is_table` says that a Delta table is there: one of an earlier version, or one that its users have made.
    It stays one, and a run copies its rows into it, in one commit. `has_views` says that both are there.
    """

    name: str
    columns: StructType = NOTHING
    rows: StructType = NOTHING
    is_table: bool = False
    has_views: bool = False


def find_output(spark: SparkSession, name: str) -> Output:
    """Look what is under the name of an output table; raises SchemaError for what no run can write to."""
    with ThreadPoolExecutor() as at_once:
        kinds = at_once.map(partial(_find_kind, spark), (name, name + REJECTED))
        columns = at_once.map(partial(_find_columns, spark), (name, name + ROWS, name + RUNS))
        (kind, rejected), (shown, rows, runs) = kinds, columns
    if kind not in (None, "VIEW"):
        if rejected == "VIEW":
            raise SchemaError(f"{name} is a table, and {name}{REJECTED} a view: drop the view")
        return Output(name, shown, is_table=True)
    if rejected not in (None, "VIEW"):
        raise SchemaError(
            f"{name}{REJECTED} is a table of an earlier version, and {name} is not: rename it, so that a "
            "view can take its place"
        )
    _check_own(name + ROWS, rows, _OF_A_ROW)
    _check_own(name + RUNS, runs, (RUN, RUN_ID, BATCH_ID, "rows_in"))
    if kind is not None and not (rows.fields or runs.fields):
        raise SchemaError(
            f"{name} is a view that batch scoring did not make: name another table with output_table"
        )
    return Output(name, shown, rows, has_views=bool(shown.fields and rejected))


@dataclass
class Stage:
    """The rows of one run in a table: its own, or one that the rows of every run share.

    Of a shared one the rows stay when the run is published; `is_published` says that it is. `earlier` are the
    runs that the batch has had, where somebody has asked for them.
    """

    spark: SparkSession
    output: Output
    table: str
    run_id: str
    columns: tuple[str, ...]
    is_published: bool = False
    earlier: Future[list[tuple[datetime, str]]] | None = None

    @property
    def rows(self) -> DataFrame:
        """What the table has of this run."""
        return self.spark.table(quote_name(self.table)).where(self._is_own)

    def write(self, rows: DataFrame) -> None:
        """Add rows to those that the table has of this run, in one commit."""
        # Appends do not collide, but a column that another run adds meanwhile refuses each of them.
        writer = self._writer(rows).mode("append")
        retry(lambda: writer.saveAsTable(quote_name(self.table)))

    def write_again(self, rows: DataFrame) -> None:
        """Put `rows` in the place of those that the table has of this run, in one commit."""
        writer = self._writer(rows).mode("overwrite").option("replaceWhere", self._is_own)
        retry(lambda: writer.saveAsTable(quote_name(self.table)))

    def ask_for_earlier_runs(self, batch_id: str) -> None:
        """Have another thread ask for what `publish_run` needs: it takes up to a second."""
        if self.output.has_views:
            other_thread = ThreadPoolExecutor(1)
            self.earlier = other_thread.submit(_list_runs, self.spark, self.output.name + RUNS, batch_id)
            other_thread.shutdown(wait=False)

    def close(self) -> None:
        """Remove the rows unless they are shown; where that cannot be done they stay, and that is told."""
        if self.is_published and not self.output.is_table:
            return
        try:
            if self.output.is_table:
                drop_table(self.spark, self.table)
            elif unlisted := find_unlisted(self.spark, self.output.name, [self.run_id]):
                remove_runs(self.spark, self.output.name, unlisted)
        except Exception as error:
            if not is_of_spark(error):
                raise
            say(f"{self.table}: the rows of run {self.run_id} stay there, unseen: {reason_of(error)}")

    def _writer(self, rows: DataFrame) -> DataFrameWriter:
        writer = rows.withColumn(RUN, F.lit(number_run(self.run_id))).write.format("delta")
        return writer.option("userMetadata", self.run_id)

    @property
    def _is_own(self) -> str:
        return f"{RUN} = {number_run(self.run_id)}"


def open_stage(spark: SparkSession, output: Output, run_id: str, columns: StructType) -> Stage:
    """Make room for the rows of a run; raises SchemaError where earlier rows have other types."""
    columns = StructType([StructField(RUN, LongType()), *columns.fields])
    if output.is_table:
        own = create_staging_table(spark, output.name, run_id, columns)
        return Stage(spark, output, own, run_id, tuple(columns.names))
    table, kinds = output.name + ROWS, {field.name: field.dataType.simpleString() for field in columns}
    if other := [f"{each} there" for each in list_other_types(kinds, output.rows)]:
        raise SchemaError(f"{table} cannot take the rows: {'; '.join(other)}; name another output_table")
    if not {name.lower() for name in kinds} <= {name.lower() for name in output.rows.names}:
        ensure_table(spark, table, kinds, by_batch=False)
    return Stage(spark, output, table, run_id, tuple(columns.names))


def publish_run(stage: Stage, line: Mapping[str, Any]) -> tuple[datetime, list[str]]:
    """Show the rows of a run in place of those that its batch has had; `line` has all columns but the time.

    Returns the time, which is later than that of each earlier run of the batch, whatever the clocks say; and
    the runs of the batch that others have replaced so long ago that `remove_runs` may take their rows.
    """
    spark, runs = stage.spark, stage.output.name + RUNS
    _ensure_views(stage)
    earlier = stage.earlier.result() if stage.earlier else _list_runs(spark, runs, line[BATCH_ID])
    scored_at = max([datetime.now(UTC), *(time + timedelta(microseconds=1) for time, _ in earlier[-1:])])
    values = {name: F.lit(line.get(name)).cast(kind) for name, kind in _LINE.items()}
    values |= {RUN: F.lit(number_run(line[RUN_ID])), "scored_at": F.lit(scored_at)}
    row = spark.range(1).select(*[value.alias(name) for name, value in values.items()])
    writer = row.write.format("delta").mode("append").option("userMetadata", line[RUN_ID])
    retry(lambda: writer.saveAsTable(quote_name(runs)))
    stage.is_published = True
    oldest = datetime.now(UTC) - KEPT_REPLACED
    return scored_at, [run_id for (_, run_id), (replaced, _) in pairwise(earlier) if replaced < oldest]


def remove_runs(spark: SparkSession, output: str, run_ids: Collection[str]) -> None:
    """Remove the rows of some runs, and then their lines, so that what is broken off is done once more."""
    numbers = ", ".join(str(number_run(run_id)) for run_id in run_ids)
    for table in filter(partial(table_exists, spark), (output + ROWS, output + RUNS)):
        delete = f"DELETE FROM {quote_name(table)} WHERE {RUN} IN ({numbers})"
        retry(partial(spark.sql, delete))


def number_run(run_id: str) -> int:
    """Give the number that a run has in its rows, of 60 bits: the same for the same run."""
    return int(sha256(run_id.encode()).hexdigest()[:15], 16)


def find_unlisted(spark: SparkSession, output: str, run_ids: Collection[str]) -> list[str]:
    """Give those of some runs that were never published."""
    runs = output + RUNS
    if not table_exists(spark, runs):
        return list(run_ids)
    lines = spark.table(quote_name(runs)).where(F.col(RUN_ID).isin(list(run_ids)))
    listed = {row[0] for row in lines.select(RUN_ID).collect()}
    return [run_id for run_id in run_ids if run_id not in listed]


def _list_runs(spark: SparkSession, runs: str, batch_id: str) -> list[tuple[datetime, str]]:
    """List the runs of a batch with their times, the newest last."""
    lines = spark.table(quote_name(runs)).where(F.col(BATCH_ID) == batch_id)
    found = lines.select(F.unix_micros("scored_at"), RUN_ID).collect()
    return sorted((datetime.fromtimestamp(0, UTC) + timedelta(microseconds=row[0]), row[1]) for row in found)


def _find_kind(spark: SparkSession, name: str) -> str | None:
    """Tell a view from a table; None where there is neither."""
    try:
        return str(spark.catalog.getTable(quote_name(name)).tableType)
    except AnalysisException as error:
        if error.getCondition() in NOT_FOUND:
            return None
        raise


def _find_columns(spark: SparkSession, name: str) -> StructType:
    try:
        return open_source(lambda: spark.table(quote_name(name)), name).schema
    except SourceNotFoundError:
        return NOTHING


def _check_own(table: str, found: StructType, ours: Collection[str]) -> None:
    """Raise SchemaError for a table beside an output that is of somebody else."""
    if found.fields and not {*ours} <= {*found.names}:
        raise SchemaError(
            f"batch scoring did not make {table}, and would write into it: name another output_table"
        )


def _ensure_views(stage: Stage) -> None:
    """Make the views, or make them anew where rows have more columns; another run may add some meanwhile."""
    spark, output = stage.spark, stage.output.name
    # A run that was killed may have made one of them alone.
    shown = {name.lower() for name in stage.output.columns.names} if stage.output.has_views else set()
    if {name.lower() for name in stage.columns} - set(_OF_A_ROW) <= shown:
        return
    ensure_table(spark, output + RUNS, _LINE, by_batch=False, is_compacted=True)
    while not {*(columns := _scored_columns(spark, output))} <= shown:
        shown = {*columns}
        _create_view(spark, output, output, list(columns.values()), f"{REASONS} IS NULL")
        rejected = (f"r.{quote(ROW)}", f"r.{REASONS}", f"p.{BATCH_ID}", "p.scored_at AS rejected_at")
        _create_view(spark, output, output + REJECTED, [*rejected, f"p.{RUN_ID}"], f"{REASONS} IS NOT NULL")


def _scored_columns(spark: SparkSession, output: str) -> dict[str, str]:
    """Give the columns of the view of scored rows, each with what it shows: first the prediction."""
    names = spark.table(quote_name(output + ROWS)).columns
    of_rows = {name: f"r.{quote(name)}" for name in names if name not in _OF_A_ROW}
    first = [name for name in names[: names.index(REASONS)] if name in of_rows]
    origin = {name: f"p.{name}" for name in ORIGIN} | {RUN_ID: f"p.{RUN_ID}"}
    return {name: of_rows[name] for name in first} | origin | of_rows


def _create_view(spark: SparkSession, output: str, view: str, columns: list[str], condition: str) -> None:
    """Create a view of the rows of the newest run of each batch, or change the one that is there.

    On Databricks its readers would lose their rights on a view that is replaced.
    """
    line = f"{RUN}, {RUN_ID}, model_name, model_version, scored_at"
    newest = (
        f"SELECT {BATCH_ID}, newest.* FROM (SELECT {BATCH_ID}, max_by(struct({line}), struct(scored_at, "
        f"{RUN_ID})) AS newest FROM {quote_name(output + RUNS)} GROUP BY {BATCH_ID})"
    )
    query = (
        f"SELECT /*+ BROADCAST(p) */ {', '.join(columns)} "
        f"FROM {quote_name(output + ROWS)} r JOIN ({newest}) p ON r.{RUN} = p.{RUN} "
        f"WHERE r.{TALLY} IS NULL AND r.{condition}"
    )

    def define() -> None:
        verb = "ALTER" if table_exists(spark, view) else "CREATE"
        spark.sql(f"{verb} VIEW {quote_name(view)} AS {query}")

    retry(define)
