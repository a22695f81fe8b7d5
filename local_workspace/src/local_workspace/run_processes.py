"""Finds and ends the processes of runs, whoever their parents are.

A run's processes inherit a mark in their environment. Parents do not tell: a kernel has a session of
its own, and a process that is started while its parent is being ended belongs to nobody. Spark's Python
workers have no mark, since Spark starts them; where a run has packages of its own they have its Python.
"""

import signal
from pathlib import Path

import psutil

from local_workspace.processes import wait_for

MARK = "LOCAL_WORKSPACE_RUN_FOLDER"
GRACE_SECONDS = 5
_KERNEL = "ipykernel"  # a part of the command line of a kernel, or the name of one that was forked


def mark(folder: Path) -> dict[str, str]:
    """What to add to the environment of a run's process, to find it and all that it starts."""
    return {MARK: str(folder.absolute())}


def uses_cluster(folder: Path) -> Path:
    """The file that a notebook leaves in the folder of its run when it connects to Spark."""
    return folder / "uses_cluster"


def end_processes(folder: Path) -> None:
    """Interrupt the notebooks of a run, ask its processes to end, and kill those that do not.

    An interrupted cell can still clean up: its MLflow run is closed as FAILED. `folder` may hold many runs.
    """
    kernels = [process for process in _members(folder) if _is_kernel(process)]
    _end(kernels, signal.SIGINT)
    _end(_members(folder), signal.SIGTERM)
    while remaining := _members(folder):
        _end(remaining, signal.SIGKILL)


def _members(folder: Path) -> list[psutil.Process]:
    root = folder.resolve()

    def is_one(process: psutil.Process) -> bool:
        mark, program = (process.info["environ"] or {}).get(MARK), (process.info["cmdline"] or [""])[0]
        places = [Path(mark or "/"), Path(program).parent]  # the program itself is a link to that of all
        return any(place.resolve().is_relative_to(root) for place in places)

    return [process for process in psutil.process_iter(["environ", "cmdline"]) if is_one(process)]


def _end(processes: list[psutil.Process], number: signal.Signals) -> None:
    """Send a signal to each process, and wait a while until all have ended."""
    for process in processes:
        try:
            process.send_signal(number)
        except psutil.NoSuchProcess:
            continue  # it ended by itself
    wait_for(processes, GRACE_SECONDS)


def _is_kernel(process: psutil.Process) -> bool:
    try:
        return any(_KERNEL in word for word in (process.name(), *process.cmdline()))
    except psutil.NoSuchProcess:
        return False
