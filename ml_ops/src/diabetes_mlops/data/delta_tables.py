"""Writes batches to Delta tables, each in one commit, so that a repeated batch replaces itself."""

import random
import re
import time
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime, timedelta
from functools import partial

from diabetes.tabular.columns import Column, SchemaError
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import DataType, LongType, StringType, StructType

from diabetes_mlops.data.places import quote, quote_name, table_exists
from diabetes_mlops.runs.spark_errors import is_of_spark, reason_of
from diabetes_mlops.runs.telemetry import say

BATCH_ID, RUN_ID = "batch_id", "run_id"
# The type of the key's column in a table, by the kind of the key.
KEY_TYPES: dict[str, DataType] = {"integer": LongType(), "text": StringType()}
STAGED = "_staged_"
# What a Delta table takes in the name of a column only where it keeps names apart from those in its files.
UNFIT = re.compile(r"[ ,;{}()\n\t=]")
# A staging table this old is one of a run that was killed.
KEPT_STAGED = timedelta(days=2)
ATTEMPTS = 6
# What Delta's errors have in their text when another writer got in between.
CONFLICTS = (
    "DELTA_CONCURRENT_",
    "DELTA_METADATA_CHANGED",
    "DELTA_PROTOCOL_CHANGED",
    # Another run is about to create the same table.
    "DELTA_CREATE_TABLE_WITH_NON_EMPTY_LOCATION",
    "TABLE_OR_VIEW_ALREADY_EXISTS",
    # Another run has added the same column; newer versions of Spark say FIELD.
    "FIELD_ALREADY_EXISTS",
    "FIELDS_ALREADY_EXISTS",
)


class LostCommitError(RuntimeError):
    """The table's history has no commit of a write that ended well."""


def ensure_table(
    spark: SparkSession,
    table: str,
    columns: Mapping[str, str],
    *,
    by_batch: bool = True,
    is_compacted: bool = False,
) -> None:
    """Create a Delta table, and its schema, where there is none; `columns` gives each name its SQL type.

    `by_batch` partitions it by batch id, so that two batches can be replaced at the same moment. Of a table
    that `is_compacted` the write that makes its 50th small file puts them together. A table that lacks some
    of the columns gets them.
    """
    if not table_exists(spark, table):
        ensure_schema(spark, table)
        create = f"CREATE TABLE IF NOT EXISTS {quote_name(table)} ({_define(columns)})"
        # The statistics of columns that are the same in a whole batch took a quarter of the time of a write.
        layout = f"PARTITIONED BY ({BATCH_ID}) " if by_batch else ""
        layout += _properties(columns, with_statistics=1, is_compacted=is_compacted)
        retry(lambda: spark.sql(f"{create} USING DELTA {layout}"))
    retry(partial(_add_columns, spark, table, columns))


def _add_columns(spark: SparkSession, table: str, columns: Mapping[str, str]) -> None:
    """Add the columns that a table lacks."""
    present = {name.lower() for name in spark.table(quote_name(table)).columns}
    if added := {name: kind for name, kind in columns.items() if name.lower() not in present}:
        spark.sql(f"ALTER TABLE {quote_name(table)} ADD COLUMNS ({_define(added)})")


def check_key(present: StructType, key: Column, table: str) -> None:
    """Raise SchemaError when a table has the key as a text and it is a number now, or the reverse."""
    kinds = {field.name.lower(): field.dataType for field in present}
    wanted = KEY_TYPES[key.kind]
    found = kinds.get(key.name.lower(), wanted)
    if found != wanted and StringType() in (found, wanted):
        raise SchemaError(
            f"{table} has the key {key.name} as {found.simpleString()}, and to this code it is "
            f"{wanted.simpleString()}: name another output_table, or rename that one"
        )


def list_other_types(wanted: Mapping[str, str], present: StructType) -> list[str]:
    """Tell of each column that a table has with another type than the wanted one, as SQL has it, both."""
    there = {field.name.lower(): field.dataType.simpleString() for field in present}
    found = ((name, kind, there.get(name.lower(), kind)) for name, kind in wanted.items())
    return [f"{name} is {kind}, and {other}" for name, kind, other in found if other != kind]


def ensure_schema(spark: SparkSession, table: str) -> None:
    """Create the schema that a table is to be in, where there is none."""
    schema = table.rpartition(".")[0]
    if not spark.catalog.databaseExists(quote_name(schema)):
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quote_name(schema)}")


