"""One SQL statement on the workspace's Spark: a session of its own, the rights of its user, rows as texts."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass, field
from typing import Any, Protocol

from local_workspace.spark.parameters import bound
from local_workspace.spark.type_names import described
from local_workspace.spark.warehouse import CATALOG_NAME, signed_in

# What a client of Spark Connect tries again where Spark does not answer; by itself it would for ten minutes.
MOST_RETRIES = 3
Row = list[str | None]


class Cluster(Protocol):
    """What is needed of the cluster."""

    def environment_of(self, user: str) -> Mapping[str, str]: ...

    def ensure_running(self) -> None: ...


# Carries out what the workspace knows of and Spark does not, in a session; gives the schema and the rows.
Own = Callable[[str, Any], tuple[str, Sequence[tuple[str, ...]]] | None]


@dataclass(frozen=True)
class Statement:
    """What is to be run, and as whom; `catalog` and `schema` are where names without them are looked for."""

    text: str
    user: str
    warehouse: str = ""
    catalog: str = ""
    schema: str = ""
    parameters: tuple[dict[str, Any], ...] = ()
    row_limit: int | None = None
    byte_limit: int | None = None
    own: Own = lambda text, session: None


@dataclass(frozen=True)
class Answer:
    """The columns of a result, and its rows, which are read as they are asked for."""

    columns: list[dict[str, Any]]
    rows: Iterator[Row] = field(default_factory=lambda: iter(()))


@contextmanager
def opened(cluster: Cluster, user: str) -> Iterator[Any]:
    """A session of a user; in the end it is closed, with what it is still doing."""
    from pyspark.sql.connect.client import DefaultChannelBuilder
    from pyspark.sql.connect.client.retries import DefaultPolicy
    from pyspark.sql.connect.session import SparkSession

    cluster.ensure_running()
    session = SparkSession(DefaultChannelBuilder(signed_in(cluster.environment_of(user))))
    session.client.set_retry_policies([DefaultPolicy(max_retries=MOST_RETRIES)])
    try:
        yield session
    finally:
        session.stop()


def answer(session: Any, statement: Statement) -> Answer:
    """Runs a statement; a query is carried out as its rows are read."""
    if statement.catalog and statement.catalog != CATALOG_NAME:
        session.catalog.setCurrentCatalog(statement.catalog)
    if statement.schema:
        session.catalog.setCurrentDatabase(statement.schema)
    text = bound(statement.text, statement.parameters)
    own = statement.own(text, session)
    if own is not None:
        return _own_answer(*own)
    found = session.sql(text)
    fields = found.schema.fields
    columns = [
        {"name": each.name, "position": place} | described(each.dataType) for place, each in enumerate(fields)
    ]
    return Answer(columns, _rows(found, fields, statement.row_limit)) if columns else Answer([])


def _own_answer(schema: str, rows: Sequence[tuple[str, ...]]) -> Answer:
    """The answer to a statement that is not Spark's; its columns are texts."""
    from pyspark.sql.types import StringType

    names = [column.split()[0] for column in schema.split(",") if column]
    columns = [
        {"name": name, "position": place} | described(StringType()) for place, name in enumerate(names)
    ]
    return Answer(columns, (list(row) for row in rows))


def _rows(found: Any, fields: list[Any], row_limit: int | None) -> Iterator[Row]:
    """The rows as Spark itself writes their values; one more than the limit, so that a cut is seen."""
    from pyspark.sql.connect import functions as F

    names = [f"c{place}" for place in range(len(fields))]  # two columns may have one name
    texts = [
        _text(F, F.col(name), each.dataType).alias(name) for name, each in zip(names, fields, strict=True)
    ]
    written = found.toDF(*names).select(*texts)
    limited = written if row_limit is None else written.limit(row_limit + 1)
    return (list(row) for row in limited.toLocalIterator())


def _text(functions: Any, column: Any, data_type: Any) -> Any:
    """A column as the texts that Databricks answers."""
    kind = data_type.typeName()
    if kind in ("array", "map", "struct", "variant"):
        return functions.to_json(column, {"ignoreNullFields": "false"})
    if kind == "binary":
        return functions.base64(column)
    if kind in ("timestamp", "timestamp_ntz"):
        zone = "XXX" if kind == "timestamp" else ""
        whole = functions.date_format(column, f"yyyy-MM-dd'T'HH:mm:ss.SSSSSS{zone}")
        return functions.regexp_replace(whole, r"(\.\d{3})000", "$1")
    return column if kind == "string" else column.cast("string")
