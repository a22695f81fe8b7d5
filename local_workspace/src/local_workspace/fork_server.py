"""Keeps a process that has done a notebook's usual imports; the runs are forked from it."""

import json
import shutil
import socket
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_workspace.forks import ANSWER_SECONDS, Fork, ask_for_fork, is_ready
from local_workspace.notebook.environment import base_packages_of, create_environment
from local_workspace.run_processes import MARK

PREFIX = "fork-server-"
# The mark of the process gives way to that of a run, in the same place: it has room for the longest.
ROOM_FOR_A_RUN = "/" * 32
# What differs from run to run: a process gets it with its run, and has no token before.
OF_ONE_RUN = ("DATABRICKS_TOKEN", "MLFLOW_TRACKING_TOKEN")


@dataclass
class _Server:
    process: subprocess.Popen[bytes]
    requests: socket.socket
    folder: Path
    environment: Mapping[str, str]
    packages: Path
    packages_changed: int
    is_ready: bool = False


class ForkServer:
    """One process at most; its folder lies among those of the runs, under a name of its own.

    A process that is not there, has died or was started with other variables or packages is not missed: a run
    is then started the ordinary way.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._lock = threading.Lock()
        self._server: _Server | None = None
        self._closed = sys.platform != "linux"
        for folder in runs.glob(f"{PREFIX}*"):  # of a workspace that was killed
            shutil.rmtree(folder)

    def ensure(self, environment: Mapping[str, str]) -> None:
        """Starts the process unless there is one that fits."""
        with self._lock:
            self._ensure(environment)

    def make_ready(self, environment: Mapping[str, str]) -> None:
        """Does so and waits for its imports, which take less time than those of a run would."""
        with self._lock:
            self._ensure(environment)
            if self._server is not None and not self._server.is_ready:
                self._server.is_ready = is_ready(self._server.requests)

    def fork(self, folder: Path, environment: Mapping[str, str]) -> Fork | None:
        """A process that executes the run in `folder`; None when there is nothing to fork it from."""
        with self._lock:
            server = self._server
            if server is None or not server.is_ready or not _fits(server, environment):
                return None
            create_environment(folder / "python")
            try:
                return _fork(server, folder.absolute(), environment)
            except OSError:  # it has just died; a child without an order ends
                self._discard()
                return None

    def close(self) -> None:
        """Ends the process; there will be no other. To be called when the runs have ended."""
        with self._lock:
            self._closed = True
            self._discard()

    def _ensure(self, environment: Mapping[str, str]) -> None:
        if not self._closed and (self._server is None or not _fits(self._server, environment)):
            self._discard()
            self._server = self._start(environment)

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
                [str(python), "-m", "local_workspace.notebook.forking", str(theirs.fileno())],
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
    own = {name: environment[name] for name in (*OF_ONE_RUN, MARK) if name in environment}
    order = json.dumps({"folder": str(folder), "variables": own})
    ours, theirs = socket.socketpair()
    with ours, (folder / "process.log").open("wb") as log:
        with theirs:
            fork = ask_for_fork(server.requests, b"a run", [theirs.fileno(), log.fileno()])
        ours.settimeout(ANSWER_SECONDS)
        ours.sendall(order.encode())
        ours.shutdown(socket.SHUT_WR)
        ours.recv(1)
    return fork


def _fits(server: _Server, environment: Mapping[str, str]) -> bool:
    return (
        server.process.poll() is None
        and _shared(environment) == server.environment
        and server.packages.stat().st_mtime_ns == server.packages_changed
    )


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in (MARK, *OF_ONE_RUN)}
