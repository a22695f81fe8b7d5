"""Reads files and tables with Spark: a path in one of three formats, or a table name."""

from collections import defaultdict
from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor
from functools import reduce
from urllib.parse import unquote

from diabetes.schema import SchemaError
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops.settings import FILE_FORMATS, is_path
from diabetes_mlops.worker import BROKEN_LINE, DIGEST

_CSV: dict[str, bool | int | str] = {
    "header": True,
    "ignoreLeadingWhiteSpace": True,
    "ignoreTrailingWhiteSpace": True,
    # A quote inside quotes is doubled, as RFC 4180 has it and pandas writes it.
    "escape": '"',
    # A line with far too many columns is a broken line; at the reader's own limit it would end the job.
    "maxColumns": 1_000_000,
}
_NOT_FOUND = (
    "PATH_NOT_FOUND",
    "TABLE_OR_VIEW_NOT_FOUND",
    "SCHEMA_NOT_FOUND",
    "CATALOG_NOT_FOUND",
    "NO_SUCH_CATALOG_EXCEPTION",
    # What Spark without Unity Catalog says of a table in another catalog.
    "REQUIRES_SINGLE_PART_NAMESPACE",
)
_FILES_LOOKED_AT = 1000
# How many files' schemas are asked for at once.
_ASKED_AT_ONCE = 8


class SourceNotFoundError(FileNotFoundError):
    """There is no file or table under the name that the job was given."""


class UnknownFormatError(ValueError):
    """Nothing tells the format of the files in a folder."""


class LeftOutError(ValueError):
    """A folder has files in folders of its own, which would not be read."""


def read_table(spark: SparkSession, source: str) -> DataFrame:
    """Read a file, a folder or a table, with types; a CSV line that does not fit its header is an error.

    Raises SourceNotFoundError or UnknownFormatError.
    """
    if not (is_path(source) and find_format(spark, source) == "csv"):
        return read_as_found(spark, source)
    # enforceSchema off: each file's header is held against the first one's.
    reader = spark.read.options(**_CSV, inferSchema=True, mode="FAILFAST", enforceSchema=False)
    return _found(reader.csv(source), source)


def read_as_found(
    spark: SparkSession, source: str, file_format: str = "", required: Iterable[str] = ()
) -> DataFrame:
    """Read a file, a folder or a table whose rows may be damaged; the values of a CSV stay text.

    A line of a CSV is a row: a line break inside quotes is not read. A CSV gets one more column, BROKEN_LINE:
    the whole line where it does not fit the header, else null. The files of a folder may have their columns
    in different orders, but each needs the `required` ones that any of them has. Raises SourceNotFoundError,
    UnknownFormatError, LeftOutError or SchemaError.
    """
    if not is_path(source):
        return _free_of_our_names(_found(spark.table(quote_name(source)), source), source)
    file_format = file_format or find_format(spark, source)
    if file_format == "csv":
        return _read_csv(spark, source, set(required))
    found = _free_of_our_names(_found(spark.read.format(file_format).load(source), source), source)
    if file_format == "parquet":
        _check_nothing_left_out(spark, source, found.inputFiles())
        _check_each_file(spark, found, set(required))
    return found


def find_format(spark: SparkSession, path: str) -> str:
    """Tell the format of a path by the ending of its name, else by what is in the folder."""
    if by_name := _format_of(path):
        return by_name
    if _is_delta(spark, path):
        return "delta"
    files = _found(spark.read.format("binaryFile").load(path), path).select("path")
    names = [str(row.path) for row in files.limit(_FILES_LOOKED_AT).collect()]
    formats = {_format_of(name) for name in names}
    if len(formats) != 1 or "" in formats:
        known = ", ".join(sorted(kind or "one that is not known" for kind in formats)) or "none"
        raise UnknownFormatError(
            f"{path} has {len(names)} files of the formats: {known}; name them by a pattern such as "
            f"{path}/*.csv, or their format ({', '.join(FILE_FORMATS)}) with input_format"
        )
    return formats.pop()


def quote_name(name: str) -> str:
    """Quote each part of a table's name."""
    return ".".join(quote(part) for part in name.split("."))


def quote(name: str) -> str:
    """Quote the name of a column, or one part of a table's."""
    return f"`{name.replace('`', '``')}`"


def _read_csv(spark: SparkSession, source: str, required: set[str]) -> DataFrame:
    headers = _read_headers(spark, source)
    if len(headers) < 2:
        return _read_csv_of_one_header(spark, [source], source)
    tables = [_read_csv_of_one_header(spark, files, source) for files in headers.values()]
    needed = required & {name for table in tables for name in table.columns}
    for files, table in zip(headers.values(), tables, strict=True):
        _check_needed(table.columns, needed, files[0])
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    return reduce(DataFrame.union, [_with_columns(table, names) for table in tables])


