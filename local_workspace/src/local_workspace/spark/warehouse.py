"""The schemas and tables of the workspace's Spark, as a client of it sees them."""

import threading
from collections.abc import Callable, Mapping
from typing import Any, Protocol, TypeVar

from local_workspace.errors import DoesNotExist, InvalidState
from local_workspace.spark.spark_catalogs import SPARKS_OWN, SparkCatalogs
from local_workspace.spark.sql_text import literal, quoted

CATALOG_NAME = SPARKS_OWN
_Answer = TypeVar("_Answer")


class Cluster(Protocol):
    """What is needed of the cluster."""

    @property
    def environment(self) -> dict[str, str]: ...

    @property
    def catalogs(self) -> SparkCatalogs: ...

    def ensure_running(self) -> None: ...


class Warehouse:
    """Asks Spark by a session of its own, opened when first something is asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._session: Any = None
        self._opened_for = ""
        self._lock = threading.Lock()

    @property
    def catalogs(self) -> SparkCatalogs:
        """The catalogs of tables beside Spark's own."""
        return self._cluster.catalogs

    def schemas(self, catalog: str = CATALOG_NAME) -> list[str]:
        """The names of all schemas of a catalog; none where Spark does not know it."""
        if catalog != CATALOG_NAME:
            return self.catalogs.schemas(catalog)
        return [row[0] for row in self._rows("SHOW SCHEMAS IN spark_catalog")]

    def create_schema(self, catalog: str, name: str, comment: str) -> None:
        """Makes a schema, in another catalog than Spark's own without asking Spark."""
        if catalog != CATALOG_NAME:
            self.catalogs.make_schema(catalog, name, comment)
            return
        self._rows(f"CREATE SCHEMA {quoted(CATALOG_NAME, name)} COMMENT {literal(comment)}")

    def drop_schema(self, catalog: str, name: str, force: bool) -> None:
        """Removes a schema; one with tables only where that is asked for; none where Spark has none."""
        if name not in self.schemas(catalog):
            return
        if not force and (tables := self.tables(catalog, name)):
            raise InvalidState(f"Schema '{catalog}.{name}' is not empty: it has {tables[:5]}.")
        self._rows(f"DROP SCHEMA {quoted(catalog, name)} CASCADE")

    def tables(self, catalog: str, schema: str) -> list[str]:
        """The names of a schema's tables and views."""
        if schema not in self.schemas(catalog):
            raise DoesNotExist(f"Schema '{catalog}.{schema}' does not exist.")
        rows = self._rows(f"SHOW TABLES IN {quoted(catalog, schema)}")
        return [row["tableName"] for row in rows if not row["isTemporary"]]

    def table(self, catalog: str, schema: str, name: str) -> dict[str, Any]:
        """Columns and details of a table, or DoesNotExist."""
        if schema not in self.schemas(catalog) or name.lower() not in self.tables(catalog, schema):
            raise DoesNotExist(f"Table '{catalog}.{schema}.{name}' does not exist.")
        full_name = quoted(catalog, schema, name)
        told = self._rows(f"DESCRIBE TABLE EXTENDED {full_name}")
        details = {row[0]: row[1] for row in told[[row[0] for row in told].index("") :]}
        fields = self._ask(lambda session: session.table(full_name).schema)
        return {"fields": fields, "details": details}

    def drop(self, catalog: str, schema: str, name: str) -> None:
        """Removes a table or a view."""
        is_view = self.table(catalog, schema, name)["details"].get("Type") == "VIEW"
        self._rows(f"DROP {'VIEW' if is_view else 'TABLE'} {quoted(catalog, schema, name)}")

    def close(self) -> None:
        """Ends the session."""
        with self._lock:
            if self._session is not None:
                self._session.stop()
                self._session = None

    def _rows(self, statement: str) -> list[Any]:
        return list(self._ask(lambda session: session.sql(statement).collect()))

    def _ask(self, ask: Callable[[Any], _Answer]) -> _Answer:
        with self._lock:
            return ask(self._opened())

    def _opened(self) -> Any:
        from pyspark.sql.connect.client import DefaultChannelBuilder
        from pyspark.sql.connect.session import SparkSession

        self._cluster.ensure_running()
        address = signed_in(self._cluster.environment)
        if self._opened_for != address:
            self._session = SparkSession(DefaultChannelBuilder(address))
            self._opened_for = address
        return self._session


def signed_in(environment: Mapping[str, str]) -> str:
    """The address of Spark Connect with the token, for a client that does not look into its environment."""
    return f"{environment['SPARK_REMOTE']};token={environment['SPARK_CONNECT_AUTHENTICATE_TOKEN']}"
