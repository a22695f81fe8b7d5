"""Processes that people start themselves, such as the kernel of a notebook, and what each has of Spark."""

import os
import secrets
import shutil
import threading
from collections.abc import Mapping
from contextlib import ExitStack
from pathlib import Path

import psutil

from local_workspace.callers import USER_NAME
from local_workspace.errors import InvalidParameter
from local_workspace.processes.processes import has_ended
from local_workspace.spark.cluster import SparkCluster

_LOOK_SECONDS = 1.0
_END_SECONDS = 5


class Sessions:
    """Opens the way to Spark for a process; when that has ended, however, its session and its folder go.

    The folders outlive the workspace: a process that goes on when the workspace is stopped still has its
    packages in there.
    """

    def __init__(self, cluster: SparkCluster, folder: Path) -> None:
        self._cluster = cluster
        self._folder = folder
        self._stopped = threading.Event()
        self._watches: list[threading.Thread] = []
        for left in folder.glob("[0-9]*-*"):
            self._watch(_found(int(left.name.partition("-")[0])), ExitStack(), left)

    def open(self, pid: int, mode: str) -> tuple[Path, Mapping[str, str]]:
        """A folder for the process and what it needs in its environment; ClusterError without a Spark."""
        process = _own_process(pid)
        self._cluster.ensure_running()
        self._cluster.end_warm_up()
        folder = self._folder / f"{pid}-{secrets.token_hex(4)}"
        with ExitStack() as of_spark:
            attached = self._cluster.attached(mode, f"session-{folder.name}", USER_NAME, folder)
            environment = self._cluster.environment_of(USER_NAME) | of_spark.enter_context(attached)
            folder.mkdir(parents=True, mode=0o700)
            self._watch(process, of_spark.pop_all(), folder)
        return folder, environment

    def close(self) -> None:
        """Takes the sessions from all processes."""
        self._stopped.set()
        for watch in self._watches:
            watch.join(_END_SECONDS)

    def _watch(self, process: psutil.Process | None, of_spark: ExitStack, folder: Path) -> None:
        self._watches = [watch for watch in self._watches if watch.is_alive()]
        watch = threading.Thread(target=self._wait, args=(process, of_spark, folder), daemon=True)
        self._watches.append(watch)
        watch.start()

    def _wait(self, process: psutil.Process | None, of_spark: ExitStack, folder: Path) -> None:
        with of_spark:
            while process is not None and not has_ended(process):
                if self._stopped.wait(_LOOK_SECONDS):
                    return
        shutil.rmtree(folder, ignore_errors=True)  # with the packages that were installed for it


def _found(pid: int) -> psutil.Process | None:
    return psutil.Process(pid) if psutil.pid_exists(pid) else None


def _own_process(pid: int) -> psutil.Process:
    """The process of this user that has the number, or InvalidParameter."""
    process = _found(pid)
    if process is None or process.uids().real != os.getuid():
        raise InvalidParameter(f"pid {pid} is no process of the user who runs the workspace")
    return process
