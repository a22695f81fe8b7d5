"""Carries out one attempt of a task: a process of its own that executes a notebook, or a program in one."""

import errno
import json
import os
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import psutil

from local_workspace.errors import ApiError, DoesNotExist, InvalidParameter
from local_workspace.jobs import git_sources, pipelines, programs
from local_workspace.jobs.compute import access_mode, compute_of, start_cluster
from local_workspace.jobs.libraries import pip_arguments
from local_workspace.jobs.run_context import Context, context_of
from local_workspace.jobs.run_documents import (
    CANCELED,
    FAILED,
    SUCCESS,
    Outcome,
    internal_error,
    timed_out,
    user_of,
)
from local_workspace.jobs.task_kinds import NOTEBOOK, PIPELINE, PROGRAMS, PYTHON_FILE, SQL, kind_of
from local_workspace.kernel.fork_server import ForkServer
from local_workspace.notebooks.workspace_tree import WorkspaceObjects, canonical
from local_workspace.processes.forks import Fork
from local_workspace.processes.run_processes import Watch, end_processes, mark, uses_cluster
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder
from local_workspace.store.task_folder import TaskFolder

EXECUTOR = (sys.executable, "-m", "local_workspace.kernel.execute")
POLL_SECONDS = 0.1
LOG_LINES = 20
# With less room than this a notebook cannot even keep its outputs.
NO_ROOM_BYTES = 1024 * 1024

Environment = Callable[[Document], Mapping[str, str]]
ClusterEnd = Callable[[Mapping[str, str]], str | None]
Attached = Callable[[str, str, str, Path], AbstractContextManager[Mapping[str, str]]]
Process = subprocess.Popen[bytes] | Fork
Start = Callable[[], Process]


class TaskProcesses:
    """Starts `command` with the folder of a task run as its last argument, and tells how it ended.

    `environment(run)` gives the environment of the process and may wait until the cluster is up;
    `cluster_end(environment)` tells how that cluster has ended, None while it is there, and
    `attached(mode, run, user, folder)` gives what its access mode adds to the environment, and clears up.
    What `fork_server` forks is taken in place of `command`.
    """

    def __init__(
        self,
        database: Database,
        state: StateFolder,
        environment: Environment,
        command: Sequence[str],
        fork_server: ForkServer | None = None,
        cluster_end: ClusterEnd = lambda environment: None,
        attached: Attached = lambda mode, run, user, folder: nullcontext({}),
    ) -> None:
        self._database = database
        self._state = state
        self._objects = WorkspaceObjects(database, state)
        self._git_sources = git_sources.GitSources(database, state, self._objects)
        self._environment = environment
        self._command = command
        self._fork_server = fork_server
        self._cluster_end = cluster_end
        self._attached = attached

    def execute(
        self,
        run: Document,
        task: Document,
        stop: threading.Event,
        begin: Callable[[Start], Process | None],
    ) -> Outcome:
        """Carry out an attempt until it ends, takes too long or `stop` is set.

        `begin` is called with what starts the process; it starts it, or gives None when that is not wanted.
        """
        try:
            if task.get("existing_cluster_id"):
                start_cluster(self._database, task["existing_cluster_id"])
            mode = access_mode(task, run["settings"], self._database)
            folder = self._prepare(run, task, mode)
        except DoesNotExist as error:
            what = {NOTEBOOK: "notebook", PIPELINE: "pipeline"}.get(kind_of(task), "file")
            return internal_error(f"Unable to access the {what}: {error.message}", "RESOURCE_NOT_FOUND")
        except InvalidParameter as error:
            return internal_error(error.message, "INVALID_RUN_CONFIGURATION")
        except ApiError as error:
            return internal_error(error.message, "INVALID_CLUSTER_REQUEST")
        environment = self._environment(run)
        if self._fork_server:
            self._fork_server.make_ready(environment)

        def loss_of_cluster() -> Outcome | None:
            end = self._cluster_end(environment) if uses_cluster(folder).exists() else None
            return None if end is None else _cluster_lost(end)

        with self._attached(mode, f"run-{task['run_id']}", user_of(run), folder) as of_mode:
            outcome = self._carry_out(folder, task, {**environment, **of_mode}, stop, begin, loss_of_cluster)
        shutil.rmtree(folder / "python", ignore_errors=True)  # with the packages that the run installed
        outcome = outcome or outcome_of(folder)
        return (loss_of_cluster() or outcome) if outcome == FAILED else outcome

    def _carry_out(
        self,
        folder: Path,
        task: Document,
        environment: Mapping[str, str],
        stop: threading.Event,
        begin: Callable[[Start], Process | None],
        loss_of_cluster: Callable[[], Outcome | None],
    ) -> Outcome | None:
        """Start the process and wait for it; an outcome when it had to be ended, or was not to begin."""
        known: set[psutil.Process] = set()
        try:
            process = begin(lambda: self._start(folder, {**environment, **mark(folder)}))
            if process is None:
                return CANCELED
            watch = Watch(process.pid)
            known = watch.known
            outcome = _wait(process, stop, int(task.get("timeout_seconds") or 0), loss_of_cluster, watch.look)
        finally:
            end_processes(folder, known)
        process.wait()
        return outcome

    def _prepare(self, run: Document, task: Document, mode: str) -> Path:
        """The folder of a task run, with what is to be done and a copy of the notebook as it is now."""
        context = context_of(self._database, self._state, run)
        what = self._what(task, context)
        folder = self._state.run_folder(task["run_id"])
        folder.mkdir(parents=True)
        source = folder / "notebook.source"
        source.write_bytes(what.pop("content"))
        description = {
            **what,
            "source_file": str(source.absolute()),
            "pip_arguments": [*pip_arguments(task, run["settings"]), *what.pop("dependencies", [])],
            "task_values": context.values,
            "run_id": task["run_id"],
            "job_id": context.run["job_id"],
            "job_run_id": context.run["run_id"],
            "user": user_of(context.run),
            "task_key": task["task_key"],
            "access_mode": mode,
            "compute": compute_of(task, run["settings"]),
        }
        TaskFolder(folder).task.write_text(json.dumps(description))
        return folder

    def _what(self, task: Document, context: Context) -> Document:
        """What is executed: a notebook with its parameters, or a program with the words of its call."""
        is_of_git = git_sources.is_of_git(git_sources.place_of_task(task), context.run["settings"])
        root = f"{self._git_sources.folder_of(context.run)}/" if is_of_git else ""
        if kind_of(task) in PROGRAMS:
            words = programs.words_of(task, context)
            path = programs.path_of_file(task, context, root) if kind_of(task) == PYTHON_FILE else ""
            if path:
                programs.check_file(path, self._objects, self._state)
            notebook = programs.cell_that_runs(task, words, path)
            # A program works where its file is, and reads its words itself.
            own = {"notebook_path": programs.place_in_workspace(path), "is_program": True, "words": words}
        elif kind_of(task) == SQL:
            path = canonical(f"{root}{task[SQL]['file']['path']}")
            notebook = programs.cells_of_sql(self._objects.file(path).read_text())
            own = {"notebook_path": path}
        elif kind_of(task) == PIPELINE:
            pipeline = pipelines.find(self._database, task[PIPELINE]["pipeline_id"])
            definition = pipelines.definition_of(
                pipeline, self._state, bool(task[PIPELINE].get("full_refresh"))
            )
            notebook = pipelines.cell_that_runs(definition)
            installed = pipelines.installed_by(pipeline)
            own = {"notebook_path": "", "is_program": True, "dependencies": installed}
        else:
            path = f"{root}{task[NOTEBOOK]['notebook_path']}"
            notebook = self._objects.notebook(path)
            own = {"notebook_path": canonical(path)}
        return own | {
            "parameters": {} if own.get("is_program") else programs.parameters_of(task, context),
            "content": notebook.content,
            "language": notebook.language,
            "format": notebook.format,
        }

    def _start(self, folder: Path, environment: dict[str, str]) -> Process:
        fork = self._fork_server.fork(folder, environment) if self._fork_server else None
        return fork or self._start_anew(folder, environment)

    def _start_anew(self, folder: Path, environment: dict[str, str]) -> subprocess.Popen[bytes]:
        with (folder / "process.log").open("wb") as log:
            return subprocess.Popen(
                [*self._command, str(folder.absolute())],
                stdin=subprocess.DEVNULL,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                env=environment,
                start_new_session=True,
            )


