"""Reads CSV files as they stand: any names in the header, any order of columns, any damaged line."""

import csv
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from functools import reduce

from diabetes.tabular.columns import SchemaError
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import StringType, StructField, StructType

from diabetes_mlops.data.places import Place, escape, open_source, quote, reaching, read_listed
from diabetes_mlops.data.worker import (
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
    "ignoreLeadingWhiteSpace": True,
    "ignoreTrailingWhiteSpace": True,
    # A quote inside quotes is doubled, as RFC 4180 has it and pandas writes it.
    "escape": '"',
    # A line with far too many columns is a broken line; at the reader's own limit it would end the job.
    "maxColumns": 1_000_000,
}
# How a file begins that is no text, whatever its name says, and what to do.
_OTHER_KINDS = {
    rb"\x1f\x8b": ("gzip", "name it .csv.gz"),
    rb"BZh[1-9]1AY&SY": ("bzip2", "unpack it, or pack it with gzip as .csv.gz"),
    rb"\xfd7zXZ": ("xz", "unpack it, or pack it with gzip as .csv.gz"),
    rb"\x28\xb5\x2f\xfd": ("zstd", "unpack it, or pack it with gzip as .csv.gz"),
    rb"PK\x03\x04": ("zip, as .xlsx is too", "unpack it, or save the sheet as CSV"),
    rb"\xd0\xcf\x11\xe0": ("an old Office file, as .xls is", "save the sheet as CSV"),
    rb"PAR1": ("Parquet", "name it .parquet"),
}
# What is in no text but tabs and what ends a line.
_CONTROL = re.compile(rb"[\x01-\x08\x0e-\x1f]")
_OTHER_SEPARATORS = {";": "semicolons", "\t": "tabs", "|": "bars"}


class EmptyFileError(ValueError):
    """A file has 0 bytes, or a CSV not even a header: whoever wrote it did not get far."""


class EncodingError(ValueError):
    """A CSV file is not in UTF-8, so that nothing in it can be told."""


class OtherKindError(ValueError):
    """A file that is named .csv is not text."""


@dataclass(frozen=True)
class CsvFile:
    """A CSV file at a glance: its first line that is not blank, and whether a line ends inside quotes."""

    path: str
    header: bytes
    has_open_quote: bool

    @property
    def text(self) -> str:
        """The header as text; what is not UTF-8 is replaced in it."""
        return self.header.removeprefix(BOM_UTF8).decode(errors="replace")

    @property
    def names(self) -> list[str]:
        """The names of the columns as they stand in the file; one may be empty, or there twice."""
        return _split(self.text, ",")


def read_csv(
    spark: SparkSession,
    place: Place,
    files: list[CsvFile],
    required: Iterable[str] = (),
    carried: Iterable[str] = (),
) -> DataFrame:
    """Read files that were looked into, each value as text; see `reading.read_as_found`.

    A column without a name, or with the name of another one, is called after its place. Raises SchemaError
    where a required or carried one is there twice, or where one file lacks a required one that others have.
    """
    needed, used = set(required), {*required, *carried}
    alike: defaultdict[tuple[bytes, bool], list[CsvFile]] = defaultdict(list)
    for file in files:
        alike[file.header, file.has_open_quote].append(file)
    groups = [(group[0], [escape(file.path) for file in group]) for group in alike.values()]
    if len(groups) == 1:
        groups = [(groups[0][0], [place.pattern])]
    for file, _ in groups:
        check_not_repeated(file.names, used, file.path)
    if not any(needed.intersection(file.names) for file, _ in groups):
        _check_separator(groups[0][0], needed)
    tables = [_read_alike(spark, place, file, paths, used) for file, paths in groups]
    if len(tables) == 1:
        return tables[0]
    present = needed & {name for table in tables for name in table.columns}
    for (file, _), table in zip(groups, tables, strict=True):
        check_needed([*file.names, *table.columns], present, file.path, file.names)
    names: dict[str, str] = {}
    for name in (name for table in tables for name in table.columns):
        names.setdefault(name.lower(), name)  # in another case it is the same name to Spark
    return reduce(DataFrame.union, [_with_columns(table, list(names.values())) for table in tables])


def look_into_csv(spark: SparkSession, place: Place) -> list[CsvFile]:
    """Look through each file that is not blank.

    Raises EmptyFileError, EncodingError, OtherKindError, UnreadableFileError or SchemaError.
    """
    lines = open_source(lambda: spark.read.text(place.pattern), place.name)
    with reaching(place.name):
        headers = _read_headers(lines)
        names = lines.inputFiles()
    if not headers:
        raise EmptyFileError(_tell_empty(place.name, [read_listed(name) for name in names]))
    for path in sorted(headers):
        _check_is_text(read_listed(path), headers[path])
    with reaching(place.name):
        opened = lines.where(_ends_open("value")).select("_metadata.file_path").distinct().collect()
    with_open_quote = {row["file_path"] for row in opened}
    files = [CsvFile(read_listed(path), headers[path], path in with_open_quote) for path in sorted(headers)]
    for file in files:
        if file.has_open_quote and ends_open(file.text, False):
            raise SchemaError(f"the header of {file.path} ends inside quotes: {file.header!r}")
    return files


def _tell_empty(source: str, files: list[str]) -> str:
    if not files:
        return f"{source} has no file that Spark reads: it leaves out names that begin with _ or a dot"
    others = f", as are all {len(files)} files of {source}" if len(files) > 1 else ""
    return (
        f"{files[0]} is empty (0 bytes, or blank lines alone){others}; export it again, with a header even "
        "where there are no rows"
    )


def check_needed(names: Iterable[str], needed: set[str], file: str, found: list[str]) -> None:
    """Raise SchemaError when a file lacks a column that others have; `found` are those that it has."""
    if missing := sorted(needed - set(names)):
        raise SchemaError(f"missing columns {missing} in {file}, which other files have; it has {found}")


