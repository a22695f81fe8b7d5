"""This machine as the tests see it: the repository, processes, and the environment of a command."""

import os
from pathlib import Path

import psutil

ROOT = Path(__file__).parents[1]


def command_lines() -> list[str]:
    """The command lines of all processes of this machine."""
    # None is that of a process which ended meanwhile.
    return [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]


def clean_environment() -> dict[str, str]:
    """This process's environment without what would lead a command to another workspace."""
    foreign = ("DATABRICKS_", "MLFLOW_", "SPARK_", "MAKE", "MFLAGS")
    return {name: value for name, value in os.environ.items() if not name.startswith(foreign)}


def package_caches() -> dict[str, str]:
    """Where downloads are kept between runs, since the tests have a HOME of their own."""
    home = Path.home()
    return {
        "UV_CACHE_DIR": os.environ.get("UV_CACHE_DIR", str(home / ".cache" / "uv")),
        "PIP_CACHE_DIR": os.environ.get("PIP_CACHE_DIR", str(home / ".cache" / "pip")),
    }
