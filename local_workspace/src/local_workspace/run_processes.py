"""Finds and ends the processes of runs, whoever their parents are.

A run's processes inherit a mark in their environment. Parents do not tell: a kernel has a session of
its own, and a process that is started while its parent is being ended belongs to nobody.
"""

from pathlib import Path

import psutil

MARK = "LOCAL_WORKSPACE_RUN_FOLDER"
GRACE_SECONDS = 5


def mark(folder: Path) -> dict[str, str]:
    """What to add to the environment of a run's process, to find it and all that it starts."""
    return {MARK: str(folder.absolute())}


def end_processes(folder: Path) -> None:
    """Ask the processes of a run to end, and kill those that do not; `folder` may hold many runs."""
    asked = _members(folder)
    for process in asked:
        _send(process, kill=False)
    psutil.wait_procs(asked, timeout=GRACE_SECONDS)
    while remaining := _members(folder):
        for process in remaining:
            _send(process, kill=True)
        psutil.wait_procs(remaining, timeout=GRACE_SECONDS)


def _members(folder: Path) -> list[psutil.Process]:
    root = folder.absolute()
    marks = [(p, (p.info["environ"] or {}).get(MARK)) for p in psutil.process_iter(["environ"])]
    return [process for process, value in marks if value and Path(value).is_relative_to(root)]


def _send(process: psutil.Process, kill: bool) -> None:
    try:
        process.kill() if kill else process.terminate()
    except psutil.NoSuchProcess:
        return  # it ended by itself
