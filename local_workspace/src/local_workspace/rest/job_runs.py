"""Runs of jobs and one-time runs: `/api/2.x/jobs/runs`."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.jobs import job_settings
from local_workspace.jobs.job_checks import REFUSED_OF_JOBS, check_runs_as, refuse
from local_workspace.jobs.run_documents import latest_attempts, new_run, shown, task_record
from local_workspace.jobs.run_searches import RUN_TYPES, search_runs
from local_workspace.jobs.runs import RunManager
from local_workspace.jobs.task_kinds import FOR_EACH
from local_workspace.jobs.task_output import output_of
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.paging import page
from local_workspace.rest.run_exports import views_of
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search
from local_workspace.store.principals import Principals
from local_workspace.store.task_folder import TaskFolder

LISTED_TYPES = ("JOB_RUN", "SUBMIT_RUN")
LONGEST_TOKEN = 64
VIEWS = ("CODE", "DASHBOARDS", "ALL")
REFUSED_OF_REPAIRS = ("job_parameters", "notebook_params", "python_named_params", "python_params")
LISTED_AT_ONCE = {"2.0": 1000, "2.1": 25, "2.2": 25}


def add_routes(routes: APIRouter, database: Database, runs: RunManager, version: str) -> None:
    """Add what can be done with runs to the jobs routes of one API version."""
    _add_submit(routes, database, runs)
    _add_lookups(routes, database, runs, version)
    _add_endings(routes, database, runs)


def find_job(database: Database, fields: Fields) -> Document:
    """The job that a request is about; a missing one is an InvalidParameter, as on Databricks."""
    job_id = fields.integer("job_id")
    job = database.get("job", str(job_id))
    if job is None:
        raise InvalidParameter(f"Job {job_id} does not exist.")
    return job


def create_once(database: Database, fields: Fields, create: Callable[[], Document]) -> Document:
    """Create a run, or find the one that an earlier request with the same idempotency token created."""
    token = fields.get("idempotency_token")
    if not token:
        with database.transaction():  # the run is there whole, or not at all
            return create()
    if not isinstance(token, str) or len(token) > LONGEST_TOKEN:
        raise InvalidParameter(
            f"idempotency_token must be text of at most {LONGEST_TOKEN} letters, not {token!r}"
        )
    with database.transaction():
        known = database.get("idempotency_token", token)
        if known is None:
            run = create()
            database.put("idempotency_token", token, {"run_id": run["run_id"]})
            return run
        found = database.get("run", str(known["run_id"]))
        if found is None:
            raise InvalidParameter(f"the run of idempotency_token {token!r} was deleted; use another token")
        return found


def _add_submit(routes: APIRouter, database: Database, runs: RunManager) -> None:
    @routes.post("/runs/submit")
    def submit(fields: RequestFields) -> dict[str, Any]:
        """Start a one-time run of tasks that belong to no job."""
        named = {**fields, "name": fields.get("run_name") or "Untitled"}
        named.pop("idempotency_token", None)
        # What `dbutils.notebook.run` asks for; to other clients the type is not theirs to choose.
        run_type = named.pop("run_type", "SUBMIT_RUN")
        if run_type not in ("SUBMIT_RUN", "WORKFLOW_RUN"):
            raise InvalidParameter(
                f"run_type {run_type!r} of a submitted run is not one of SUBMIT_RUN, WORKFLOW_RUN"
            )
        settings = job_settings.normalised(named, database)
        check_runs_as(settings, caller(), Principals(database))

        def create() -> Document:
            # Databricks gives a one-time run a job id of its own too.
            return new_run(database, database.next_id("job"), run_type, settings, caller())

        run = create_once(database, fields, create)
        runs.submit(run["run_id"])
        return {"run_id": run["run_id"]}


def _add_lookups(routes: APIRouter, database: Database, runs: RunManager, version: str) -> None:
    @routes.get("/runs/get")
    def get(fields: RequestFields) -> dict[str, Any]:
        """One run, or one task of it, with its state; with `include_history` also its repairs."""
        if fields.flag("include_resolved_values"):
            raise NotSupported("include_resolved_values is not part of the local workspace")
        run_id = fields.integer("run_id")
        found = _run_or_task(runs, run_id, version)
        return found | (
            {"repair_history": _history(runs.find(run_id))} if fields.flag("include_history") else {}
        )

    @routes.get("/runs/list")
    def list_runs(fields: RequestFields) -> dict[str, Any]:
        """Runs, the newest first, by job, type, time and whether they have ended, page by page."""
        reply = page("runs", database, _search(fields), fields, LISTED_AT_ONCE[version])
        reply["runs"] = [shown(run, runs.host, version) for run in reply["runs"]]
        if version != "2.0" and not fields.flag("expand_tasks"):
            reply["runs"] = [{k: v for k, v in run.items() if k != "tasks"} for run in reply["runs"]]
        return reply

    @routes.get("/runs/get-output")
    def get_output(fields: RequestFields) -> dict[str, Any]:
        """The exit value, the logs or the error of a run's only task, or of one task."""
        run_id = fields.integer("run_id")
        task = _only_task(runs, run_id)
        output = output_of(task, runs.folder(task["run_id"]))
        return output | {"metadata": _run_or_task(runs, run_id, version)}

    @routes.get("/runs/export")
    def export(fields: RequestFields) -> dict[str, Any]:
        """The notebook of a task that has ended, with what it put out, as HTML."""
        wanted = fields.text("views_to_export", "CODE")
        if wanted not in VIEWS:
            raise InvalidParameter(f"views_to_export {wanted!r} is not one of {VIEWS}")
        if wanted == "DASHBOARDS":
            return {"views": []}
        task = _only_task(runs, fields.integer("run_id"))
        return {"views": views_of(task, TaskFolder(runs.folder(task["run_id"])).notebook)}


