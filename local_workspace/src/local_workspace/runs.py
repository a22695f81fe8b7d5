"""Runs the tasks of jobs, each in a process of its own, and keeps the book of what became of them."""

import json
import shutil
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any

from local_workspace.database import Database, Document
from local_workspace.errors import ApiError, DoesNotExist, InvalidParameter, InvalidState
from local_workspace.job_settings import in_order, upstream
from local_workspace.objects import WorkspaceObjects
from local_workspace.rest import clusters
from local_workspace.run_documents import (
    CANCELED,
    FAILED,
    SUCCESS,
    TOO_MANY_RUNS,
    UPSTREAM_FAILED,
    Outcome,
    begin,
    end,
    has_ended,
    internal_error,
    states,
    summary_of,
    task_parameters,
    timed_out,
)
from local_workspace.run_processes import end_processes, mark
from local_workspace.spares import Spares
from local_workspace.state import StateFolder

EXECUTOR = (sys.executable, "-m", "local_workspace.notebook.execute")
RESTARTED = internal_error("the workspace was restarted while it ran")
STOPPED = internal_error("the workspace was stopped while it ran")
POLL_SECONDS = 0.1
LOG_LINES = 20
# More than it takes to end processes; only a run that still waits for the cluster takes longer.
SHUTDOWN_SECONDS = 15

Environment = Callable[[Document], Mapping[str, str]]


class RunManager:
    """Runs what is submitted, `workers` runs at once; the tasks of one run follow each other.

    `environment(run)` gives the environment of a run's processes and may wait until the cluster is
    up. `command` is started with the folder of the task run as its last argument, unless `spares` has a
    process ready.
    """

    def __init__(
        self,
        database: Database,
        state: StateFolder,
        environment: Environment,
        host: str,
        command: Sequence[str] = EXECUTOR,
        workers: int = 2,
        spares: Spares | None = None,
    ) -> None:
        self.host = host
        self._database = database
        self._state = state
        self._objects = WorkspaceObjects(database, state)
        self._environment = environment
        self._command = command
        self._spares = spares
        self._lock = threading.RLock()
        self._slots = threading.Semaphore(workers)
        self._stops: dict[int, threading.Event] = {}
        self._threads: set[threading.Thread] = set()
        self._end_left_overs()

    def submit(self, run_id: int) -> None:
        """Start a QUEUED run when its job may have one more; else it waits or is SKIPPED."""
        with self._lock:
            run = self.find(run_id)
            if run["state"]["life_cycle_state"] != "QUEUED":
                return
            if self._is_allowed(run):
                self._start(run_id)
            elif not (run["settings"].get("queue") or {}).get("enabled"):
                self._close(run_id, TOO_MANY_RUNS)

    def cancel(self, run_id: int) -> None:
        """Mark a run CANCELED and end its processes; a run that has ended stays as it is."""
        self._interrupt(self.find(run_id)["run_id"], CANCELED)

    def delete(self, run_id: int) -> None:
        """Forget a run and what it kept on disk; InvalidState while it, or a process of it, is alive."""
        with self._lock:
            run = self.find(run_id)
            if run["run_id"] in self._stops or not has_ended(run):
                raise InvalidState(f"Run {run['run_id']} is active; cancel it before it is deleted")
            for task in run["tasks"]:
                shutil.rmtree(self.folder(task["run_id"]), ignore_errors=True)
                self._database.delete("task_run", str(task["run_id"]))
            self._database.delete("run", str(run["run_id"]))

    def shutdown(self) -> None:
        """End every run, and come back when none of their processes is left."""
        with self._lock:
            active = [run["run_id"] for run in self._database.all("run") if not has_ended(run)]
            for run_id in active:
                self._interrupt(run_id, STOPPED)
            threads = list(self._threads)
        deadline = time.monotonic() + SHUTDOWN_SECONDS
        for thread in threads:
            thread.join(max(0, deadline - time.monotonic()))

    def find(self, run_id: int) -> Document:
        """The document of a run, by its own id or by that of one of its tasks."""
        task_run = self._database.get("task_run", str(run_id)) or {"run_id": run_id}
        run = self._database.get("run", str(task_run["run_id"]))
        if run is None:
            raise InvalidParameter(f"Run {run_id} does not exist.")
        return run

    def folder(self, task_run_id: int) -> Path:
        """Where a task run keeps its source, its output and its executed notebook."""
        return self._state.runs / str(task_run_id)

    def _is_allowed(self, run: Document) -> bool:
        if run["run_type"] != "JOB_RUN":
            return True
        limit: int = run["settings"]["max_concurrent_runs"]
        active = [other for other in self._runs_of(run["job_id"]) if _is_active(other)]
        return len(active) < limit

    def _runs_of(self, job_id: int) -> list[Document]:
        return [run for run in self._database.all("run") if run["job_id"] == job_id]

    def _start(self, run_id: int) -> None:
        self._change(run_id, lambda run: run.update(states("PENDING")))
        self._stops[run_id] = threading.Event()
        thread = threading.Thread(target=self._work, args=(run_id,), daemon=True)
        self._threads.add(thread)
        thread.start()

    def _work(self, run_id: int) -> None:
        run, stop = self.find(run_id), self._stops[run_id]
        try:
            with self._slots:
                if not stop.is_set():
                    self._run_tasks(run, stop)
        except BaseException as error:
            # Whatever went wrong is recorded, so that nobody waits for this run for ever.
            self._close(run_id, internal_error(f"the workspace failed to run it: {error!r}"))
            raise
        finally:
            with self._lock:
                del self._stops[run_id]
                self._threads.discard(threading.current_thread())
            self._submit_waiting(run["job_id"])

    def _submit_waiting(self, job_id: int) -> None:
        for run in self._runs_of(job_id):
            if run["state"]["life_cycle_state"] == "QUEUED":
                self.submit(run["run_id"])

    def _run_tasks(self, run: Document, stop: threading.Event) -> None:
        limit = _Limit(run["settings"])
        outcomes: dict[str, Outcome] = {}
        for task in in_order(run["tasks"]):
            if any(outcomes[key] != SUCCESS for key in upstream(task)):
                outcome = UPSTREAM_FAILED
            else:
                outcome = self._execute(run, task, stop, [limit, _Limit(task)])
            outcomes[task["task_key"]] = outcome
            self._change_task(run["run_id"], task["run_id"], partial(end, outcome=outcome))
        self._close(run["run_id"], summary_of(outcomes))

    def _execute(
        self, run: Document, task: Document, stop: threading.Event, limits: list["_Limit"]
    ) -> Outcome:
        try:
            clusters.start(self._database, task["existing_cluster_id"])
            folder = self._prepare(run, task)
        except DoesNotExist as error:
            return internal_error(f"Unable to access the notebook: {error.message}", "RESOURCE_NOT_FOUND")
        except ApiError as error:
            return internal_error(error.message, "INVALID_CLUSTER_REQUEST")
        environment = self._environment(run)
        if stop.is_set():
            return CANCELED
        process = self._start_process(run, task, folder, {**environment, **mark(folder)})
        outcome = _wait(process, stop, limits)
        end_processes(folder)
        process.wait()
        if self._spares:
            self._spares.refill_soon(environment)
        return outcome or _outcome_of(folder)

    def _prepare(self, run: Document, task: Document) -> Path:
        """The folder of a task run, with `task.json` and a copy of the notebook as it is at this moment."""
        notebook = self._objects.notebook(task["notebook_task"]["notebook_path"])
        folder = self.folder(task["run_id"])
        folder.mkdir(parents=True)
        source = folder / "notebook.source"
        source.write_bytes(notebook.read().content)
        description = {
            "notebook_path": notebook.path,
            "source_file": str(source.absolute()),
            "language": notebook.language,
            "format": notebook.format,
            "parameters": task_parameters(run, task),
            "run_id": task["run_id"],
            "job_id": run["job_id"],
            "task_key": task["task_key"],
        }
        (folder / "task.json").write_text(json.dumps(description))
        return folder

    def _start_process(
        self, run: Document, task: Document, folder: Path, environment: dict[str, str]
    ) -> subprocess.Popen[bytes]:
        process = self._spares.take(folder, environment) if self._spares else None
        process = process or self._start_anew(folder, environment)
        self._change_task(run["run_id"], task["run_id"], begin)
        self._change(run["run_id"], begin)
        return process

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

    def _interrupt(self, run_id: int, outcome: Outcome) -> None:
        """Write the outcome first, so that the dying process cannot make it a failure; then let it die."""
        with self._lock:
            self._close(run_id, outcome)
            if run_id in self._stops:
                self._stops[run_id].set()

    def _close(self, run_id: int, outcome: Outcome) -> None:
        def close(run: Document) -> None:
            for record in (*run["tasks"], run):
                end(record, outcome)

        self._change(run_id, close)

    def _change(self, run_id: int, change: Callable[[Document], Any]) -> None:
        self._database.update("run", str(run_id), change)

    def _change_task(self, run_id: int, task_run_id: int, change: Callable[[Document], Any]) -> None:
        def change_one(run: Document) -> None:
            change(next(task for task in run["tasks"] if task["run_id"] == task_run_id))

        self._change(run_id, change_one)

    def _end_left_overs(self) -> None:
        """End the processes and runs of a workspace that was killed."""
        end_processes(self._state.runs)
        for run in self._database.all("run"):
            if not has_ended(run):
                self._close(run["run_id"], RESTARTED)


