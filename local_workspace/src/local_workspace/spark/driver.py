"""The way into Spark's Java process: makes its one context, and a gateway for each notebook on Spark Classic.

Who knows the secret of a gateway may do anything in that process, as on a dedicated cluster. Each run has a
gateway of its own: what its notebook keeps alive in Java goes when the gateway is closed.
"""

import logging
import struct
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import psutil
from py4j.clientserver import ClientServer, JavaParameters, PythonParameters
from py4j.protocol import Py4JError

from local_workspace.spark import spark_rights

# By this variable Java is told where to write the port and the secret of its first gateway.
ANNOUNCED_IN = "_PYSPARK_DRIVER_CONN_INFO_PATH"
# The names by which PySpark knows the gateway that it attaches to.
PORT, SECRET = "PYSPARK_GATEWAY_PORT", "PYSPARK_GATEWAY_SECRET"
_LOOK_SECONDS = 0.05
# What a call into Java raises that fails, and one that finds nobody.
LOST = (Py4JError, OSError)


class DriverLost(Exception):
    """The Java process has ended, or has not made its context in time."""


class Driver:
    """Waits for what `process` announces in a file, and has it make its context; in a thread of its own."""

    def __init__(self, process: psutil.Popen, announced: Path) -> None:
        self._process = process
        self._announced = announced
        self._ready = threading.Event()
        self._jvm: Any = None
        self._session: Any = None
        threading.Thread(target=self._make_context, daemon=True).start()

    @property
    def is_ready(self) -> bool:
        """Whether its context was made."""
        return self._ready.is_set()

    @contextmanager
    def gateway(self, run: str, user: str, seconds: float) -> Iterator[dict[str, str]]:
        """What a notebook needs in its environment to attach; in the end its jobs and queries are ended.

        `run` is the group, and a tag, of its jobs, `user` whose rights it has. DriverLost where there is no
        context within the seconds.
        """
        if not self._ready.wait(seconds):
            raise DriverLost("Spark has not made its context")
        try:
            session, server = self._open(run, user)
            environment = {PORT: str(server.getListeningPort()), SECRET: server.secret()}
        except LOST as error:
            raise DriverLost(f"Spark opens no gateway: {error}") from error
        try:
            yield environment
        finally:
            for end in (
                lambda: self._end_jobs(run),
                lambda: self._end_queries(session),
                server.shutdown,
            ):
                self._try(end)

    def close_session(self, user: str, session: str) -> None:
        """Closes a session of Spark Connect, with what it is still doing; does nothing where it is closed."""
        if self.is_ready:
            self._try(lambda: self._close_session(user, session))

    def _close_session(self, user: str, session: str) -> None:
        service = self._jvm.org.apache.spark.sql.connect.service
        the_one = getattr(service, "SparkConnectService$")
        manager = getattr(the_one, "MODULE$").sessionManager()
        manager.closeSession(service.SessionKey(user, session), False)

    def _open(self, run: str, user: str) -> tuple[Any, Any]:
        """A session and a gateway whose threads have it, and mark the jobs of the run, from the beginning.

        A thread of Java starts with what is set in the one that has started it, and a server starts its
        first when it is made.
        """
        context, sessions = self._session.sparkContext(), self._jvm.org.apache.spark.sql.classic.SparkSession
        session = self._session.newSession()
        context.setJobGroup(run, run, False)
        context.addJobTag(run)
        context.setLocalProperty(spark_rights.USER, user)
        whose = self._jvm.org.apache.spark.sql.catalyst.CurrentUserContext.CURRENT_USER()
        whose.set(user)  # what current_user() gives
        sessions.setActiveSession(session)
        try:
            server = self._jvm.org.apache.spark.api.python.Py4JServer(context.conf())
            server.start()
        finally:
            sessions.clearActiveSession()
            whose.remove()
            context.setLocalProperty(spark_rights.USER, None)
            context.clearJobTags()
            context.clearJobGroup()
        return session, server

    def _end_jobs(self, run: str) -> None:
        """Ends those that have the tag, and those that are yet to come: a query may be still in planning."""
        context = self._session.sparkContext()
        context.cancelJobGroupAndFutureJobs(run)
        context.cancelJobsWithTag(run)  # a notebook can give its jobs another group

    def _end_queries(self, session: Any) -> None:
        for query in session.streams().active():
            query.stop()

    def _try(self, step: Callable[[], object]) -> None:
        try:
            step()
        except LOST as error:
            if self._process.poll() is None:  # else all has ended with it
                logging.getLogger(__name__).warning("what a notebook has left in Spark stays: %s", error)

    def _make_context(self) -> None:
        while not self._announced.exists():
            if self._process.poll() is not None:
                return
            time.sleep(_LOOK_SECONDS)
        try:
            self._jvm = _attach(self._announced).jvm
            self._session = self._jvm.org.apache.spark.sql.classic.SparkSession.builder().getOrCreate()
        except LOST:
            logging.getLogger(__name__).exception("Spark has not made its context")
            self._process.stdin.close()  # at which it ends
        else:
            self._ready.set()


def _attach(announced: Path) -> ClientServer:
    """Attaches to the gateway that the file tells of; nobody needs the file any more."""
    written = announced.read_bytes()
    announced.unlink()
    port, length = struct.unpack_from("!ii", written)
    secret = written[8 : 8 + length].decode()
    return ClientServer(
        java_parameters=JavaParameters(port=port, auth_token=secret, auto_convert=True),
        python_parameters=PythonParameters(port=0, eager_load=False),
    )
