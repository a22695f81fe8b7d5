"""The pages that a person looks at: jobs, runs, and a run's notebook while it executes."""

from collections.abc import Callable
from datetime import datetime
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import psutil
import pyspark
from fastapi import APIRouter, Header, Request
from fastapi.responses import FileResponse, HTMLResponse, RedirectResponse, Response

from local_workspace.errors import DoesNotExist, refusal_of
from local_workspace.jobs.compute import access_mode
from local_workspace.jobs.deployment_jobs import models_of, version_of
from local_workspace.jobs.job_checks import kept_alone, receivers
from local_workspace.jobs.libraries import described as described_environment
from local_workspace.jobs.run_documents import (
    NOT_ENDED,
    duration,
    has_ended,
    is_in,
    latest_attempts,
    search_all,
    search_runs,
    search_states,
)
from local_workspace.jobs.task_kinds import CONTROL, PROGRAMS, kind_of
from local_workspace.jobs.task_processes import read_result
from local_workspace.notebooks.source import read_notebook
from local_workspace.notebooks.workspace_tree import WorkspaceObjects, canonical
from local_workspace.processes.processes import recall
from local_workspace.rest.error_responses import to_response
from local_workspace.rest.fields import Fields
from local_workspace.rest.paging import page
from local_workspace.spark.access_modes import access_mode_of, described
from local_workspace.spark.cluster import DRIVER_MEMORY, PID_FILE
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search
from local_workspace.store.state import StateFolder
from local_workspace.store.task_folder import TaskFolder
from local_workspace.web import notebook_page
from local_workspace.web.exit_values import exit_value_of, rows_of, verdict_of
from local_workspace.web.notebook_page import Part
from local_workspace.web.task_facts import facts_of, given_to, iterations_of
from local_workspace.web.templates import render

SHOWN_RUNS = SHOWN_JOBS = 100
RECENT_RUNS = 8
LONGEST_FILE = 500_000
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


