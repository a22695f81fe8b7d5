"""Versions of the code in a workspace: put there, pointed at by the jobs, listed, gone back to, removed."""

import json
import re
import time
from collections.abc import Collection, Iterator, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from deployment import git, wheels
from deployment.clusters import job_cluster, require_cluster
from deployment.data import require_serverless_data
from deployment.databricks_cli import DatabricksCli
from deployment.deployment_job import require_model_to_link, settle_link
from deployment.errors import DeploymentError
from deployment.job_access import check_access
from deployment.jobs import check_owner, find_job, require_job
from deployment.model_registry import ModelVersion, find_needed, require_version
from deployment.records import find_versions, read_files, read_record, write_record
from deployment.serving import warn_of_champion
from deployment.settings import Settings
from deployment.tables import format_table
from deployment.targets import Target
from deployment.uploads import Upload, find_differences, find_uploads, list_files, read_fingerprints
from deployment.workspace import Workspace

JOB_CLUSTER = "main"
# After which a version that is not finished is not being deployed any more.
UNFINISHED_SECONDS = 6 * 3600


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
    workspace = cli.workspace
    named = partial(Target, settings.target, workspace.user, root=root, own_catalog=workspace.own_catalog)
    target = named(given=settings.overrides)
    version, commit = wheels.version(root), wheels.read_code(root).commit
    given = dict(settings.overrides) | choose_compute(cli, target)
    given |= {"version": version, "wheels": _as_pattern(version), "git_commit": commit}
    target = named(given=given | {"catalog": target.text("catalog")})
    check_access(target.variable("job_permissions"), target.variable("notify_webhooks"))
    return target


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
            require_serverless_data(target.text("data_root"), target.text("data_credential"))
            return none
        case other:
            raise DeploymentError(f"compute is existing, job or serverless; got '{other}'")


def deploy_code(cli: DatabricksCli, target: Target) -> None:
    """Builds the wheels and puts them, with the notebooks, into the version's own folder.

    What is there already is looked at, and only what is missing or was changed is put there again: jobs may
    run on the rest.
    """
    version = target.text("version")
    built = wheels.build_wheels(target.root)
    print(f"Deploying {version} to target '{target.name}' with {cli.title}", flush=True)
    record = read_record(cli.workspace, target, version)
    files = _put_files(cli, target, read_files(record))
    if wheels.version(target.root) != version:
        raise DeploymentError("the sources changed while they were deployed; run it again")
    if files == read_files(record) and _newest(cli.workspace, target) == version:
        print(f"{version} is there already, as it was put there", flush=True)
    else:
        write_record(cli, target, built, files)


def require_code(workspace: Workspace, target: Target, version: str) -> None:
    """Refuses a version that was not deployed to its end, or lacks what was put there."""
    record = read_record(workspace, target, version)
    if not record:
        raise DeploymentError(
            f"{version} is not in {target.deployments_folder}; run `make databricks-deploy-code` first"
        )
    kept = read_files(record)
    found = read_fingerprints(workspace, _folder(target, version), kept)
    if wrong := find_differences({path: {each} for path, each in kept.items()}, found):
        said = ", ".join(f"{path} {what}" for path, what in wrong.items())
        raise DeploymentError(
            f"{said} in {_folder(target, version)}; check out the code of that version and mend it with "
            "`make databricks-deploy-code`"
        )


def deploy_jobs(cli: DatabricksCli, target: Target, keep: int) -> None:
    """Creates or updates the jobs, which then point at this version alone, and removes what nobody needs.

    Links the model to its deployment job, or unlinks it.
    """
    require_model_to_link(cli.workspace, target)
    cli.deploy_jobs(target)
    settle_link(cli.workspace, target)
    warn_of_champion(cli.workspace, target)
    prune(cli, target, keep)


