"""Writes down which part of the REST API is served: `python -m local_workspace.api_table`.

The page goes to standard output; `make docs` keeps it in docs/local_workspace_api.md.
"""

import inspect
import sys
import tempfile
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, cast

from fastapi import APIRouter, FastAPI
from fastapi.routing import iter_route_contexts

from local_workspace.jobs.runs import RunManager
from local_workspace.mlflow_server.kept_models import Sources
from local_workspace.server import rest_routers
from local_workspace.spark.cluster import SparkCluster
from local_workspace.store.database import Database
from local_workspace.store.profile import DEFAULT_PORT, Profile
from local_workspace.store.state import StateFolder

if TYPE_CHECKING:
    from local_workspace.mlflow_server.application import Stores

HEADING = """# What the local workspace serves

Written by `make docs` from the routes themselves; a test keeps it current.

Every answer has the shape, status and `error_code` of Databricks. What is not listed answers 501 with its
name. `{a,b}` stands for several paths. Paths of MLflow (`/api/2.0/mlflow/…` and its pages) that are not
listed are answered by [MLflow's own server](https://mlflow.org/docs/latest/api_reference/rest-api.html), so
clients track at `databricks` (models: `databricks-uc`) or at the workspace's http address.

The clients that are held against this in the tests: the pip program `databricks` 0.18, databricks-sdk and
MLflow's client for real; the Go program `databricks` for real where it is on the PATH or named by
`DATABRICKS_GO_CLI`, and everywhere by what it was recorded to ask (`local_workspace/tests/recordings`).
"""
TABLE = "| method | path | what it does |\n|---|---|---|\n"


@dataclass(frozen=True)
class Row:
    """One function that serves requests, and one of its paths."""

    module: str
    function: str
    method: str
    path: str
    summary: str


def page() -> str:
    """The whole page: a section and a table for each module of routes."""
    rows = _rows()
    parts = [HEADING]
    for module in dict.fromkeys(row.module for row in rows):
        purpose = (inspect.getdoc(sys.modules[module]) or "").splitlines()[0]
        parts.append(f"\n## {_title(module)}\n\n{purpose}\n\n{TABLE}")
        parts += _lines([row for row in rows if row.module == module])
    return "".join(parts)


def _rows() -> list[Row]:
    """What is served, in the order of the code; nothing here is ever called."""
    with tempfile.TemporaryDirectory() as folder:
        state = StateFolder(Path(folder))
        state.create()
        cluster = SparkCluster(state.spark, state.dbfs, state.volumes, state.logs / "spark.log")
        profile = Profile(DEFAULT_PORT, "none")
        stores = cast("Stores", (None, None))
        database = Database(state.database)
        runs = RunManager(database, state, lambda run: {}, profile.host)
        try:
            routers = rest_routers(
                state, profile, database, runs, cluster, stores, Sources(state), nullcontext()
            )
            return list(_rows_of(routers))
        finally:
            runs.shutdown()
            database.close()


def _rows_of(routers: list[APIRouter]) -> Iterator[Row]:
    app = FastAPI(openapi_url=None)
    for router in routers:
        app.include_router(router)
    for route in iter_route_contexts(app.routes):
        path = str(route.path_format)
        if not route.include_in_schema or route.endpoint is None:
            continue
        function = route.endpoint
        summary = (inspect.getdoc(function) or "").partition("\n")[0]
        method = ", ".join(sorted(route.methods or ()))
        yield Row(function.__module__, function.__qualname__, method, path, summary)


def _lines(rows: list[Row]) -> Iterator[str]:
    """A line for each function; paths that differ in one place alone share it."""
    groups: dict[tuple[str, str, int], list[Row]] = {}
    for row in rows:
        groups.setdefault((row.function, row.method, row.path.count("/")), []).append(row)
    for same in groups.values():
        path = _joined([row.path for row in same])
        yield f"| {same[0].method} | `{path}` | {same[0].summary} |\n"


def _joined(paths: list[str]) -> str:
    segments = (list(dict.fromkeys(column)) for column in zip(*(p.split("/") for p in paths), strict=True))
    return "/".join(names[0] if len(names) == 1 else f"{{{','.join(names)}}}" for names in segments)


def _title(module: str) -> str:
    return module.rpartition(".")[2].replace("_", " ").capitalize()


if __name__ == "__main__":
    print(page(), end="")
