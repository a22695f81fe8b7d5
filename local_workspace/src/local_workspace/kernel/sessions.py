"""The Spark session of a kernel, and what its workers have of the run: packages, folders of `sys.path`."""

import inspect
import logging
import os
import sys
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import wraps
from pathlib import Path
from types import ModuleType
from typing import Any

from local_workspace.kernel.after_import import after_import
from local_workspace.kernel.file_system import own_state
from local_workspace.processes.environment import (
    has_own_packages,
    is_of_a_run,
    python_of_workers,
    share_folders,
    shared_folders,
)
from local_workspace.processes.run_processes import uses_cluster
from local_workspace.spark import classic
from local_workspace.spark.statement_session import MOST_RETRIES

PYTHON_OF_WORKERS = "spark.sql.execution.pyspark.python"


class Sessions:
    """Opens the session of this kernel, once; `is_on_classic` tells of which Spark."""

    def __init__(self, is_on_classic: bool) -> None:
        self.is_on_classic = is_on_classic
        self._session: Any = None
        self._is_opening = False

    def open(self) -> Any:
        """The session; workers use what the run has installed so far."""
        if self._session is None:
            _uses_cluster().touch()
            self._is_opening = True
            try:
                self._session = (
                    classic.open_session() if self.is_on_classic else open_connect_session(_uses_cluster())
                )
            finally:
                self._is_opening = False
            _print_errors_once()
            self.use_own_packages()
        return self._session

    def open_before_others(self) -> None:
        """Has `SparkSession.builder` give this session, whoever calls it first."""
        after_import("pyspark.sql.session", self._open_first)

    def _open_first(self, module: ModuleType) -> None:
        builder: Any = module.SparkSession.Builder
        get_or_create: Callable[..., Any] = builder.getOrCreate

        @wraps(get_or_create)
        def opened(own: Any) -> Any:
            if not self._is_opening:
                self.open()
            return get_or_create(own)

        builder.getOrCreate = opened

    def use_own_packages(self) -> None:
        """Has Spark's workers use what this run has of its own, if anything; a session may be open or not."""
        if self.is_on_classic:
            classic.use_own_packages()
        elif self._session is not None and has_own_packages(Path(sys.prefix)):
            conf = self._session.conf
            set_any = inspect.unwrap(type(conf).set)  # serverless compute refuses it to notebooks
            set_any(conf, PYTHON_OF_WORKERS, python_of_workers(Path(sys.prefix)))

    def share_folders(self) -> None:
        """Has the workers find modules where this process does, in the folders of the workspace."""
        own, folders = Path(sys.prefix), list(dict.fromkeys(_folders_with_modules()))
        if is_of_a_run(own) and folders != shared_folders(own):
            share_folders(own, folders)
            self.use_own_packages()


def _folders_with_modules() -> Iterator[str]:
    """The folders of the workspace on `sys.path`, but for a working folder without modules."""
    if "LOCAL_WORKSPACE_STATE" not in os.environ:
        return
    root = own_state().workspace_files.resolve()
    for entry in sys.path:
        in_workspace = entry.startswith("/Workspace/")
        folder = (
            root / entry.removeprefix("/Workspace").lstrip("/") if in_workspace else Path(entry).resolve()
        )
        if folder.is_relative_to(root) and folder.is_dir() and (entry or _has_modules(folder)):
            yield str(folder)


def _has_modules(folder: Path) -> bool:
    return any(next(folder.glob(pattern), None) for pattern in ("*.py", "*/*.py"))


def _uses_cluster() -> Path:
    return uses_cluster(Path(os.environ["LOCAL_WORKSPACE_TASK"]).parent)


def open_connect_session(noted: Path) -> Any:
    """A session of Spark Connect, whose id is written into a file: by that the workspace closes it."""
    from pyspark.sql import SparkSession
    from pyspark.sql.connect.client.retries import DefaultPolicy

    # MLflow's import switches on what pyspark has switched off: each error once more, as JSON.
    logging.getLogger("pyspark.sql.connect.logging").setLevel(logging.CRITICAL)
    _release_in_one_thread()
    session: Any = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    session.client.set_retry_policies([DefaultPolicy(max_retries=MOST_RETRIES)])
    noted.write_text(session.session_id)
    return session


def _print_errors_once() -> None:
    """Without this each error of a query is shown twice: first as a line of JSON of many kilobytes."""
    from pyspark.logger import PySparkLogger

    for name in ("SQLQueryContextLogger", "DataFrameQueryContextLogger"):
        PySparkLogger.getLogger(name).setLevel(logging.CRITICAL)


def _release_in_one_thread() -> None:
    """Starts the thread in which Spark's client tells the server which results it has read.

    Else the client starts several, each while it holds a lock. Where garbage is collected in one that is just
    starting, and a query that failed is part of it, both wait for each other for ever (SPARK-55362).
    """
    from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator

    pool = ThreadPoolExecutor(max_workers=1)
    pool.submit(int).result()
    ExecutePlanResponseReattachableIterator._release_thread_pool_instance = pool
