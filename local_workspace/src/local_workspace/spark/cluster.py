"""The one Spark behind the workspace's clusters: long-lived, with Delta.

It answers Spark Connect, and notebooks on Spark Classic attach to its Java process itself.
"""

import errno
import secrets
import shutil
import socket
import subprocess
import threading
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from urllib.parse import quote

import psutil
import pyspark

from local_workspace.callers import USER_NAME
from local_workspace.processes import process_environment
from local_workspace.processes.environment import create_environment, python_of
from local_workspace.processes.processes import end_process_tree, recall, remember
from local_workspace.processes.run_processes import end_processes, mark, uses_cluster
from local_workspace.spark import spark_rights
from local_workspace.spark.access_modes import DEDICATED, STANDARD, is_classic
from local_workspace.spark.driver import ANNOUNCED_IN, Driver, DriverLost
from local_workspace.spark.java import find_java
from local_workspace.spark.server_settings import SUBMIT, arguments, java_options, settings_of
from local_workspace.spark.spark_catalogs import SparkCatalogs
from local_workspace.store.profile import ADDRESS

START_SECONDS = 300
PID_FILE = "server.pid"

# Of org.apache.spark.util.SparkExitCode.
_CODES = {50: ", an exception that nothing caught", 52: ", out of memory"}


class ClusterError(Exception):
    """Spark did not start."""


