"""The commands behind the Make targets: `python -m deployment COMMAND`."""

import argparse
import os
import sys
from collections.abc import Callable, Sequence
from typing import TYPE_CHECKING

from deployment import git, wheels
from deployment.clusters import ensure_cluster, require_cluster
from deployment.databricks_cli import DatabricksCli
from deployment.errors import CliError, DeploymentError
from deployment.experiments import ensure_experiment
from deployment.jobs import FOLDER, deploy_job, render_jobs
from deployment.report import print_report
from deployment.runs import parse_params, run_job
from deployment.secret_scope import ensure_scope, put_secrets
from deployment.settings import ROOT, Settings, as_local_path
from deployment.workspace import Workspace, open_workspace

if TYPE_CHECKING:
    from deployment.models import RegisteredModel


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code."""
    parser = argparse.ArgumentParser(prog="python -m deployment", description=__doc__)
    parser.add_argument("command", choices=sorted(COMMANDS))
    parser.add_argument("job", nargs="?", default="", help="for `run`: the name of the job")
    options = parser.parse_args(arguments)
    try:
        COMMANDS[options.command](options.job)
    except DeploymentError as error:
        print(f"Error: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("Stopped; what was started in the workspace goes on there.", file=sys.stderr)
        return 130
    return 0


def _settings() -> Settings:
    return Settings.from_environment(os.environ)


def _workspace() -> Workspace:
    return open_workspace(_settings())


def _cli() -> DatabricksCli:
    return DatabricksCli(_workspace())


def _show_workspace(_: str) -> None:
    workspace = _workspace()
    print(
        f"Workspace '{workspace.profile}' at {workspace.host}, signed in as {workspace.user_name()}",
        flush=True,
    )


def _ensure_cluster(_: str) -> None:
    ensure_cluster(_cli(), _settings().cluster_name, create=os.environ.get("CREATE_CLUSTER") == "1")


def _ensure_experiment(_: str) -> None:
    ensure_experiment(_workspace(), _settings().experiment)


def _deploy_jobs(_: str) -> None:
    settings, cli = _settings(), _cli()
    folder = settings.wheel_folder(wheels.version(ROOT))
    _require_wheels(cli, folder)
    variables = {
        "cluster_id": require_cluster(cli, settings.cluster_name),
        "data_root": settings.data_root,
        "experiment_name": settings.experiment,
        "git_commit": git.commit(ROOT),
        "model_name": settings.model_name,
        "output_table": settings.output_table,
        "wheel_dir": as_local_path(folder),
    }
    for job in render_jobs(FOLDER, variables, settings.workspace_folder):
        deploy_job(cli, job)


def _require_wheels(cli: DatabricksCli, folder: str) -> None:
    try:
        cli.text("fs", "ls", folder)
    except CliError as error:
        raise DeploymentError(
            f"no wheels in {folder}; run `make databricks-deploy-code` first ({error})"
        ) from error


def _run(job: str) -> None:
    params = parse_params(os.environ.get("PARAMS", ""))
    _show_workspace("")
    run_job(_cli(), job, params, wait=os.environ.get("WAIT", "1") != "0")


def _models() -> "RegisteredModel":
    from deployment.models import open_model  # here, because importing MLflow takes seconds

    return open_model(_workspace(), _settings().model_name)


def _compare(_: str) -> None:
    _models().compare(os.environ.get("A", ""), os.environ.get("B", ""))


COMMANDS: dict[str, Callable[[str], None]] = {
    "workspace": _show_workspace,
    "version": lambda _: print(wheels.version(ROOT)),
    "dist": lambda _: print(f"Both wheels are in {wheels.build_wheels(ROOT).relative_to(ROOT)}"),
    "ensure-cluster": _ensure_cluster,
    "ensure-experiment": _ensure_experiment,
    "ensure-scope": lambda _: ensure_scope(_cli(), _settings().secret_scope),
    "put-secrets": lambda _: put_secrets(_cli(), _settings().secret_scope),
    "deploy-jobs": _deploy_jobs,
    "run": _run,
    "models": lambda _: _models().print_versions(),
    "promote": lambda _: _models().promote(os.environ.get("VERSION", "")),
    "rollback": lambda _: _models().roll_back(os.environ.get("VERSION", "")),
    "compare": _compare,
    "report": lambda _: print_report(_cli()),
}

if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