def _add_endings(routes: APIRouter, database: Database, runs: RunManager) -> None:
    @routes.post("/runs/cancel")
    def cancel(fields: RequestFields) -> dict[str, Any]:
        """End a run, or one task of it."""
        runs.cancel(fields.integer("run_id"))
        return {}

    @routes.post("/runs/cancel-all")
    def cancel_all(fields: RequestFields) -> dict[str, Any]:
        """End the runs of a job, or only those that wait; or those that wait of every job."""
        job_id = find_job(database, fields)["job_id"] if fields.get("job_id") is not None else None
        only_queued = fields.flag("all_queued_runs")
        if job_id is None and not only_queued:
            raise InvalidParameter("cancel-all needs a job_id, or all_queued_runs")
        runs.cancel_all(job_id, only_queued)
        return {}

    @routes.post("/runs/repair")
    def repair(fields: RequestFields) -> dict[str, Any]:
        """Run tasks of a run that has ended once more: those that are named, or all that did not succeed."""
        refuse(fields, (*REFUSED_OF_JOBS, *REFUSED_OF_REPAIRS), "")
        keys, failed = fields.texts("rerun_tasks"), fields.flag("rerun_all_failed_tasks")
        if bool(keys) == failed:
            raise InvalidParameter("repair needs rerun_tasks or rerun_all_failed_tasks, and not both")
        number = runs.repair(
            fields.integer("run_id"),
            keys,
            failed=failed,
            dependents=fields.flag("rerun_dependent_tasks"),
            latest=fields.integer("latest_repair_id") if fields.get("latest_repair_id") is not None else None,
        )
        return {"repair_id": number}

    @routes.post("/runs/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a run that has ended, and what it kept."""
        runs.delete(fields.integer("run_id"))
        return {}


def _run_or_task(runs: RunManager, run_id: int, version: str) -> Document:
    """A run, or one task of a run in the form of a run."""
    run = shown(runs.find(run_id), runs.host, version)
    if run["run_id"] == run_id:
        return run
    task: Document = next(task for task in run["tasks"] if task["run_id"] == run_id)
    shared = ("job_id", "number_in_job", "run_name", "run_type", "creator_user_name", "trigger")
    trigger = {"trigger": "RETRY"} if task["attempt_number"] else {}
    of_run: Document = {name: run[name] for name in shared} | trigger
    of_run.update(task, job_run_id=run["run_id"])
    if task.get(FOR_EACH):
        of_run["iterations"] = _iterations(runs, run_id, version)
    return of_run


def _iterations(runs: RunManager, task_run_id: int, version: str) -> list[Document]:
    """The task runs of a `for_each_task`, in the order of its inputs."""
    record = task_record(runs.find(task_run_id), task_run_id)
    found = [runs.find_one(run_id) for run_id in record.get("iteration_runs", [])]
    return [shown(run, runs.host, version)["tasks"][-1] for run in found if run]


def _history(run: Document) -> list[Document]:
    """The run as it was first, and each repair of it."""
    first = {name: run[name] for name in ("start_time", "end_time", "state", "status")}
    ids = [task["run_id"] for task in run["tasks"]]
    found: list[Document] = run.get("repair_history", [{"type": "ORIGINAL", **first, "task_run_ids": ids}])
    return found


def _only_task(runs: RunManager, run_id: int) -> Document:
    """The task whose output is asked for: by its own id, or as the only one of its run."""
    run = runs.find(run_id)
    asked: list[Document] = [task for task in run["tasks"] if task["run_id"] == run_id] or list(
        latest_attempts(run).values()
    )
    if len(asked) > 1:
        raise InvalidParameter(
            "Retrieving the output of runs with multiple tasks is not supported. "
            "Please retrieve the output of each individual task run instead."
        )
    return asked[0]


def _search(fields: Fields) -> Search:
    """The runs that a list is asked for; without a type those that notebooks start are left out."""
    active, completed = fields.flag("active_only"), fields.flag("completed_only")
    if active and completed:
        raise InvalidParameter("active_only and completed_only cannot both be true")
    run_types = (fields["run_type"],) if "run_type" in fields else LISTED_TYPES
    if any(run_type not in RUN_TYPES for run_type in run_types):
        raise InvalidParameter(f"run_type {fields['run_type']!r} is not one of {list(RUN_TYPES)}")
    job_id = fields.integer("job_id") if "job_id" in fields else None
    times = {"start_time_from": "run_start >= ?", "start_time_to": "run_start <= ?"}
    return search_runs(job_id, run_types, completed if active or completed else None).within(
        {condition: fields.integer(name) for name, condition in times.items() if name in fields}
    )
