"""What lists and heads of pages show of a run or a job."""

from datetime import datetime
from typing import Any
from urllib.parse import urlencode

from local_workspace.jobs.deployment_jobs import version_of
from local_workspace.jobs.run_documents import (
    duration,
    has_ended,
)
from local_workspace.rest.fields import Fields
from local_workspace.rest.paging import page
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search

SHOWN_RUNS = 100


def listed_page(
    name: str, database: Database, search: Search, longest: int, page_token: str
) -> dict[str, Any]:
    """One page of a list, with the tokens of its neighbours."""
    return page(name, database, search, Fields({"limit": longest, "page_token": page_token}), longest)


def page_links(listed: dict[str, Any], **chosen: str) -> dict[str, str]:
    """The query strings of the pages beside a page, with what was chosen."""
    tokens = {"newer": listed.get("prev_page_token"), "older": listed.get("next_page_token")}
    kept = {name: value for name, value in chosen.items() if value}
    return {way: urlencode(kept | {"page_token": token}) for way, token in tokens.items() if token}


def newest_runs(database: Database, search: Search, most: int) -> list[Document]:
    """The newest runs of a search, as lists show them."""
    return [run_summary(run) for _, run in database.find(search, newest_first=True, most=most)]


def job_in_address(run: Document) -> str:
    """The job's number in the address of a run; 0 for a run without a job."""
    return str(run.get("job_id") or 0)


def job_summary(job: Document, runs: list[Document]) -> Document:
    """What a list shows of a job."""
    settings = job["settings"]
    return {
        "job_id": job["job_id"],
        "name": settings.get("name", ""),
        "tasks": settings.get("tasks", []),
        "parameters": _job_parameters(settings),
        "schedule": settings.get("schedule"),
        "last": runs[0] if runs else None,
    }


def _job_parameters(settings: Document) -> dict[str, str]:
    """What one may choose for a run: the parameters of the job and of its tasks, with their defaults."""
    parameters: dict[str, str] = {}
    for task in settings.get("tasks", []):
        parameters |= task.get("notebook_task", {}).get("base_parameters", {})
    declared = {
        parameter["name"]: parameter.get("default", "") for parameter in settings.get("parameters", [])
    }
    return parameters | declared


def run_summary(run: Document) -> Document:
    """What a list shows of a run."""
    state, active = run["state"], not has_ended(run)
    return {
        "run_id": run["run_id"],
        "job_id": run.get("job_id"),
        "is_job": run.get("run_type") == "JOB_RUN",
        "name": run.get("run_name", ""),
        "url": f"/jobs/{job_in_address(run)}/runs/{run['run_id']}",
        "state": state_of(run),
        "message": state.get("state_message", ""),
        "active": active,
        "started": moment(run["start_time"]),
        "when": moment(run["start_time"], "%d %b, %H:%M %Z"),
        "duration": took(run),
        "trigger": run.get("trigger", ""),
        "version": version_of(run),
        "part_of": (run.get("iteration") or run.get("trigger_info") or {}).get("run_id"),
        "repair": _repair(run),
    }


def _repair(run: Document) -> Document | None:
    """What runs again what has failed in a run; None for a run without that."""
    if not has_ended(run) or run["state"].get("result_state") in (
        "SUCCESS",
        "MAXIMUM_CONCURRENT_RUNS_REACHED",
    ):
        return None
    last = run.get("repair_history", [{}])[-1].get("id")
    wanted = {"run_id": run["run_id"], "rerun_all_failed_tasks": True, "rerun_dependent_tasks": True}
    return wanted | ({"latest_repair_id": last} if last else {})


def state_of(record: Document) -> str:
    """The one word that stands for the state of a run or task."""
    state = record["state"]
    if state["life_cycle_state"] == "INTERNAL_ERROR":
        return "INTERNAL_ERROR"
    return str(state.get("result_state") or state["life_cycle_state"])


def moment(milliseconds: int, form: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """A moment in the time of this machine, which is that of the person who looks, with its zone."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime(form)


def took(record: Document) -> str:
    """How long a run or task took, or takes so far."""
    return _duration(duration(record))


def _duration(milliseconds: float) -> str:
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
