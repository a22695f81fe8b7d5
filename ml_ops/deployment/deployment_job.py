"""Links the model to its deployment job, and lets that job go on with a version that is approved."""

from collections.abc import Iterator, Mapping
from typing import Any

from diabetes_mlops.models.approval import APPROVAL, DEPLOY, DEPLOYMENT_JOB, EVALUATE

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError, RunFailedError
from deployment.jobs import find_job_in
from deployment.runs import ENDED, describe_failure, follow, get_run, succeeded
from deployment.targets import Target
from deployment.workspace import NotAllowedError, Workspace

KEY = "diabetes_model_deployment"
MODELS = "/api/2.0/mlflow/unity-catalog/registered-models"
RUNS = "/api/2.2/jobs/runs"
MAY_RUN = "CAN_MANAGE_RUN"
ENOUGH = {MAY_RUN, "CAN_MANAGE", "IS_OWNER"}


def require_model_to_link(workspace: Workspace, target: Target) -> None:
    """Refuses a deployment job without its model, before any job is changed."""
    name = target.text("model_name")
    if target.text("promotion") == DEPLOYMENT_JOB and find_linked_job(workspace, name) is None:
        raise DeploymentError(
            f"there is no model '{name}' to link to '{target.job_name(KEY)}'; make it with "
            "`make databricks-init`"
        )


def settle_link(workspace: Workspace, target: Target) -> None:
    """Links the model to the target's deployment job where `promotion` says so; elsewhere undoes that.

    Raises DeploymentError where the right is missing.
    """
    name = target.text("model_name")
    if target.text("promotion") == DEPLOYMENT_JOB:
        _link(workspace, target, name)
        return
    try:
        linked = find_linked_job(workspace, name)
        job = find_job_in(workspace, target.job_name(KEY)) if linked else None
    except DeploymentError as error:
        print(f"Note: it was not looked whether {name} is linked to a deployment job: {error}")
        return
    if job and str(job["job_id"]) == linked:
        _set_link(workspace, name, "")
        print(f"Model '{name}' is linked to job '{job['settings']['name']}' no more")


def find_linked_job(workspace: Workspace, name: str) -> str | None:
    """The id of the job that a new version of the model starts; empty without one, None without a model."""
    found = workspace.find(f"{MODELS}/get", name=name)
    return str(found["registered_model"].get("deployment_job_id") or "") if found else None


def find_run(workspace: Workspace, job_id: str, name: str, number: str) -> dict[str, Any] | None:
    """The newest run of the job for a version of the model."""
    wanted = {"model_name": name, "model_version": number}
    return next((run for run in _runs_of(workspace, job_id) if wanted.items() <= _given(run).items()), None)


def go_on(cli: DatabricksCli, job_id: str, name: str, number: str, *, wait: bool) -> None:
    """Lets the job go on with an approved version: where it ended it is repaired, or it runs once more.

    With `wait` it follows the run, and raises when that fails.
    """
    run, early = find_run(cli.workspace, job_id, name, number), False
    if run is None or succeeded(run):
        wanted = {"job_id": int(job_id), "job_parameters": {"model_name": name, "model_version": number}}
        run_id, does = _ask(cli.workspace, number, "/api/2.2/jobs/run-now", wanted)["run_id"], "starts"
    elif run["state"]["life_cycle_state"] in ENDED:
        run_id, does = run["run_id"], "goes on"
        _ask(cli.workspace, number, f"{RUNS}/repair", _repair(cli.workspace, run_id))
    else:
        run_id, does, early = run["run_id"], "is under way", True
    print(f"Run {run_id} of its deployment job {does}: {get_run(cli, run_id)['run_page_url']}", flush=True)
    if wait:
        _follow(cli, number, run_id, early=early)
    elif early:
        print("Note: it may have looked for the approval a moment ago; if it fails, give this command again")


def _follow(cli: DatabricksCli, number: str, run_id: int, *, early: bool) -> None:
    """Waits for a run; one that began before the approval may have looked for it a moment too early."""
    ended = follow(cli, run_id)
    if early and _results(ended).get(APPROVAL) == "FAILED":
        _ask(cli.workspace, number, f"{RUNS}/repair", _repair(cli.workspace, run_id))
        print(f"Run {run_id} had looked a moment before the approval; it goes on", flush=True)
        ended = follow(cli, run_id)
    if not succeeded(ended):
        raise RunFailedError(describe_failure(cli, KEY, ended))


