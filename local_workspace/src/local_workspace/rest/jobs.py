"""Jobs: `/api/2.0/jobs`, `/api/2.1/jobs` and `/api/2.2/jobs`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.errors import InvalidParameter
from local_workspace.jobs import job_checks, job_settings, value_references
from local_workspace.jobs.job_circles import check_circle
from local_workspace.jobs.job_starts import create_job_run
from local_workspace.jobs.run_documents import run_as
from local_workspace.jobs.runs import RunManager
from local_workspace.rest import job_runs
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.paging import page
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search
from local_workspace.store.principals import Principals

VERSIONS = ("2.0", "2.1", "2.2")
LISTED_AT_ONCE = 100


def router(database: Database, runs: RunManager) -> APIRouter:
    """Jobs and their runs, in the three versions that clients speak."""
    routes = APIRouter()
    for version in VERSIONS:
        versioned = APIRouter(prefix=f"/api/{version}/jobs")
        _add_definitions(versioned, database, version)
        _add_lookups(versioned, database, version)
        _add_run_now(versioned, database, runs)
        job_runs.add_routes(versioned, database, runs, version)
        routes.include_router(versioned)
    return routes


def _add_definitions(routes: APIRouter, database: Database, version: str) -> None:
    def save(job: Document, settings: Document) -> None:
        complete = _complete(job_settings.normalised(settings, database), version)
        job_checks.check_runs_as(complete, job["creator_user_name"], Principals(database))
        check_circle(job["job_id"], complete, database)
        database.put("job", str(job["job_id"]), job | {"settings": complete})

    @routes.post("/create")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make a job."""
        job = {"job_id": database.next_id("job"), "created_time": now(), "creator_user_name": caller()}
        save(job, fields)
        return {"job_id": job["job_id"]}

    @routes.post("/reset")
    def reset(fields: RequestFields) -> dict[str, Any]:
        """Replace the settings of a job."""
        with database.transaction():
            save(job_runs.find_job(database, fields), fields.mapping("new_settings"))
        return {}

    @routes.post("/update")
    def update(fields: RequestFields) -> dict[str, Any]:
        """Change the named settings of a job; tasks by their key."""
        with database.transaction():  # two updates at once change both what they name
            job = job_runs.find_job(database, fields)
            kept = _without(job["settings"], fields.get("fields_to_remove") or [])
            save(job, _merged(kept, fields.mapping("new_settings")))
        return {}

    @routes.post("/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a job; its runs stay."""
        with database.transaction():
            database.delete("job", str(job_runs.find_job(database, fields)["job_id"]))
        return {}


def _add_lookups(routes: APIRouter, database: Database, version: str) -> None:
    @routes.get("/get")
    def get(fields: RequestFields) -> dict[str, Any]:
        """One job with its settings."""
        job = job_runs.find_job(database, fields)
        who = run_as(job["settings"], job["creator_user_name"])
        return _shown(job, version) | {"run_as_user_name": who}

    @routes.get("/list")
    def list_jobs(fields: RequestFields) -> dict[str, Any]:
        """Jobs, the newest first, by `name`; in 2.1 and 2.2 page by page."""
        name = str(fields.get("name", "")).lower()
        search = Search("job", conditions={"lowered(job_name) = ?": name} if name else {})
        if version == "2.0":
            return {"jobs": [_shown(job, version) for _, job in database.find(search, newest_first=True)]}
        reply = page("jobs", database, search, fields, LISTED_AT_ONCE)
        if not fields.flag("expand_tasks"):
            reply["jobs"] = [_without_tasks(job) for job in reply["jobs"]]
        return reply


def _add_run_now(routes: APIRouter, database: Database, runs: RunManager) -> None:
    @routes.post("/run-now")
    def run_now(fields: RequestFields) -> dict[str, Any]:
        """Start a run of a job; an `idempotency_token` starts one only."""
        job = job_runs.find_job(database, fields)
        job_checks.refuse(fields, job_checks.REFUSED_OF_JOBS, "")
        job_checks.check_queue(fields.get("queue"))
        settings = job["settings"] | ({"queue": fields["queue"]} if fields.get("queue") else {})
        values = fields.mapping("job_parameters")
        overriding: dict[str, Any] = {
            "notebook_params": fields.mapping("notebook_params"),
            "python_named_params": fields.mapping("python_named_params"),
            "python_params": fields.texts("python_params"),
        }
        for given in overriding.values():
            for value in given.values() if isinstance(given, dict) else given:
                value_references.check(value, *_names(settings))

        def create() -> Document:
            details = {"overriding_parameters": {name: v for name, v in overriding.items() if v}}
            return create_job_run(database, job, values, settings=settings, **details)

        run = job_runs.create_once(database, fields, create)
        runs.submit(run["run_id"])
        return {"run_id": run["run_id"], "number_in_job": run["run_id"]}


def _names(settings: Document) -> tuple[list[str], list[str]]:
    parameters = [parameter["name"] for parameter in settings.get("parameters", [])]
    return parameters, [task["task_key"] for task in settings["tasks"]]


def _complete(settings: Document, version: str) -> Document:
    defaults: Document = {"name": "Untitled", "max_concurrent_runs": 1, "timeout_seconds": 0}
    if settings.get("schedule"):
        settings["schedule"] = {"pause_status": "UNPAUSED", **settings["schedule"]}
    if version == "2.2":
        # Only this version lets runs wait for their turn unless it is told otherwise.
        defaults["queue"] = {"enabled": True}
    return defaults | settings


def _without(settings: Document, names: Any) -> Document:
    """Settings without the named fields; `tasks/KEY` names one task."""
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise InvalidParameter(f"fields_to_remove must be a list of names, not {names!r}")
    tasks = [task for task in settings["tasks"] if f"tasks/{task['task_key']}" not in names]
    return {name: value for name, value in (settings | {"tasks": tasks}).items() if name not in names}


def _merged(settings: Document, changes: Document) -> Document:
    """New settings over old ones; tasks replace those of the same key, and others stay."""
    if "tasks" not in changes:
        return job_settings.as_version_2_0(settings) | changes
    job_settings.check_task_keys(changes["tasks"])
    tasks = {task.get("task_key"): task for task in settings.get("tasks", []) + changes["tasks"]}
    return settings | changes | {"tasks": list(tasks.values())}


def _shown(job: Document, version: str) -> Document:
    if version != "2.0":
        return job
    return job | {"settings": job_settings.as_version_2_0(job["settings"])}


def _without_tasks(job: Document) -> Document:
    return job | {"settings": {name: value for name, value in job["settings"].items() if name != "tasks"}}
