"""The pages that a person looks at: jobs, runs, and a run's notebook while it executes."""

from datetime import UTC, datetime
from typing import Any

import nbformat
from fastapi import APIRouter
from fastapi.responses import HTMLResponse

from local_workspace.database import Database
from local_workspace.errors import DoesNotExist
from local_workspace.run_documents import has_ended
from local_workspace.state import StateFolder
from local_workspace.templates import render

SHOWN_RUNS = 100


def router(database: Database, state: StateFolder) -> APIRouter:
    """Routes of the pages."""
    routes = APIRouter(default_response_class=HTMLResponse)

    @routes.get("/jobs")
    def jobs_page() -> str:
        runs = [_summary(run) for run in reversed(database.all("run"))]
        return render(
            "jobs.html", jobs=[_job(job, runs) for job in database.all("job")], runs=runs[:SHOWN_RUNS]
        )

    @routes.get("/jobs/{job_id}/runs/{run_id}")
    def run_page(job_id: int, run_id: int) -> str:
        return render("run.html", run=_details(_run(run_id), state))

    @routes.get("/jobs/{job_id}/runs/{run_id}/live")
    def run_live(job_id: int, run_id: int) -> str:
        return render("run_live.html", run=_details(_run(run_id), state))

    def _run(run_id: int) -> dict[str, Any]:
        run = database.get("run", str(run_id))
        if run is None:
            raise DoesNotExist(f"Run {run_id} does not exist.")
        return run

    return routes


def _job(job: dict[str, Any], runs: list[dict[str, Any]]) -> dict[str, Any]:
    last = next((run for run in runs if run["job_id"] == job["job_id"]), None)
    tasks = [task["task_key"] for task in job["settings"].get("tasks", [])]
    return {"job_id": job["job_id"], "name": job["settings"].get("name", ""), "tasks": tasks, "last": last}


def _summary(run: dict[str, Any]) -> dict[str, Any]:
    """What a list shows of a run."""
    state = run["state"]
    active = state["life_cycle_state"] not in ("TERMINATED", "SKIPPED", "INTERNAL_ERROR")
    end = datetime.now(UTC).timestamp() * 1000 if active else run.get("end_time") or run["start_time"]
    return {
        "run_id": run["run_id"],
        "job_id": run.get("job_id"),
        "name": run.get("run_name", ""),
        "url": f"/jobs/{run.get('job_id') or 0}/runs/{run['run_id']}",
        "state": state.get("result_state") or state["life_cycle_state"],
        "message": state.get("state_message", ""),
        "active": active,
        "started": datetime.fromtimestamp(run["start_time"] / 1000, UTC).strftime("%Y-%m-%d %H:%M:%S"),
        "duration": f"{(end - run['start_time']) / 1000:.0f} s",
    }


def _details(run: dict[str, Any], state: StateFolder) -> dict[str, Any]:
    """What the page of a run shows: the summary and each task with its notebook."""
    return _summary(run) | {"tasks": [_task(task, state) for task in run["tasks"]]}


def _task(task: dict[str, Any], state: StateFolder) -> dict[str, Any]:
    notebook_task = task.get("notebook_task", {})
    return {
        "key": task["task_key"],
        "state": task["state"].get("result_state") or task["state"]["life_cycle_state"],
        "notebook_path": notebook_task.get("notebook_path", ""),
        "parameters": notebook_task.get("base_parameters", {}),
        "notebook": _notebook_html(state, task),
    }


def _notebook_html(state: StateFolder, task: dict[str, Any]) -> str:
    path = state.runs / str(task["run_id"]) / "notebook.ipynb"
    if not path.exists():
        return f"<p>The notebook {'was not kept' if has_ended(task) else 'has not started'}.</p>"
    from nbconvert import HTMLExporter  # takes a second to import, so only when a notebook is looked at

    exporter = HTMLExporter(template_name="basic", sanitize_html=False)
    body, _ = exporter.from_notebook_node(nbformat.reads(path.read_text(), as_version=4))
    return str(body)
