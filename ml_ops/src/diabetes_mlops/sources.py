"""Reads files and tables with Spark: a path in one of three formats, or a table name."""

import re
from codecs import BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from functools import reduce
from urllib.parse import unquote

import pyarrow as pa
import pyarrow.parquet as pq
from diabetes.columns import SchemaError
from pyspark.errors import AnalysisException
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from diabetes_mlops.settings import FILE_FORMATS, is_path
from diabetes_mlops.worker import (
    BLANK,
    BROKEN_LINE,
    CLOSED_QUOTES,
    DIGEST,
    LINES,
    OPEN_QUOTE,
    UNCLOSED_LINE,
    ends_open,
    follow_quotes,
)

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
# Part of the name of each class of Hadoop's driver for `abfss://`, of which errors carry the stack.
_STORAGE_DRIVER = ".fs.azurebfs."
_FILES_LOOKED_AT = 1000
# The columns of Parquet files below this size, in bytes, are read in one pass, from this much of their end.
_SMALL_FILE, _FOOTER = 2**23, 2**16
# How many other files' columns are asked for at once.
_ASKED_AT_ONCE = 8


class SourceNotFoundError(FileNotFoundError):
    """There is no file or table under the name that the job was given."""


class SourceUnreachableError(ConnectionError):
    """The storage account of a path refuses to be read, or does not answer."""


class UnknownFormatError(ValueError):
    """Nothing tells the format of the files in a folder."""


class LeftOutError(ValueError):
    """A folder has files in folders of its own, which would not be read."""


class EmptyFileError(ValueError):
    """A file has 0 bytes, or a CSV not even a header: whoever wrote it did not get far."""


class EncodingError(ValueError):
    """A CSV file is not in UTF-8, so that nothing in it can be told."""


@dataclass(frozen=True)
class _CsvFile:
    """A CSV file at a glance: its first line that is not blank, and whether a line ends inside quotes."""

    path: str
    header: bytes
    has_open_quote: bool


def read_table(spark: SparkSession, source: str) -> DataFrame:
    """Read a file, a folder or a table, with types; a CSV line that does not fit its header is an error.

    Raises SourceNotFoundError, SourceUnreachableError, UnknownFormatError, EmptyFileError, EncodingError or
    SchemaError.
    """
    if not (is_path(source) and find_format(spark, source) == "csv"):
        return read_as_found(spark, source)
    if wrong := [file.path for file in _look_into_csv(spark, source) if file.has_open_quote]:
        raise SchemaError(f"{wrong[0]} has a line that ends inside quotes; write each row on one line")
    # enforceSchema off: each file's header is held against the first one's.
    reader = spark.read.options(**_CSV, inferSchema=True, mode="FAILFAST", enforceSchema=False)
    return _found(reader.csv(source), source)


def read_as_found(
    spark: SparkSession, source: str, file_format: str = "", required: Iterable[str] = ()
) -> DataFrame:
    """Read a file, a folder or a table whose rows may be damaged; the values of a CSV stay text.

    A line of a CSV is a row. A CSV gets one more column, BROKEN_LINE: the whole line where it does not fit
    the header, else null; and where one of its lines ends inside quotes UNCLOSED_LINE, the whole line where
    it is part of what the quotes hold. The files of a folder may have their columns in different orders, but
    each needs the `required` ones that any of them has. Raises SourceNotFoundError, UnknownFormatError,
    EmptyFileError, EncodingError, LeftOutError or SchemaError.
    """
    if not is_path(source):
        return _free_of_our_names(_found(spark.table(quote_name(source)), source), source)
    file_format = file_format or find_format(spark, source)
    if file_format == "csv":
        return _read_csv(spark, source, set(required))
    if file_format == "parquet":
        _check_not_empty(spark, source)
    found = _free_of_our_names(_found(spark.read.format(file_format).load(source), source), source)
    if file_format == "parquet":
        _check_nothing_left_out(spark, source, found.inputFiles())
        _check_each_file(spark, source, found, set(required))
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


def reason_of(error: Exception) -> str:
    """Give the line of an error that tells most; the text of one from Java has its stack too."""
    lines = [line.strip(" :") for line in str(error).splitlines()] or [""]
    return next((line for line in lines if "Exception" in line), lines[0]) or type(error).__name__


def quote_name(name: str) -> str:
    """Quote each part of a table's name."""
    return ".".join(quote(part) for part in name.split("."))


def quote(name: str) -> str:
    """Quote the name of a column, or one part of a table's."""
    return f"`{name.replace('`', '``')}`"


