"""Addresses of Databricks' own pages: they lead to the page that shows the same here."""

from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import RedirectResponse, Response

from local_workspace.errors import DoesNotExist
from local_workspace.notebooks.workspace_tree import KIND as WORKSPACE_OBJECT
from local_workspace.store.database import Database

# What stands behind `#` never comes here: static/home.js leads on from there.
CLUSTERS = ("/compute", "/compute/{rest:path}", "/sql/warehouses", "/sql/warehouses/{rest:path}")
RUNS = ("/jobs/runs", "/workflows/runs", "/jobs/{job_id}/runs")
OBJECTS = (
    "/editor/notebooks/{object_id}",
    "/editor/files/{object_id}",
    "/browse/folders/{object_id}",
    "/notebook/{object_id}",
)


def router(database: Database) -> APIRouter:
    """Where people and printed links go that know the platform; to be put before the pages themselves."""
    routes = APIRouter(include_in_schema=False)
    _add_jobs(routes)
    _add_objects(routes, database)

    def clusters() -> Response:
        return RedirectResponse("/clusters")

    for address in CLUSTERS:
        routes.add_api_route(address, clusters)

    @routes.get("/explore/data/models/{catalog}/{schema}/{name}{rest:path}")
    def model(catalog: str, schema: str, name: str, rest: str) -> Response:
        """A model of Unity Catalog, or one of its versions."""
        *_, version = rest.split("/version/") if "/version/" in rest else [""]
        of_version = f"/versions/{version}" if version.isdecimal() else ""
        return RedirectResponse(f"/mlflow#/models/{quote(f'{catalog}.{schema}.{name}')}{of_version}")

    return routes


def _add_jobs(routes: APIRouter) -> None:
    def runs(job_id: str = "") -> Response:
        return RedirectResponse(f"/runs?job={quote(job_id)}" if job_id else "/runs")

    for address in RUNS:
        routes.add_api_route(address, runs)

    @routes.get("/workflows")
    @routes.get("/workflows/jobs")
    def jobs() -> Response:
        return RedirectResponse("/jobs")

    @routes.get("/workflows/jobs/{job_id}")
    @routes.get("/jobs/{job_id}/tasks")
    @routes.get("/jobs/{job_id}/tasks/{task_key}")
    def job(job_id: str) -> Response:
        return RedirectResponse(f"/jobs/{quote(job_id)}")

    @routes.get("/jobs/runs/{run_id}")
    @routes.get("/workflows/runs/{run_id}")
    @routes.get("/jobs/{job_id}/runs/{run_id}/tasks/{task_key}")
    def run(run_id: str) -> Response:
        return RedirectResponse(f"/runs/{quote(run_id)}")


def _add_objects(routes: APIRouter, database: Database) -> None:
    def workspace_object(object_id: str) -> Response:
        for record in database.all(WORKSPACE_OBJECT):
            if str(record["object_id"]) == object_id:
                return RedirectResponse(f"/workspace{quote(record['path'])}")
        raise DoesNotExist(f"No notebook, file or folder has the id {object_id}.")

    for address in OBJECTS:
        routes.add_api_route(address, workspace_object)