def _with_columns(table: DataFrame, names: list[str]) -> DataFrame:
    """Give a table of text these columns in this order; those that it lacks are null."""
    nothing = F.lit(None).cast("string")
    present = {name: F.col(quote(name)) for name in table.columns}
    return table.select(*[present.get(name, nothing).alias(name) for name in names])


def _read_csv_of_one_header(spark: SparkSession, paths: list[str], source: str) -> DataFrame:
    reader = spark.read.options(**_CSV)
    if paths != [source] and "*" not in source:
        reader = reader.option("basePath", source)
    header = _found(reader.csv(paths), source).schema
    header.add(BROKEN_LINE, "string")
    # enforceSchema off: each file's header is held against this one, and a file with another ends the run.
    reader = reader.options(columnNameOfCorruptRecord=BROKEN_LINE, enforceSchema=False)
    return reader.schema(header).csv(paths)


def _read_headers(spark: SparkSession, source: str) -> dict[str, list[str]]:
    """Give the files under each first line that they have; one file is not looked into."""
    lines = _found(spark.read.text(source), source)
    files = lines.inputFiles()
    _check_nothing_left_out(spark, source, files)
    if len(files) < 2:
        return {"": [unquote(file) for file in files]}
    # The lines of a file's first block are read by one task, in their order; its header is the first that
    # is not blank.
    starts = lines.select("value", "_metadata.file_path", "_metadata.file_block_start")
    starts = starts.where("file_block_start = 0 AND trim(value) != ''")
    placed = starts.withColumn("place", F.monotonically_increasing_id())
    first = placed.groupBy("file_path").agg(F.min_by("value", "place").alias("value"))
    headers: dict[str, list[str]] = defaultdict(list)
    for row in first.orderBy("file_path").collect():
        headers[row["value"]].append(unquote(row["file_path"]))
    return headers


def _check_nothing_left_out(spark: SparkSession, source: str, files: list[str]) -> None:
    """Raise LeftOutError when a folder has files, in folders of its own, that are not among `files`."""
    if _format_of(source) or "*" in source:
        return
    every = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(source)
    if left_out := sorted(
        {_path_of(file) for file in every.inputFiles()} - {_path_of(file) for file in files}
    ):
        raise LeftOutError(
            f"{source} has {len(left_out)} files that would not be read, such as {left_out[0]}; "
            f"name all files by a pattern such as {source}/*/*"
        )


def _check_each_file(spark: SparkSession, found: DataFrame, required: set[str]) -> None:
    """Raise SchemaError when a Parquet file lacks a required column: Spark would fill it with nulls."""
    files = [unquote(file) for file in found.inputFiles()]
    if len(files) < 2:
        return
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        columns = list(pool.map(lambda file: spark.read.parquet(file).columns, files))
    # What no file has is a partition column, or missing altogether, which is told of elsewhere.
    needed = required & {name for names in columns for name in names}
    for file, names in zip(files, columns, strict=True):
        _check_needed(names, needed, file)


def _check_needed(names: list[str], needed: set[str], file: str) -> None:
    if missing := sorted(needed - set(names)):
        raise SchemaError(f"missing columns {missing} in {file}, which other files have; it has {names}")


def _free_of_our_names(found: DataFrame, source: str) -> DataFrame:
    if ours := [name for name in found.columns if name in (BROKEN_LINE, DIGEST)]:
        raise SchemaError(f"{source} has columns {ours}, names that the job uses itself")
    return found


def _path_of(file: str) -> str:
    """Give a file's path without its scheme, which listings spell differently."""
    return "/" + unquote(file).partition(":")[2].lstrip("/")


def _is_delta(spark: SparkSession, path: str) -> bool:
    try:
        spark.sql(f"DESCRIBE DETAIL delta.{quote(path)}").collect()
    except AnalysisException:
        return False
    return True


def _format_of(name: str) -> str:
    stem = name.lower().removesuffix(".gz")
    return next((kind for kind in FILE_FORMATS if stem.endswith(f".{kind}")), "")


def _found(table: DataFrame, source: str) -> DataFrame:
    try:
        _ = table.columns  # Spark Connect looks for the source only when it is first asked something.
    except AnalysisException as error:
        if error.getCondition() not in _NOT_FOUND:
            raise
        raise SourceNotFoundError(f"there is no file or table {source!r}") from error
    return table
