"""For the owner alone: how Spark is, and a session of it for a process that the owner has started."""

import re
from pathlib import PurePosixPath
from typing import Any

from fastapi import APIRouter

from local_workspace.errors import InvalidState
from local_workspace.jobs.compute import access_mode, compute_of
from local_workspace.rest.fields import RequestFields
from local_workspace.spark.access_modes import STANDARD, access_mode_of
from local_workspace.spark.cluster import ClusterError, SparkCluster
from local_workspace.spark.sessions import Sessions
from local_workspace.store.database import Database, Document

# What only a run has a value for.
_REFERENCE = re.compile(r"\{\{.*\}\}")


def router(cluster: SparkCluster, sessions: Sessions, database: Database) -> APIRouter:
    """The state of Spark, whether or not a cluster was created yet, and sessions."""
    routes = APIRouter(prefix="/api/2.0/local-workspace")

    @routes.get("/cluster")
    def cluster_state() -> dict[str, str]:
        return {"state": cluster.state()}

    # Not for whoever tries out what is described: a session stays for as long as some process lives.
    @routes.post("/sessions", include_in_schema=False)
    def open_session(fields: RequestFields) -> dict[str, Any]:
        """A session for the process `pid`, as the job that runs a notebook of this name would have it.

        Without a `notebook`, or a job that runs it, it is on the first cluster; `mode` names another Spark.
        """
        found = find_notebook_task(database, fields.text("notebook", ""))
        mode = fields.text("mode", "") or found.get("access_mode") or _usual_mode(database)
        try:
            folder, environment = sessions.open(fields.natural("pid"), mode)
        except ClusterError as error:
            raise InvalidState(str(error)) from error
        opened = {"folder": str(folder), "environment": dict(environment)}
        return found | opened | {"access_mode": mode}

    return routes


def find_notebook_task(database: Database, name: str) -> Document:
    """What the newest job with a notebook of this name gives it; nothing where there is none."""
    for job in reversed(database.all("job") if name else []):
        settings = job["settings"]
        for task in settings.get("tasks", []):
            path = (task.get("notebook_task") or {}).get("notebook_path", "")
            if PurePosixPath(path).name == name:
                return {
                    "job_name": settings.get("name", ""),
                    "notebook_path": path,
                    "parameters": _parameters(task, settings),
                    "access_mode": access_mode(task, settings, database),
                    "compute": compute_of(task, settings),
                }
    return {}


def _parameters(task: Document, settings: Document) -> dict[str, str]:
    """The widget values that the job gives, but for those of one run."""
    of_job = {each["name"]: each.get("default", "") for each in settings.get("parameters") or []}
    merged = (task["notebook_task"].get("base_parameters") or {}) | of_job
    return {str(name): str(text) for name, text in merged.items() if not _REFERENCE.search(str(text))}


def _usual_mode(database: Database) -> str:
    """The access mode of the first cluster; without one that of Spark Connect."""
    return next(map(access_mode_of, database.all("cluster")), STANDARD)
