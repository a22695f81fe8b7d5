"""Keeps a process that has done a notebook's usual imports; the runs are forked from it."""

import json
import logging
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_workspace.processes.environment import base_packages_of, create_environment
from local_workspace.processes.forks import Fork, ask_for_fork, wait_until_ready
from local_workspace.processes.run_processes import MARK
from local_workspace.spark.driver import PORT, SECRET

PREFIX = "fork-server-"
# The mark of the process gives way to that of a run, in the same place: it has room for the longest.
ROOM_FOR_A_RUN = "/" * 32
# What differs from run to run: a process gets it with its run, and has no token before.
OF_ONE_RUN = (
    *("DATABRICKS_TOKEN", "MLFLOW_REGISTRY_URI", "MLFLOW_TRACKING_TOKEN"),
    *("SPARK_REMOTE", PORT, SECRET, "PYSPARK_PYTHON"),
)
IMPORT_SECONDS = 30
# Longer than a fork ever takes, and not too long for the requests that wait while a run is begun.
FORK_SECONDS = 2


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    requests: socket.socket
    folder: Path
    environment: Mapping[str, str]
    packages: Path
    packages_changed: int
    # None: not known yet. False: it cannot do its imports.
    is_ready: bool | None = None


class ForkServer:
    """One process at most; its folder lies among those of the runs, under a name of its own.

    A process that is not there, is busy with its imports, has died or was started with other variables or
    packages is not missed: a run is then started the ordinary way. One that cannot do its imports is tried
    again only with other variables or packages.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._lock = threading.RLock()
        self._server: _Server | None = None
        self._closed = sys.platform != "linux"
        for folder in runs.glob(f"{PREFIX}*"):  # of a workspace that was killed
            shutil.rmtree(folder)

    def ensure(self, environment: Mapping[str, str]) -> None:
        """Starts the process unless there is one that fits."""
        with self._lock:
            if not self._closed and (self._server is None or not _fits(self._server, environment)):
                self._discard()
                self._server = self._start(environment)

    def make_ready(self, environment: Mapping[str, str]) -> None:
        """Starts it too, and waits for its imports, which take less time than those of a run would."""
        with self._lock:
            self.ensure(environment)
            server = self._server
            if server is None or server.is_ready is not None:
                return
            server.is_ready = wait_until_ready(server.requests, IMPORT_SECONDS)
            if not server.is_ready and not self._closed:
                server.process.kill()
                server.process.wait()
                log = server.folder / "process.log"
                why = log.read_text(errors="replace")[-2000:] if log.exists() else "nothing"
                logging.getLogger(__name__).warning("no imports are done ahead of runs; it said: %s", why)

    def fork(self, folder: Path, environment: Mapping[str, str]) -> Fork | None:
        """A process that executes the run in `folder`; None when there is nothing to fork it from."""
        if not self._lock.acquire(timeout=FORK_SECONDS):
            return None
        try:
            server = self._server
            if server is None or not server.is_ready or not _fits(server, environment):
                return None
            create_environment(folder / "python")
            return _fork(server, folder.absolute(), environment)
        except OSError:  # it has just died, or does not answer; a child without an order ends
            self._discard()
            return None
        finally:
            self._lock.release()

    def close(self) -> None:
        """Ends the process; there will be no other. To be called when the runs have ended."""
        self._closed = True
        if (server := self._server) is not None:
            server.process.kill()  # whoever waits for its imports holds the lock
        with self._lock:
            self._discard()

    def _start(self, environment: Mapping[str, str]) -> _Server:
        environment = _shared(environment)
        folder = self._runs.absolute() / f"{PREFIX}{uuid.uuid4().hex[:8]}"
        (folder / "workdir").mkdir(parents=True)
        python = create_environment(folder / "python")
        packages = base_packages_of(folder / "python")
        changed = packages.stat().st_mtime_ns
        ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
        with theirs, (folder / "process.log").open("wb") as log:
            process = subprocess.Popen(
                [str(python), "-m", "local_workspace.kernel.forking", str(theirs.fileno())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder / "workdir",
                env={**environment, MARK: f"{folder}{ROOM_FOR_A_RUN}"},
                start_new_session=True,
                pass_fds=[theirs.fileno()],
            )
        return _Server(process, ours, folder, environment, packages, changed)

    def _discard(self) -> None:
        if self._server is not None:
            self._server.process.kill()
            self._server.process.wait()
            self._server.requests.close()
            shutil.rmtree(self._server.folder, ignore_errors=True)
            self._server = None


def _fork(server: _Server, folder: Path, environment: Mapping[str, str]) -> Fork:
    """Has a child forked, tells it its run, and waits until it carries the mark by which it is found."""
    order = json.dumps({name: environment[name] for name in (*OF_ONE_RUN, MARK) if name in environment})
    ours, theirs = socket.socketpair()
    with ours, (folder / "process.log").open("wb") as log:
        with theirs:
            files = [theirs.fileno(), log.fileno()]
            fork = ask_for_fork(server.requests, b"a run", files, FORK_SECONDS)
        ours.settimeout(FORK_SECONDS)
        ours.sendall(order.encode())
        ours.shutdown(socket.SHUT_WR)
        if not ours.recv(1):
            raise BrokenPipeError("the fork has ended before it knew its run")
    return fork


def _fits(server: _Server, environment: Mapping[str, str]) -> bool:
    is_alive = server.process.poll() is None
    packages_changed = server.packages.stat().st_mtime_ns
    return (
        (is_alive or server.is_ready is False)
        and _shared(environment) == server.environment
        and packages_changed == server.packages_changed
    )


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in (MARK, *OF_ONE_RUN)}
