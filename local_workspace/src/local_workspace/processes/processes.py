"""Remembers a process in a file, finds it again, and ends it with all that it started."""

import ctypes
import os
import signal
import sys
import time
from collections.abc import Callable, Iterable, Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path

import psutil

from local_workspace.store.whole_files import write_whole

LOOKS = 5
_PR_SET_CHILD_SUBREAPER = 36  # of <linux/prctl.h>


def remember(process: psutil.Process, pid_file: Path) -> None:
    """Writes down the number of a process and when it began: the number alone may be taken over."""
    write_whole(pid_file, f"{process.pid} {_beginning(process)}")


def find(command: Sequence[str]) -> psutil.Process | None:
    """A process of this user that was started with these words, whatever program reads them."""
    for process in psutil.process_iter(["cmdline", "uids"]):
        if (process.info["cmdline"] or [])[1:] == list(command) and process.uids().real == os.getuid():
            return process
    return None


@contextmanager
def interrupts_held_back() -> Iterator[None]:
    """Ctrl-C takes effect when this is over: what is begun in here is begun and known, or not begun."""
    came: list[int] = []
    before = signal.signal(signal.SIGINT, lambda number, _: came.append(number))
    try:
        yield
    finally:
        signal.signal(signal.SIGINT, before)
    if came:
        raise KeyboardInterrupt


def recall(pid_file: Path) -> psutil.Process | None:
    """The process that was written down, if it is alive and works in the folder of the file.

    Another process may have taken over its number; and a folder that was copied has the file of the process
    that works in the other one.
    """
    try:
        pid, beginning = pid_file.read_text().split()
        process = psutil.Process(int(pid))
        if _beginning(process) != beginning or has_ended(process):
            return None
        return process if Path(process.cwd()).samefile(pid_file.parent) else None
    except (FileNotFoundError, ValueError, psutil.NoSuchProcess):
        return None


def _beginning(process: psutil.Process) -> str:
    """When a process began, told in a way that a step of the clock does not change.

    Linux counts from the start of the machine, which has an id of its own; elsewhere it is a time of day.
    """
    try:
        status = Path(f"/proc/{process.pid}/stat").read_text()
        boot = Path("/proc/sys/kernel/random/boot_id").read_text().strip()
    except FileNotFoundError:
        return str(process.create_time())
    ticks = status.rpartition(")")[2].split()[19]  # the name before it may hold anything
    return f"{boot}:{ticks}"


def has_ended(process: psutil.Process) -> bool:
    """Whether a process is over, also when its parent has not taken notice of it."""
    try:
        return not process.is_running() or process.status() == psutil.STATUS_ZOMBIE
    except psutil.NoSuchProcess:
        return True


def wait_for(processes: Sequence[psutil.Process], seconds: float) -> list[psutil.Process]:
    """Waits until these have ended, but not longer than `seconds`; gives those that have not."""
    deadline = time.monotonic() + seconds
    while (alive := [process for process in processes if not has_ended(process)]) and (
        time.monotonic() < deadline
    ):
        time.sleep(0.05)
    return alive


def adopt_orphans() -> None:
    """Becomes the parent of what its descendants leave behind, so that nothing gets out of its tree.

    Linux only; elsewhere such a process belongs to the system.
    """
    if sys.platform == "linux":
        ctypes.CDLL(None).prctl(_PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0)


def descendants(process: psutil.Process) -> list[psutil.Process]:
    """The living children of a process, their children and so on."""
    try:
        return [child for child in process.children(recursive=True) if not has_ended(child)]
    except psutil.NoSuchProcess:
        return []


def end_descendants(grace_seconds: float = 3) -> None:
    """Ends what this process, which is about to end, has started or adopted: first asks, then kills.

    Where it adopts orphans, the system itself tells when nothing is left; a list of processes may miss one
    that was begun, and lost its parent, while the list was made.
    """
    me, seconds = psutil.Process(), grace_seconds
    while _has_children():
        send(signal.SIGTERM, family := descendants(me))
        wait_for(family, seconds)
        kill_all(lambda: descendants(me))
        seconds = 0.0


def _has_children() -> bool:
    """Whether this process has children that have not ended; takes notice of those that have."""
    try:
        while os.waitpid(-1, os.WNOHANG)[0]:
            pass
    except ChildProcessError:
        return False
    return True


def kill_all(find: Callable[[], Iterable[psutil.Process]]) -> None:
    """Kills what `find` gives, also where that starts others faster than they are killed one by one.

    Each is held still first; when all are, none can start another. What is begun while a list is made may be
    missed, so several in a row have to show nobody new.
    """
    held: set[psutil.Process] = set()
    looks = LOOKS
    while looks:
        new = set(find()) - held
        looks = LOOKS if new else looks - 1
        send(signal.SIGSTOP, new)
        held |= new
    send(signal.SIGKILL, held)
    wait_for(list(held), seconds=5)


def send(number: signal.Signals, processes: Iterable[psutil.Process]) -> None:
    """Sends a signal to each process that has not ended by itself."""
    for process in processes:
        with suppress(psutil.NoSuchProcess):
            process.send_signal(number)


def end_process_tree(process: psutil.Process, grace_seconds: float = 5) -> None:
    """Ends a process and all that it started: first asks, then kills."""
    family = {process, *descendants(process)}

    def remaining() -> list[psutil.Process]:
        return [one for one in family | set(descendants(process)) if not has_ended(one)]

    send(signal.SIGTERM, family)
    wait_for(list(family), grace_seconds)
    kill_all(remaining)
