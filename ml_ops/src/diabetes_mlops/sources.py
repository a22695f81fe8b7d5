"""Reads files and tables with Spark: a path in one of three formats, or a table name."""

from collections import defaultdict
from functools import reduce
from urllib.parse import unquote

from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from diabetes_mlops.settings import FILE_FORMATS, is_path
from diabetes_mlops.worker import BROKEN_LINE

_CSV: dict[str, bool | int | str] = {
    "header": True,
    "ignoreLeadingWhiteSpace": True,
    "ignoreTrailingWhiteSpace": True,
    # A quote inside quotes is doubled, as RFC 4180 has it and pandas writes it.
    "escape": '"',
    # A line with far too many columns is a broken line; at the reader's own limit it would end the job.
    "maxColumns": 1_000_000,
}
_NOT_FOUND = ("PATH_NOT_FOUND", "TABLE_OR_VIEW_NOT_FOUND")
_FILES_LOOKED_AT = 1000


class SourceNotFoundError(FileNotFoundError):
    """There is no file or table under the name that the job was given."""


class UnknownFormatError(ValueError):
    """Nothing tells the format of the files in a folder."""


def read_table(spark: SparkSession, source: str) -> DataFrame:
    """Read a file, a folder or a table, with types; a CSV line that does not fit its header is an error.

    Raises SourceNotFoundError or UnknownFormatError.
    """
    if not (is_path(source) and find_format(spark, source) == "csv"):
        return read_as_found(spark, source)
    # enforceSchema off: each file's header is held against the first one's.
    reader = spark.read.options(**_CSV, inferSchema=True, mode="FAILFAST", enforceSchema=False)
    return _found(reader.csv(source), source)


def read_as_found(spark: SparkSession, source: str, file_format: str = "") -> DataFrame:
    """Read a file, a folder or a table whose rows may be damaged; the values of a CSV stay text.

    A CSV gets one more column, BROKEN_LINE: the whole line where it does not fit the header, else null. The
    files of a folder may have their columns in different orders. Raises SourceNotFoundError or
    UnknownFormatError.
    """
    if not is_path(source):
        return _found(spark.table(quote_name(source)), source)
    file_format = file_format or find_format(spark, source)
    if file_format == "csv":
        return _read_csv(spark, source)
    return _found(spark.read.format(file_format).load(source), source)


def find_format(spark: SparkSession, path: str) -> str:
    """Tell the format of a path by the ending of its name, else by what is in the folder."""
    if by_name := _format_of(path):
        return by_name
    if _is_delta(spark, path):
        return "delta"
    files = _found(spark.read.format("binaryFile").load(path), path).select("path")
    names = [str(row.path) for row in files.limit(_FILES_LOOKED_AT).collect()]
    formats = {_format_of(name) for name in names} - {""}
    if len(formats) != 1:
        known = f"of the formats {sorted(formats)}" if formats else "of no format that is known"
        raise UnknownFormatError(
            f"{path} has {len(names)} files {known}; name them by a pattern such as {path}/*.csv, "
            f"or their format ({', '.join(FILE_FORMATS)}) with input_format"
        )
    return formats.pop()


def quote_name(name: str) -> str:
    """Quote each part of a table's name."""
    return ".".join(quote(part) for part in name.split("."))


def quote(name: str) -> str:
    """Quote the name of a column, or one part of a table's."""
    return f"`{name.replace('`', '``')}`"


def _read_csv(spark: SparkSession, source: str) -> DataFrame:
    headers = _read_headers(spark, source)
    paths = list(headers.values()) if len(headers) > 1 else [[source]]
    # Files that lack a column, whichever it is, are told of when the union's columns are checked.
    tables = [_read_csv_of_one_header(spark, group, source) for group in paths]
    return reduce(lambda one, other: one.unionByName(other, allowMissingColumns=True), tables)


def _read_csv_of_one_header(spark: SparkSession, paths: list[str], source: str) -> DataFrame:
    header = _found(spark.read.options(**_CSV).csv(paths), source).schema
    header.add(BROKEN_LINE, "string")
    reader = spark.read.options(**_CSV, columnNameOfCorruptRecord=BROKEN_LINE)
    return reader.schema(header).csv(paths)


def _read_headers(spark: SparkSession, source: str) -> dict[str, list[str]]:
    """Give the files under each first line that they have; one file is not looked into."""
    lines = _found(spark.read.text(source), source)
    files = lines.inputFiles()
    if len(files) < 2:
        return {"": [unquote(file) for file in files]}
    # The lines of a file's first block are read by one task, in their order.
    starts = lines.select("value", "_metadata.file_path", "_metadata.file_block_start")
    first = starts.where("file_block_start = 0").groupBy("file_path").agg(F.first("value").alias("value"))
    headers: dict[str, list[str]] = defaultdict(list)
    for row in first.orderBy("file_path").collect():
        headers[row["value"]].append(unquote(row["file_path"]))
    return headers


def _is_delta(spark: SparkSession, path: str) -> bool:
    try:
        spark.sql(f"DESCRIBE DETAIL delta.{quote(path)}").collect()
    except AnalysisException:
        return False
    return True


def _format_of(name: str) -> str:
    stem = name.removesuffix(".gz")
    return next((kind for kind in FILE_FORMATS if stem.endswith(f".{kind}")), "")


def _found(table: DataFrame, source: str) -> DataFrame:
    try:
        _ = table.columns  # Spark Connect looks for the source only when it is first asked something.
    except AnalysisException as error:
        if error.getCondition() not in _NOT_FOUND:
            raise
        raise SourceNotFoundError(f"there is no file or table {source!r}") from error
    return table
