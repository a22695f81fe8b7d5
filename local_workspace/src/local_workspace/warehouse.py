"""The schemas and tables of the workspace's Spark, as a client of it sees them."""

import threading
from collections.abc import Callable
from typing import Any, Protocol, TypeVar

from local_workspace.errors import DoesNotExist, InvalidState

CATALOG_NAME = "spark_catalog"
_Answer = TypeVar("_Answer")


class Cluster(Protocol):
    """What is needed of the cluster."""

    @property
    def environment(self) -> dict[str, str]: ...

    def ensure_running(self) -> None: ...


class Warehouse:
    """Asks Spark by a session of its own, opened when first something is asked."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._session: Any = None
        self._opened_for = ""
        self._lock = threading.Lock()

    def schemas(self) -> list[str]:
        """The names of all schemas."""
        return [row[0] for row in self._rows("SHOW SCHEMAS IN spark_catalog")]

    def create_schema(self, name: str, comment: str) -> None:
        """Makes a schema."""
        told = comment.replace("\\", "\\\\").replace("'", "\\'")
        self._rows(f"CREATE SCHEMA {_quoted(CATALOG_NAME, name)} COMMENT '{told}'")

    def drop_schema(self, name: str, force: bool) -> None:
        """Removes a schema; one with tables only where that is asked for."""
        if not force and (tables := self.tables(name)):
            raise InvalidState(f"Schema '{CATALOG_NAME}.{name}' is not empty: it has {tables[:5]}.")
        self._rows(f"DROP SCHEMA {_quoted(CATALOG_NAME, name)} CASCADE")

    def tables(self, schema: str) -> list[str]:
        """The names of a schema's tables and views."""
        if schema not in self.schemas():
            raise DoesNotExist(f"Schema '{CATALOG_NAME}.{schema}' does not exist.")
        rows = self._rows(f"SHOW TABLES IN {_quoted(CATALOG_NAME, schema)}")
        return [row["tableName"] for row in rows if not row["isTemporary"]]

    def table(self, schema: str, name: str) -> dict[str, Any]:
        """Columns and details of a table, or DoesNotExist."""
        if schema not in self.schemas() or name.lower() not in self.tables(schema):
            raise DoesNotExist(f"Table '{CATALOG_NAME}.{schema}.{name}' does not exist.")
        full_name = _quoted(CATALOG_NAME, schema, name)
        told = self._rows(f"DESCRIBE TABLE EXTENDED {full_name}")
        details = {row[0]: row[1] for row in told[[row[0] for row in told].index("") :]}
        fields = self._ask(lambda session: session.table(full_name).schema)
        return {"fields": fields, "details": details}

    def drop(self, schema: str, name: str) -> None:
        """Removes a table or a view."""
        is_view = self.table(schema, name)["details"].get("Type") == "VIEW"
        self._rows(f"DROP {'VIEW' if is_view else 'TABLE'} {_quoted(CATALOG_NAME, schema, name)}")

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
        environment = self._cluster.environment
        address = f"{environment['SPARK_REMOTE']};token={environment['SPARK_CONNECT_AUTHENTICATE_TOKEN']}"
        if self._opened_for != address:
            self._session = SparkSession(DefaultChannelBuilder(address))
            self._opened_for = address
        return self._session


def _quoted(*names: str) -> str:
    return ".".join(f"`{name.replace('`', '``')}`" for name in names)
