"""Tasks that need no process: conditions, runs of other jobs, and one task for many inputs."""

import json
import threading
import time
from collections import Counter
from collections.abc import Callable, Collection
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs import conditions, value_references
from local_workspace.jobs.job_starts import create_job_run
from local_workspace.jobs.run_context import Context, context_of
from local_workspace.jobs.run_documents import (
    CANCELED,
    GOOD,
    SUCCESS,
    Outcome,
    has_ended,
    internal_error,
    new_run,
    outcome_of,
    timed_out,
)
from local_workspace.jobs.task_kinds import CONDITION, FOR_EACH, RUN_JOB, kind_of
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder

POLL_SECONDS = 0.1
# What of a job's settings the run of one input needs too.
SHARED = ("environments", "job_clusters", "parameters", "run_as")
OF_RUN_JOB = ("notebook_params", "python_params", "python_named_params")
MOST_INPUTS = 5000

# What counts as the state of a run that was deleted.
_GONE: Document = {
    "state": {
        "life_cycle_state": "INTERNAL_ERROR",
        "result_state": "FAILED",
        "state_message": "the run was deleted",
    },
    "status": {"termination_details": {"code": "INTERNAL_ERROR"}},
}

Keep = Callable[[Callable[[Document], None]], None]


class ControlTasks:
    """Carries them out, each in a thread of its own; `submit` starts a run, `cancel` ends one."""

    def __init__(
        self,
        database: Database,
        state: StateFolder,
        submit: Callable[[int], None],
        cancel: Callable[[int], None],
    ) -> None:
        self._database = database
        self._state = state
        self._submit = submit
        self._cancel = cancel

    def execute(self, run: Document, task: Document, stop: threading.Event, keep: Keep) -> Outcome:
        """Carry out an attempt until it ends, takes too long or `stop` is set.

        `keep` changes the record of the task.
        """
        context = context_of(self._database, self._state, run)
        ways = {CONDITION: self._compare, RUN_JOB: self._run_job, FOR_EACH: self._for_each}
        try:
            return ways[kind_of(task)](context, run, task, Runs(self, task, stop), keep)
        except InvalidParameter as error:
            return internal_error(error.message, "INVALID_RUN_CONFIGURATION")

    def _compare(self, context: Context, run: Document, task: Document, _: "Runs", keep: Keep) -> Outcome:
        own = task[CONDITION]
        for text in (own["left"], own["right"]):
            _check_comparable(text, context)
        operands = {name: context.resolve(own[name], task) for name in ("left", "right")}
        resolved = own | operands
        resolved["outcome"] = conditions.outcome(resolved)
        keep(lambda record: record.update({CONDITION: resolved}))
        return SUCCESS

    def _run_job(
        self, context: Context, run: Document, task: Document, children: "Runs", keep: Keep
    ) -> Outcome:
        own = task[RUN_JOB]
        job = self._database.get("job", str(own["job_id"]))
        if job is None:
            return internal_error(f"Job {own['job_id']} does not exist.", "RESOURCE_NOT_FOUND")
        started = create_job_run(
            self._database,
            job,
            _job_parameters(context, task, job),
            trigger="RUN_JOB_TASK",
            trigger_info={"run_id": task["run_id"]},
            overriding_parameters={
                name: _resolved(own[name], context, task) for name in OF_RUN_JOB if own.get(name)
            },
        )
        keep(lambda record: record.update(run_job_run=started["run_id"]))
        self._submit(started["run_id"])
        if early := children.wait_for({started["run_id"]}):
            return early
        ended = outcome_of(self.find(started["run_id"]))
        if ended.result in (*GOOD, "SUCCESS_WITH_FAILURES"):
            return SUCCESS
        message = f"Run {started['run_id']} of job {own['job_id']} ended {ended.result}: {ended.message}"
        if ended.result == "CANCELED":
            return Outcome("TERMINATED", "CANCELED", message, "CANCELED")
        return Outcome("TERMINATED", "FAILED", message, "RUN_EXECUTION_ERROR")

    def _for_each(
        self, context: Context, run: Document, task: Document, children: "Runs", keep: Keep
    ) -> Outcome:
        own = task[FOR_EACH]
        inputs = _inputs(context.resolve(own["inputs"], task))
        started = self._succeeded_before(run, task, inputs)
        ended = dict.fromkeys(started, SUCCESS)
        waiting = [number for number in range(len(inputs)) if number not in started]

        def tell() -> None:
            ids = [started[number] for number in sorted(started)]
            shown = own | {"stats": _stats(len(inputs), len(ids), list(ended.values()))}
            keep(lambda record: record.update({"iteration_runs": ids, FOR_EACH: shown}))

        tell()
        while len(ended) < len(inputs):
            while waiting and len(started) - len(ended) < int(own.get("concurrency") or 1):
                number = waiting.pop(0)
                started[number] = self._start_iteration(run, task, number, inputs[number])
                tell()
            active = {number: run_id for number, run_id in started.items() if number not in ended}
            early = children.wait_for(active.values(), any_of_them=True)
            for number, run_id in active.items():
                if has_ended(found := self.find(run_id)):
                    ended[number] = outcome_of(found)
            tell()
            if early:
                return early
        return _summary([ended[number] for number in sorted(ended)])

    def _start_iteration(self, run: Document, task: Document, number: int, value: Any) -> int:
        """Start the run of one input; gives its id."""
        settings = {field: run["settings"][field] for field in SHARED if field in run["settings"]}
        name = f"{run['run_name']}, {task['task_key']} {number + 1}"
        started = new_run(
            self._database,
            self._database.next_id("job"),
            "WORKFLOW_RUN",
            settings | {"name": name, "tasks": [task[FOR_EACH]["task"]]},
            run["creator_user_name"],
            iteration={"run_id": run["run_id"], "number": number, "input": value},
            job_parameters=run.get("job_parameters", []),
            overriding_parameters=run["overriding_parameters"],
        )
        self._submit(started["run_id"])
        return int(started["run_id"])

    def _succeeded_before(self, run: Document, task: Document, inputs: list[Any]) -> dict[int, int]:
        """The runs of the attempt before that need not be done again, by the number of their input."""
        attempts = [other for other in run["tasks"] if other["task_key"] == task["task_key"]]
        ids = attempts[-2].get("iteration_runs", []) if len(attempts) > 1 else []
        good = [found for each in ids if _is_good(found := self.find(each))]
        numbers = {found["iteration"]["number"]: found for found in good}
        return {
            number: found["run_id"]
            for number, found in numbers.items()
            if number < len(inputs) and found["iteration"]["input"] == inputs[number]
        }

    def find(self, run_id: int) -> Document:
        """A run that a task has started; one that was deleted meanwhile counts as failed."""
        return self._database.get("run", str(run_id)) or _GONE

    def cancel(self, run_ids: Collection[int]) -> None:
        """End these runs as CANCELED and wait for their ends."""
        for run_id in run_ids:
            if not has_ended(self.find(run_id)):
                self._cancel(run_id)
        while not all(has_ended(self.find(run_id)) for run_id in run_ids):
            time.sleep(POLL_SECONDS)


