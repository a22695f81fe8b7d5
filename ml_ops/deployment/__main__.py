"""The commands behind the Make targets: `python -m deployment COMMAND`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deployment import azure, deployments, model_registry, trials, unity_catalog, versions, wheels
from deployment.clusters import ensure_cluster
from deployment.command_lines import open_cli
from deployment.data import SAMPLE_TARGETS, upload_data, upload_file
from deployment.databricks_cli import DatabricksCli
from deployment.deployment_job import find_linked_job, go_on
from deployment.errors import DeploymentError
from deployment.experiments import ensure_experiment
from deployment.jobs import require_job
from deployment.newer_template import update_from_template
from deployment.overrides import of_deployment, params_of_run, show_overrides, show_undone
from deployment.report import print_report
from deployment.runs import parse_params, run_job
from deployment.runtime import check_runtime
from deployment.secret_scope import ensure_scope, put_secrets
from deployment.serving import find_scoring_job
from deployment.settings import ROOT, Settings, read_count, read_flag, refuse_model_version, refuse_version
from deployment.targets import Target, UnknownTargetError, require_target
from deployment.workspace import Workspace, no_profile_either, open_workspace

if TYPE_CHECKING:
    from deployment.models import RegisteredModel

# What leads to the deployed versions, and to the jobs that point at them.
CODE = ("root_path", "name_prefix")
# The commands of `make rollback-code`, which alone takes MODEL_VERSION.
TAKE_MODEL_VERSION = ("workspace", "roll-back-code")


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment", description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("job", nargs="?", default="", help="for `run`: the name of the job")
    options = parser.parse_args(arguments)
    try:
        if options.command not in TAKE_MODEL_VERSION:
            refuse_model_version(os.environ.get("MODEL_VERSION", ""))
        COMMANDS[options.command](options.job)
    except DeploymentError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what was started in the workspace goes on there.", file=sys.stderr)
        return 130
    return 0


def _settings() -> Settings:
    """What the Makefile hands over; an unknown target is refused before anything else happens."""
    settings = Settings.from_environment(os.environ)
    try:
        require_target(settings.target)
    except UnknownTargetError as error:
        # The Makefile gives the name of one to the other: nobody knows which one was meant.
        is_both = settings.workspace == settings.target
        raise DeploymentError(f"{error}{no_profile_either(settings) if is_both else ''}") from error
    return settings


def _workspace() -> Workspace:
    return open_workspace(_settings())


def _cli() -> DatabricksCli:
    settings = _settings()
    return open_cli(open_workspace(settings), settings.databricks_cli)


def _target(workspace: Workspace, *used: str) -> Target:
    """The target of a command that uses these variables; prints which of them are overridden."""
    target = _overridden_target(workspace)
    show_overrides(target, target.behind_variables(*used))
    return target


def _overridden_target(workspace: Workspace) -> Target:
    settings = _settings()
    return Target(settings.target, workspace.user, settings.overrides, own_catalog=workspace.own_catalog)


def _show_workspace(_: str) -> None:
    workspace = _workspace()
    print(
        f"Workspace '{workspace.profile}' at {workspace.host}, signed in as {workspace.user_name()}",
        flush=True,
    )


def _check_target(_: str) -> None:
    _settings()


def _init(_: str) -> None:
    cli = _cli()
    compute = _overridden_target(cli.workspace).text("compute")
    cluster = ("cluster_name", "cluster_policy", "single_user_name") if compute == "existing" else ()
    folders = ("workspace_folder", "experiment", "secret_scope")
    target = _target(cli.workspace, "compute", *folders, *cluster, *unity_catalog.VARIABLES)
    create = read_flag("CREATE_CLUSTER", default=cli.workspace.is_local)
    cli.make_folder(target.text("workspace_folder"))
    unity_catalog.ensure_unity_catalog(cli.workspace, target)
    ensure_experiment(cli.workspace, target.text("experiment"))
    vault_id, readers = os.environ.get("KEY_VAULT_ID", ""), os.environ.get("SECRETS_READERS", "")
    vault = azure.find_key_vault(vault_id, target.name) if vault_id else None
    ensure_scope(cli, target.text("secret_scope"), vault, readers)
    if compute == "existing":  # last: where there is none, all else is made
        policy = target.text("cluster_policy")
        name, user = target.text("cluster_name"), target.cluster_user
        ensure_cluster(cli, name, create=create, policy=policy, user=user)


def _put_secrets(_: str) -> None:
    cli = _cli()
    put_secrets(
        cli, _target(cli.workspace, "secret_scope").text("secret_scope"), os.environ.get("SECRETS_FILE", "")
    )


def _upload_data(_: str) -> None:
    overwrites = read_flag("OVERWRITE")
    cli = _cli()
    target = _target(cli.workspace, "data_root", "mount_source")
    mount_source, key_source = target.text("mount_source"), os.environ.get("STORAGE_KEY_FILE", "")
    upload_data(
        cli,
        target.text("data_root"),
        mount_source=mount_source,
        key_source=key_source,
        overwrite=target.name in SAMPLE_TARGETS or overwrites,
    )


def _upload(_: str) -> None:
    overwrites = read_flag("OVERWRITE")
    cli = _cli()
    target = _target(cli.workspace, "data_root", "mount_source")
    path = upload_file(
        cli,
        target.text("data_root"),
        os.environ.get("FILE", ""),
        os.environ.get("TO", ""),
        mount_source=target.text("mount_source"),
        key_source=os.environ.get("STORAGE_KEY_FILE", ""),
        overwrite=target.name in SAMPLE_TARGETS or overwrites,
    )
    print(f"As input_data={path} a job scores it, as labels_data={path} it takes it for labels.")


def _deploy(*, code: bool, jobs: bool) -> None:
    refuse_version(os.environ.get("VERSION", ""))
    keep = read_count("KEEP_DEPLOYMENTS", default=5)
    cli = _cli()
    named = _overridden_target(cli.workspace)
    show_overrides(named, of_deployment(named) if jobs else named.behind_variables(*CODE))
    target = deployments.open_deployment(cli, _settings(), ROOT)
    deployments.check_owners(cli, target)
    if jobs:
        show_undone(cli, target, named.given)
    if code:
        deployments.deploy_code(cli, target)
    else:
        deployments.require_code(cli.workspace, target, target.text("version"))
    if jobs:
        deployments.deploy_jobs(cli, target, keep=keep)


def _list_deployments(_: str) -> None:
    cli = _cli()
    deployments.print_deployments(cli, _target(cli.workspace, *CODE))


def _destroy_trial(_: str) -> None:
    workspace = _workspace()
    trial = _target(workspace, *trials.OWN, "catalog", "model_name", "output_table")
    trials.check_names(trial, trials.every_target(workspace, trial))
    trials.destroy(workspace, trial)


def _roll_back_code(_: str) -> None:
    code, model = os.environ.get("VERSION", ""), os.environ.get("MODEL_VERSION", "")
    versions.refuse_both(code, model)
    cli = _cli()
    if model:
        deployments.roll_back_with_model(cli, _target(cli.workspace, *CODE, "model_name"), model)
    else:
        deployments.roll_back(cli, _target(cli.workspace, *CODE), code)


def _run(job: str) -> None:
    refuse_version(os.environ.get("VERSION", ""))
    params, wait = parse_params(os.environ.get("PARAMS", "")), read_flag("WAIT", default=True)
    _show_workspace("")
    cli = _cli()
    target = _overridden_target(cli.workspace)
    name = target.job_name(job)
    params = params_of_run(cli, target, job, require_job(cli, name), params)
    run_job(cli, name, params, wait=wait)


def _report(_: str) -> None:
    cli = _cli()
    print_report(cli, _target(cli.workspace, "name_prefix"))


def _update_from_template(_: str) -> None:
    update_from_template(ROOT, os.environ.get("TEMPLATE", ""), os.environ.get("TO", ""))


def _models(*, moves_champion: bool = False) -> "RegisteredModel":
    from deployment.models import open_model  # here, because importing MLflow takes seconds

    workspace = _workspace()
    target = _target(workspace, "model_name")
    scoring = find_scoring_job(workspace, target) if moves_champion else None
    return open_model(workspace, target.text("model_name"), scoring)


def _describe_model() -> str:
    workspace = _workspace()
    return model_registry.describe(workspace, _overridden_target(workspace).text("model_name"))


def _promote(_: str) -> None:
    number = versions.require_number(os.environ.get("VERSION", ""), _describe_model)
    wait = read_flag("WAIT", default=True)
    cli = _cli()
    model = _models(moves_champion=True)
    if job_id := find_linked_job(cli.workspace, model.name):
        if model.approve(number):
            go_on(cli, job_id, model.name, number, wait=wait)
    else:
        model.promote(number)


def _roll_back(_: str) -> None:
    versions.refuse_number(os.environ.get("VERSION", ""))
    _models(moves_champion=True).roll_back()


def _compare(_: str) -> None:
    a, b = versions.require_two(os.environ.get("A", ""), os.environ.get("B", ""))
    _models().compare(a, b)


COMMANDS: dict[str, Callable[[str], None]] = {
    "target": _check_target,
    "workspace": _show_workspace,
    "dist": lambda _: print(f"Both wheels are in {wheels.build_wheels(ROOT).relative_to(ROOT)}"),
    "azure-deploy": lambda _: azure.deploy(_settings().target, os.environ.get("RESOURCE_GROUP", "")),
    "init": _init,
    "put-secrets": _put_secrets,
    "upload": _upload,
    "upload-data": _upload_data,
    "deploy-code": lambda _: _deploy(code=True, jobs=False),
    "deploy-jobs": lambda _: _deploy(code=False, jobs=True),
    "deploy": lambda _: _deploy(code=True, jobs=True),
    "deployments": _list_deployments,
    "roll-back-code": _roll_back_code,
    "destroy-trial": _destroy_trial,
    "run": _run,
    "models": lambda _: _models().print_versions(),
    "promote": _promote,
    "rollback": _roll_back,
    "compare": _compare,
    "report": _report,
    "update-from-template": _update_from_template,
    "test-runtime": lambda _: check_runtime(ROOT),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
