"""Versions of the code in a workspace: put there, pointed at by the jobs, listed, gone back to, removed."""

import json
import re
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from deployment import git, wheels
from deployment.clusters import job_cluster, require_cluster
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import check_owner, find_job, require_job
from deployment.model_registry import find_needed
from deployment.records import find_versions, read_record, write_record
from deployment.serving import warn_of_champion
from deployment.settings import Settings
from deployment.tables import format_table
from deployment.targets import Target
from deployment.workspace import Workspace

JOB_CLUSTER = "main"


@dataclass(frozen=True)
class Deployment:
    """One version that the workspace has, what its record says, and who needs it."""

    version: str
    deployed_at: str
    deployed_by: str
    jobs: tuple[str, ...]
    runs: tuple[int, ...]

    @property
    def is_needed(self) -> bool:
        """Whether a job points at it, or a run that has not ended started with it."""
        return bool(self.jobs or self.runs)


def open_deployment(cli: DatabricksCli, settings: Settings, root: Path) -> Target:
    """The target as this checkout and this command line deploy it."""
    target = Target(settings.target, cli.workspace.user, settings.overrides, root)
    version, commit = wheels.version(root), wheels.read_code(root).commit
    given = dict(settings.overrides) | choose_compute(cli, target)
    given |= {"version": version, "wheels": _as_pattern(version), "git_commit": commit}
    return Target(settings.target, cli.workspace.user, given, root)


def choose_compute(cli: DatabricksCli, target: Target) -> dict[str, Any]:
    """What the jobs run on, as the variables that their definitions have for it."""
    none: dict[str, Any] = {"cluster_id": "", "job_cluster_key": "", "job_clusters": []}
    match target.text("compute"):
        case "existing":
            return none | {"cluster_id": require_cluster(cli, target.text("cluster_name"))}
        case "job":
            policy = target.text("cluster_policy")
            cluster = {"job_cluster_key": JOB_CLUSTER, "new_cluster": job_cluster(cli.workspace, policy)}
            return none | {"job_cluster_key": JOB_CLUSTER, "job_clusters": [cluster]}
        case "serverless":
            return none
        case other:
            raise DeploymentError(f"compute is existing, job or serverless; got '{other}'")


def deploy_code(cli: DatabricksCli, target: Target) -> None:
    """Builds the wheels and puts them, with the notebooks, into the version's own folder."""
    version = target.text("version")
    built = wheels.build_wheels(target.root)
    print(f"Deploying {version} to target '{target.name}' with {cli.title}", flush=True)
    if read_record(cli.workspace, target, version):
        print(f"{version} is there already", flush=True)
    else:
        cli.deploy_code(target)
        if wheels.version(target.root) != version:
            raise DeploymentError("the sources changed while they were deployed; run it again")
    write_record(cli, target, built)


def deploy_jobs(cli: DatabricksCli, target: Target, keep: int) -> None:
    """Creates or updates the jobs, which then point at this version alone, and removes what nobody needs."""
    version = target.text("version")
    if not read_record(cli.workspace, target, version):
        raise DeploymentError(
            f"{version} is not in {target.deployments_folder}; run `make databricks-deploy-code` first"
        )
    cli.deploy_jobs(target)
    warn_of_champion(cli.workspace, target)
    prune(cli, target, keep)


def check_owners(cli: DatabricksCli, target: Target) -> None:
    """Refuses a target whose jobs the other command line has deployed."""
    bundle = cli.bundle_state(target)
    for key in target.job_keys():
        check_owner(cli, target.job_name(key), bundle)


def print_deployments(cli: DatabricksCli, target: Target) -> None:
    """Lists the versions, the newest first, with the jobs that point at each and the runs that use it."""
    found = list_deployments(cli, target)
    if not found:
        print(f"Nothing is deployed in {target.deployments_folder}; `make deploy` does that")
        return
    rows = [
        {
            "version": each.version,
            "deployed at (UTC)": each.deployed_at or "not finished",
            "by": each.deployed_by,
            "jobs": ", ".join(each.jobs) or "-",
            "active runs": ", ".join(map(str, each.runs)) or "-",
        }
        for each in found
    ]
    print(format_table(rows))


def roll_back(cli: DatabricksCli, target: Target, wanted: str) -> None:
    """Points every job at the code of an earlier version; what else the jobs say stays as it is."""
    found = list_deployments(cli, target)
    version = _pick([each.version for each in found if each.deployed_at], wanted)
    for job in [require_job(cli, target.job_name(key)) for key in target.job_keys()]:
        settings = _with_version(job["settings"], [each.version for each in found], version)
        if settings == job["settings"]:
            print(f"Job '{settings['name']}' runs the code of {version} already", flush=True)
            continue
        settings = _with_commit(settings, version, target.root)
        if target.run_as:  # the workspace does not tell it, and forgets it when it is not told
            settings["run_as"] = target.run_as
        cli.reset_job(int(job["job_id"]), settings)
        print(f"Job '{settings['name']}' runs the code of {version}", flush=True)
    warn_of_champion(cli.workspace, target)
    print("The next `make deploy` brings the code of the checkout again.")