def _put_files(cli: DatabricksCli, target: Target, kept: Mapping[str, str]) -> dict[str, str]:
    """Puts what is missing or wrong into the version's folder; returns the fingerprints of its files there.

    `kept` are those of the last deployment: a wheel that was built elsewhere is as good as the one here.
    """
    folder = _folder(target, target.text("version"))
    uploads = {each.path: each for each in find_uploads(target, notebooks_alone=cli.notebooks_alone)}
    if not cli.notebooks_alone:  # a bundle puts the wheels of the checkout there, whatever there is
        kept = {path: each for path, each in kept.items() if path in uploads and uploads[path].is_notebook}
    if is_new := not list_files(cli.workspace, folder):
        cli.deploy_code(target)
    found = read_fingerprints(cli.workspace, folder, uploads)
    if wrong := _find_wrong(uploads, found, kept, just_put=is_new):
        _put_again(cli, folder, {uploads[path]: what for path, what in wrong.items()})
        found = read_fingerprints(cli.workspace, folder, uploads)
        again = {path: uploads[path] for path in wrong}
        if lost := _find_wrong(again, found, {}, just_put=True):
            raise DeploymentError(f"{', '.join(lost)} did not arrive whole in {folder}; run it again")
    _tell_strangers(cli.workspace, target, uploads)
    return found


def _find_wrong(
    uploads: Mapping[str, Upload], found: Mapping[str, str], kept: Mapping[str, str], *, just_put: bool
) -> dict[str, str]:
    """What is wrong with each file that is not there as it is here, or as it was kept."""
    good = {path: {each.fingerprint, kept.get(path)} for path, each in uploads.items()}
    if just_put:  # a notebook comes back as the platform writes it, which need not be how it was sent
        for path, each in uploads.items():
            good[path].add(found.get(path) if each.is_notebook else None)
    return find_differences(good, found)


def _put_again(cli: DatabricksCli, folder: str, wrong: Mapping[Upload, str]) -> None:
    for upload, what in wrong.items():
        print(f"{upload.path} {what}", flush=True)
    for parent in sorted({f"{folder}/{upload.path}".rpartition("/")[0] for upload in wrong}):
        cli.make_folder(parent)
    for upload in wrong:
        cli.upload(upload, folder)


def _tell_strangers(workspace: Workspace, target: Target, uploads: Collection[str]) -> None:
    """Says of files beside the wheels that are not of the version: `%pip` might take them."""
    beside = f"dist/{target.text('version')}"
    for name in list_files(workspace, f"{_folder(target, target.text('version'))}/{beside}"):
        if f"{beside}/{name}" not in uploads:
            print(f"Note: {beside}/{name} is not a file of this version, and the jobs' `%pip` may install it")


def _newest(workspace: Workspace, target: Target) -> str:
    """The version that was deployed last."""
    versions = find_versions(workspace, target)
    return max(versions, key=lambda each: str(read_record(workspace, target, each).get("deployed_at", "")))


def _folder(target: Target, version: str) -> str:
    return f"{target.deployments_folder}/{version}"


def check_owners(cli: DatabricksCli, target: Target) -> None:
    """Refuses a target whose jobs the other command line has deployed."""
    cli.keep_variables(target)  # for what a refusal says to do
    bundle = cli.bundle_state(target)
    for key in target.job_keys():
        check_owner(cli, target.job_name(key), bundle, partial(cli.is_bound, target))


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
    """Points every job at the code of an earlier version; what else the jobs say stays as it is.

    A job whose notebook that version does not have yet stays with the code that it has.
    """
    found = list_deployments(cli, target)
    _point_jobs_at(cli, target, found, _pick(_finished(found), wanted))


def roll_back_with_model(cli: DatabricksCli, target: Target, wanted: str) -> None:
    """Points every job at the code that trained a version of the model, given by its number or alias."""
    name = target.text("model_name")
    trained = require_version(cli.workspace, name, wanted)
    found = list_deployments(cli, target)
    code = _pick_code_of(trained, name, _finished(found))
    print(f"Version {trained.number} of {name} was trained by the code of {code}", flush=True)
    _point_jobs_at(cli, target, found, code)