def replace_batch(rows: DataFrame, table: str, batch_id: str, run_id: str) -> int:
    """Make `rows` the only rows of this batch, in one commit; returns how many rows that commit put there.

    All rows have `run_id` in their column of that name, which names the commit in the table's history too.
    When another writer gets in between, the write is done again. Raises LostCommitError.
    """
    writer = rows.write.format("delta").mode("overwrite")
    writer = writer.option("replaceWhere", _is_batch(batch_id)).option("userMetadata", run_id)
    retry(lambda: writer.saveAsTable(quote_name(table)))
    spark = rows.sparkSession
    if written := read_batch(spark, table, batch_id).where(F.col(RUN_ID) == run_id).count():
        return written
    # It put none there, or another run has replaced the batch since: the table as that commit left it tells.
    version = _find_version(spark, table, run_id)
    then = spark.read.option("versionAsOf", version).table(quote_name(table))
    return then.where(_is_batch(batch_id)).count()


def read_batch(spark: SparkSession, table: str, batch_id: str) -> DataFrame:
    """Read the rows of one batch."""
    return spark.table(quote_name(table)).where(_is_batch(batch_id))


def create_staging_table(spark: SparkSession, table: str, run_id: str, columns: StructType) -> str:
    """Create the table in which a run keeps its rows until they are published; returns its name.

    Removes those that killed runs left behind.
    """
    ensure_schema(spark, table)
    _drop_left_overs(spark, table)
    name = f"{table}{STAGED}{datetime.now(UTC):%Y%m%d}_{run_id}"
    # Nobody looks rows up in it, so statistics of its columns would be for nothing.
    properties = _properties(columns.names, with_statistics=0)
    fields = ", ".join(f"{quote(field.name)} {field.dataType.simpleString()}" for field in columns)
    spark.sql(f"CREATE TABLE {quote_name(name)} ({fields}) USING DELTA {properties}")
    return name


def drop_table(spark: SparkSession, table: str) -> None:
    """Remove a table with its rows."""
    spark.sql(f"DROP TABLE IF EXISTS {quote_name(table)}")


def _find_version(spark: SparkSession, table: str, commit: str) -> int:
    """The newest version of a table that a commit of this name made."""
    history = spark.sql(f"DESCRIBE HISTORY {quote_name(table)}").where(F.col("userMetadata") == commit)
    version = history.agg(F.max("version")).collect()[0][0]
    if version is None:
        raise LostCommitError(f"{table} has no commit {commit!r} in its history")
    return int(version)


def _drop_left_overs(spark: SparkSession, table: str) -> None:
    schema, _, name = table.rpartition(".")
    prefix = f"{name}{STAGED}".lower()
    oldest = f"{datetime.now(UTC) - KEPT_STAGED:%Y%m%d}"
    for row in spark.sql(f"SHOW TABLES IN {quote_name(schema)} LIKE '{prefix}*'").collect():
        staged = re.fullmatch(r"(\d{8})_[0-9a-f]+", row["tableName"].removeprefix(prefix))
        if staged and staged[1] < oldest:
            _drop_left_over(spark, f"{schema}.{row['tableName']}")


def _drop_left_over(spark: SparkSession, table: str) -> None:
    """Remove what a killed run left, or say why it stays: another's table takes its owner, or MANAGE."""
    try:
        drop_table(spark, table)
    except Exception as error:
        if not is_of_spark(error):
            raise
        say(f"{table}, which a killed run has left, stays: {reason_of(error)}")


def retry(write: Callable[[], object]) -> None:
    """Do a write again while others get in between."""
    for attempt in range(1, ATTEMPTS + 1):
        try:
            write()
            return
        except Exception as error:
            if attempt == ATTEMPTS or not _is_conflict(error):
                raise
            say("another run wrote to the table at the same moment: writing again")
            time.sleep(random.uniform(0, 2**attempt / 4))


def _is_conflict(error: Exception) -> bool:
    """Whether Delta refused a commit because of another one; Spark Classic hands on Java's own error."""
    return is_of_spark(error) and any(name in str(error) for name in CONFLICTS)


def _define(columns: Mapping[str, str]) -> str:
    return ", ".join(f"{quote(name)} {kind}" for name, kind in columns.items())


def _properties(columns: Iterable[str], *, with_statistics: int, is_compacted: bool = False) -> str:
    """Give the properties of a new table, of whose columns the first so many have statistics."""
    properties = f"'delta.dataSkippingNumIndexedCols' = '{with_statistics}'"
    if is_compacted:
        properties += ", 'delta.autoOptimize.autoCompact' = 'true'"
    if any(UNFIT.search(name) for name in columns):
        properties += ", 'delta.columnMapping.mode' = 'name'"
    return f"TBLPROPERTIES ({properties})"


def _is_batch(batch_id: str) -> str:
    return f"{BATCH_ID} = '{batch_id}'"
