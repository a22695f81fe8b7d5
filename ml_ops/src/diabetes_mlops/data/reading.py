"""Reads files and tables with Spark: a path in one of three formats, or a table name."""

from collections.abc import Iterable
from concurrent.futures import ThreadPoolExecutor

import pyarrow as pa
import pyarrow.parquet as pq
from diabetes.tabular.columns import Column, SchemaError, check_columns
from pyspark.errors import AnalysisException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    BooleanType,
    ByteType,
    DataType,
    DateType,
    DecimalType,
    DoubleType,
    FloatType,
    IntegerType,
    IntegralType,
    LongType,
    NumericType,
    ShortType,
    StringType,
    StructField,
    StructType,
    TimestampNTZType,
    TimestampType,
)

from diabetes_mlops.data.csv_files import (
    EmptyFileError,
    check_needed,
    check_not_repeated,
    look_into_csv,
    read_csv,
)
from diabetes_mlops.data.places import (
    Place,
    UnreadableFileError,
    escape,
    find_place,
    open_source,
    path_of,
    quote,
    quote_name,
    reaching,
    read_listed,
)
from diabetes_mlops.data.worker import BROKEN_LINE, DIGEST, LINES
from diabetes_mlops.runs.widgets import FILE_FORMATS, is_path

_FILES_LOOKED_AT = 1000
# How much of a broken line is shown.
_SHOWN = 200
# The columns of Parquet files below this size, in bytes, are read in one pass, from this much of their end.
_SMALL_FILE, _FOOTER = 2**23, 2**16
# The schema of a larger file, in bytes, is not read on this side.
_LARGE_FILE = 2**28
# Types that Spark reads from Parquet as they are.
_TYPES: dict[pa.DataType, DataType] = {
    pa.bool_(): BooleanType(),
    pa.int8(): ByteType(),
    pa.int16(): ShortType(),
    pa.int32(): IntegerType(),
    pa.int64(): LongType(),
    pa.float32(): FloatType(),
    pa.float64(): DoubleType(),
    pa.string(): StringType(),
    pa.large_string(): StringType(),
    pa.date32(): DateType(),
    pa.timestamp("us"): TimestampNTZType(),
    pa.timestamp("us", tz="UTC"): TimestampType(),
}
# How many other files' columns are asked for at once.
_ASKED_AT_ONCE = 8


class UnknownFormatError(ValueError):
    """Nothing tells the format of the files in a folder."""


class LeftOutError(ValueError):
    """A folder has files in folders of its own, which would not be read."""


def read_table(
    spark: SparkSession, source: str, required: Iterable[Column] = (), welcome: Iterable[Column] = ()
) -> DataFrame:
    """Read a file, a folder or a table of which every row can be told; the values of a CSV stay text.

    With `required` these columns alone, in this order, and after them those of the `welcome` ones that are
    there with a type that fits; their times as texts in UTC. Raises what `read_as_found` does, and
    SchemaError where a line of a CSV cannot be told, or a column has a wrong type.
    """
    columns, more = list(required), list(welcome)
    needed = [column.name for column in columns]
    place = find_place(spark, source) if is_path(source) else None
    if place and _find_format(spark, place) == "csv":
        found = _read_whole_lines(spark, place, needed, [column.name for column in more])
    else:
        found = read_as_found(spark, source, required=needed)
        if wrong := find_wrong_types(found, columns):
            raise SchemaError(f"{source}: {'; '.join(wrong)}")
        more = [column for column in more if not find_wrong_types(found, [column])]
    if not needed:
        return found
    check_columns(found.columns, needed)
    columns += [column for column in more if column.name in found.columns]
    return found.select(*[_exactly(column, found.schema[column.name].dataType) for column in columns])


def read_as_found(
    spark: SparkSession,
    source: str,
    file_format: str = "",
    required: Iterable[str] = (),
    carried: Iterable[str] = (),
) -> DataFrame:
    """Read a file, a folder or a table whose rows may be damaged; the values of a CSV stay text.

    A line of a CSV is a row. A CSV gets one more column, BROKEN_LINE: the whole line where it does not fit
    the header, else null; and where one of its lines ends inside quotes UNCLOSED_LINE, the whole line where
    it is part of what the quotes hold. The files of a folder may have their columns in different orders, but
    each needs the `required` ones that any of them has. These and the `carried` ones keep their names; of
    the others it does not matter what they are called. Raises SourceNotFoundError, UnknownFormatError,
    EmptyFileError, EncodingError, OtherKindError, UnreadableFileError, LeftOutError or SchemaError.
    """
    if not is_path(source):
        table = open_source(lambda: spark.table(quote_name(source)), source)
        return _free_of_our_names(table, source)
    place = find_place(spark, source)
    file_format = file_format or _find_format(spark, place)
    if file_format == "csv":
        _check_nothing_left_out(spark, place, open_source(lambda: spark.read.text(place.pattern), source))
        return read_csv(spark, place, look_into_csv(spark, place), required, carried)
    if file_format == "parquet":
        return _read_parquet(spark, place, set(required), {*required, *carried})
    # Delta takes a path as it stands, and no pattern.
    table = open_source(lambda: spark.read.format(file_format).load(source), source)
    return _free_of_our_names(table, source)


