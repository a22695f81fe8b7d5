"""Reads tables with Spark, and writes batches to Delta tables so that a repeated batch replaces itself."""

from collections.abc import Mapping

from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops.settings import is_file

BATCH_ID = "batch_id"
BROKEN_LINE = "_broken_line"
_CSV = {"header": True, "ignoreLeadingWhiteSpace": True, "ignoreTrailingWhiteSpace": True}


class SourceNotFoundError(FileNotFoundError):
    """There is no file or table under the name that the job was given."""


def read_table(spark: SparkSession, source: str) -> DataFrame:
    """Read a file or a table, with types; a CSV line that does not fit its header is an error.

    `source` is a path that ends in .csv, .csv.gz or .parquet, or a table name. Raises SourceNotFoundError.
    """
    if _is_csv(source):
        reader = spark.read.options(**_CSV, inferSchema=True, mode="FAILFAST")
        return _found(reader.csv(source), source)
    return _read_typed(spark, source)


def read_as_found(spark: SparkSession, source: str) -> DataFrame:
    """Read a file or a table whose rows may be damaged; the values of a CSV stay text.

    A CSV gets one more column, `_broken_line`: the whole line where it does not fit the header, else null.
    """
    if not _is_csv(source):
        return _read_typed(spark, source)
    header = _found(spark.read.options(**_CSV).csv(source), source).schema
    header.add(BROKEN_LINE, "string")
    # enforceSchema off: where the path is a folder, each file's header is held against the first one's.
    reader = spark.read.options(**_CSV, columnNameOfCorruptRecord=BROKEN_LINE, enforceSchema=False)
    return reader.schema(header).csv(source)


def ensure_table(spark: SparkSession, table: str, columns: Mapping[str, str]) -> None:
    """Create a Delta table, and its schema, where there is none; `columns` gives each name its SQL type.

    The table is partitioned by batch id, so that two batches can be written at the same moment.
    """
    if spark.catalog.tableExists(table):
        return
    schema = table.rpartition(".")[0]
    if not spark.catalog.databaseExists(schema):
        spark.sql(f"CREATE SCHEMA IF NOT EXISTS {_quoted(schema)}")
    fields = ", ".join(f"{name} {kind}" for name, kind in columns.items())
    create = f"CREATE TABLE IF NOT EXISTS {_quoted(table)} ({fields})"
    spark.sql(f"{create} USING DELTA PARTITIONED BY ({BATCH_ID})")


def replace_batch(rows: DataFrame, table: str, batch_id: str) -> None:
    """Make `rows` the only rows of this batch in an existing table, in one commit."""
    writer = rows.write.format("delta").mode("overwrite").option("replaceWhere", _is_batch(batch_id))
    writer.saveAsTable(_quoted(table))


def clear_batch(spark: SparkSession, table: str, batch_id: str) -> None:
    """Remove the rows of this batch, if the table exists and has any."""
    if not spark.catalog.tableExists(table):
        return
    if not read_batch(spark, table, batch_id).isEmpty():
        spark.sql(f"DELETE FROM {_quoted(table)} WHERE {_is_batch(batch_id)}")


def read_batch(spark: SparkSession, table: str, batch_id: str) -> DataFrame:
    """Read the rows of one batch."""
    return spark.table(_quoted(table)).where(_is_batch(batch_id))


def content_digest(row: Column) -> Column:
    """Give an aggregate over whole rows as text, the same for the same rows in whatever order."""
    return F.sum(F.xxhash64(row).cast("decimal(20,0)")).cast("string")


def _is_csv(source: str) -> bool:
    return source.endswith((".csv", ".csv.gz"))


def _read_typed(spark: SparkSession, source: str) -> DataFrame:
    table = spark.read.parquet(source) if is_file(source) else spark.table(_quoted(source))
    return _found(table, source)


def _found(table: DataFrame, source: str) -> DataFrame:
    try:
        _ = table.columns  # Spark Connect looks for the source only when it is first asked something.
    except AnalysisException as error:
        if error.getCondition() not in ("PATH_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND"):
            raise
        raise SourceNotFoundError(f"there is no file or table {source!r}") from error
    return table


def _quoted(name: str) -> str:
    return ".".join(f"`{part}`" for part in name.split("."))


def _is_batch(batch_id: str) -> str:
    return f"{BATCH_ID} = '{batch_id}'"