class _Limit:
    """The moment at which a run or task has taken too long, if there is one."""

    def __init__(self, settings: Document) -> None:
        self.seconds = int(settings.get("timeout_seconds") or 0)
        self._started = time.monotonic()

    def is_over(self) -> bool:
        return 0 < self.seconds < time.monotonic() - self._started


def read_result(folder: Path) -> Document | None:
    """What a task's process left behind as its result, or None."""
    try:
        result: Document = json.loads((folder / "result.json").read_text())
    except (FileNotFoundError, json.JSONDecodeError):
        return None
    return result


def _is_active(run: Document) -> bool:
    return run["state"]["life_cycle_state"] in ("PENDING", "RUNNING")


def _wait(process: subprocess.Popen[bytes], stop: threading.Event, limits: list[_Limit]) -> Outcome | None:
    """Wait for a process; an outcome when it has to be ended, None when it ended by itself."""
    while process.poll() is None:
        over = [limit for limit in limits if limit.is_over()]
        if over:
            return timed_out(over[0].seconds)
        if stop.wait(POLL_SECONDS):
            return CANCELED
    return None


def _outcome_of(folder: Path) -> Outcome:
    result = read_result(folder)
    if result is None:
        lines = (folder / "process.log").read_text(errors="replace").splitlines()[-LOG_LINES:]
        return internal_error("The notebook's process ended without a result:\n" + "\n".join(lines))
    return SUCCESS if result["status"] == "SUCCESS" else FAILED
