"""Carries out one attempt of a task: a process of its own that executes a notebook."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager, nullcontext
from pathlib import Path

import psutil

from local_workspace import value_references
from local_workspace.compute import access_mode, compute_of
from local_workspace.database import Database, Document
from local_workspace.errors import ApiError, DoesNotExist, InvalidParameter
from local_workspace.fork_server import ForkServer
from local_workspace.forks import Fork
from local_workspace.libraries import pip_arguments
from local_workspace.rest import clusters
from local_workspace.run_documents import (
    CANCELED,
    FAILED,
    SUCCESS,
    Outcome,
    internal_error,
    latest_attempts,
    timed_out,
    user_of,
)
from local_workspace.run_processes import Watch, end_processes, mark, uses_cluster
from local_workspace.state import StateFolder
from local_workspace.workspace_tree import WorkspaceObjects, canonical

EXECUTOR = (sys.executable, "-m", "local_workspace.notebook.execute")
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
                clusters.start(self._database, task["existing_cluster_id"])
            mode = access_mode(task, run["settings"], self._database)
            folder = self._prepare(run, task, mode)
        except DoesNotExist as error:
            return internal_error(f"Unable to access the notebook: {error.message}", "RESOURCE_NOT_FOUND")
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
        outcome = outcome or _outcome_of(folder)
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
        """The folder of a task run, with `task.json` and a copy of the notebook as it is at this moment."""
        path = task["notebook_task"]["notebook_path"]
        notebook = self._objects.notebook(path)
        values = self._task_values(run)
        parameters = task_parameters(run, task, values)
        folder = self._state.run_folder(task["run_id"])
        folder.mkdir(parents=True)
        source = folder / "notebook.source"
        source.write_bytes(notebook.content)
        description = {
            "notebook_path": canonical(path),
            "source_file": str(source.absolute()),
            "language": notebook.language,
            "format": notebook.format,
            "parameters": parameters,
            "pip_arguments": pip_arguments(task, run["settings"]),
            "task_values": values,
            "run_id": task["run_id"],
            "job_id": run["job_id"],
            "task_key": task["task_key"],
            "access_mode": mode,
            "compute": compute_of(task, run["settings"]),
        }
        (folder / "task.json").write_text(json.dumps(description))
        return folder

    def _task_values(self, run: Document) -> Document:
        """What the tasks of a run have set for those behind them, by task key."""
        files = {
            key: self._state.run_folder(task["run_id"]) / "task_values.json"
            for key, task in latest_attempts(run).items()
        }
        return {key: json.loads(file.read_text()) for key, file in files.items() if file.exists()}

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


def task_parameters(run: Document, task: Document, values: Document) -> dict[str, str]:
    """The widget values of a task: its own, then the job's parameters, then those of this run."""
    job_parameters = {parameter["name"]: parameter["value"] for parameter in run.get("job_parameters", [])}
    notebook_params = run["overriding_parameters"].get("notebook_params", {})
    merged = (task["notebook_task"].get("base_parameters") or {}) | job_parameters | notebook_params
    return {str(name): value_references.resolve(text, run, task, values) for name, text in merged.items()}


def read_result(folder: Path) -> Document | None:
    """What a task's process left behind as its result, or None."""
    try:
        result: Document = json.loads((folder / "result.json").read_text())
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


def _outcome_of(folder: Path) -> Outcome:
    result = read_result(folder)
    if result is None:
        return internal_error(f"The notebook's process ended without a result{_last_words(folder)}")
    return SUCCESS if result["status"] == "SUCCESS" else FAILED


def _last_words(folder: Path) -> str:
    """Why there is no result, as far as the disk can tell."""
    if not folder.is_dir():
        return f"; somebody deleted its folder {folder}"
    room = shutil.disk_usage(folder).free
    full = f"; the disk of {folder} is full ({room} bytes are free)" if room < NO_ROOM_BYTES else ""
    log = folder / "process.log"
    lines = log.read_text(errors="replace").splitlines()[-LOG_LINES:] if log.exists() else []
    return full + ":\n" + "\n".join(lines)
