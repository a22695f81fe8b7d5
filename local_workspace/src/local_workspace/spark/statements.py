"""SQL statements that are carried out beside the requests that ask for them; their results are kept an hour.

They are kept in memory: a workspace that is started again has forgotten them, as Databricks has later.
"""

import logging
import threading
import uuid
from collections.abc import Iterable
from concurrent.futures import Future
from dataclasses import dataclass, field
from typing import Any

from local_workspace.clock import now
from local_workspace.errors import ApiError, DoesNotExist
from local_workspace.spark.cluster import ClusterError
from local_workspace.spark.statement_session import Answer, Cluster, Row, Statement, answer, opened

MEGABYTE = 1024 * 1024
# Databricks' own limit of a result that is answered inline.
LARGEST_RESULT = 25 * MEGABYTE
CHUNK_BYTES = 2 * MEGABYTE
KEPT_SECONDS = 3600
MOST_KEPT_BYTES = 128 * MEGABYTE
# How many are carried out at once; more wait.
MOST_AT_ONCE = 8
INTERRUPT_SECONDS, MOST_INTERRUPTS = 0.5, 120
PENDING, RUNNING, SUCCEEDED, FAILED, CANCELED = "PENDING", "RUNNING", "SUCCEEDED", "FAILED", "CANCELED"


class ResultTooLarge(Exception):
    """A result with more bytes than are answered inline."""


@dataclass
class Chunk:
    """A part of the rows, and where it begins."""

    offset: int
    rows: list[Row] = field(default_factory=list)
    size: int = 0


@dataclass
class Result:
    """The columns and rows of a statement; `truncated` where a limit cut it."""

    columns: list[dict[str, Any]] = field(default_factory=list)
    chunks: list[Chunk] = field(default_factory=list)
    truncated: bool = False

    @property
    def row_count(self) -> int:
        """How many rows there are."""
        return sum(len(chunk.rows) for chunk in self.chunks)

    @property
    def size(self) -> int:
        """How many bytes the values have."""
        return sum(chunk.size for chunk in self.chunks)


@dataclass
class Failure:
    """Why a statement failed: Databricks' word for the kind of error, Spark's message and SQLSTATE."""

    code: str
    message: str
    sql_state: str = ""


class Execution:
    """One statement on its way: its state, and what came of it."""

    def __init__(self, statement: Statement) -> None:
        self.id = str(uuid.uuid4())
        self.statement = statement
        self.state = PENDING
        self.result = Result()
        self.failure: Failure | None = None
        self.ended: Future[None] = Future()
        self.begun_at = now()
        self.ended_at = 0
        self._session: Any = None
        self._left = threading.Event()
        self._lock = threading.Lock()

    def run(self, cluster: Cluster) -> None:
        """Carries the statement out, unless it was cancelled before."""
        try:
            with opened(cluster, self.statement.user) as session:
                if self._begin(session):
                    result = collect(answer(session, self.statement), self.statement)
                    self._end(SUCCEEDED, result=result)
        except Exception as error:  # noqa: BLE001 -- nobody else tells who waits for it
            self._end(FAILED, failure=failure_of(error))
        finally:
            self._left.set()

    def cancel(self) -> None:
        """Ends it; what has ended already stays as it is."""
        if not self._end(CANCELED):
            return
        if self._session is not None:
            threading.Thread(target=self._interrupt, daemon=True).start()

    def _interrupt(self) -> None:
        """Until it has left Spark: what it is about to begin is not there to be ended yet."""
        from pyspark.errors import PySparkException

        for _ in range(MOST_INTERRUPTS):
            try:
                self._session.interruptAll()
            except (PySparkException, ValueError) as error:  # its session was closed meanwhile
                logging.getLogger(__name__).debug("a statement that was cancelled had ended: %s", error)
            if self._left.wait(INTERRUPT_SECONDS):
                return

    def _begin(self, session: Any) -> bool:
        with self._lock:
            self._session = session
            if self.state == PENDING:
                self.state = RUNNING
            return self.state == RUNNING

    def _end(self, state: str, result: Result | None = None, failure: Failure | None = None) -> bool:
        """Whether this ended it; of two that do the first counts."""
        with self._lock:
            if self.ended.done():
                return False
            self.result, self.failure, self.state = result or self.result, failure, state
            self.ended_at = now()
            self.ended.set_result(None)
        return True