def find_wrong_types(found: DataFrame, columns: Iterable[Column]) -> list[str]:
    """Say of each of these columns that has not the type that it is to have which one it has."""
    types = {field.name: field.dataType for field in found.schema}
    return [
        f"{column.name} is {types[column.name].simpleString()}, not {_wanted(column)}"
        for column in columns
        if column.name in types and not _fits(column, types[column.name])
    ]


def _find_format(spark: SparkSession, place: Place) -> str:
    """Tell the format of a place by the ending of its name, else by what is in the folder."""
    path = place.name
    if by_name := _format_of(path):
        return by_name
    if _is_delta(spark, path):
        return "delta"
    files = open_source(lambda: spark.read.format("binaryFile").load(place.pattern), path).select("path")
    with reaching(path):
        names = [str(row.path) for row in files.limit(_FILES_LOOKED_AT).collect()]
    formats = {_format_of(name) for name in names}
    if len(formats) != 1 or "" in formats:
        known = ", ".join(sorted(kind or "one that is not known" for kind in formats)) or "none"
        raise UnknownFormatError(
            f"{path} has {len(names)} files of the formats: {known}; name them by a pattern such as "
            f"{path}/*.csv, or their format ({', '.join(FILE_FORMATS)}) with input_format"
        )
    return formats.pop()


def _read_whole_lines(
    spark: SparkSession, place: Place, required: list[str], welcome: list[str]
) -> DataFrame:
    """Read a CSV of which each line is a row that fits the header; raises SchemaError for another."""
    files = look_into_csv(spark, place)
    there = [name for name in welcome if all(file.names.count(name) == 1 for file in files)]
    found = read_csv(spark, place, files, required, there)
    check_columns([name for name in found.columns if name not in LINES], required)
    if wrong := [file.path for file in files if file.has_open_quote]:
        raise SchemaError(f"{wrong[0]} has a line that ends inside quotes; write each row on one line")
    with reaching(place.name):
        # Whole rows, because Spark does not look for broken lines when nothing else of a file is asked for.
        broken = found.where(F.col(BROKEN_LINE).isNotNull()).limit(3).collect()
    if broken:
        raise SchemaError(
            f"{place.name} has lines with more or fewer values than its header has columns, such as "
            f"{[row[BROKEN_LINE][:_SHOWN] for row in broken]}; a value with a comma in it belongs in quotes"
        )
    return found.drop(BROKEN_LINE)


def _read_parquet(spark: SparkSession, place: Place, required: set[str], used: set[str]) -> DataFrame:
    _check_not_empty(spark, place)
    try:
        found = open_source(lambda: spark.read.parquet(place.pattern), place.name)
    except UnreadableFileError as error:
        found = _read_what_spark_takes(spark, place, used, error)
    found = _free_of_our_names(found, place.name)
    _check_nothing_left_out(spark, place, found)
    _check_each_file(spark, place, found, required)
    return found


def _read_what_spark_takes(
    spark: SparkSession, place: Place, used: set[str], error: UnreadableFileError
) -> DataFrame:
    """Read Parquet files without the columns that Spark refuses by their type or name; raises for used ones.

    Times in nanoseconds are such a type, and names such a name that differ in the case of letters alone.
    """
    file, schema = _read_smallest_schema(spark, place)
    if schema is None:
        raise error
    check_not_repeated(schema.names, used, file)
    lowered = [name.lower() for name in schema.names]
    kinds = {field.name: _to_spark_type(field.type) for field in schema}
    kept = {name: kind for name, kind in kinds.items() if kind and lowered.count(name.lower()) == 1}
    if refused := [name for name in schema.names if name in used and name not in kept]:
        told = {name.lower() for name in refused}
        types = ", ".join(f"{field.name} ({field.type})" for field in schema if field.name.lower() in told)
        raise UnreadableFileError(
            f"{file} has columns that Spark cannot tell apart, or whose type it does not have: {types}; "
            "rename those that differ in the case of letters alone, or write them with another type; "
            "times in nanoseconds by pandas' to_parquet(..., coerce_timestamps='us')"
        ) from error
    columns = StructType([StructField(name, kind) for name, kind in kept.items()])
    return open_source(lambda: spark.read.schema(columns).parquet(place.pattern), place.name)


def _read_smallest_schema(spark: SparkSession, place: Place) -> tuple[str, pa.Schema | None]:
    """Give the smallest file, with its schema; None where it has none or is too large."""
    files = open_source(lambda: spark.read.format("binaryFile").load(place.pattern), place.name)
    smallest = files.select("_metadata.file_path", "length").orderBy("length", "file_path").first()
    if smallest is None or smallest["length"] > _LARGE_FILE:
        return place.name, None
    path = read_listed(smallest["file_path"])
    with reaching(place.name):
        content = (
            spark.read.format("binaryFile")
            .load(escape(path))
            .select(F.substring("content", -_FOOTER, _FOOTER))
        )
        return path, _read_schema(content.collect()[0][0])


