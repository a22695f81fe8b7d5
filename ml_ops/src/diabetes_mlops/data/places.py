"""Finds what a job is told to read, a path or a table, and says in one sentence why it cannot be read."""

import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from urllib.parse import unquote

from diabetes.tabular.sql import quote as quote
from pyspark.errors import AnalysisException
from pyspark.sql import DataFrame, SparkSession

from diabetes_mlops.runs.spark_errors import lines_of_java, reason_of

NOT_FOUND = (
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
# What Spark Connect and Spark Classic say of a query that somebody has stopped.
_CANCELLED = ("OPERATION_CANCELED", "SPARK_JOB_CANCELLED")
# What is no plain character in a pattern of Hadoop's.
_SPECIAL = re.compile(r"([\\*?\[\]{}])")
_FILE_READ = re.compile(r"while reading file (.+?)\.\s")
# What to do, by a part of the cause.
_ADVICE = {
    "not a gzip file": "a name that ends in .gz is that of a gzip file; rename it, or compress it",
    "Unexpected end of": "it ends too early; export or copy it again",
    "is not a Parquet file": "it is another kind of file than its name says, or was not written to its end",
    "footer is too large": "it is another kind of file than its name says, or was not written to its end",
    "Relative path in absolute URI": "Spark reads no file with a colon in its name; rename it",
}


class SourceNotFoundError(FileNotFoundError):
    """There is no file or table under the name that the job was given."""


class SourceUnreachableError(ConnectionError):
    """The storage account of a path refuses to be read, or does not answer."""


class UnreadableFileError(ValueError):
    """Spark cannot read a file: it is damaged, or is not what its name says."""


@dataclass(frozen=True)
class Place:
    """A path as the job was given it, and as Spark has to be given it.

    `is_pattern` says that the path stands for whatever matches it: none is there that is spelled like it.
    """

    name: str
    pattern: str
    is_pattern: bool


def find_place(spark: SparkSession, path: str) -> Place:
    """Tell the path of a file or a folder from a pattern: what is there as it stands is no pattern."""
    escaped = escape(path)
    if escaped == path:
        return Place(path, path, is_pattern=False)
    try:
        open_source(lambda: spark.read.format("binaryFile").load(escaped), path)
    except SourceNotFoundError:
        return Place(path, path, is_pattern=True)
    return Place(path, escaped, is_pattern=False)


def escape(path: str) -> str:
    """Write a path so that it is no pattern, whatever is in it."""
    return _SPECIAL.sub(r"\\\1", path)


def read_listed(file: str) -> str:
    """Give the path of a file that a listing of Spark's has, where it stands encoded."""
    return unquote(file)


def path_of(file: str) -> str:
    """Give a listed file's path without its scheme, which listings spell differently."""
    return "/" + read_listed(file).partition(":")[2].lstrip("/")


def open_source(read: Callable[[], DataFrame], source: str) -> DataFrame:
    """Open a source and ask for its columns: Spark Classic looks for it at once, Spark Connect only then.

    Raises SourceNotFoundError, SourceUnreachableError or UnreadableFileError.
    """
    try:
        with reaching(source):
            table = read()
            _ = table.columns
    except AnalysisException as error:
        if error.getCondition() in NOT_FOUND:
            raise SourceNotFoundError(f"there is no file or table {source!r}") from error
        raise UnreadableFileError(f"{source!r} cannot be read: {reason_of(error)}") from error
    return table


@contextmanager
def reaching(source: str) -> Iterator[None]:
    """Say in one sentence that a storage account does not let a source be read, or that a file is damaged."""
    try:
        yield
    except AnalysisException as error:
        if _STORAGE_DRIVER in str(error):
            raise _unreachable(source, error) from error
        raise
    except Exception as error:
        text = "\n".join(lines_of_java(error))
        if not text or any(word in text for word in _CANCELLED):
            raise
        if _STORAGE_DRIVER in text:
            raise _unreachable(source, error) from error
        if "Illegal file pattern" in text:
            raise SourceNotFoundError(
                f"there is no file or table {source!r}, and it is not a pattern"
            ) from error
        raise _unreadable(source, error, text) from error


def table_exists(spark: SparkSession, name: str) -> bool:
    """Whether there is a table or a view of this name, which may have a hyphen in it."""
    return bool(spark.catalog.tableExists(quote_name(name)))


def quote_name(name: str) -> str:
    """Quote each part of a table's name."""
    return ".".join(quote(part) for part in name.split("."))


def _unreachable(source: str, error: Exception) -> SourceUnreachableError:
    return SourceUnreachableError(
        f"{source!r} cannot be read: {reason_of(error)}. Check data_root, data_credential and its "
        "secrets, the rights on the container, and the network between cluster and storage account"
    )


def _unreadable(source: str, error: Exception, text: str) -> UnreadableFileError:
    reason, file = reason_of(error), _FILE_READ.search(text)
    advice = next((f": {what}" for part, what in _ADVICE.items() if part in reason), "")
    name = read_listed(file[1]) if file else repr(source)
    return UnreadableFileError(f"{name} cannot be read: {reason}{advice}")
