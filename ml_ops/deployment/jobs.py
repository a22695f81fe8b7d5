"""The jobs in the workspace: found by name, each deployed by one owner."""

from collections.abc import Callable, Mapping
from typing import Any

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.workspace import Workspace


def check_owner(
    cli: DatabricksCli, name: str, bundle: str, is_bound: Callable[[int], bool] = lambda _: False
) -> None:
    """Refuses to deploy a job that somebody else has deployed: each would undo what the other has done.

    `bundle` is where the bundle that deploys keeps its metadata, empty without a bundle; `is_bound` tells
    whether it has taken a job over that it has not deployed yet.
    """
    job = find_job(cli, name)
    if job is None:
        return
    where, owner = f"job '{name}' ({job['job_id']})", _bundle_of(job)
    if bundle and not owner:
        if is_bound(int(job["job_id"])):
            return
        raise DeploymentError(
            f"{where} was deployed without a bundle, by databricks-cli or by hand. Delete it, or let the "
            f"bundle own it: `databricks bundle deployment bind <its key in databricks.yml> {job['job_id']} "
            "--target <target>`"
        )
    if owner != bundle:
        raise DeploymentError(
            f"{where} belongs to the bundle at {owner.rpartition('/state/')[0]}. Deploy that target with the "
            "Databricks CLI on the PATH, or give it up first: `databricks bundle destroy --target <target>`"
        )


def _bundle_of(job: Mapping[str, Any]) -> str:
    """Where the bundle that has deployed the job keeps its metadata, empty for another job."""
    deployment = job["settings"].get("deployment", {})
    return str(deployment.get("metadata_file_path", "")) if deployment.get("kind") == "BUNDLE" else ""


def find_job(cli: DatabricksCli, name: str) -> dict[str, Any] | None:
    """The job of exactly this name with its tasks, None when there is none; two of one name are an error."""
    return find_job_in(cli.workspace, name)


def find_job_in(workspace: Workspace, name: str) -> dict[str, Any] | None:
    """As `find_job`, without a program, whose start costs more than half a second."""
    params = {"name": name, "expand_tasks": "true"}
    listed = workspace.call("GET", "/api/2.1/jobs/list", params=params).get("jobs", [])
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