def _read_csv(spark: SparkSession, source: str, required: set[str]) -> DataFrame:
    _check_nothing_left_out(spark, source, _found(spark.read.text(source), source).inputFiles())
    alike: defaultdict[tuple[bytes, bool], list[str]] = defaultdict(list)
    for file in _look_into_csv(spark, source):
        alike[file.header, file.has_open_quote].append(file.path)
    groups = list(alike.values()) if len(alike) > 1 else [[source]]
    tables = [
        _read_csv_of_one_header(spark, paths, source, has_open_quote)
        for (_, has_open_quote), paths in zip(alike, groups, strict=True)
    ]
    if len(tables) == 1:
        return tables[0]
    needed = required & {name for table in tables for name in table.columns}
    for paths, table in zip(groups, tables, strict=True):
        _check_needed(table.columns, needed, paths[0])
    names = list(dict.fromkeys(name for table in tables for name in table.columns))
    return reduce(DataFrame.union, [_with_columns(table, names) for table in tables])


def _with_columns(table: DataFrame, names: list[str]) -> DataFrame:
    """Give a table of text these columns in this order; those that it lacks are null."""
    nothing = F.lit(None).cast("string")
    present = {name: F.col(quote(name)) for name in table.columns}
    return table.select(*[present.get(name, nothing).alias(name) for name in names])


def _read_csv_of_one_header(
    spark: SparkSession, paths: list[str], source: str, has_open_quote: bool
) -> DataFrame:
    reader = spark.read.options(**_CSV)
    if paths != [source] and "*" not in source:
        reader = reader.option("basePath", source)
    header = _free_of_our_names(_found(reader.csv(paths), source), source).schema
    if has_open_quote:
        return _parse_lines(reader.text(paths), header)
    header.add(BROKEN_LINE, "string")
    # enforceSchema off: each file's header is held against this one, and a file with another ends the run.
    reader = reader.options(columnNameOfCorruptRecord=BROKEN_LINE, enforceSchema=False)
    return reader.schema(header).csv(paths)


def _parse_lines(lines: DataFrame, header: StructType) -> DataFrame:
    """Parse the lines of files that are each gone through in order, which tells what is inside quotes."""
    partitions = [name for name in lines.columns if name != "value"]
    place = ("_metadata.file_path", "_metadata.file_block_start")
    placed = lines.select(F.col("value").cast("binary"), *map(quote, partitions), *place)
    placed = placed.withColumn("place", F.monotonically_increasing_id())
    ordered = placed.repartition("file_path").sortWithinPartitions("file_path", "file_block_start", "place")
    kept = StructType([field for field in lines.schema if field.name in partitions])
    kept = kept.add("value", "string").add(UNCLOSED_LINE, "string")
    told = ordered.mapInArrow(follow_quotes, kept)
    fields = [name for name in header.names if name not in partitions] + [BROKEN_LINE]
    texts = StructType([StructField(name, StringType()) for name in fields])
    options = {name: str(value) for name, value in _CSV.items()} | {"columnNameOfCorruptRecord": BROKEN_LINE}
    options["header"] = "false"
    row = F.from_csv("value", texts.toDDL(), options)
    parsed = told.select(row.alias("row"), *map(quote, partitions), UNCLOSED_LINE)
    return parsed.select("row.*", *map(quote, partitions), UNCLOSED_LINE)


def _look_into_csv(spark: SparkSession, source: str) -> list[_CsvFile]:
    """Look through each file that is not blank; raises EmptyFileError, EncodingError or SchemaError."""
    lines = _found(spark.read.text(source), source)
    headers = _read_headers(lines)
    if not headers:
        names = lines.inputFiles()
        raise EmptyFileError(
            f"{names[0]} is empty (0 bytes, or blank lines alone), as are all {len(names)} files of "
            f"{source}; export them again, with a header even where there are no rows"
        )
    opened = lines.where(_ends_open("value")).select("_metadata.file_path").distinct().collect()
    with_open_quote = {row["file_path"] for row in opened}
    files = [_CsvFile(_literal(path), headers[path], path in with_open_quote) for path in sorted(headers)]
    for file in files:
        _check_encoding(file)
        if file.has_open_quote and ends_open(file.header.decode(errors="replace"), False):
            raise SchemaError(f"the header of {file.path} ends inside quotes: {file.header!r}")
    return files


def _read_headers(lines: DataFrame) -> dict[str, bytes]:
    """Give, by the file's path, the first line that is not blank."""
    starts = lines.where("_metadata.file_block_start = 0").where(F.btrim("value", F.lit(BLANK)) != "")
    starts = starts.select("_metadata.file_path", F.col("value").cast("binary"))
    if len(lines.inputFiles()) < 2:
        starts = starts.limit(1)
    else:
        # The lines of a file's first block are read by one task, in their order.
        placed = starts.withColumn("place", F.monotonically_increasing_id())
        firsts = [
            row["first"] for row in placed.groupBy("file_path").agg(F.min("place").alias("first")).collect()
        ]
        starts = placed.where(F.col("place").isin(firsts)).limit(len(firsts))
    return {row["file_path"]: bytes(row["value"]) for row in starts.collect()}


