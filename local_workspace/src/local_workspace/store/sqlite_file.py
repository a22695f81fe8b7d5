"""A sqlite file that is put back, whole, when somebody removes it while it is open."""

import os
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from pathlib import Path

BUSY_SECONDS = 30


class UnreadableDatabase(Exception):
    """The file is there and is no sqlite database, or is a broken one."""


class SqliteFile:
    """An open sqlite file, readable by its owner alone.

    A removed file lives on in its open connection, but what is written there is gone with the process.
    Each connection is handed to `prepare` first.
    """

    def __init__(
        self, path: Path, prepare: Callable[[sqlite3.Connection], None] = lambda connection: None
    ) -> None:
        self.path = path
        self._prepare = prepare
        self._open()

    def in_place(self) -> sqlite3.Connection:
        """The connection; a file that is not at its path any more is written there again first."""
        if self._seen() != self._opened:
            self._put_back()
        return self.connection

    def close(self) -> None:
        """Give the file back."""
        self.connection.close()

    def _open(self) -> None:
        _touch(self.path)
        self.connection = sqlite3.connect(
            self.path, timeout=BUSY_SECONDS, isolation_level=None, check_same_thread=False
        )
        try:
            self.connection.execute("PRAGMA journal_mode=WAL")
            self.connection.execute("SELECT name FROM sqlite_master").fetchall()  # opens the journal too
        except sqlite3.DatabaseError as error:
            self.connection.close()
            if error.sqlite_errorcode not in (sqlite3.SQLITE_NOTADB, sqlite3.SQLITE_CORRUPT):
                raise
            raise UnreadableDatabase(
                f"{self.path} cannot be read ({error}); put a copy in its place, or move it away to start "
                "with an empty one"
            ) from error
        self._prepare(self.connection)
        self._opened = self._seen()

    def _put_back(self) -> None:
        self.path.parent.mkdir(parents=True, exist_ok=True, mode=0o700)
        with new_file(self.path) as copy:
            with closing(sqlite3.connect(copy)) as connection:
                self.connection.backup(connection)
            self.connection.close()  # before the new file is there: it removes the journal of its name
        self._open()

    def _seen(self) -> list[tuple[int, int] | None]:
        """Which files are at the paths; a file that is open keeps its number, so that no other gets it."""
        return [identity(path) for path in (self.path, _journals(self.path)[0])]


@contextmanager
def new_file(path: Path) -> Iterator[Path]:
    """Where to write a sqlite file and close it; put at `path` when that has gone well.

    A journal of an earlier file would be taken for its own.
    """
    draft = path.with_name(path.name + ".partial")
    draft.unlink(missing_ok=True)
    _touch(draft)
    yield draft
    for journal in _journals(path):
        journal.unlink(missing_ok=True)
    draft.replace(path)


def _journals(path: Path) -> list[Path]:
    return [path.with_name(path.name + end) for end in ("-wal", "-shm", "-journal")]


def _touch(path: Path) -> None:
    """sqlite gives its journal files the mode of the database: secrets stay with their owner."""
    os.close(os.open(path, os.O_CREAT | os.O_RDWR, 0o600))


def identity(path: Path) -> tuple[int, int] | None:
    """Which file is at `path`, if there is one."""
    try:
        stat = path.stat()
    except FileNotFoundError:
        return None
    return stat.st_dev, stat.st_ino