class Statements:
    """The statements of the last hour."""

    def __init__(self, cluster: Cluster) -> None:
        self._cluster = cluster
        self._kept: dict[str, Execution] = {}
        self._lock = threading.Lock()
        self._places = threading.Semaphore(MOST_AT_ONCE)

    def submit(self, statement: Statement) -> Execution:
        """Begins a statement; it goes on whoever waits for it."""
        execution = Execution(statement)
        with self._lock:
            self._forget()
            self._kept[execution.id] = execution
        threading.Thread(target=self._run, args=(execution,), daemon=True).start()
        return execution

    def find(self, statement_id: str, user: str) -> Execution:
        """A statement of this user, or DoesNotExist."""
        found = self._kept.get(statement_id)
        if found is None or found.statement.user != user:
            raise DoesNotExist(
                f"The statement {statement_id!r:.100} was not found: results are kept for an hour, for who "
                "has sent the statement, until the workspace is stopped."
            )
        return found

    def of(self, user: str) -> list[Execution]:
        """The statements of a user, the newest first."""
        return [each for each in reversed(list(self._kept.values())) if each.statement.user == user]

    def _run(self, execution: Execution) -> None:
        with self._places:
            execution.run(self._cluster)

    def _forget(self) -> None:
        """Drops what ended long ago, and the oldest where all together are large."""
        ended = [each for each in self._kept.values() if each.ended.done()]
        kept = sum(each.result.size for each in ended)
        for each in sorted(ended, key=lambda each: each.ended_at):
            is_old = now() - each.ended_at > KEPT_SECONDS * 1000
            if is_old or kept > MOST_KEPT_BYTES:
                kept -= each.result.size
                del self._kept[each.id]


def collect(found: Answer, statement: Statement) -> Result:
    """The rows in chunks, as far as the limits of the statement let them in."""
    result = Result(found.columns)
    chunk = Chunk(0)
    for number, row in enumerate(found.rows):
        size = _size(row)
        if statement.row_limit == number or _exceeds(result.size + chunk.size + size, statement.byte_limit):
            result.truncated = True
            break
        if chunk.rows and chunk.size + size > CHUNK_BYTES:
            result.chunks.append(chunk)
            chunk = Chunk(number)
        chunk.rows.append(row)
        chunk.size += size
        if statement.byte_limit is None and result.size + chunk.size > LARGEST_RESULT:
            raise ResultTooLarge(
                f"Inline byte limit exceeded. A result has at most {LARGEST_RESULT} bytes here, where there "
                "is no disposition EXTERNAL_LINKS: ask for fewer rows or columns, or read them in a notebook."
            )
    if chunk.rows:
        result.chunks.append(chunk)
    return result


def _exceeds(size: int, byte_limit: int | None) -> bool:
    return byte_limit is not None and size > min(byte_limit, LARGEST_RESULT)


def _size(row: Iterable[str | None]) -> int:
    return sum(len(value.encode()) for value in row if value is not None)


def failure_of(error: Exception) -> Failure:
    """An error of Spark, of the workspace or of the connection between them, in words for a client."""
    from pyspark.errors import PySparkException

    if isinstance(error, PySparkException):
        message, *_ = (error.getMessage() or str(error)).partition("\n\nJVM stacktrace:")
        return Failure("BAD_REQUEST", message, error.getSqlState() or "")
    if isinstance(error, ApiError):
        return Failure("BAD_REQUEST", error.message)
    if isinstance(error, ResultTooLarge):
        return Failure("BAD_REQUEST", str(error))
    if isinstance(error, ClusterError):
        return Failure("TEMPORARILY_UNAVAILABLE", str(error))
    logging.getLogger(__name__).error("a statement failed", exc_info=error)
    return Failure("INTERNAL_ERROR", f"{type(error).__name__}: {error}")
