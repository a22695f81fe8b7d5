"""How much memory the processes of a run may take, so that a greedy one ends instead of the machine."""

import os
import resource
import sys
from pathlib import Path

import psutil

SETTING = "LOCAL_WORKSPACE_RUN_MEMORY_GB"
_SHARE_OF_THE_MACHINE = 0.9
_GIGABYTE = 1024**3
_OUT_OF_MEMORY_SCORE = Path("/proc/self/oom_score_adj")


def limit_memory() -> None:
    """Limit this process, and each that it starts, to `LOCAL_WORKSPACE_RUN_MEMORY_GB`, or to 90 % of all.

    Beyond it Python raises MemoryError. macOS knows no such limit.
    """
    if sys.platform != "linux":
        return
    _, hard = resource.getrlimit(resource.RLIMIT_DATA)
    wanted = int(limit_in_gigabytes() * _GIGABYTE)
    resource.setrlimit(resource.RLIMIT_DATA, (wanted if hard < 0 else min(wanted, hard), hard))
    # If the machine runs out of memory all the same, the system ends a run before the server and Spark.
    _OUT_OF_MEMORY_SCORE.write_text("500")


def limit_in_gigabytes() -> float:
    """The setting, or what is usual on this machine."""
    total = psutil.virtual_memory().total / _GIGABYTE
    return float(os.environ.get(SETTING) or round(total * _SHARE_OF_THE_MACHINE, 1))


def explained(error_name: str, error: str) -> str:
    """An error's text; that of a process which came to the limit says so."""
    if not error_name.endswith("MemoryError"):
        return error
    limit = limit_in_gigabytes()
    return f"{error} (each process of a run may take {limit} GB of memory; {SETTING} sets another limit)"
