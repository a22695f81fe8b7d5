"""Runs jobs: starts their tasks when their time has come, and keeps the book of what became of them.

The documents of runs tell everything; what is in memory are the attempts that are being worked on.
`task_conditions` and `retries` decide, `workers`, `timers` and `task_processes` carry out.
"""

import logging
import shutil
import sqlite3
import threading
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import nullcontext
from functools import partial
from pathlib import Path
from typing import Any, TypeVar

from local_workspace.errors import InvalidParameter, InvalidState, is_disk_full
from local_workspace.jobs import retries
from local_workspace.jobs.control_tasks import ControlTasks
from local_workspace.jobs.run_documents import (
    ACTIVE,
    CANCELED,
    TOO_MANY_RUNS,
    Outcome,
    begin,
    end,
    has_ended,
    internal_error,
    is_in,
    latest_attempts,
    launch,
    next_attempt,
    states,
    task_record,
    timed_out,
)
from local_workspace.jobs.run_repairs import repair as begin_repair
from local_workspace.jobs.run_repairs import to_repair
from local_workspace.jobs.run_searches import search_states
from local_workspace.jobs.task_conditions import launch_ready, summary_of
from local_workspace.jobs.task_kinds import CONTROL, kind_of
from local_workspace.jobs.task_processes import (
    EXECUTOR,
    Attached,
    ClusterEnd,
    Environment,
    TaskProcesses,
)
from local_workspace.jobs.timers import Timers
from local_workspace.jobs.workers import Workers
from local_workspace.kernel.fork_server import ForkServer
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder

RESTARTED = internal_error("the workspace was restarted while it ran")
STOPPED = internal_error("the workspace was stopped while it ran")
FULL_DISK_SECONDS = 1
# More than it takes to end processes; only a run that still waits for the cluster takes longer.
SHUTDOWN_SECONDS = 15
Started = TypeVar("Started")


