"""The pages of runs: the list, one run piece by piece, its notebooks and their HTML."""

from collections.abc import Callable
from pathlib import Path

from fastapi import APIRouter, Header
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from local_workspace.errors import DoesNotExist
from local_workspace.jobs import git_sources
from local_workspace.jobs.run_documents import NOT_ENDED, has_ended, is_in, latest_attempts
from local_workspace.jobs.run_searches import search_all, search_runs, search_states
from local_workspace.jobs.task_kinds import CONTROL, PROGRAMS, kind_of
from local_workspace.jobs.task_processes import read_result
from local_workspace.rest.fields import Fields
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder
from local_workspace.store.task_folder import TaskFolder
from local_workspace.web import notebook_page
from local_workspace.web.exit_values import exit_value_of, rows_of, verdict_of
from local_workspace.web.notebook_page import Part
from local_workspace.web.run_summaries import (
    SHOWN_RUNS,
    job_in_address,
    listed_page,
    page_links,
    run_summary,
    state_of,
    took,
)
from local_workspace.web.task_facts import facts_of, given_to, iterations_of
from local_workspace.web.templates import render

# The frame is a foreign site to the workspace, also when its address is opened by itself. It is light in a
# dark page too: what notebooks colour, such as cells and figures, they colour for a light ground.
_FRAME = "sandbox allow-scripts allow-popups"
_FRAME_END = """
<style>
:root { color-scheme: light; background: #fff; color: #17202b; font: 15px/1.5 system-ui, sans-serif }
html, body { margin: 0; height: auto !important }
</style>
<script>
new ResizeObserver(() => parent.postMessage({ height: document.documentElement.offsetHeight }, "*"))
  .observe(document.documentElement);
</script>"""

MlflowRuns = Callable[[list[str]], list[dict[str, object]]]


def add_runs(routes: APIRouter, database: Database, state: StateFolder, mlflow_runs: MlflowRuns) -> None:
    """Routes of `/runs` and `/jobs/…/runs`. `mlflow_runs(task_run_ids)` finds what these tasks logged."""

    @routes.get("/runs")
    def runs_page(state: str = "", job: str = "", page_token: str = "") -> str:
        job_id = _job_number(job)
        counts = database.counts(search_all(job_id), "run_state")
        chosen = NOT_ENDED if state == "active" else (state,)
        search = search_states(chosen, job_id) if state else search_runs(job_id)
        listed = listed_page("runs", database, search, SHOWN_RUNS, page_token)
        return render(
            "runs.html",
            section="runs",
            runs=[run_summary(run) for run in listed["runs"]],
            total=sum(counts.get(name, 0) for name in (chosen if state else counts)),
            states=sorted({"active", *counts}.difference(NOT_ENDED), key=str.lower),
            state=state,
            job=job,
            pages=page_links(listed, state=state, job=job),
        )

    @routes.get("/runs/{run_id}")
    def short_address(run_id: str) -> Response:
        return RedirectResponse(run_summary(_run(database, run_id))["url"])

    @routes.get("/jobs/{job_id}/runs/{run_id}")
    def run_page(job_id: str, run_id: str, have: str = Header("")) -> str:
        """The page of a run; a piece that the browser says it has comes without its content."""
        run = _run(database, run_id, job_id)
        parts = _run_parts(run, state, database, mlflow_runs)
        return render(
            "run.html", section="runs", run=run_summary(run), parts=parts, have=set(have.split(","))
        )

    @routes.get("/jobs/{job_id}/runs/{run_id}/notebooks/{task_run_id}.ipynb")
    def executed_notebook(job_id: str, run_id: str, task_run_id: str) -> Response:
        task = _task(_run(database, run_id, job_id), task_run_id)
        file = _notebook_file(state, task)
        if not file.exists():
            raise DoesNotExist(f"Task {task['task_key']} of run {run_id} has no notebook yet.")
        return FileResponse(file, filename=f"{task['task_key']}.ipynb", media_type="application/x-ipynb+json")

    @routes.get("/jobs/{job_id}/runs/{run_id}/frames/{task_run_id}/{cell}/{output}")
    def output_frame(job_id: str, run_id: str, task_run_id: str, cell: int, output: int) -> Response:
        task = _task(_run(database, run_id, job_id), task_run_id)
        cells = notebook_page.read_cells(_notebook_file(state, task))
        content = notebook_page.frame(cells[cell], output) if 0 <= cell < len(cells) else None
        if content is None:
            raise DoesNotExist(f"Cell {cell} of run {run_id} has no HTML as output {output}.")
        headers = {"Content-Security-Policy": _FRAME}
        return HTMLResponse(f"<!doctype html>{content}{_FRAME_END}", headers=headers)


