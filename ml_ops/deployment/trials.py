"""A trial: a target deployed under names of its own, beside the target itself; all of it is removed again."""

import shutil
import time
from collections.abc import Mapping
from typing import Any
from urllib.parse import quote

from deployment.errors import DeploymentError
from deployment.jobs import find_job_in
from deployment.runs import poll_seconds
from deployment.targets import Target
from deployment.unity_catalog import API, COLLECTIONS
from deployment.workspace import RestError, Workspace

# What has to be the trial's own, so that nothing of the target itself can be meant.
OWN = ("name_prefix", "schema", "workspace_folder")
ENDING_SECONDS = 300


def check_names(trial: Target, itself: Target) -> None:
    """Refuses a trial whose names are those of the target, or that lies around the target's folder."""
    if shared := [name for name in OWN if not trial.text(name) or trial.text(name) == itself.text(name)]:
        words = " ".join(f"{name.upper()}=..." for name in OWN)
        raise DeploymentError(
            f"{shared} are those of target '{itself.name}' itself, which is not destroyed. "
            f"Name a trial as it was deployed: make destroy-trial TARGET={itself.name} {words}"
        )
    folder = trial.text("workspace_folder").rstrip("/")
    if f"{itself.text('workspace_folder')}/".startswith(f"{folder}/"):
        raise DeploymentError(f"workspace_folder {folder} has the folder of target '{itself.name}' in it")
    for name in ("model_name", "output_table"):
        if trial.text(name) == itself.text(name):
            raise DeploymentError(f"{name} {trial.text(name)} is that of target '{itself.name}' itself")


def destroy(workspace: Workspace, trial: Target) -> None:
    """Removes jobs, tables, model, schema and folder, each where it is there; what is of others stays."""
    for key in trial.job_keys():
        _delete_job(workspace, trial.job_name(key))
    _delete_tables(workspace, trial.text("output_table"))
    _delete(workspace, "model", trial.text("model_name"))
    _delete_schema(workspace, f"{trial.text('catalog')}.{trial.text('schema')}")
    _delete_folder(workspace, trial.text("workspace_folder"))
    # What the Databricks CLI keeps of the jobs of its last deployment, which are gone.
    shutil.rmtree(trial.root / ".databricks" / "bundle" / trial.name, ignore_errors=True)


def _delete_job(workspace: Workspace, name: str) -> None:
    """Ends the runs of a job, since they might write again, and deletes it."""
    if (job := find_job_in(workspace, name)) is None:
        return
    which = {"job_id": job["job_id"]}
    workspace.call("POST", "/api/2.1/jobs/runs/cancel-all", repeats=True, json=which)
    _wait_for_runs(workspace, name, which)
    workspace.call("POST", "/api/2.1/jobs/delete", json=which)
    print(f"Job '{name}' ({job['job_id']}) is deleted", flush=True)


def _wait_for_runs(workspace: Workspace, name: str, which: Mapping[str, Any]) -> None:
    start = time.monotonic()
    params = {**which, "active_only": "true"}
    while workspace.call("GET", "/api/2.1/jobs/runs/list", params=params).get("runs"):
        elapsed = time.monotonic() - start
        if elapsed > ENDING_SECONDS:
            raise DeploymentError(f"job '{name}' still has runs {ENDING_SECONDS} s after they were canceled")
        time.sleep(poll_seconds(elapsed))


def _delete_tables(workspace: Workspace, output_table: str) -> None:
    """Deletes the table that scoring writes, and those beside it, whose names begin with its name."""
    catalog, schema, name = output_table.split(".")
    params = {"catalog_name": catalog, "schema_name": schema}
    try:
        listed = workspace.call("GET", f"{API}/tables", params=params).get("tables", [])
    except RestError as error:
        if error.status != 404:
            raise
        return
    for table in listed:
        if table["name"].lower().startswith(name.lower()):
            _delete(workspace, "table", f"{catalog}.{schema}.{table['name']}")


def _delete_schema(workspace: Workspace, name: str) -> None:
    """Deletes a schema that nothing is in any more; another one stays, and is named."""
    try:
        _delete(workspace, "schema", name)
    except RestError as error:
        if error.status not in (400, 409):
            raise
        print(f"Schema '{name}' stays, since other things are in it: {error}", flush=True)


def _delete_folder(workspace: Workspace, folder: str) -> None:
    """Deletes the folder with the code, what the bundle keeps and, on Databricks, the experiment."""
    if workspace.find("/api/2.0/workspace/get-status", path=folder) is None:
        return
    workspace.call("POST", "/api/2.0/workspace/delete", json={"path": folder, "recursive": True})
    print(f"{folder} is deleted", flush=True)


def _delete(workspace: Workspace, kind: str, name: str) -> None:
    path = f"{API}/{COLLECTIONS.get(kind, f'{kind}s')}/{quote(name, safe='')}"
    try:
        workspace.call("DELETE", path, repeats=True)
    except RestError as error:
        if error.status != 404:
            raise
        return
    print(f"{kind.capitalize()} '{name}' is deleted", flush=True)