def _results(run: Mapping[str, Any]) -> dict[str, str]:
    """How the last attempt of each task ended."""
    return {task["task_key"]: task.get("state", {}).get("result_state", "") for task in run.get("tasks", [])}


def _link(workspace: Workspace, target: Target, name: str) -> None:
    job = find_job_in(workspace, target.job_name(KEY))
    if job is None:
        raise DeploymentError(
            f"there is no job '{target.job_name(KEY)}' to link '{name}' to; deploy it first"
        )
    job_id, title = str(job["job_id"]), job["settings"]["name"]
    _let_owner_run(workspace, target, job_id)
    if find_linked_job(workspace, name) != job_id:
        _set_link(workspace, name, job_id)
    print(f"Model '{name}' is linked to job '{title}': each new version starts it")


def _let_owner_run(workspace: Workspace, target: Target, job_id: str) -> None:
    """The job starts as the owner of the model, and the owner's people repair its runs."""
    owner = target.text("model_owner")
    who = {"group_name": owner} if owner else target.run_as
    if not who:  # whoever makes both owns both
        return
    path = f"/api/2.0/permissions/jobs/{job_id}"
    try:
        listed = workspace.call("GET", path, repeats=True).get("access_control_list", [])
        mine = [entry for entry in listed if who.items() <= entry.items()]
        if ENOUGH & {each["permission_level"] for entry in mine for each in entry.get("all_permissions", [])}:
            return
        entries = {"access_control_list": [{**who, "permission_level": MAY_RUN}]}
        workspace.call("PATCH", path, repeats=True, json=entries)
    except NotAllowedError as error:
        raise DeploymentError(
            f"you may not give '{next(iter(who.values()))}', the owner of the model, {MAY_RUN} on job "
            f"{job_id}: {error.said}. The owner of the job may, or an administrator"
        ) from error


def _set_link(workspace: Workspace, name: str, job_id: str) -> None:
    body = {"name": name, "deployment_job_id": job_id}
    aim = f"link model '{name}' to job {job_id}" if job_id else f"unlink model '{name}' from its job"
    try:
        workspace.call("PATCH", f"{MODELS}/update", repeats=True, json=body)
    except NotAllowedError as error:
        raise DeploymentError(
            f"you may not {aim}: {error.said}. It takes MANAGE on the model, and {MAY_RUN} on the job; "
            "whoever has both can run `make databricks-deploy-jobs` once"
        ) from error


def _given(run: Mapping[str, Any]) -> dict[str, str]:
    """The parameters that a run was started with."""
    parameters = run.get("job_parameters", [])
    return {each["name"]: str(each.get("value", each.get("default", ""))) for each in parameters}


def _runs_of(workspace: Workspace, job_id: str) -> Iterator[dict[str, Any]]:
    for page in workspace.pages(f"{RUNS}/list", job_id=job_id):
        yield from page.get("runs", [])


def _repair(workspace: Workspace, run_id: int) -> dict[str, Any]:
    """What asks for a repair; a later one has to name the one before it.

    A version that could not be deployed meets the gate again: it is another champion that it has to beat now.
    """
    params = {"run_id": str(run_id), "include_history": "true"}
    run = workspace.call("GET", f"{RUNS}/get", params=params)
    repairs = [each["id"] for each in run.get("repair_history", []) if each.get("type") == "REPAIR"]
    latest = {"latest_repair_id": repairs[-1]} if repairs else {}
    deploy_failed = _results(run).get(DEPLOY) == "FAILED"
    which = {"rerun_tasks": [EVALUATE]} if deploy_failed else {"rerun_all_failed_tasks": True}
    return {"run_id": run_id, **which, "rerun_dependent_tasks": True, **latest}


def _ask(workspace: Workspace, number: str, path: str, body: Mapping[str, Any]) -> dict[str, Any]:
    try:
        return workspace.call("POST", path, json=body)
    except NotAllowedError as error:
        raise DeploymentError(
            f"version {number} is approved, but you may not let its deployment job go on: {error.said}. "
            f"A person with {MAY_RUN} on the job can repair its run, or give this command again"
        ) from error