def prune(cli: DatabricksCli, target: Target, keep: int) -> None:
    """Removes the versions beyond the last `keep` that nobody needs: no job, no active run, no model.

    A model needs the code that trained it when scoring can come to it, by an alias or a rollback. A version
    that is not finished stays: somebody may be deploying it.
    """
    finished = [each for each in list_deployments(cli, target) if each.deployed_at]
    old = [each.version for each in finished[keep:] if not each.is_needed]
    for version in _without_needed_by_models(cli.workspace, target, old):
        cli.delete_workspace_folder(f"{target.deployments_folder}/{version}")


def _without_needed_by_models(workspace: Workspace, target: Target, old: list[str]) -> list[str]:
    """The versions of the code that no model needs; none of them where that cannot be told."""
    name = target.text("model_name")
    if not old:
        return []
    try:
        needed = find_needed(workspace, name)
    except DeploymentError as error:
        print(f"Note: {', '.join(old)} stays, because it cannot be told whether {name} needs it: {error}")
        return []
    if needed is None:
        print(f"Note: {', '.join(old)} stays, because there is no model {name} that tells what it needs")
        return []
    for version in needed:
        if kept := [code for code in old if version.is_of(code)]:
            print(f"{', '.join(kept)} stays, because it trained version {version.number} of {name}")
    return [code for code in old if not any(version.is_of(code) for version in needed)]


def list_deployments(cli: DatabricksCli, target: Target) -> list[Deployment]:
    """Every version that the workspace has for this target, the newest first."""
    workspace = cli.workspace
    versions = find_versions(workspace, target)
    names = [target.job_name(key) for key in target.job_keys()] if versions else []
    jobs = {name: json.dumps(job["settings"]) for name in names if (job := find_job(cli, name))}
    runs = {int(run["run_id"]): json.dumps(run) for run in _active_runs(workspace)} if versions else {}
    found = []
    for version in versions:
        record = read_record(workspace, target, version)
        pointing = tuple(name for name, text in jobs.items() if _mentions(text, version))
        using = tuple(run for run, text in runs.items() if _mentions(text, version))
        moment, user = record.get("deployed_at", ""), record.get("deployed_by", "")
        found.append(Deployment(version, moment, user, pointing, using))
    return sorted(found, key=lambda each: each.deployed_at, reverse=True)


def _active_runs(workspace: Workspace) -> Iterator[dict[str, Any]]:
    page: dict[str, Any] = {"next_page_token": ""}
    while (token := page.get("next_page_token")) is not None:
        params = {"active_only": "true", "expand_tasks": "true"} | ({"page_token": token} if token else {})
        page = workspace.call("GET", "/api/2.1/jobs/runs/list", params=params)
        yield from page.get("runs", [])


def _mentions(text: str, version: str) -> bool:
    """Whether a path in the text has a part that is this version, as a whole."""
    return re.search(rf'/{re.escape(version)}(?=[/"])', text) is not None


def _with_version(settings: Mapping[str, Any], known: Sequence[str], version: str) -> dict[str, Any]:
    others = "|".join(re.escape(each) for each in known)
    return dict(json.loads(re.sub(rf'/(?:{others})(?=[/"])', f"/{version}", json.dumps(settings))))


def _with_commit(settings: dict[str, Any], version: str, root: Path) -> dict[str, Any]:
    commit = git.full_commit(root, wheels.commit_of(version))
    for task in settings["tasks"]:
        parameters = task["notebook_task"]["base_parameters"]
        if "git_commit" in parameters:
            parameters["git_commit"] = commit
    return settings


def _pick(versions: Sequence[str], wanted: str) -> str:
    """The version that is called so, or the only one that has these letters in it, such as a short commit."""
    found = [version for version in versions if version == wanted] or [
        version for version in versions if wanted and wanted in version
    ]
    if len(found) != 1:
        which = "which version?" if not wanted else f"{len(found)} versions match '{wanted}'."
        raise DeploymentError(f"{which} VERSION=<one of {list(versions)}>; `make deployments` lists them")
    return found[0]


def _as_pattern(version: str) -> str:
    """The version as a pattern that matches it alone, in which a plus sign means repetition."""
    return version.replace("+", "[+]")
