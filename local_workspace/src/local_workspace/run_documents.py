"""What is kept about a run and its tasks, in the official shape of the newest Jobs API."""

import time
from dataclasses import dataclass
from typing import Any

from local_workspace.database import Database, Document
from local_workspace.job_settings import upstream

ENDED = ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
FAULTS = {"SUCCESS": "SUCCESS", "INTERNAL_ERROR": "INTERNAL_ERROR"}


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
UPSTREAM_FAILED = Outcome("SKIPPED", "UPSTREAM_FAILED", "Upstream tasks failed.", "SKIPPED")


def internal_error(message: str, code: str = "INTERNAL_ERROR") -> Outcome:
    """The outcome of a run that the workspace could not carry out."""
    return Outcome("INTERNAL_ERROR", "FAILED", message, code)


def timed_out(seconds: int) -> Outcome:
    """The outcome of a run that took longer than it may."""
    return Outcome("TERMINATED", "TIMEDOUT", f"Run timed out after {seconds} seconds.", "CANCELED")


def new_run(database: Database, job_id: int, run_type: str, settings: Document, user_name: str) -> Document:
    """Create the document of a run of `settings` (normalised) in state QUEUED, and one record a task."""
    run_id = database.next_id("run")
    run = {
        **_timed(run_id),
        "job_id": job_id,
        "number_in_job": run_id,
        "run_name": settings.get("name") or "Untitled",
        "run_type": run_type,
        "creator_user_name": user_name,
        "trigger": "ONE_TIME",
        "overriding_parameters": {},
        **states("QUEUED"),
        "tasks": [_new_task(database, task) for task in settings["tasks"]],
        "settings": settings,
    }
    for task in run["tasks"]:
        database.put("task_run", str(task["run_id"]), {"run_id": run_id})
    database.put("run", str(run_id), run)
    return run


def states(life_cycle: str) -> Document:
    """`state` and `status` of a run that has not ended."""
    status: Document = {"state": life_cycle}
    if life_cycle == "QUEUED":
        status["queue_details"] = {"code": "MAX_CONCURRENT_RUNS_REACHED", "message": ""}
    return {"state": {"life_cycle_state": life_cycle, "state_message": ""}, "status": status}


def has_ended(record: Document) -> bool:
    """Whether a run or task is over."""
    return record["state"]["life_cycle_state"] in ENDED


def end(record: Document, outcome: Outcome) -> None:
    """Write an outcome into a run or task; one that has ended keeps its first outcome."""
    if has_ended(record):
        return
    record["end_time"] = now()
    record["execution_duration"] = max(
        0, record["end_time"] - record["start_time"] - record["setup_duration"]
    )
    record["state"] = {
        "life_cycle_state": outcome.life_cycle,
        "result_state": outcome.result,
        "state_message": outcome.message,
        "user_cancelled_or_timedout": outcome.result in ("CANCELED", "TIMEDOUT"),
    }
    fault = FAULTS.get(outcome.code, "CLIENT_ERROR")
    details = {"code": outcome.code, "type": fault, "message": outcome.message}
    record["status"] = {"state": "TERMINATED", "termination_details": details}


def begin(record: Document) -> None:
    """Write that a run or task is running; one that runs or has ended stays as it is."""
    if not has_ended(record) and record["state"]["life_cycle_state"] != "RUNNING":
        record["setup_duration"] = now() - record["start_time"]
        record |= states("RUNNING")


def summary_of(outcomes: dict[str, Outcome]) -> Outcome:
    """The outcome of a run from the outcomes of its tasks, by task key and in order."""
    failed = {key: o for key, o in outcomes.items() if o not in (SUCCESS, UPSTREAM_FAILED)}
    if not failed:
        return SUCCESS
    key, first = next(iter(failed.items()))
    skipped = " This caused all downstream tasks to get skipped." * (UPSTREAM_FAILED in outcomes.values())
    message = f"Task {key} failed with message: {first.message}.{skipped}"
    return Outcome(first.life_cycle, first.result, message, first.code)


def shown(run: Document, host: str, version: str) -> Document:
    """A run as the API answers it, with the addresses of its page."""
    url = f"{host}/jobs/{run['job_id']}/runs/{run['run_id']}"
    reply = {name: value for name, value in run.items() if name != "settings"}
    reply |= {"run_page_url": url, "tasks": [{**task, "run_page_url": url} for task in run["tasks"]]}
    if version == "2.0" and len(run["tasks"]) == 1:
        task = run["tasks"][0]
        reply["task"] = {"notebook_task": task["notebook_task"]}
        reply["cluster_spec"] = {"existing_cluster_id": task["existing_cluster_id"]}
        reply["cluster_instance"] = task["cluster_instance"]
    return reply


def task_parameters(run: Document, task: Document) -> dict[str, str]:
    """The widget values of a task: its own, then the job's parameters, then those of this run."""
    job_parameters = {p["name"]: p.get("value", p.get("default")) for p in run.get("job_parameters", [])}
    notebook_params = run["overriding_parameters"].get("notebook_params", {})
    merged = task["notebook_task"].get("base_parameters", {}) | job_parameters | notebook_params
    return {str(name): str(value) for name, value in merged.items()}


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)


def _new_task(database: Database, task: Document) -> Document:
    run_id = database.next_id("run")
    cluster = {"cluster_id": task["existing_cluster_id"], "spark_context_id": "1"}
    waiting = states("BLOCKED" if upstream(task) else "PENDING")
    return {**task, **_timed(run_id), "attempt_number": 0, "cluster_instance": cluster, **waiting}


def _timed(run_id: int) -> dict[str, Any]:
    durations = {"setup_duration": 0, "execution_duration": 0, "cleanup_duration": 0}
    return {"run_id": run_id, "start_time": now(), "end_time": 0, **durations}