def _job_number(job: str) -> int | None:
    """The job whose runs are asked for; None for those of all."""
    return Fields({"job": job}).integer("job") if job else None


def _run(database: Database, run_id: str, job_id: str | None = None) -> Document:
    """The run of this id or with a task run of this id, if it is one of the job."""
    task_run = database.get("task_run", run_id) or {"run_id": run_id}
    run = database.get("run", str(task_run["run_id"]))
    if run is None:
        raise DoesNotExist(f"Run {run_id} does not exist.")
    if job_id not in (None, job_in_address(run)):
        raise DoesNotExist(f"Run {run_id} is not one of job {job_id}.")
    return run


def _task(run: Document, task_run_id: str) -> Document:
    for task in run["tasks"]:
        if str(task["run_id"]) == task_run_id:
            return dict(task)
    raise DoesNotExist(f"Run {run['run_id']} has no task run {task_run_id}.")


def _notebook_file(state: StateFolder, task: Document) -> Path:
    return TaskFolder(state.run_folder(task["run_id"])).notebook


def _run_parts(run: Document, state: StateFolder, database: Database, mlflow_runs: MlflowRuns) -> list[Part]:
    """The page of a run in pieces that change by themselves: head, facts, and of each task its cells."""
    shown = run_summary(run)
    tasks = [(task, notebook_page.read_cells(_notebook_file(state, task))) for task in _tasks_in_order(run)]
    logged = mlflow_runs([str(task["run_id"]) for task, cells in tasks if cells])
    abouts = [_task_shown(task, state.run_folder(task["run_id"]), database) for task, _ in tasks]
    many = len(tasks) > 1
    if shown["state"] == "FAILED":
        errors = {about["key"]: about["error"] for about in abouts if about["error"]}
        said = (f"{key}: {error}" if many else error for key, error in errors.items())
        shown["message"] = "\n".join(said) or shown["message"]
    shown["verdicts"] = {about["key"]: about["verdict"] for about in abouts if about["verdict"]}
    if not many:  # the head says it already
        abouts[0]["message"] = ""
    parts = [
        Part("head", render("run_head.html", run=shown)),
        Part("facts", _facts(run, shown)),
        Part("tasks", render("run_tasks.html", tasks=abouts if many else [])),
        Part("mlflow", render("run_mlflow.html", runs=logged)),
    ]
    for about, (_, cells) in zip(abouts, tasks, strict=True):
        key = str(about["run_id"])
        parts.append(Part(f"task-{key}", render("run_task.html", run=shown, task=about, started=bool(cells))))
        parts += notebook_page.cell_parts(cells, f"cell-{key}", f"{shown['url']}/frames/{key}")
    return parts


def _facts(run: Document, shown: Document) -> str:
    commit = git_sources.commit_of(run)
    return render("run_facts.html", run=shown, creator=run.get("creator_user_name", ""), commit=commit)


def _tasks_in_order(run: Document) -> list[Document]:
    """The attempts of a run, those of one task beside one another."""
    order = list(latest_attempts(run))
    return sorted(run["tasks"], key=lambda task: order.index(task["task_key"]))


def _task_shown(task: Document, folder: Path, database: Database) -> Document:
    has_failed = task["state"].get("result_state") == "FAILED"
    error = notebook_page.plain((read_result(folder) or {}).get("error") or "") if has_failed else ""
    value = exit_value_of(task, folder) if has_ended(task) else None
    return {
        "run_id": task["run_id"],
        "key": task["task_key"],
        "attempt": task.get("attempt_number", 0) + 1,
        "state": state_of(task),
        "ended": has_ended(task),
        "ran": task["setup_duration"] > 0 or (kind_of(task) in CONTROL and not is_in(task, "SKIPPED")),
        "duration": took(task) if task["setup_duration"] or is_in(task, "RUNNING") else "",
        "error": error,
        "message": error or task["state"].get("state_message", ""),
        "verdict": verdict_of(value),
        "exit_value": rows_of(value),
        "facts": facts_of(task, database),
        "has_cells": kind_of(task) not in CONTROL,
        "what": "program" if kind_of(task) in PROGRAMS else "notebook",
        "iterations": iterations_of(task, database),
        "parameters": given_to(task, TaskFolder(folder).task),
        "depends_on": [dependency["task_key"] for dependency in task.get("depends_on", [])],
    }
