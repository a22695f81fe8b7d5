"""What is kept about a run and its tasks, in the official shape of the newest Jobs API.

A run has one record a task attempt in `tasks`: a task that is retried has several with its key.
"""

from dataclasses import dataclass
from typing import Any

from local_workspace.callers import USER_NAME
from local_workspace.clock import now
from local_workspace.jobs.compute import COMPUTE
from local_workspace.jobs.task_kinds import kind_of
from local_workspace.jobs.task_order import upstream
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import ENDED

# The fields of `run_as`.
RUN_AS = ("user_name", "service_principal_name")
NOT_STARTED = ("QUEUED", "BLOCKED")
# An excluded task counts as a success.
GOOD = ("SUCCESS", "EXCLUDED")
ACTIVE = ("PENDING", "RUNNING", "TERMINATING")
NOT_ENDED = ("QUEUED", *ACTIVE)
# How API 2.2 calls the states that have another name there.
NEWER_NAMES = {"WAITING_FOR_RETRY": "WAITING"}
# In the record of a task: the run of another job, and those of its inputs.
STARTED_RUNS = ("run_job_run", "iteration_runs")
FAULTS = {"SUCCESS": "SUCCESS", "SUCCESS_WITH_FAILURES": "SUCCESS", "INTERNAL_ERROR": "INTERNAL_ERROR"}


@dataclass(frozen=True)
class Outcome:
    """How a run or task ended: life-cycle state, result state, message, and the newer termination code."""

    life_cycle: str
    result: str
    message: str
    code: str


SUCCESS = Outcome("TERMINATED", "SUCCESS", "", "SUCCESS")
FAILED = Outcome("TERMINATED", "FAILED", "Workload failed, see run output for details", "RUN_EXECUTION_ERROR")
CANCELED = Outcome("TERMINATED", "CANCELED", "Run cancelled.", "USER_CANCELED")
TOO_MANY_RUNS = Outcome(
    "SKIPPED",
    "MAXIMUM_CONCURRENT_RUNS_REACHED",
    "An active run of the same job is in progress.",
    "MAX_CONCURRENT_RUNS_EXCEEDED",
)


def internal_error(message: str, code: str = "INTERNAL_ERROR") -> Outcome:
    """The outcome of a run that the workspace could not carry out."""
    return Outcome("INTERNAL_ERROR", "FAILED", message, code)


def timed_out(seconds: int) -> Outcome:
    """The outcome of a run that took longer than it may."""
    return Outcome("TERMINATED", "TIMEDOUT", f"Run timed out after {seconds} seconds.", "CANCELED")


def new_run(
    database: Database, job_id: int, run_type: str, settings: Document, creator: str, **details: Any
) -> Document:
    """Create the document of a run of `settings` (normalised) in state QUEUED, and one record a task.

    It runs as `creator` unless the settings name somebody else. `details` are further fields of
    the run, such as its `trigger`.
    """
    with database.transaction():
        run_id = database.next_id("run")
        run = {
            **_timed(run_id),
            "job_id": job_id,
            "number_in_job": run_id,
            "original_attempt_run_id": run_id,
            "run_name": settings.get("name") or "Untitled",
            "run_type": run_type,
            "creator_user_name": creator,
            "run_as_user_name": run_as(settings, creator),
            "trigger": "ONE_TIME",
            "overriding_parameters": {},
            **states("QUEUED"),
            "tasks": [_new_task(database, run_id, task) for task in settings["tasks"]],
            "settings": settings,
            **details,
        }
        database.put("run", str(run_id), run)
    return run


def run_as(settings: Document, creator: str) -> str:
    """As whom a run of these settings runs."""
    named = settings.get("run_as") or {}
    return next((str(named[field]) for field in RUN_AS if named.get(field)), creator)


def user_of(run: Document) -> str:
    """As whom a run runs; those of older versions of the workspace are the first user's."""
    return str(run.get("run_as_user_name", USER_NAME))


def next_attempt(database: Database, run: Document, task: Document) -> Document:
    """Add the record of one more attempt to a run, in state WAITING_FOR_RETRY."""
    settings = next(each for each in run["settings"]["tasks"] if each["task_key"] == task["task_key"])
    attempt = _new_task(database, run["run_id"], settings) | states("WAITING_FOR_RETRY")
    attempt["attempt_number"] = task["attempt_number"] + 1
    attempt["original_attempt_run_id"] = task["original_attempt_run_id"]
    run["tasks"].append(attempt)
    if "repair_history" in run:
        run["repair_history"][-1]["task_run_ids"].append(attempt["run_id"])
    return attempt


def parts_of(record: Document) -> list[Document]:
    """The run as it was first, and each repair; a task, and a run that was not repaired, is one part."""
    parts: list[Document] = record.get("repair_history") or [record]
    return parts


def ending(record: Document) -> Document:
    """When and how a run or task ended."""
    return {name: record[name] for name in ("end_time", "state", "status")}


def latest_attempts(run: Document) -> dict[str, Document]:
    """The newest record of each task, by task key."""
    return {task["task_key"]: task for task in run["tasks"]}