class RunManager:
    """Runs what is submitted, `workers` tasks at once beside those that `notebook.run` waits for.

    `environment(run)` gives the environment of a task's process and may wait until the cluster is up.
    `command` is started with the folder of the task run as its last argument, unless `fork_server` forks
    one. `cluster_end(environment)` tells how the cluster of a task has ended, None while it is there, and
    `attached(mode, run, user, folder)` gives what the cluster's access mode adds to the environment.
    """

    def __init__(
        self,
        database: Database,
        state: StateFolder,
        environment: Environment,
        host: str,
        command: Sequence[str] = EXECUTOR,
        workers: int = 2,
        fork_server: ForkServer | None = None,
        cluster_end: ClusterEnd = lambda environment: None,
        attached: Attached = lambda mode, run, user, folder: nullcontext({}),
    ) -> None:
        self.host = host
        self._database = database
        self._state = state
        self._processes = TaskProcesses(
            database, state, environment, command, fork_server, cluster_end, attached
        )
        self._controls = ControlTasks(database, state, self.submit, self.cancel)
        self._lock = threading.RLock()
        # The attempts that a worker is busy with, by task run, and what ends them.
        self._stops: dict[int, threading.Event] = {}
        # How runs end that are being ended, by run.
        self._endings: dict[int, Outcome] = {}
        # What becomes of runs that take too long, and of attempts that wait for their turn.
        self._timers = Timers(self._lock)
        self._is_stopping = self._is_shut = False
        self._close_left_overs()
        self._workers = Workers(workers, self._work)

    def submit(self, run_id: int) -> None:
        """Start a QUEUED run when its job may have one more; else it waits or is SKIPPED."""
        with self._lock:
            run = self.find(run_id)
            if self._is_stopping or not is_in(run, "QUEUED"):
                return
            if not self._is_allowed(run):
                if not (run["settings"].get("queue") or {}).get("enabled"):
                    self._close(run_id, TOO_MANY_RUNS)
                return
            self._change(run_id, launch)
            if limit := int(run["settings"].get("timeout_seconds") or 0):
                self._timers.set(run_id, limit, lambda: self._interrupt(run_id, timed_out(limit)))
            self._advance(run_id)

    def cancel(self, run_id: int) -> None:
        """End a run, or one task of it, as CANCELED; what has ended stays as it is."""
        run = self.find(run_id)
        self._interrupt(run["run_id"], CANCELED, None if run["run_id"] == run_id else run_id)

    def cancel_all(self, job_id: int | None, only_queued: bool) -> None:
        """End the active and queued runs of a job, or of every job, as CANCELED; or only the queued ones."""
        with self._lock:
            for run in self._runs_in("QUEUED", *(() if only_queued else ACTIVE), job_id=job_id):
                self._interrupt(run["run_id"], CANCELED)

    def repair(
        self, run_id: int, keys: Collection[str], *, failed: bool, dependents: bool, latest: int | None
    ) -> int:
        """Run tasks of a run that has ended once more, as its job says now; gives the id of the repair.

        Raises InvalidState while the run is active, and InvalidParameter for what cannot be repaired, or
        where `latest` is not the repair before this one.
        """
        with self._lock, self._database.transaction():
            run = self.find(run_id)
            run_id = run["run_id"]
            if not has_ended(run) or any(task["run_id"] in self._stops for task in run["tasks"]):
                raise InvalidState(f"Run {run_id} is active; it can be repaired when it has ended")
            if unknown := sorted(set(keys).difference(latest_attempts(run))):
                raise InvalidParameter(f"run {run_id} has no tasks {unknown}: {list(latest_attempts(run))}")
            last = run.get("repair_history", [{}])[-1].get("id")
            if latest != last:
                raise InvalidParameter(f"latest_repair_id of run {run_id} must be {last}, not {latest}")
            chosen = to_repair(run, keys, failed=failed, dependents=dependents)
            if not chosen:
                raise InvalidParameter(f"Run {run_id} has no task to repair: all have succeeded")
            settings, made = self._settings_now(run), list[int]()
            self._change(
                run_id, lambda each: made.append(begin_repair(self._database, each, settings, chosen))
            )
        self.submit(run_id)
        return made[0]

    def _settings_now(self, run: Document) -> Document:
        """What the job of a run says now; what it said then where the job, or one of its tasks, is gone."""
        job = self._database.get("job", str(run["job_id"])) if run["run_type"] == "JOB_RUN" else None
        now: Document = job["settings"] if job else run["settings"]
        is_like_it = {task["task_key"] for task in now["tasks"]} == latest_attempts(run).keys()
        return now if is_like_it else run["settings"]

    def delete(self, run_id: int) -> None:
        """Forget a run and what it kept on disk; InvalidState while it, or a process of it, is alive."""
        with self._lock:
            run = self.find(run_id)
            tasks = [task["run_id"] for task in run["tasks"]]
            if not has_ended(run) or any(task_run_id in self._stops for task_run_id in tasks):
                raise InvalidState(f"Run {run['run_id']} is active; cancel it before it is deleted")
            with self._database.transaction():
                for task_run_id in tasks:
                    self._database.delete("task_run", str(task_run_id))
                self._database.delete("run", str(run["run_id"]))
            for task_run_id in tasks:
                shutil.rmtree(self.folder(task_run_id), ignore_errors=True)
            for task in run["tasks"]:
                for iteration in task.get("iteration_runs", []):
                    if self._database.get("run", str(iteration)) is not None:
                        self.delete(iteration)

    def shutdown(self) -> None:
        """End every run that has begun, and come back when none of their processes is left."""
        with self._lock:
            self._is_stopping = True
            for run in self._runs_in(*ACTIVE):
                self._interrupt(run["run_id"], STOPPED)
        self._workers.stop(SHUTDOWN_SECONDS)
        with self._lock:
            # A worker that still waits for the cluster finds the database closed when it comes back.
            self._is_shut = True
            self._timers.call_off_all()
            for run in self._runs_in(*ACTIVE):
                self._close(run["run_id"], STOPPED)

    def resume(self) -> None:
        """Start the runs that were waiting when the workspace was stopped or killed, as far as they may."""
        for run in self._runs_in("QUEUED"):
            self.submit(run["run_id"])

    def find(self, run_id: int) -> Document:
        """The document of a run, by its own id or by that of one of its tasks."""
        task_run = self._database.get("task_run", str(run_id)) or {"run_id": run_id}
        run = self._database.get("run", str(task_run["run_id"]))
        if run is None:
            raise InvalidParameter(f"Run {run_id} does not exist.")
        return run

    def find_one(self, run_id: int) -> Document | None:
        """The document of a run by its own id; None where there is none."""
        return self._database.get("run", str(run_id))

    def folder(self, task_run_id: int) -> Path:
        """Where a task run keeps its source, its output and its executed notebook."""
        return self._state.run_folder(task_run_id)

    def _is_allowed(self, run: Document) -> bool:
        if run["run_type"] != "JOB_RUN":
            return True
        limit: int = run["settings"]["max_concurrent_runs"]
        return self._database.count(search_states(ACTIVE, run["job_id"])) < limit

    def _runs_in(self, *life_cycles: str, job_id: int | None = None) -> Iterator[Document]:
        return self._database.walk(search_states(life_cycles, job_id))

    def _advance(self, run_id: int) -> None:
        """Start the tasks whose time has come; without any left, end the run and start what waited for it."""
        launched: list[Document] = []

        def advance(run: Document) -> None:
            if is_in(run, "PENDING", "RUNNING"):
                launched.extend(launch_ready(run))
            outcome = summary_of(run)
            if outcome is not None:
                end(run, self._endings.pop(run_id, outcome))

        with self._lock:
            run = self._change(run_id, advance)
            for task in launched:
                self._put(run, task["run_id"])
            if has_ended(run):
                self._start_waiting(run)

    def _start_waiting(self, run: Document) -> None:
        """Start the runs that waited for the end of this one."""
        self._timers.call_off(run["run_id"])
        for waiting in self._runs_in("QUEUED", job_id=run["job_id"]):
            if self._is_stopping or not self._is_allowed(waiting):
                break
            self.submit(waiting["run_id"])

    def _put(self, run: Document, task_run_id: int) -> None:
        # The task that called `notebook.run` keeps its worker busy until this one has ended, and a task that
        # waits for other runs must not keep one from them.
        is_called = run["run_type"] == "WORKFLOW_RUN" and "iteration" not in run
        is_control = kind_of(task_record(run, task_run_id)) in CONTROL
        self._workers.put(task_run_id, at_once=is_called or is_control)

    def _work(self, task_run_id: int) -> None:
        """Carry out one attempt; called by the workers."""
        with self._lock:
            if self._is_shut or self._database.get("task_run", str(task_run_id)) is None:
                return
            run = self.find(task_run_id)
            task = task_record(run, task_run_id)
            if not is_in(task, "PENDING"):
                return
            stop = self._stops[task_run_id] = threading.Event()
        try:
            outcome = self._carry_out(run, task, stop)
        except Exception as error:
            logging.getLogger(__name__).exception("task run %s", task_run_id)
            outcome = internal_error(f"the workspace failed to run it: {error!r}")
        self._finish_with_patience(run["run_id"], task_run_id, outcome)

    def _carry_out(self, run: Document, task: Document, stop: threading.Event) -> Outcome:
        run_id, task_run_id = run["run_id"], task["run_id"]
        if kind_of(task) not in CONTROL:
            return self._processes.execute(
                run, task, stop, lambda start: self._begin(run_id, task_run_id, stop, start)
            )
        if self._begin(run_id, task_run_id, stop, lambda: True) is None:
            return CANCELED

        def keep(change: Callable[[Document], None]) -> None:
            self._change(run_id, lambda document: change(task_record(document, task_run_id)))

        return self._controls.execute(run, task, stop, keep)

    def _finish_with_patience(self, run_id: int, task_run_id: int, outcome: Outcome) -> None:
        """Finish an attempt; on a full disk as soon as there is room to write it."""
        while True:
            try:
                return self._finish(run_id, task_run_id, outcome)
            except sqlite3.OperationalError as error:
                if not is_disk_full(error):
                    raise
            time.sleep(FULL_DISK_SECONDS)

    def _begin(
        self, run_id: int, task_run_id: int, stop: threading.Event, start: Callable[[], Started]
    ) -> Started | None:
        def change(run: Document) -> None:
            begin(task_record(run, task_run_id))
            begin(run)

        with self._lock:
            if stop.is_set():
                return None
            started = start()
            self._change(run_id, change)
            return started

    def _finish(self, run_id: int, task_run_id: int, outcome: Outcome) -> None:
        """Write how an attempt ended and go on: with the next attempt, or with the tasks behind it."""
        retried: list[Document] = []

        def change(run: Document) -> None:
            task = task_record(run, task_run_id)
            was_stopped = not is_in(task, "PENDING", "RUNNING")
            end(task, self._endings.get(run_id, CANCELED) if was_stopped else outcome)
            if not was_stopped and retries.is_due(run, task, outcome):
                retried.append(next_attempt(self._database, run, task))

        with self._lock:
            self._stops.pop(task_run_id, None)
            if self._is_shut:
                return
            run = self._change(run_id, change)
            for attempt in retried:
                seconds = retries.seconds_until(task_record(run, task_run_id))
                again = partial(self._try_again, run_id, attempt["run_id"])
                self._timers.set(attempt["run_id"], seconds, again)
            self._advance(run_id)

    def _try_again(self, run_id: int, task_run_id: int) -> None:
        def change(run: Document) -> None:
            task = task_record(run, task_run_id)
            if is_in(task, "WAITING_FOR_RETRY"):
                launch(task)

        self._put(self._change(run_id, change), task_run_id)

    def _interrupt(self, run_id: int, outcome: Outcome, task_run_id: int | None = None) -> None:
        """End the tasks of a run, or one; one that has a process is TERMINATING until it is gone."""

        def change(run: Document) -> None:
            for task in run["tasks"]:
                if task_run_id not in (None, task["run_id"]):
                    continue
                if is_in(task, "RUNNING"):
                    task |= states("TERMINATING")
                elif not is_in(task, "TERMINATING"):
                    end(task, outcome)
            if task_run_id is None and not has_ended(run):
                run |= states("TERMINATING")

        with self._lock:
            run = self.find(run_id)
            if has_ended(run):
                return
            if task_run_id is None:
                self._endings.setdefault(run_id, outcome)
            for task in self._change(run_id, change)["tasks"]:
                if not is_in(task, "PENDING", "RUNNING") and task["run_id"] in self._stops:
                    self._stops[task["run_id"]].set()
                if has_ended(task):
                    self._timers.call_off(task["run_id"])
            self._advance(run_id)

    def _close(self, run_id: int, outcome: Outcome) -> None:
        def close(run: Document) -> None:
            for record in (*run["tasks"], run):
                end(record, outcome)

        self._change(run_id, close)

    def _change(self, run_id: int, change: Callable[[Document], Any]) -> Document:
        return self._database.update("run", str(run_id), change)

    def _close_left_overs(self) -> None:
        """End the runs that had begun when a workspace was killed; `recover` has ended their processes."""
        for run in self._runs_in(*ACTIVE):
            self._close(run["run_id"], RESTARTED)
