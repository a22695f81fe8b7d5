"""JSON documents by kind and key in one sqlite file."""

import json
import sqlite3
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from local_workspace.errors import DoesNotExist
from local_workspace.store import document_index
from local_workspace.store.document_index import Search, Value
from local_workspace.store.sqlite_file import SqliteFile

Document = dict[str, Any]
Entry = tuple[int, Document]

TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, key TEXT, document TEXT, UNIQUE (kind, key));
CREATE TABLE IF NOT EXISTS counters (kind TEXT PRIMARY KEY, value INTEGER);
"""
READ_AT_ONCE = 20


class Database:
    """Keeps documents across restarts and `kill -9`; safe to use from many threads."""

    def __init__(self, path: Path) -> None:
        self._lock = threading.RLock()
        self._file = SqliteFile(path, _prepare)

    def close(self) -> None:
        """Give the file back."""
        with self._lock:
            self._file.close()

    def put(self, kind: str, key: str, document: Document) -> None:
        """Create or replace one document; a replaced one keeps its place in `all`."""
        with self.transaction() as connection:
            connection.execute(
                "INSERT INTO documents (kind, key, document) VALUES (?, ?, ?) "
                "ON CONFLICT (kind, key) DO UPDATE SET document = excluded.document",
                (kind, key, json.dumps(document)),
            )

    def get(self, kind: str, key: str) -> Document | None:
        """One document, or None."""
        rows = self._select("SELECT document FROM documents WHERE kind = ? AND key = ?", kind, key)
        return rows[0] if rows else None

    def delete(self, kind: str, key: str) -> None:
        """Remove one document; a missing one is no error."""
        with self.transaction() as connection:
            connection.execute("DELETE FROM documents WHERE kind = ? AND key = ?", (kind, key))

    def all(self, kind: str) -> list[Document]:
        """Every document of a kind, the oldest first."""
        return self._select("SELECT document FROM documents WHERE kind = ? ORDER BY position", kind)

    def find(
        self, search: Search, *, newest_first: bool = False, most: int = -1, offset: int = 0
    ) -> list[Entry]:
        """Documents and their positions, the oldest first or the newest; no other document is read."""
        positions, values = search.positions()
        if not positions:
            return []
        order = "DESC" if newest_first else "ASC"
        found = f"{positions} ORDER BY position {order} LIMIT ? OFFSET ?"
        rows = self._rows(
            f"SELECT position, document FROM documents WHERE position IN ({found}) ORDER BY position {order}",
            *values, most, offset,
        )  # fmt: skip
        return [(position, json.loads(document)) for position, document in rows]

    def walk(self, search: Search) -> Iterator[Document]:
        """Documents, the oldest first, read a few at a time as they are asked for."""
        last = 0
        while entries := self.find(search.within({"position > ?": last}), most=READ_AT_ONCE):
            last = entries[-1][0]
            yield from (document for _, document in entries)

    def count(self, search: Search) -> int:
        """How many documents there are."""
        positions, values = search.positions()
        return int(self._rows(f"SELECT count(*) FROM ({positions})", *values)[0][0]) if positions else 0

    def counts(self, search: Search, column: str) -> dict[Any, int]:
        """How many documents have each value of a column."""
        positions, values = search.positions()
        query = positions.replace("SELECT position", f"SELECT {column} AS value")
        return dict(self._rows(f"SELECT value, count(*) FROM ({query}) GROUP BY value", *values))

    def update(self, kind: str, key: str, change: Callable[[Document], None]) -> Document:
        """Let `change` alter one document in a single transaction, and give back what it has become.

        Raises DoesNotExist when the document is missing.
        """
        with self.transaction() as connection:
            document = self.get(kind, key)
            if document is None:
                raise DoesNotExist(f"{kind} {key!r} does not exist")
            change(document)
            connection.execute(
                "UPDATE documents SET document = ? WHERE kind = ? AND key = ?",
                (json.dumps(document), kind, key),
            )
            return document

    def next_id(self, kind: str) -> int:
        """The next number of a kind: 1, 2, 3, …; never the same one twice."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO counters VALUES (?, 0)", (kind,))
            connection.execute("UPDATE counters SET value = value + 1 WHERE kind = ?", (kind,))
            row = connection.execute("SELECT value FROM counters WHERE kind = ?", (kind,)).fetchone()
            return int(row[0])

    def skip_ids(self, kind: str, taken: int) -> None:
        """Let the numbers of a kind go on behind `taken`, if they are not that far yet."""
        with self.transaction() as connection:
            connection.execute("INSERT OR IGNORE INTO counters VALUES (?, 0)", (kind,))
            connection.execute("UPDATE counters SET value = max(value, ?) WHERE kind = ?", (taken, kind))

    @contextmanager
    def transaction(self) -> Iterator[sqlite3.Connection]:
        """All changes inside happen together or not at all; one inside another becomes a part of it."""
        with self._lock:
            if self._file.connection.in_transaction:
                yield self._file.connection
                return
            connection = self._file.in_place()
            connection.execute("BEGIN IMMEDIATE")
            try:
                yield connection
                connection.execute("COMMIT")
            except BaseException:
                if connection.in_transaction:  # on a full disk sqlite ends it by itself
                    connection.execute("ROLLBACK")
                raise

    def _select(self, query: str, *values: Value) -> list[Document]:
        return [json.loads(row[0]) for row in self._rows(query, *values)]

    def _rows(self, query: str, *values: Value) -> list[Any]:
        with self._lock:
            inside = self._file.connection.in_transaction
            connection = self._file.connection if inside else self._file.in_place()
            return connection.execute(query, values).fetchall()


def _prepare(connection: sqlite3.Connection) -> None:
    # sqlite's own `lower` knows the letters of English alone.
    connection.create_function("lowered", 1, lambda text: str(text or "").lower(), deterministic=True)
    connection.executescript(TABLES)
    document_index.ensure(connection)
