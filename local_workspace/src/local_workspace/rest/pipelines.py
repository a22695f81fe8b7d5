"""Declarative pipelines of Lakeflow, which Spark's own engine runs here: `/api/2.0/pipelines`."""

import uuid
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.jobs.pipelines import KIND, find
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.database import Database, Document

PREFIX = "/api/2.0/pipelines"
# What asks for something at the time of a change, and is not a part of what is kept.
OF_A_CHANGE = ("allow_duplicate_names", "dry_run", "expected_last_modified", "pipeline_id")


def router(database: Database) -> APIRouter:
    """Make, show, change and remove pipelines."""
    routes = APIRouter()

    @routes.post(PREFIX)
    def create_pipeline(fields: RequestFields) -> dict[str, Any]:
        """Keep a pipeline."""
        pipeline_id = str(uuid.uuid4())
        document = _changed({"pipeline_id": pipeline_id, "creator_user_name": caller()}, fields)
        database.put(KIND, pipeline_id, document)
        return {"pipeline_id": pipeline_id}

    @routes.get(PREFIX)
    def list_pipelines() -> dict[str, Any]:
        """All pipelines, without their settings."""
        shown = ("pipeline_id", "name", "creator_user_name", "run_as_user_name", "state")
        return {"statuses": [{name: each[name] for name in shown} for each in database.all(KIND)]}

    @routes.get(f"{PREFIX}/{{pipeline_id}}")
    def get_pipeline(pipeline_id: str) -> dict[str, Any]:
        """One pipeline with its settings."""
        return find(database, pipeline_id)

    @routes.put(f"{PREFIX}/{{pipeline_id}}")
    def edit_pipeline(pipeline_id: str, fields: RequestFields) -> dict[str, Any]:
        """Replace the settings of a pipeline."""
        with database.transaction():
            database.put(KIND, pipeline_id, _changed(find(database, pipeline_id), fields))
        return {}

    @routes.delete(f"{PREFIX}/{{pipeline_id}}")
    def delete_pipeline(pipeline_id: str) -> dict[str, Any]:
        """Forget a pipeline."""
        find(database, pipeline_id)
        database.delete(KIND, pipeline_id)
        return {}

    return routes


def _changed(kept: Document, fields: Fields) -> Document:
    """A pipeline with other settings."""
    settings = {name: value for name, value in fields.items() if name not in OF_A_CHANGE}
    beside = {name: settings.pop(name) for name in ("parameters", "run_as") if name in settings}
    fixed = {name: kept[name] for name in ("pipeline_id", "creator_user_name")}
    return (
        fixed
        | beside
        | {
            "name": fields.text("name", ""),
            "run_as_user_name": kept["creator_user_name"],
            "state": "IDLE",
            "last_modified": now(),
            "spec": settings | {"id": kept["pipeline_id"]},
        }
    )
