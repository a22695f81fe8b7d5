"""Creates MLflow's sqlite file, keeps it in its place while the server runs, and lets one write at a time.

What the file says of artifacts stays within the workspace too.
"""

import os
import sqlite3
import threading
from collections.abc import Iterator
from contextlib import AbstractContextManager, closing, contextmanager
from pathlib import Path
from typing import Any, Protocol

from sqlalchemy import create_engine, event, text
from sqlalchemy.exc import DisconnectionError
from sqlalchemy.orm import Session
from sqlalchemy.pool import ConnectionPoolEntry, Pool

from local_workspace.store.sqlite_file import SqliteFile, UnreadableDatabase, identity, new_file
from local_workspace.store.state import leads_out

# Addresses of artifacts that MLflow's server itself resolves, by their schemes: paths, and what it keeps.
OF_THIS_MACHINE = ("", "file", "models", "runs", "mlflow-artifacts")
_FIRST_LOCATION = "SELECT artifact_location FROM experiments WHERE experiment_id = 0"
_TEXTS = """
SELECT tables.name, columns.name FROM sqlite_master AS tables, pragma_table_info(tables.name) AS columns
WHERE tables.type = 'table' AND (columns.type LIKE '%CHAR%' OR columns.type LIKE '%TEXT%')
"""


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


def take_along(path: Path, root: Path) -> None:
    """Has the addresses in the file begin with `root`, also when that folder was moved or copied.

    MLflow keeps whole addresses, of artifacts that would go on leading to where the folder was before.
    """
    with closing(sqlite3.connect(path)) as connection, connection:
        try:
            kept = connection.execute(_FIRST_LOCATION).fetchone()
        except sqlite3.OperationalError as error:
            raise UnreadableDatabase(
                f"{path} is not a database of MLflow ({error}); move it away, or put a copy in its place"
            ) from error
        before, found, _ = kept[0].rpartition("mlflow_artifacts/0") if kept else ("", "", "")
        now = f"{root.as_uri()}/"
        if not found or before == now:
            return
        for table, column in connection.execute(_TEXTS).fetchall():
            update = f'UPDATE "{table}" SET "{column}" = replace("{column}", ?, ?) WHERE instr("{column}", ?)'
            connection.execute(update, (before, now, before))


def _do_not_wait(connection: sqlite3.Connection, _record: ConnectionPoolEntry) -> None:
    connection.execute("PRAGMA synchronous=OFF")


def keep_artifacts_inside(handlers: Any, root: Path) -> None:
    """Refuses an experiment that has its artifacts elsewhere on this machine.

    MLflow shows the files of such a place to whoever may ask for an artifact: those of volumes, or the file
    with the workspace's own token.
    """
    from mlflow.exceptions import MlflowException
    from mlflow.utils.file_utils import local_file_uri_to_path
    from mlflow.utils.uri import get_uri_scheme

    validate = handlers._validate_storage_location_uri

    def validate_inside(value: str, name: str) -> str:
        path = local_file_uri_to_path(value)
        is_inside = path.isprintable() and not leads_out(root, Path(path))
        if get_uri_scheme(value).lower() in OF_THIS_MACHINE and not is_inside:
            raise MlflowException.invalid_parameter_value(
                f"{name} {value!r:.300} is not below {root.as_uri()}; leave it out"
            )
        return str(validate(value, name))

    handlers._validate_storage_location_uri = validate_inside


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


class _OpenSession(Protocol):
    def __call__(self, read_only: bool = True) -> AbstractContextManager[Session]: ...


def take_turns(*stores: Any) -> AbstractContextManager[Any]:
    """Has these stores write one after the other, and read what no write changes meanwhile.

    MLflow looks first and writes then (is this alias there? what is the highest version?), and sqlite's
    driver begins a transaction at the write only: what another client has written in between ends in an error
    of the database, or is lost. Gives the lock, for whoever writes in several calls that belong together.

    The lock is one that its thread may take again, since MLflow opens sessions inside of sessions: a
    transaction of sqlite that takes the lock of its file at once would wait for itself there.
    """
    lock = threading.RLock()
    for store in stores:
        store.ManagedSessionMaker = _in_turn(store.ManagedSessionMaker, lock)
    return lock


def _in_turn(opened: _OpenSession, lock: AbstractContextManager[Any]) -> _OpenSession:
    @contextmanager
    def session(read_only: bool = True) -> Iterator[Session]:
        if read_only:
            with opened(read_only=True) as reading:
                reading.execute(text("BEGIN"))  # all its statements see the same moment
                yield reading
        else:
            with lock, opened(read_only=False) as writing:
                yield writing

    return session