def _to_spark_type(kind: pa.DataType) -> DataType | None:
    """Give the type that Spark reads from a column of Parquet; None where it has none for sure."""
    kind = kind.value_type if pa.types.is_dictionary(kind) else kind
    if pa.types.is_decimal128(kind):
        return DecimalType(kind.precision, kind.scale)
    return _TYPES.get(kind)


def _check_nothing_left_out(spark: SparkSession, place: Place, found: DataFrame) -> None:
    """Raise LeftOutError when a folder has files, in folders of its own, that are not among those found."""
    source = place.name
    if _format_of(source) or place.is_pattern:
        return
    every = spark.read.format("binaryFile").option("recursiveFileLookup", "true").load(place.pattern)
    if left_out := sorted(
        {path_of(file) for file in every.inputFiles()} - {path_of(file) for file in found.inputFiles()}
    ):
        raise LeftOutError(
            f"{source} has {len(left_out)} files that would not be read, such as {left_out[0]}; "
            f"name all files by a pattern such as {source}/*/*"
        )


def _check_not_empty(spark: SparkSession, place: Place) -> None:
    """Raise EmptyFileError for a file of 0 bytes, of which Spark gives no row."""
    files = open_source(lambda: spark.read.format("binaryFile").load(place.pattern), place.name)
    filled = {path_of(row["file_path"]) for row in files.select("_metadata.file_path").collect()}
    if empty := sorted({path_of(file) for file in files.inputFiles()} - filled):
        raise EmptyFileError(f"{empty[0]} is empty (0 bytes), which no Parquet file is; export it again")


def _check_each_file(spark: SparkSession, place: Place, found: DataFrame, required: set[str]) -> None:
    """Raise SchemaError when a Parquet file lacks a required column: Spark would fill it with nulls."""
    files = {path_of(file): escape(read_listed(file)) for file in found.inputFiles()}
    if len(files) < 2:
        return
    small = spark.read.format("binaryFile").load(place.pattern).where(f"length < {_SMALL_FILE}")
    ends = small.select("_metadata.file_path", F.substring("content", -_FOOTER, _FOOTER).alias("end"))
    footers = {
        path_of(row["file_path"]): schema.names
        for row in ends.toLocalIterator()
        if (schema := _read_schema(row["end"]))
    }
    others = [path for path in files if not footers.get(path)]
    with ThreadPoolExecutor(_ASKED_AT_ONCE) as pool:
        asked = pool.map(lambda path: spark.read.parquet(files[path]).columns, others)
        columns = {path: footers.get(path, []) for path in files} | dict(zip(others, asked, strict=True))
    # What no file has is a partition column, or missing altogether, which is told of elsewhere.
    needed = required & {name for names in columns.values() for name in names}
    for path, names in columns.items():
        check_needed(names, needed, path, names)


def _read_schema(end: bytes) -> pa.Schema | None:
    """Read the schema from the end of a Parquet file; None where the footer is longer."""
    try:
        return pq.read_schema(pa.BufferReader(bytes(end)))
    except (pa.ArrowException, OSError):
        return None


def _free_of_our_names(found: DataFrame, source: str) -> DataFrame:
    if ours := [name for name in found.columns if name.lower() in (*LINES, DIGEST)]:
        raise SchemaError(f"{source} has columns {ours}, names that the job uses itself")
    return found


def _is_delta(spark: SparkSession, path: str) -> bool:
    try:
        with reaching(path):
            spark.sql(f"DESCRIBE DETAIL delta.{quote(path)}").collect()
    except AnalysisException:
        return False
    return True


def _format_of(name: str) -> str:
    stem = name.lower().removesuffix(".gz")
    return next((kind for kind in FILE_FORMATS if stem.endswith(f".{kind}")), "")


def _fits(column: Column, kind: DataType) -> bool:
    days = (DateType, TimestampType, TimestampNTZType, StringType)
    fitting = {"category": (StringType,), "text": (StringType, NumericType), "date": days}
    return isinstance(kind, fitting.get(column.kind, (NumericType,)))


def _wanted(column: Column) -> str:
    wanted = {"category": "a text", "text": "a text", "date": "a date"}
    return wanted.get(column.kind, "a number")


def _exactly(column: Column, kind: DataType) -> SparkColumn:
    """Give a column as what pandas holds exactly: no number beside gaps, no time in the session's zone."""
    name = column.name
    if column.kind == "text" and isinstance(kind, IntegralType):
        return F.col(quote(name)).cast("string")
    if not isinstance(kind, TimestampType):
        return F.col(quote(name))
    seconds = f"CAST(unix_micros({quote(name)}) / 1000000BD AS DECIMAL(18, 6))"
    moment = f"TIMESTAMP_NTZ'1970-01-01 00:00:00' + make_dt_interval(0, 0, 0, {seconds})"
    return F.expr(f"CAST({moment} AS STRING)").alias(name)
