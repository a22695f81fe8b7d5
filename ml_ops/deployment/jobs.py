"""The job definitions: one YAML file a job, in the form of a bundle, rendered to the Jobs API 2.1."""

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT

FOLDER = ROOT / "ml_ops" / "deployment" / "databricks" / "jobs"
NOTEBOOKS = ROOT / "ml_ops" / "orchestrator"
API_VERSION = "--version=2.1"


def render_jobs(folder: Path, variables: Mapping[str, str], workspace_folder: str) -> list[dict[str, Any]]:
    """The settings of every job defined in `folder`: variables filled in, notebooks by workspace path."""
    return [
        _with_workspace_paths(_fill(job, variables, file), file, workspace_folder)
        for file in sorted(folder.glob("*.yml"))
        for job in yaml.safe_load(file.read_text())["resources"]["jobs"].values()
    ]


def deploy_job(cli: DatabricksCli, settings: dict[str, Any]) -> int:
    """Creates the job, or resets the one that has its name; returns its id."""
    name = settings["name"]
    existing = find_job(cli, name)
    if existing is None:
        created = cli.run("jobs", "create", API_VERSION, "--json", json.dumps(settings))
        job_id, done = int(created["job_id"]), "created"
    else:
        job_id, done = int(existing["job_id"]), "updated"
        cli.run("jobs", "reset", API_VERSION, "--job-id", str(job_id), "--json", json.dumps(settings))
    print(f"Job '{name}' ({job_id}) is {done}", flush=True)
    return job_id


def find_job(cli: DatabricksCli, name: str) -> dict[str, Any] | None:
    """The job of exactly this name with its tasks, None when there is none; two of one name are an error."""
    listed = cli.run(
        "jobs", "list", API_VERSION, "--output", "json", "--all", "--expand-tasks", "--name", name
    )["jobs"]
    found = [job for job in listed if job["settings"]["name"] == name]
    if len(found) > 1:
        ids = [job["job_id"] for job in found]
        raise DeploymentError(f"{len(found)} jobs are called '{name}': {ids}; delete all but one")
    return found[0] if found else None


def require_job(cli: DatabricksCli, name: str) -> dict[str, Any]:
    """The job of this name with its tasks."""
    job = find_job(cli, name)
    if job is None:
        raise DeploymentError(f"no job is called '{name}'; deploy it with `make deploy`")
    return job


def parameters_of(job: Mapping[str, Any]) -> dict[str, str]:
    """The widgets of the job's notebooks and the values that the job gives them."""
    merged: dict[str, str] = {}
    for task in job["settings"]["tasks"]:
        merged |= task.get("notebook_task", {}).get("base_parameters", {})
    return merged


def _fill(node: Any, variables: Mapping[str, str], file: Path) -> Any:
    """`node` with every ${var.x} replaced, however deep it stands."""
    if isinstance(node, dict):
        return {key: _fill(value, variables, file) for key, value in node.items()}
    if isinstance(node, list):
        return [_fill(value, variables, file) for value in node]
    if not isinstance(node, str):
        return node

    def value_of(match: re.Match[str]) -> str:
        kind, _, name = match[1].partition(".")
        if kind != "var" or name not in variables:
            raise DeploymentError(f"{file.name}: unknown variable {match[0]}; known are {sorted(variables)}")
        return variables[name]

    return re.sub(r"\$\{([^}]*)\}", value_of, node)


def _with_workspace_paths(job: dict[str, Any], file: Path, workspace_folder: str) -> dict[str, Any]:
    """`job` with its notebooks where `make databricks-deploy-code` puts them."""
    for task in job["tasks"]:
        notebook = (file.parent / task["notebook_task"]["notebook_path"]).resolve()
        if notebook.parent != NOTEBOOKS or not notebook.is_file():
            raise DeploymentError(f"{file.name}: no notebook {notebook.name} in {NOTEBOOKS}")
        task["notebook_task"]["notebook_path"] = f"{workspace_folder}/{NOTEBOOKS.name}/{notebook.stem}"
    return job