def _point_jobs_at(cli: DatabricksCli, target: Target, found: Sequence[Deployment], version: str) -> None:
    require_code(cli.workspace, target, version)
    for job in [require_job(cli, target.job_name(key)) for key in target.job_keys()]:
        settings = _with_version(job["settings"], [each.version for each in found], version)
        if settings == job["settings"]:
            print(f"Job '{settings['name']}' runs the code of {version} already", flush=True)
            continue
        if missing := _missing_notebooks(cli.workspace, settings):
            print(
                f"Note: job '{settings['name']}' stays with the code that it has: {version} has no "
                f"{', '.join(missing)}",
                flush=True,
            )
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
    that is not finished stays for some hours: somebody may be deploying it.
    """
    found = list_deployments(cli, target)
    finished = [each for each in found if each.deployed_at]
    given_up = [each for each in found if not each.deployed_at and _is_given_up(cli.workspace, target, each)]
    old = [each.version for each in [*finished[keep:], *given_up] if not each.is_needed]
    for version in _without_needed_by_models(cli.workspace, target, old):
        cli.delete_workspace_folder(_folder(target, version))


def _is_given_up(workspace: Workspace, target: Target, unfinished: Deployment) -> bool:
    """Whether nothing has come to a version for hours; of an empty folder nobody knows since when it is."""
    files = list_files(workspace, _folder(target, unfinished.version))
    moments = [int(item.get("modified_at") or 0) / 1000 for item in files.values()]
    return max(moments, default=0) > 0 and time.time() - max(moments) > UNFINISHED_SECONDS


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
    for page in workspace.pages("/api/2.1/jobs/runs/list", active_only="true", expand_tasks="true"):
        yield from page.get("runs", [])


def _mentions(text: str, version: str) -> bool:
    """Whether a path in the text has a part that is this version, as a whole."""
    return re.search(rf'/{re.escape(version)}(?=[/"])', text) is not None


def _missing_notebooks(workspace: Workspace, settings: Mapping[str, Any]) -> list[str]:
    """The notebooks of a job that are not there: a version may be older than the job."""
    paths = [task["notebook_task"].get("notebook_path", "") for task in settings["tasks"]]
    wanted = [path.removeprefix("/Workspace") for path in dict.fromkeys(paths) if path]
    return [path for path in wanted if workspace.find("/api/2.0/workspace/get-status", path=path) is None]


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


def _finished(found: Sequence[Deployment]) -> list[str]:
    return [each.version for each in found if each.deployed_at]


def _pick_code_of(trained: ModelVersion, name: str, versions: Sequence[str]) -> str:
    """The version of the code that trained a version of the model."""
    which, kept = f"version {trained.number} of {name}", f"kept are {list(versions)}"
    if not trained.code_version:
        commit = f"={trained.commit[:7]}, its commit" if trained.commit else ""
        raise DeploymentError(
            f"{which} was registered before versions of the code were recorded. Name the code itself, with "
            f"VERSION{commit}; {kept}"
        )
    found = [code for code in versions if trained.is_of(code)]
    if not found:
        raise DeploymentError(
            f"{which} was trained by the code of {trained.code_version}, which is not deployed any more; "
            f"{kept}. To bring it back, {trained.way_to_code}"
        )
    if len(found) > 1:  # training knew no more than the commit
        raise DeploymentError(
            f"{which} may be of {len(found)} versions of the code: VERSION=<one of {found}>"
        )
    return found[0]


def _pick(versions: Sequence[str], wanted: str) -> str:
    """The version that is called so, or the only one that has these letters in it, such as a short commit."""
    found = [version for version in versions if version == wanted] or [
        version for version in versions if wanted and wanted in version
    ]
    if len(found) != 1:
        which = "which version?" if not wanted else f"{len(found)} versions match '{wanted}'."
        raise DeploymentError(
            f"{which} VERSION=<one of {list(versions)}>, or MODEL_VERSION=<of the model that it trained>; "
            "`make deployments` lists them"
        )
    return found[0]


def _as_pattern(version: str) -> str:
    """The version as a pattern that matches it alone, in which a plus sign means repetition."""
    return version.replace("+", "[+]")
