"""The pages that a person looks at: jobs, runs, and a run's notebook while it executes."""

from collections.abc import Callable
from pathlib import Path

import psutil
import pyspark
from fastapi import APIRouter, Request
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from local_workspace.errors import DoesNotExist, refusal_of
from local_workspace.jobs.compute import access_mode
from local_workspace.jobs.deployment_jobs import models_of
from local_workspace.jobs.job_checks import kept_alone, receivers
from local_workspace.jobs.libraries import described as described_environment
from local_workspace.jobs.run_documents import NOT_ENDED
from local_workspace.jobs.run_searches import search_all, search_runs
from local_workspace.jobs.task_kinds import CONTROL, kind_of
from local_workspace.notebooks.source import read_notebook
from local_workspace.notebooks.workspace_tree import WorkspaceObjects, canonical
from local_workspace.processes.processes import recall
from local_workspace.rest.error_responses import to_response
from local_workspace.spark.access_modes import access_mode_of, described
from local_workspace.spark.cluster import PID_FILE
from local_workspace.spark.server_settings import DRIVER_MEMORY
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search
from local_workspace.store.state import StateFolder
from local_workspace.web import notebook_page
from local_workspace.web.run_pages import MlflowRuns, add_runs
from local_workspace.web.run_summaries import (
    SHOWN_RUNS,
    job_summary,
    listed_page,
    moment,
    newest_runs,
    page_links,
    run_summary,
)
from local_workspace.web.task_facts import facts_of
from local_workspace.web.templates import render

SHOWN_JOBS = 100
RECENT_RUNS = 8
LONGEST_FILE = 500_000


def router(
    database: Database, state: StateFolder, spark_state: Callable[[], str], mlflow_runs: MlflowRuns
) -> APIRouter:
    """Routes of the pages. `mlflow_runs(task_run_ids)` finds what these tasks logged."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)
    _add_overview(routes, database, spark_state)
    _add_jobs(routes, database)
    add_runs(routes, database, state, mlflow_runs)
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
        recent = newest_runs(database, search_runs(), RECENT_RUNS)
        return render("home.html", section="home", counts=counts, runs=recent, spark=spark_state())

    @routes.get("/ml/{rest:path}")
    def databricks_style(rest: str) -> Response:
        """Addresses of experiments, runs and models as Databricks writes them."""
        return RedirectResponse(f"/mlflow#/{rest}")


def _add_jobs(routes: APIRouter, database: Database) -> None:
    @routes.get("/jobs")
    def jobs_page(page_token: str = "") -> str:
        listed = listed_page("jobs", database, Search("job"), SHOWN_JOBS, page_token)
        jobs = [
            job_summary(job, newest_runs(database, search_runs(job["job_id"]), 1)) for job in listed["jobs"]
        ]
        jobs.sort(key=lambda job: str(job["name"]))
        return render("jobs.html", section="jobs", jobs=jobs, pages=page_links(listed))

    @routes.get("/jobs/{job_id}")
    def job_page(job_id: str, page_token: str = "") -> str:
        job = database.get("job", job_id)
        if job is None:
            raise DoesNotExist(f"Job {job_id} does not exist.")
        listed = listed_page("runs", database, search_runs(job["job_id"]), SHOWN_RUNS, page_token)
        runs = [run_summary(run) for run in listed["runs"]]
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
            job=job_summary(job, runs),
            settings=job["settings"],
            runs=runs,
            pages=page_links(listed),
            clusters=clusters,
            modes=modes,
            environments=environments,
            models=models_of(database, job["job_id"]),
            told=_told(job["settings"]),
            kept=kept_alone(job["settings"]),
            facts={task["task_key"]: facts_of(task, database) for task in job["settings"]["tasks"]},
        )


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
            known = {"key": secret["key"], "updated": moment(secret["updated"])}
            scopes.setdefault(secret["scope"], []).append(known)
        return render("secrets.html", section="secrets", scopes=scopes, vaults=vaults)


def _told(settings: Document) -> list[tuple[str, str]]:
    """Whom a job and its tasks would tell, by the event."""
    each = [("", settings), *((f" of {task['task_key']}", task) for task in settings["tasks"])]
    return [
        (f"{event.replace('_', ' ')}{whose}", ", ".join(names))
        for whose, of in each
        for event, names in receivers(of).items()
    ]


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
