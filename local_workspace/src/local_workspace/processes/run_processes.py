"""Finds and ends the processes of runs, whoever their parents are.

A run's processes inherit a mark in their environment, and those that have cleared it are found as children of
others: the run's first process adopts whoever loses its parent, where the system is Linux. Spark's Python
workers have no mark, since Spark starts them; where a run has packages of its own they have its Python.
"""

import signal
import time
from collections.abc import Iterable
from contextlib import suppress
from pathlib import Path

import psutil

from local_workspace.processes.processes import descendants, has_ended, kill_all, send, wait_for

MARK = "LOCAL_WORKSPACE_RUN_FOLDER"
GRACE_SECONDS = 5
_KERNEL = "ipykernel"  # a part of the command line of a kernel, or the name of one that was forked


def mark(folder: Path) -> dict[str, str]:
    """What to add to the environment of a run's process, to find it and all that it starts."""
    return {MARK: str(folder.absolute())}


def uses_cluster(folder: Path) -> Path:
    """The file that a notebook leaves in its run's folder when it connects to Spark; it has the session."""
    return folder / "uses_cluster"


def end_processes(folder: Path, known: Iterable[psutil.Process] = ()) -> None:
    """Interrupt the notebooks of a run, ask its processes to end, and kill those that do not.

    An interrupted cell can still clean up: its MLflow run is closed as FAILED. `folder` may hold many runs;
    `known` are processes of it that may have lost their mark and their parents.
    """
    members = Members(folder, known)
    if not (found := members.find()):
        return
    kernels = [process for process in found if _is_kernel(process)]
    send(signal.SIGINT, kernels)
    if kernels:  # without them the run ends by itself, and takes with it what it has started
        wait_for(found, GRACE_SECONDS)
    found = members.find()
    # The topmost adopts what the others leave behind, so it stays, still, until they have ended.
    top = [process for process in found if not _has_parent_in(found, process)]
    send(signal.SIGSTOP, top)
    others = [process for process in members.find() if process not in top]
    send(signal.SIGTERM, others)
    wait_for(others, GRACE_SECONDS)
    kill_all(members.find)


class Watch:
    """Remembers what a run has started, in case the process that adopts them is killed before them."""

    def __init__(self, pid: int) -> None:
        self.known: set[psutil.Process] = set()
        self._pid = pid
        self._next_look = 0.0

    def look(self) -> None:
        """Looks once a second at most; what was left behind within one may be missed."""
        if time.monotonic() < self._next_look:
            return
        with suppress(psutil.NoSuchProcess):
            self.known.update(descendants(psutil.Process(self._pid)))
        self.known -= {process for process in self.known if has_ended(process)}
        self._next_look = time.monotonic() + 1


class Members:
    """The processes of a run, or of many: those with its mark, and all that these have started."""

    def __init__(self, folder: Path, known: Iterable[psutil.Process] = ()) -> None:
        self._root = folder.resolve()
        self._known = set(known)

    def find(self) -> list[psutil.Process]:
        """Those that are alive."""
        everybody = psutil.process_iter(["environ", "cmdline"])
        self._known |= {process for process in everybody if self._is_one(process)}
        for process in list(self._known):
            self._known |= set(descendants(process))
        return [process for process in self._known if not has_ended(process)]

    def _is_one(self, process: psutil.Process) -> bool:
        mark, program = (process.info["environ"] or {}).get(MARK), (process.info["cmdline"] or [""])[0]
        places = [Path(mark or "/"), Path(program).parent]  # the program itself is a link to that of all
        return any(place.resolve().is_relative_to(self._root) for place in places)


def _has_parent_in(processes: Iterable[psutil.Process], process: psutil.Process) -> bool:
    try:
        return process.ppid() in {other.pid for other in processes}
    except psutil.NoSuchProcess:
        return True  # it has just ended


def _is_kernel(process: psutil.Process) -> bool:
    try:
        return any(_KERNEL in word for word in (process.name(), *process.cmdline()))
    except psutil.NoSuchProcess:
        return False