def name_apart(names: list[str], used: Iterable[str], taken: Iterable[str] = ()) -> list[str]:
    """Give each column a name that no other one has in any case of its letters, which are one to Spark.

    Those that are `used` keep their names, then the first of each other name. The rest, and those without a
    name, are called after their place.
    """
    apart, known, kept = dict[int, str](), {name.lower() for name in taken}, set(used)
    for place in sorted(range(len(names)), key=lambda place: (names[place] not in kept, not names[place])):
        name = names[place]
        if not name or name.lower() in known:
            name = f"{name} (column {place + 1})" if name else f"column {place + 1}"
        while name.lower() in known:
            name += "_"
        apart[place] = name
        known.add(name.lower())
    return [apart[place] for place in range(len(names))]


def check_not_repeated(names: list[str], used: Iterable[str], file: str) -> None:
    """Raise SchemaError when a column that is used is there more than once."""
    for name in sorted(set(used)):
        if len(places := [str(place) for place, other in enumerate(names, 1) if other == name]) > 1:
            raise SchemaError(
                f"{file} has the column {name!r} {len(places)} times, as columns {' and '.join(places)}; "
                "leave one of them, or rename the others"
            )


def _check_separator(file: CsvFile, needed: set[str]) -> None:
    """Raise SchemaError when something else than commas is between the columns."""
    for separator, word in _OTHER_SEPARATORS.items():
        if needed.intersection(_split(file.text, separator)):
            raise SchemaError(
                f"{file.path} has {word} between its columns: {file.text!r}; save it with commas between them"
            )


def _split(line: str, separator: str) -> list[str]:
    """Give the names in a header."""
    try:
        names = next(csv.reader([line], delimiter=separator, skipinitialspace=True), [])
    except csv.Error:  # a name that is longer than any is
        names = line.split(separator)
    return [name.strip(BLANK) for name in names]


def _with_columns(table: DataFrame, names: list[str]) -> DataFrame:
    """Give a table of text these columns in this order; those that it lacks are null."""
    nothing = F.lit(None).cast("string")
    present = {name.lower(): F.col(quote(name)) for name in table.columns}
    return table.select(*[present.get(name.lower(), nothing).alias(name) for name in names])


def _read_alike(
    spark: SparkSession, place: Place, file: CsvFile, paths: list[str], used: set[str]
) -> DataFrame:
    """Read files that all have the header of this one."""
    reader = spark.read.options(**_CSV)
    if paths != [place.pattern] and not place.is_pattern:
        reader = reader.option("basePath", place.name)
    lines = open_source(lambda: reader.text(paths), place.name)
    partitions = [name for name in lines.columns if name != "value"]
    absent = used.difference(file.names)
    names = name_apart(file.names, used, taken=[*LINES, DIGEST, *partitions, *absent])
    if file.has_open_quote:
        return _parse_lines(lines, names, partitions)
    # Where the names stand in the header as they are, a file that has got another one since ends the run.
    options = {"enforceSchema": file.text.rstrip() != ",".join(names), "header": True}
    reader = reader.options(columnNameOfCorruptRecord=BROKEN_LINE, **options)
    return open_source(lambda: reader.schema(_texts([*names, BROKEN_LINE])).csv(paths), place.name)


def _parse_lines(lines: DataFrame, names: list[str], partitions: list[str]) -> DataFrame:
    """Parse the lines of files that are each gone through in order, which tells what is inside quotes."""
    place = ("_metadata.file_path", "_metadata.file_block_start")
    placed = lines.select(F.col("value").cast("binary"), *map(quote, partitions), *place)
    placed = placed.withColumn("place", F.monotonically_increasing_id())
    ordered = placed.repartition("file_path").sortWithinPartitions("file_path", "file_block_start", "place")
    kept = StructType([field for field in lines.schema if field.name in partitions])
    kept = kept.add("value", "string").add(UNCLOSED_LINE, "string")
    told = ordered.mapInArrow(follow_quotes, kept)
    options = {name: str(value) for name, value in _CSV.items()} | {"columnNameOfCorruptRecord": BROKEN_LINE}
    fields = [f"_{number}" for number in range(len(names))]
    row = F.from_csv("value", ", ".join(f"{field} STRING" for field in (*fields, BROKEN_LINE)), options)
    parsed = told.select(row.alias("row"), *map(quote, partitions), UNCLOSED_LINE)
    values = [F.col(f"row.{field}").alias(name) for field, name in zip(fields, names, strict=True)]
    return parsed.select(*values, f"row.{BROKEN_LINE}", *map(quote, partitions), UNCLOSED_LINE)


def _texts(names: list[str]) -> StructType:
    return StructType([StructField(name, StringType()) for name in names])


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


def _check_is_text(path: str, header: bytes) -> None:
    """Raise OtherKindError or EncodingError for a file that is not text in UTF-8."""
    for start, (kind, advice) in _OTHER_KINDS.items():
        if re.match(start, header):
            raise OtherKindError(f"{path} is not CSV: it is {kind}; {advice}")
    has_mark = header.startswith((BOM_UTF16_LE, BOM_UTF16_BE))
    if has_mark or b"\0" in header:
        mark = f"the byte order mark {header[:2].hex(' ').upper()}" if has_mark else "zero bytes"
        raise EncodingError(
            f"{path} is not UTF-8: its first line has {mark}, as UTF-16 has; save it as UTF-8, "
            "such as with: iconv -f UTF-16 -t UTF-8"
        )
    if found := _CONTROL.search(header):
        raise OtherKindError(f"{path} is not CSV: byte {found[0].hex().upper()} in its header is in no text")
