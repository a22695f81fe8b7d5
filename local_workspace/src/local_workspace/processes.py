"""Remembers a process in a file, finds it again, and ends it with all that it started."""

from collections.abc import Callable
from contextlib import suppress
from pathlib import Path

import psutil


def remember(process: psutil.Process, pid_file: Path) -> None:
    """Writes down the number of a process and when it began: the number alone may be taken over."""
    pid_file.write_text(f"{process.pid} {process.create_time()}")


def recall(pid_file: Path) -> psutil.Process | None:
    """The process that was written down, if it is alive and no other has taken over its number."""
    try:
        pid, created = pid_file.read_text().split()
        process = psutil.Process(int(pid))
        return process if process.create_time() == float(created) else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def end_process_tree(process: psutil.Process, grace_seconds: float = 5) -> None:
    """Ends a process and all that it started: first asks, then kills."""
    try:
        family = [process, *process.children(recursive=True)]
    except psutil.NoSuchProcess:
        return
    for member in family:
        _signal(member.terminate)
    _, alive = psutil.wait_procs(family, timeout=grace_seconds)
    for member in alive:
        _signal(member.kill)
    psutil.wait_procs(alive, timeout=grace_seconds)


def _signal(send: Callable[[], None]) -> None:
    with suppress(psutil.NoSuchProcess):  # it ended by itself
        send()