def task_record(run: Document, task_run_id: int) -> Document:
    """The record of one task attempt."""
    record: Document = next(task for task in run["tasks"] if task["run_id"] == task_run_id)
    return record


def states(life_cycle: str) -> Document:
    """`state` and `status` of a run or task that has not ended."""
    status: Document = {"state": NEWER_NAMES.get(life_cycle, life_cycle)}
    if life_cycle == "QUEUED":
        status["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": ""}
    return {"state": {"life_cycle_state": life_cycle, "state_message": ""}, "status": status}


def has_ended(record: Document) -> bool:
    """Whether a run or task is over."""
    return record["state"]["life_cycle_state"] in ENDED


def is_in(record: Document, *life_cycles: str) -> bool:
    """Whether a run or task is in one of these states."""
    return record["state"]["life_cycle_state"] in life_cycles


def end(record: Document, outcome: Outcome) -> None:
    """Write an outcome into a run or task; one that has ended keeps its first outcome."""
    if has_ended(record):
        return
    record["end_time"] = now()
    record["run_duration"] = duration(record)
    if not _has_many_tasks(record):
        record["execution_duration"] = max(0, record["run_duration"] - record["setup_duration"])
    record["state"] = {
        "life_cycle_state": outcome.life_cycle,
        "result_state": outcome.result,
        "state_message": outcome.message,
        "user_cancelled_or_timedout": outcome.result in ("CANCELED", "TIMEDOUT"),
    }
    fault = FAULTS.get(outcome.code, "CLIENT_ERROR")
    details = {"code": outcome.code, "type": fault, "message": outcome.message}
    record["status"] = {"state": "TERMINATED", "termination_details": details}
    if "repair_history" in record:
        record["repair_history"][-1] |= ending(record)


def duration(record: Document) -> int:
    """How long a run or task took, or takes so far; of one that was repaired without the time between."""
    end = record["end_time"] or now()
    *before, last = parts_of(record)
    return int(sum(each["end_time"] - each["start_time"] for each in before) + end - last["start_time"])


def outcome_of(record: Document) -> Outcome:
    """The outcome that `end` wrote."""
    state = record["state"]
    code = record["status"]["termination_details"]["code"]
    return Outcome(state["life_cycle_state"], state["result_state"], state["state_message"], code)


def launch(record: Document) -> None:
    """Write that a run or task has left the queue; from here on its time counts."""
    moment = now()
    if "repair_history" in record:
        record["repair_history"][-1]["start_time"] = moment
    else:
        if "tasks" in record:
            record["queue_duration"] = moment - record["start_time"]
        record["start_time"] = moment
    record |= states("PENDING")


def begin(record: Document) -> None:
    """Write that a run or task is running; one that runs or has ended stays as it is."""
    if is_in(record, "PENDING"):
        if not _has_many_tasks(record):
            record["setup_duration"] = now() - parts_of(record)[-1]["start_time"]
        record |= states("RUNNING")


def shown(run: Document, host: str, version: str) -> Document:
    """A run as the API answers it, with the addresses of its page."""
    url = f"{host}/jobs/{run['job_id']}/runs/{run['run_id']}"
    own = ("settings", "repair_history", "iteration", "git_snapshot")
    reply = {name: value for name, value in run.items() if name not in own}
    reply |= {
        "run_page_url": url,
        "tasks": [shown_task(task) | {"run_page_url": url} for task in run["tasks"]],
    }
    if git_source := run["settings"].get("git_source"):
        snapshot = {"git_snapshot": run["git_snapshot"]} if "git_snapshot" in run else {}
        reply["git_source"] = git_source | snapshot
    if version == "2.0" and len(latest_attempts(run)) == 1:
        task = run["tasks"][-1]
        reply["task"] = {kind: task[kind] for kind in [kind_of(task)]}
        reply["cluster_spec"] = {name: task[name] for name in COMPUTE if task.get(name)}
        reply |= {name: task[name] for name in ("cluster_instance",) if name in task}
    return reply


def shown_task(task: Document) -> Document:
    """The record of a task as the API answers it: without the runs that it has started."""
    return {name: value for name, value in task.items() if name not in STARTED_RUNS}


def _has_many_tasks(record: Document) -> bool:
    """Whether this is a run with several tasks, of which only the whole duration is told."""
    return "tasks" in record and len(latest_attempts(record)) > 1


def _new_task(database: Database, job_run_id: int, task: Document) -> Document:
    run_id = database.next_id("run")
    database.put("task_run", str(run_id), {"run_id": job_run_id})
    cluster_id = task.get("existing_cluster_id")
    instance = {"cluster_instance": {"cluster_id": cluster_id, "spark_context_id": "1"}} if cluster_id else {}
    return {
        **task,
        **_timed(run_id),
        "attempt_number": 0,
        "original_attempt_run_id": run_id,
        **instance,
        **states("BLOCKED" if upstream(task) else "QUEUED"),
    }


def _timed(run_id: int) -> dict[str, Any]:
    durations = {"setup_duration": 0, "execution_duration": 0, "cleanup_duration": 0}
    return {"run_id": run_id, "start_time": now(), "end_time": 0, **durations}