def read_result(folder: Path) -> Document | None:
    """What a task's process left behind as its result, or None."""
    try:
        result: Document = json.loads(TaskFolder(folder).result.read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return result


def _wait(
    process: Process,
    stop: threading.Event,
    limit: int,
    loss_of_cluster: Callable[[], Outcome | None],
    watch: Callable[[], None],
) -> Outcome | None:
    """Wait for a process; an outcome when it has to be ended, None when it ended by itself."""
    deadline = time.monotonic() + limit if limit else float("inf")
    while process.poll() is None:
        watch()
        if time.monotonic() > deadline:
            return timed_out(limit)
        if lost := loss_of_cluster():
            return lost
        if stop.wait(POLL_SECONDS):
            return CANCELED
    return None


def _cluster_lost(end: str) -> Outcome:
    message = f"the cluster's Spark ended while the run used it ({end}); the next run starts it again"
    return internal_error(message, "DRIVER_ERROR")


def outcome_of(folder: Path) -> Outcome:
    """How an attempt ended whose process is gone, by what it left in its folder."""
    result = read_result(folder)
    if result is None:
        return internal_error(f"The notebook's process ended without a result{_last_words(folder)}")
    return SUCCESS if result["status"] == "SUCCESS" else FAILED


def _last_words(folder: Path) -> str:
    """Why there is no result, as far as the disk can tell."""
    if not folder.is_dir():
        return f"; somebody deleted its folder {folder}"
    log = folder / "process.log"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    words = "\n".join(lines)
    room = shutil.disk_usage(folder).free
    # The process may have met a full disk that has room again by now.
    is_full = room < NO_ROOM_BYTES or os.strerror(errno.ENOSPC) in words
    full = f"; the disk of {folder} is or was full ({room} bytes are free)" if is_full else ""
    return f"{full}:\n{words}"