class Runs:
    """The runs that one task has started, as far as it waits for them."""

    def __init__(self, tasks: ControlTasks, task: Document, stop: threading.Event) -> None:
        self._tasks = tasks
        self._stop = stop
        self._limit = int(task.get("timeout_seconds") or 0)
        self._deadline = time.monotonic() + self._limit if self._limit else float("inf")

    def wait_for(self, run_ids: Collection[int], any_of_them: bool = False) -> Outcome | None:
        """Wait for the ends of all of these runs, or of one; an outcome where they had to be ended."""
        enough = any if any_of_them else all
        while run_ids and not enough(has_ended(self._tasks.find(run_id)) for run_id in run_ids):
            is_late = time.monotonic() > self._deadline
            if is_late or self._stop.wait(POLL_SECONDS):
                self._tasks.cancel(run_ids)
                return timed_out(self._limit) if is_late else CANCELED
        return None


def _check_comparable(text: str, context: Context) -> None:
    for key, name in value_references.task_values(text):
        value = context.values.get(key, {}).get(name)
        if isinstance(value, list | dict):
            raise InvalidParameter(
                f"task value {name!r} of task {key!r} is {json.dumps(value)[:200]}; a condition compares "
                "texts, numbers and booleans"
            )


def _job_parameters(context: Context, task: Document, job: Document) -> dict[str, str]:
    """Those that the task gives, and over them those of its own job that the other job has too."""
    declared = [parameter["name"] for parameter in job["settings"].get("parameters", [])]
    given = {
        name: context.resolve(value, task)
        for name, value in (task[RUN_JOB].get("job_parameters") or {}).items()
    }
    return given | {name: value for name, value in context.job_parameters.items() if name in declared}


def _resolved(field: Any, context: Context, task: Document) -> Any:
    if isinstance(field, dict):
        return {name: context.resolve(value, task) for name, value in field.items()}
    return [context.resolve(value, task) for value in field]


def _inputs(text: str) -> list[Any]:
    try:
        inputs = json.loads(text)
    except json.JSONDecodeError:
        inputs = None
    if not isinstance(inputs, list):
        raise InvalidParameter(f"inputs must be a JSON array, such as [1, 2]; they are {text[:200]!r}")
    if len(inputs) > MOST_INPUTS:
        raise InvalidParameter(f"there are {len(inputs)} inputs; at most {MOST_INPUTS} are gone through")
    return inputs


def _is_good(run: Document) -> bool:
    return has_ended(run) and outcome_of(run).result in GOOD


def _stats(total: int, started: int, ended: list[Outcome]) -> Document:
    failed = [outcome for outcome in ended if outcome.result not in GOOD]
    counts = {
        "total_iterations": total,
        "scheduled_iterations": started,
        "active_iterations": started - len(ended),
        "completed_iterations": len(ended),
        "succeeded_iterations": len(ended) - len(failed),
        "failed_iterations": len(failed),
    }
    messages = [
        {"error_message": message, "termination_category": code, "count": count}
        for (message, code), count in Counter((each.message, each.code) for each in failed).items()
    ]
    return {"task_run_stats": counts, "error_message_stats": messages}


def _summary(outcomes: list[Outcome]) -> Outcome:
    failed = [outcome for outcome in outcomes if outcome.result not in GOOD]
    if not failed:
        return SUCCESS
    message = f"{len(failed)} of {len(outcomes)} iterations did not succeed; the first: {failed[0].message}"
    return Outcome("TERMINATED", "FAILED", message, "RUN_EXECUTION_ERROR")
