"""Keeps MLflow's sqlite file in its place while the server runs."""

import threading

from sqlalchemy import event
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from local_workspace.sqlite_file import SqliteFile, identity


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
