"""Updates of pipelines, each a one-time run with one task: `/api/2.0/pipelines/{pipeline_id}/updates`."""

import re
import uuid
from datetime import UTC, datetime
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.errors import DoesNotExist, InvalidState
from local_workspace.jobs import job_settings
from local_workspace.jobs.job_checks import refuse
from local_workspace.jobs.pipelines import find
from local_workspace.jobs.run_documents import has_ended, new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.jobs.task_kinds import PIPELINE
from local_workspace.jobs.task_output import output_of
from local_workspace.rest.fields import RequestFields
from local_workspace.store.database import Database, Document

KIND = "pipeline_update"
LISTED_AT_ONCE = 25
REFUSED = ("full_refresh_selection", "refresh_selection", "rewind_spec", "validate_only")
ENDED = {"SUCCESS": "COMPLETED", "CANCELED": "CANCELED"}
_FILTERED = re.compile(r"(?P<field>update_id|level)\s*=\s*'(?P<value>[^']*)'")


def router(database: Database, runs: RunManager) -> APIRouter:
    """Start, show and stop updates, and tell what has come of them."""
    routes = APIRouter(prefix="/api/2.0/pipelines/{pipeline_id}")

    @routes.post("/updates")
    def start_update(pipeline_id: str, fields: RequestFields) -> dict[str, Any]:
        """Start an update of all tables; `full_refresh` makes them anew."""
        refuse(fields, REFUSED, "an update: ")
        pipeline = find(database, pipeline_id)
        own = {"pipeline_id": pipeline_id, "full_refresh": fields.flag("full_refresh")}
        named = {"name": f"update of {pipeline['name']}", "tasks": [{"task_key": "update", PIPELINE: own}]}
        settings = job_settings.normalised(named, database)
        with database.transaction():
            if active := [
                each for each in _updates(database, pipeline_id) if not has_ended(_run(runs, each))
            ]:
                raise InvalidState(f"An active update {active[0]['update_id']} already exists.")
            run = new_run(database, database.next_id("job"), "SUBMIT_RUN", settings, caller())
            update = {"update_id": str(uuid.uuid4()), "pipeline_id": pipeline_id, "run_id": run["run_id"]}
            database.put(KIND, update["update_id"], update)
        runs.submit(run["run_id"])
        return {"update_id": update["update_id"]}

    @routes.get("/updates")
    def list_updates(pipeline_id: str) -> dict[str, Any]:
        """The updates of a pipeline, the newest first."""
        found = _updates(database, find(database, pipeline_id)["pipeline_id"])
        return {"updates": [_shown(runs, each) for each in found[:LISTED_AT_ONCE]]}

    @routes.get("/updates/{update_id}")
    def get_update(pipeline_id: str, update_id: str) -> dict[str, Any]:
        """One update with its state."""
        update = database.get(KIND, update_id)
        if update is None or update["pipeline_id"] != pipeline_id:
            raise DoesNotExist(f"Update {update_id} of pipeline {pipeline_id} was not found.")
        return {"update": _shown(runs, update)}

    @routes.get("/events")
    def list_events(pipeline_id: str, fields: RequestFields) -> dict[str, Any]:
        """The state of each update as an event, the newest first, by `update_id` and `level` in `filter`."""
        wanted = {each["field"]: each["value"] for each in _FILTERED.finditer(fields.text("filter", ""))}
        found = _updates(database, find(database, pipeline_id)["pipeline_id"])[:LISTED_AT_ONCE]
        events = [
            _event(runs, each)
            for each in found
            if each["update_id"] == wanted.get("update_id", each["update_id"])
        ]
        return {"events": [each for each in events if each["level"] == wanted.get("level", each["level"])]}

    @routes.post("/stop")
    def stop(pipeline_id: str) -> dict[str, Any]:
        """End the update that is active."""
        for each in _updates(database, find(database, pipeline_id)["pipeline_id"]):
            if not has_ended(_run(runs, each)):
                runs.cancel(each["run_id"])
        return {}

    return routes


def _updates(database: Database, pipeline_id: str) -> list[Document]:
    """Those of a pipeline whose runs are still there, the newest first."""
    found = [each for each in database.all(KIND) if each["pipeline_id"] == pipeline_id]
    return [each for each in reversed(found) if database.get("run", str(each["run_id"]))]


def _run(runs: RunManager, update: Document) -> Document:
    return runs.find(update["run_id"])


def _shown(runs: RunManager, update: Document) -> Document:
    run = _run(runs, update)
    state = run["state"]
    told = ENDED.get(state["result_state"], "FAILED") if has_ended(run) else "RUNNING"
    return {
        "pipeline_id": update["pipeline_id"],
        "update_id": update["update_id"],
        "creation_time": run["start_time"],
        "cause": "API_CALL",
        "full_refresh": run["tasks"][0][PIPELINE]["full_refresh"],
        "state": told,
    }


def _event(runs: RunManager, update: Document) -> Document:
    """How an update is, as an event; of one that has failed with what was wrong."""
    run, shown = _run(runs, update), _shown(runs, update)
    moment = datetime.fromtimestamp((run["end_time"] or run["start_time"]) / 1000, UTC)
    event = {
        "id": f"{shown['update_id']}-{shown['state']}",
        "timestamp": moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
        "message": f"Update {shown['update_id'][:6]} is {shown['state']}.",
        "level": "ERROR" if shown["state"] == "FAILED" else "INFO",
        "event_type": "update_progress",
        "origin": {"pipeline_id": shown["pipeline_id"], "update_id": shown["update_id"]},
    }
    if event["level"] == "ERROR":
        task = run["tasks"][-1]
        said = output_of(task, runs.folder(task["run_id"])).get("error") or task["state"]["state_message"]
        event["error"] = {"fatal": True, "exceptions": [{"class_name": "Exception", "message": said}]}
    return event