def _ends_open(name: str) -> Column:
    """Tell in Spark what `worker.ends_open` tells of a line that begins outside quotes."""
    line = F.col(name)
    plain = F.replace(line, F.lit('""'), F.lit(""))
    rest = F.regexp_replace(plain, CLOSED_QUOTES, "x")
    # The first two are quick, and hold of few lines that end outside quotes.
    return F.contains(line, F.lit('"')) & plain.rlike(f'{OPEN_QUOTE}[^"]*$') & rest.rlike(OPEN_QUOTE)


def _check_encoding(file: _CsvFile) -> None:
    has_mark = file.header.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    if has_mark or b"\0" in file.header:
        mark = f"the byte order mark {file.header[:2].hex(' ').upper()}" if has_mark else "zero bytes"
        raise EncodingError(
            f"{file.path} is not UTF-8: its first line has {mark}, as UTF-16 has; save it as UTF-8, "
            "such as with: iconv -f UTF-16 -t UTF-8"
        )


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


def _check_not_empty(spark: SparkSession, source: str) -> None:
    """Raise EmptyFileError for a file of 0 bytes, of which Spark gives no row."""
    files = _found(spark.read.format("binaryFile").load(source), source)
    filled = {_path_of(row["file_path"]) for row in files.select("_metadata.file_path").collect()}
    if empty := sorted({_path_of(file) for file in files.inputFiles()} - filled):
        raise EmptyFileError(f"{empty[0]} is empty (0 bytes), which no Parquet file is; export it again")


def _check_each_file(spark: SparkSession, source: str, found: DataFrame, required: set[str]) -> None:
    """Raise SchemaError when a Parquet file lacks a required column: Spark would fill it with nulls."""
    files = {_path_of(file): _literal(file) for file in found.inputFiles()}
    if len(files) < 2:
        return
    small = spark.read.format("binaryFile").load(source).where(f"length < {_SMALL_FILE}")
    ends = small.select("_metadata.file_path", F.substring("content", -_FOOTER, _FOOTER).alias("end"))
    footers = {_path_of(row["file_path"]): _read_footer(row["end"]) for row in ends.toLocalIterator()}
    others = [path for path in files if not footers.get(path)]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = pool.map(lambda path: spark.read.parquet(files[path]).columns, others)
        columns = {path: footers.get(path, []) for path in files} | dict(zip(others, asked, strict=True))
    # What no file has is a partition column, or missing altogether, which is told of elsewhere.
    needed = required & {name for names in columns.values() for name in names}
    for path, names in columns.items():
        _check_needed(names, needed, files[path])


def _read_footer(end: bytearray) -> list[str]:
    """Read the names of the columns from the end of a Parquet file; none where the footer is longer."""
    try:
        return list(pq.read_schema(pa.BufferReader(bytes(end))).names)
    except (pa.ArrowException, OSError):
        return []


def _check_needed(names: list[str], needed: set[str], file: str) -> None:
    if missing := sorted(needed - set(names)):
        raise SchemaError(f"missing columns {missing} in {file}, which other files have; it has {names}")


def _free_of_our_names(found: DataFrame, source: str) -> DataFrame:
    if ours := [name for name in found.columns if name in (*LINES, DIGEST)]:
        raise SchemaError(f"{source} has columns {ours}, names that the job uses itself")
    return found


def _literal(file: str) -> str:
    """Give the path of a file as a listing has it, to be read again: it is no pattern, whatever is in it."""
    return re.sub(r"([\\*?\[\]{}])", r"\\\1", unquote(file))


def _path_of(file: str) -> str:
    """Give a file's path without its scheme, which listings spell differently."""
    return "/" + unquote(file).partition(":")[2].lstrip("/")


def _is_delta(spark: SparkSession, path: str) -> bool:
    try:
        with _reaching(path):
            spark.sql(f"DESCRIBE DETAIL delta.{quote(path)}").collect()
    except AnalysisException:
        return False
    return True


def _format_of(name: str) -> str:
    stem = name.lower().removesuffix(".gz")
    return next((kind for kind in FILE_FORMATS if stem.endswith(f".{kind}")), "")


def _found(table: DataFrame, source: str) -> DataFrame:
    try:
        with _reaching(source):
            _ = table.columns  # Spark Connect looks for the source only when it is first asked something.
    except AnalysisException as error:
        if error.getCondition() not in _NOT_FOUND:
            raise
        raise SourceNotFoundError(f"there is no file or table {source!r}") from error
    return table


@contextmanager
def _reaching(source: str) -> Iterator[None]:
    """Say in one sentence that a storage account refuses or does not answer."""
    try:
        yield
    except Exception as error:
        if _STORAGE_DRIVER not in str(error):
            raise
        raise SourceUnreachableError(
            f"{source!r} cannot be read: {reason_of(error)}. Check data_root, data_credential and its "
            "secrets, the rights on the container, and the network between cluster and storage account"
        ) from error