def router(
    database: Database, state: StateFolder, spark_state: Callable[[], str], mlflow_runs: MlflowRuns
) -> APIRouter:
    """Routes of the pages. `mlflow_runs(task_run_ids)` finds what these tasks logged."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    _add_overview(routes, database, spark_state)
    _add_jobs(routes, database)
    _add_runs(routes, database, state, mlflow_runs)
    _add_workspace(routes, WorkspaceObjects(database, state))
    _add_clusters(routes, database, state, spark_state)
    return routes


def error_response(request: Request, error: Exception) -> Response:
    """The answer to an error: a page for a browser that looks at pages, else JSON."""
    if not wants_page(request.url.path, request.headers.get("accept", "")):
        return to_response(request, error)
    refusal = refusal_of(error)
    return HTMLResponse(_error_page(refusal.status, refusal.message), refusal.status)


def not_found(path: str) -> str:
    """The page for an address at which there is nothing."""
    return _error_page(404, f"There is nothing at {path}.")


def wants_page(path: str, accept: str) -> bool:
    """Whether an answer is for the eyes of a person."""
    return "text/html" in accept and not path.startswith(("/api/", "/ajax-api/"))


def _error_page(status: int, message: str) -> str:
    return render("error.html", section="", status=status, message=message)


def _add_overview(routes: APIRouter, database: Database, spark_state: Callable[[], str]) -> None:
    @routes.get("/")
    def overview() -> str:
        states = database.counts(search_all(), "run_state")
        counts = {
            "jobs": database.count(Search("job")),
            "runs": sum(states.values()),
            "active": sum(states.get(state, 0) for state in NOT_ENDED),
            "clusters": database.count(Search("cluster")),
            "scopes": database.count(Search("secret_scope")),
        }
        recent = _newest(database, search_runs(), RECENT_RUNS)
        return render("home.html", section="home", counts=counts, runs=recent, spark=spark_state())

    @routes.get("/ml/{rest:path}")
    def databricks_style(rest: str) -> Response:
        """Addresses of experiments, runs and models as Databricks writes them."""
        return RedirectResponse(f"/mlflow#/{rest}")


def _add_jobs(routes: APIRouter, database: Database) -> None:
    @routes.get("/jobs")
    def jobs_page(page_token: str = "") -> str:
        listed = _page("jobs", database, Search("job"), SHOWN_JOBS, page_token)
        jobs = [_job(job, _newest(database, search_runs(job["job_id"]), 1)) for job in listed["jobs"]]
        jobs.sort(key=lambda job: str(job["name"]))
        return render("jobs.html", section="jobs", jobs=jobs, pages=_links(listed))

    @routes.get("/jobs/{job_id}")
    def job_page(job_id: str, page_token: str = "") -> str:
        job = database.get("job", job_id)
        if job is None:
            raise DoesNotExist(f"Job {job_id} does not exist.")
        listed = _page("runs", database, search_runs(job["job_id"]), SHOWN_RUNS, page_token)
        runs = [_summary(run) for run in listed["runs"]]
        clusters = {cluster["cluster_id"]: cluster["cluster_name"] for cluster in database.all("cluster")}
        modes = {
            task["task_key"]: described(access_mode(task, job["settings"], database))
            for task in job["settings"]["tasks"]
            if kind_of(task) not in CONTROL
        }
        environments = {
            task["task_key"]: described_environment(task, job["settings"])
            for task in job["settings"]["tasks"]
        }
        return render(
            "job.html",
            section="jobs",
            job=_job(job, runs),
            settings=job["settings"],
            runs=runs,
            pages=_links(listed),
            clusters=clusters,
            modes=modes,
            environments=environments,
            models=models_of(database, job["job_id"]),
            told=_told(job["settings"]),
            kept=kept_alone(job["settings"]),
            facts={task["task_key"]: facts_of(task, database) for task in job["settings"]["tasks"]},
        )


def _add_runs(routes: APIRouter, database: Database, state: StateFolder, mlflow_runs: MlflowRuns) -> None:
    @routes.get("/runs")
    def runs_page(state: str = "", job: str = "", page_token: str = "") -> str:
        job_id = _job_number(job)
        counts = database.counts(search_all(job_id), "run_state")
        chosen = NOT_ENDED if state == "active" else (state,)
        search = search_states(chosen, job_id) if state else search_runs(job_id)
        listed = _page("runs", database, search, SHOWN_RUNS, page_token)
        return render(
            "runs.html",
            section="runs",
            runs=[_summary(run) for run in listed["runs"]],
            total=sum(counts.get(name, 0) for name in (chosen if state else counts)),
            states=sorted({"active", *counts}.difference(NOT_ENDED), key=str.lower),
            state=state,
            job=job,
            pages=_links(listed, state=state, job=job),
        )

    @routes.get("/runs/{run_id}")
    def short_address(run_id: str) -> Response:
        return RedirectResponse(_summary(_run(database, run_id))["url"])

    @routes.get("/jobs/{job_id}/runs/{run_id}")
    def run_page(job_id: str, run_id: str, have: str = Header("")) -> str:
        """The page of a run; a piece that the browser says it has comes without its content."""
        run = _run(database, run_id, job_id)
        parts = _run_parts(run, state, database, mlflow_runs)
        return render("run.html", section="runs", run=_summary(run), parts=parts, have=set(have.split(",")))

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


def _add_workspace(routes: APIRouter, objects: WorkspaceObjects) -> None:
    @routes.get("/workspace{path:path}")
    def workspace_page(path: str) -> str:
        shown = objects.describe(path or "/")
        crumbs = _crumbs(shown["path"])
        if shown["object_type"] == "DIRECTORY":
            children = sorted(objects.children(shown["path"]), key=_folders_first)
            return render("folder.html", section="workspace", object=shown, crumbs=crumbs, children=children)
        return render(
            "source.html",
            section="workspace",
            object=shown,
            crumbs=crumbs,
            cells=_source_cells(objects, shown),
        )


def _add_clusters(
    routes: APIRouter, database: Database, state: StateFolder, spark_state: Callable[[], str]
) -> None:
    @routes.get("/clusters")
    def clusters_page() -> str:
        spark = {
            "state": spark_state(),
            "version": pyspark.__version__,
            "limit": DRIVER_MEMORY,
            "memory": _memory(state.spark / PID_FILE),
        }
        found = database.all("cluster")
        clusters = [{**cluster, "mode": described(access_mode_of(cluster))} for cluster in found]
        return render("clusters.html", section="clusters", spark=spark, clusters=clusters)

    @routes.get("/secrets")
    def secrets_page() -> str:
        kept = database.all("secret_scope")
        vaults = {scope["name"]: scope["key_vault"]["dns_name"] for scope in kept if "key_vault" in scope}
        scopes: dict[str, list[Document]] = {scope["name"]: [] for scope in kept}
        for secret in database.all("secret"):
            known = {"key": secret["key"], "updated": _moment(secret["updated"])}
            scopes.setdefault(secret["scope"], []).append(known)
        return render("secrets.html", section="secrets", scopes=scopes, vaults=vaults)


def _page(name: str, database: Database, search: Search, longest: int, page_token: str) -> dict[str, Any]:
    return page(name, database, search, Fields({"limit": longest, "page_token": page_token}), longest)


def _links(listed: dict[str, Any], **chosen: str) -> dict[str, str]:
    """The query strings of the pages beside a page, with what was chosen."""
    tokens = {"newer": listed.get("prev_page_token"), "older": listed.get("next_page_token")}
    kept = {name: value for name, value in chosen.items() if value}
    return {way: urlencode(kept | {"page_token": token}) for way, token in tokens.items() if token}


def _newest(database: Database, search: Search, most: int) -> list[Document]:
    return [_summary(run) for _, run in database.find(search, newest_first=True, most=most)]


def _told(settings: Document) -> list[tuple[str, str]]:
    """Whom a job and its tasks would tell, by the event."""
    each = [("", settings), *((f" of {task['task_key']}", task) for task in settings["tasks"])]
    return [
        (f"{event.replace('_', ' ')}{whose}", ", ".join(names))
        for whose, of in each
        for event, names in receivers(of).items()
    ]


def _job_number(job: str) -> int | None:
    """The job whose runs are asked for; None for those of all."""
    return Fields({"job": job}).integer("job") if job else None


def _run(database: Database, run_id: str, job_id: str | None = None) -> Document:
    """The run of this id or with a task run of this id, if it is one of the job."""
    task_run = database.get("task_run", run_id) or {"run_id": run_id}
    run = database.get("run", str(task_run["run_id"]))
    if run is None:
        raise DoesNotExist(f"Run {run_id} does not exist.")
    if job_id not in (None, _job_in_address(run)):
        raise DoesNotExist(f"Run {run_id} is not one of job {job_id}.")
    return run


def _job_in_address(run: Document) -> str:
    return str(run.get("job_id") or 0)


def _task(run: Document, task_run_id: str) -> Document:
    for task in run["tasks"]:
        if str(task["run_id"]) == task_run_id:
            return dict(task)
    raise DoesNotExist(f"Run {run['run_id']} has no task run {task_run_id}.")


def _notebook_file(state: StateFolder, task: Document) -> Path:
    return TaskFolder(state.run_folder(task["run_id"])).notebook


def _job(job: Document, runs: list[Document]) -> Document:
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


def _summary(run: Document) -> Document:
    """What a list shows of a run."""
    state, active = run["state"], not has_ended(run)
    return {
        "run_id": run["run_id"],
        "job_id": run.get("job_id"),
        "is_job": run.get("run_type") == "JOB_RUN",
        "name": run.get("run_name", ""),
        "url": f"/jobs/{_job_in_address(run)}/runs/{run['run_id']}",
        "state": _state(run),
        "message": state.get("state_message", ""),
        "active": active,
        "started": _moment(run["start_time"]),
        "when": _moment(run["start_time"], "%d %b, %H:%M %Z"),
        "duration": _took(run),
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


def _run_parts(run: Document, state: StateFolder, database: Database, mlflow_runs: MlflowRuns) -> list[Part]:
    """The page of a run in pieces that change by themselves: head, facts, and of each task its cells."""
    shown = _summary(run)
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
        Part("facts", render("run_facts.html", run=shown, creator=run.get("creator_user_name", ""))),
        Part("tasks", render("run_tasks.html", tasks=abouts if many else [])),
        Part("mlflow", render("run_mlflow.html", runs=logged)),
    ]
    for about, (_, cells) in zip(abouts, tasks, strict=True):
        key = str(about["run_id"])
        parts.append(Part(f"task-{key}", render("run_task.html", run=shown, task=about, started=bool(cells))))
        parts += notebook_page.cell_parts(cells, f"cell-{key}", f"{shown['url']}/frames/{key}")
    return parts


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
        "state": _state(task),
        "ended": has_ended(task),
        "ran": task["setup_duration"] > 0 or (kind_of(task) in CONTROL and not is_in(task, "SKIPPED")),
        "duration": _took(task) if task["setup_duration"] or is_in(task, "RUNNING") else "",
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


def _state(record: Document) -> str:
    state = record["state"]
    if state["life_cycle_state"] == "INTERNAL_ERROR":
        return "INTERNAL_ERROR"
    return str(state.get("result_state") or state["life_cycle_state"])


def _source_cells(objects: WorkspaceObjects, shown: Document) -> list[str]:
    """The cells of a notebook, or the text of a file, as HTML."""
    if shown["object_type"] != "NOTEBOOK":
        text = objects.file(shown["path"]).read_bytes()[:LONGEST_FILE].decode(errors="replace")
        return [
            render("cell.html", cell={"source": text, "title": "", "state": "", "seconds": "", "outputs": []})
        ]
    notebook = objects.notebook(shown["path"])
    text = notebook.content.decode()
    cells = read_notebook(text, notebook.format, notebook.language).cells
    return [part.html for part in notebook_page.cell_parts(cells, "cell", "")]


def _crumbs(path: str) -> list[tuple[str, str]]:
    """Each folder on the way to a path, with its address."""
    names = [name for name in canonical(path).split("/") if name]
    return [("Workspace", "/workspace")] + [
        (name, "/workspace/" + "/".join(names[: number + 1])) for number, name in enumerate(names)
    ]


def _folders_first(shown: Document) -> tuple[bool, str]:
    return shown["object_type"] != "DIRECTORY", str(shown["path"]).lower()


def _memory(pid_file: Path) -> str:
    """What Spark and its Python workers occupy."""
    process = recall(pid_file)
    if process is None:
        return "0 MB"
    total = 0
    for member in (process, *process.children(recursive=True)):
        try:
            total += member.memory_info().rss
        except psutil.NoSuchProcess:
            continue  # it ended meanwhile
    return f"{total / 2**20:,.0f} MB"


def _moment(milliseconds: int, form: str = "%Y-%m-%d %H:%M:%S %Z") -> str:
    """A moment in the time of this machine, which is that of the person who looks, with its zone."""
    return datetime.fromtimestamp(milliseconds / 1000).astimezone().strftime(form)


def _took(record: Document) -> str:
    """How long a run or task took, or takes so far."""
    return _duration(duration(record))


def _duration(milliseconds: float) -> str:
    seconds = round(milliseconds / 1000)
    if seconds < 60:
        return f"{seconds} s"
    minutes, seconds = divmod(seconds, 60)
    return f"{minutes} min {seconds:02} s" if minutes < 60 else f"{minutes // 60} h {minutes % 60:02} min"
