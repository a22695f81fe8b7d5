"""Creates MLflow's sqlite file, and keeps it in its place while the server runs."""

import os
import sqlite3
import threading
from pathlib import Path

from sqlalchemy import create_engine, event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from local_workspace.sqlite_file import SqliteFile, identity, new_file


def create(path: Path) -> None:
    """Makes the file with MLflow's tables and puts it at `path` when it is whole.

    MLflow builds its tables in some fifty steps of many statements, each of which sqlite would wait for until
    the disk has it: seconds, on a machine that starts Spark at the same time.
    """
    from mlflow.store.db.utils import _initialize_tables

    with new_file(path) as draft:
        engine = create_engine(f"sqlite:///{draft}")
        event.listen(engine, "connect", _do_not_wait)
        _initialize_tables(engine)
        engine.dispose()
        with draft.open("rb") as file:
            os.fsync(file.fileno())


def _do_not_wait(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def keep_in_place(file: SqliteFile) -> None:
    """Looks after a file that SQLAlchemy's pools have open, each time before a connection is used."""
    lock = threading.Lock()

    @event.listens_for(Pool, "connect")
    def note(_connection: object, record: ConnectionPoolEntry) -> None:
        record.info["file"] = identity(file.path)

    @event.listens_for(Pool, "checkout")
    def check(_connection: object, record: ConnectionPoolEntry, _proxy: object) -> None:
        with lock:
            file.in_place()
        if record.info.get("file") != identity(file.path):
            raise DisconnectionError(f"{file.path} was put back")  # has the pool connect again