class SparkCluster:
    """Spark as a child process; its files stay under `folder`."""

    def __init__(
        self,
        folder: Path,
        dbfs: Path,
        volumes: Path,
        log: Path,
        rights: Mapping[str, str] | None = None,
    ) -> None:
        self.folder = folder
        self.log = log
        self.port = 0
        self.token = secrets.token_urlsafe(32)
        self.catalogs = SparkCatalogs(folder / "catalogs")
        self._dbfs, self._volumes = dbfs, volumes
        # How Spark asks for the rights of its users, where it is to; it knows other catalogs then too.
        self._rights = rights
        self._class_path = f"{pyspark.__path__[0]}/jars/*"
        self._process: psutil.Popen | None = None
        self._driver: Driver | None = None
        self._warm_up: psutil.Popen | None = None
        self._is_warm_up_wanted = True
        self._is_stopped = False
        self._lock = threading.Lock()  # held by whoever starts or ends a process
        self._ends: dict[str, str] = {}  # how earlier servers ended, by their addresses

    @property
    def environment(self) -> dict[str, str]:
        """What a client of Spark Connect needs; only `localhost` takes a token without TLS."""
        return {
            "SPARK_REMOTE": f"{self._address}/;user_id={quote(USER_NAME)}",
            "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.token,
        }

    def environment_of(self, user: str) -> dict[str, str]:
        """What a client of a user needs in its environment."""
        return self.environment | {"SPARK_REMOTE": f"{self._address}/;user_id={quote(user)}"}

    @property
    def _address(self) -> str:
        return f"sc://localhost:{self.port}"

    def start(self) -> None:
        """Starts the server and returns at once; `state` tells when it answers."""
        self.folder.mkdir(parents=True, exist_ok=True)
        java = find_java()
        python = create_environment(self.folder / "python")
        if (before := self._process) is not None:
            self._ends[self._address] = _tell_end(before)
        end_left_over(self.folder)
        if self._rights:
            classes = spark_rights.compiled(java, self.folder / "extension", process_environment.inherited())
            self._class_path = f"{pyspark.__path__[0]}/jars/*:{classes}"
        # A new one for each server: it tells two apart, and the old one may be taken.
        self.port = free_port()
        announced = self.folder / "gateway"
        announced.unlink(missing_ok=True)
        with self.log.open("ab" if self._ends else "wb") as log:
            self._process = psutil.Popen(
                [
                    str(java),
                    *java_options(self.folder, self._class_path),
                    SUBMIT,
                    *arguments(self._settings()),
                ],
                cwd=self.folder,
                env=self._server_environment(python) | {ANNOUNCED_IN: str(announced)},
                stdin=subprocess.PIPE,  # it ends when this is closed, as when the workspace is killed
                stdout=log,
                stderr=log,
                start_new_session=True,
            )
        self._driver = Driver(self._process, announced)
        remember(self._process, self.folder / PID_FILE)

    def state(self) -> str:
        """The official word for the state of the cluster: RUNNING, PENDING, ERROR or TERMINATED."""
        if self._process is None or self._driver is None:
            return "TERMINATED"
        if self._process.poll() is not None:
            return "ERROR"
        if not self._driver.is_ready:
            return "PENDING"
        with socket.socket() as connection:
            connection.settimeout(1)
            found = connection.connect_ex((ADDRESS, self.port))
        # It listens as long as there is a context, which a notebook can stop if it really wants to.
        return {0: "RUNNING", errno.ECONNREFUSED: "ERROR"}.get(found, "PENDING")

    def find_end(self, environment: Mapping[str, str]) -> str | None:
        """How the server to which this environment leads has ended; None while it is there."""
        address, _, _ = environment.get("SPARK_REMOTE", "").partition("/;")
        process = self._process
        if process is None or address != self._address:
            return self._ends.get(address, "it was stopped")
        return None if process.poll() is None else _tell_end(process)

    @contextmanager
    def attached(self, mode: str, run: str, user: str, folder: Path) -> Iterator[dict[str, str]]:
        """What the access mode of a run's cluster adds to its `environment`; raises ClusterError.

        In the end what the run has in Spark goes; a session of Spark Connect would stay for an hour.
        """
        if not is_classic(mode):
            try:
                yield {}
            finally:
                self._close_session(user, uses_cluster(folder))
            return
        if self._driver is None:
            raise ClusterError("Spark was stopped")
        try:
            with self._driver.gateway(run, user, START_SECONDS) as gateway:
                yield gateway | {"PYSPARK_PYTHON": str(python_of(self.folder / "python"))}
        except DriverLost as error:
            raise ClusterError(f"{error}; see {self.log}") from error

    def ensure_running(self) -> None:
        """Starts the server again if it has died, and waits until it answers; raises ClusterError.

        After `stop` nothing is started any more: a thread that comes too late would leave it behind.
        """
        with self._lock:
            if self.state() in ("ERROR", "TERMINATED") and not self._is_stopped:
                self.start()
        deadline = time.monotonic() + START_SECONDS
        while self.state() == "PENDING" and time.monotonic() < deadline:
            time.sleep(0.2)
        if self.state() != "RUNNING":
            raise ClusterError(f"Spark did not start (state {self.state()}); see {self.log}")

    def warm_up(self) -> None:
        """Has the server do what runs will ask of it, on tables that nobody sees; returns when it is done.

        On Spark Classic first, as the cluster of a demo has it. Does nothing, or no more, when a run came
        first or when the server was stopped; raises ClusterError.
        """
        for mode in (DEDICATED, STANDARD):
            if self._is_stopped or not self._is_warm_up_wanted:
                return
            with self.attached(mode, "warm-up", USER_NAME, self._warm_up_folder) as of_mode:
                self._warm_up_with(of_mode or self.environment)

    def end_warm_up(self) -> None:
        """Asks it to end with the step that it is at, or not to begin: a run needs the machine."""
        with self._lock:
            self._is_warm_up_wanted = False
            if self._warm_up is not None:
                with suppress(psutil.NoSuchProcess):  # it has ended by itself
                    self._warm_up.terminate()

    def stop(self) -> None:
        """Ends the server and its Python workers, for good."""
        with self._lock:
            self._is_stopped = True
            if self._warm_up is not None:
                end_process_tree(self._warm_up, grace_seconds=0)
                self._warm_up.wait()
            if self._process is not None:
                end_process_tree(self._process)
                self._process = None
        shutil.rmtree(self._warm_up_folder, ignore_errors=True)
        (self.folder / PID_FILE).unlink(missing_ok=True)

    def _close_session(self, user: str, noted: Path) -> None:
        session = noted.read_text() if noted.exists() else ""
        if session and self._driver is not None:
            self._driver.close_session(user, session)

    def _warm_up_with(self, of_spark: Mapping[str, str]) -> None:
        with self._lock:
            if self._is_stopped or not self._is_warm_up_wanted:
                return
            self._warm_up = self._start_warm_up(of_spark)
        self._warm_up.wait()

    def _start_warm_up(self, of_spark: Mapping[str, str]) -> psutil.Popen:
        python = python_of(self.folder / "python")
        with self.log.open("ab") as log:
            return psutil.Popen(
                [str(python), "-m", "local_workspace.spark.warm_up", str(self._warm_up_folder)],
                env={**self._server_environment(python), **of_spark, **mark(self.folder)},
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=log,
                start_new_session=True,
            )

    def _settings(self) -> dict[str, str]:
        own = spark_rights.EXTENSIONS if self._rights else ()
        settings = settings_of(self.folder, self.port, self._dbfs, self._volumes, own)
        return settings | (self.catalogs.settings() if self._rights else {})

    @property
    def _warm_up_folder(self) -> Path:
        return self.folder / "tmp" / "warm-up"

    def _server_environment(self, python: Path) -> dict[str, str]:
        # Without SPARK_HOME: with it each worker reads pyspark from a zip file, three times as long.
        return (
            process_environment.inherited()
            | dict(self._rights or {})
            | self.catalogs.environment()
            | {
                "PYSPARK_PYTHON": str(python),
                "PYSPARK_DRIVER_PYTHON": str(python),
                "SPARK_CONNECT_AUTHENTICATE_TOKEN": self.token,
                "SPARK_LOCAL_IP": ADDRESS,
            }
        )


def _tell_end(process: psutil.Popen) -> str:
    """How a server has ended, of which nobody listens any more."""
    code = process.poll()
    if code is None:
        return "its context was stopped"
    return f"signal {-code}" if code < 0 else f"exit code {code}{_CODES.get(code, '')}"


def end_left_over(folder: Path) -> None:
    """Ends the Spark of a workspace that was killed before it could; `folder` is Spark's."""
    process = recall(folder / PID_FILE)
    if process is not None:
        end_process_tree(process)
    end_processes(folder)  # its warm-up
    (folder / PID_FILE).unlink(missing_ok=True)


def free_port() -> int:
    """A port that nobody listens on, of those that the system gives to no connection by itself.

    It is listened on seconds later, and until then any connection that goes out could have another one.
    """
    while True:
        port = 20_000 + secrets.randbelow(12_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind((ADDRESS, port))
            return port
