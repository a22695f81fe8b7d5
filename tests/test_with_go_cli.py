"""The Databricks CLI: how it is found, and what it makes of databricks.yml and of a deployment."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.service.jobs import Job  # only: pip-cli
from deployment import command_lines
from deployment.command_lines import open_cli
from deployment.errors import CliError
from deployment.go_cli import GoCli, write_overrides
from deployment.pip_cli import PipCli  # only: pip-cli
from programs import require_program
from rest_server import program, workspace_at
from science import PRIMARY
from test_deployment_targets import CASES, EXISTING, RECORDING, rendered
from test_deployments import Team, team
from workspace_under_test import ROOT, WorkspaceUnderTest

__all__ = ["team"]

# What the program adds to a job to know it again.
ADDED = ("deployment", "edit_mode", "format")


def test_a_machine_without_it_is_told_what_to_do(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = program(tmp_path / "bin", b"#!/bin/sh\necho 'Version 0.18.0'\n")
    monkeypatch.setenv("PATH", str(script.parent))
    monkeypatch.setattr(command_lines, "COMMAND_LINES", [GoCli])
    workspace = workspace_at("http://127.0.0.1:9", tmp_path)

    with pytest.raises(CliError, match="the PATH has no Databricks CLI; install it, or name it with DATABR"):
        open_cli(workspace)
    with pytest.raises(CliError, match=rf"DATABRICKS_CLI is {script}, which is not the Databricks CLI"):
        open_cli(workspace, str(script))


def test_the_first_on_the_path_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    script = program(tmp_path / "script", b"#!/bin/sh\necho 'Version 0.18.0'\n")
    found = tmp_path / "bin" / "databricks"
    found.parent.mkdir()
    found.symlink_to(require_program(GoCli))
    monkeypatch.setenv("PATH", f"{script.parent}{os.pathsep}{found.parent}")
    workspace = workspace_at("http://127.0.0.1:9", tmp_path)

    for opened in (open_cli(workspace), open_cli(workspace, str(found))):
        assert isinstance(opened, GoCli) and opened.program == str(found)


def test_the_recording_is_what_the_program_makes(demo: Any, tmp_path: Path) -> None:
    """RENEW_RECORDINGS=1 makes it anew."""
    checkout = tmp_path / "checkout"
    checkout.mkdir()
    for name in ("databricks.yml", "ml_ops/orchestrator", "ml_ops/deployment/databricks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, checkout / name)
    (checkout / "dist" / EXISTING["version"]).mkdir(parents=True)
    (checkout / "dist" / EXISTING["version"] / "a.whl").touch()
    made = {}
    for target, compute, given in CASES:
        write_overrides(checkout, target, given | {"catalog": rendered(target, given).text("catalog")})
        made[f"{target}-{compute}"] = validated(demo.workspace, checkout, target)
    if os.environ.get("RENEW_RECORDINGS"):
        version = [require_program(GoCli), "--version"]
        said = subprocess.run(version, capture_output=True, text=True, check=True)
        kept = {"program": said.stdout.strip(), "targets": made}
        RECORDING.write_text(json.dumps(kept, indent=1, sort_keys=True) + "\n")

    assert made == json.loads(RECORDING.read_text())["targets"]


def validated(workspace: WorkspaceUnderTest, checkout: Path, target: str) -> dict[str, Any]:
    """The jobs of a target as the program sees them."""
    finished = bundle(workspace, checkout, target, "validate", "--output", "json")
    jobs = json.loads(finished.stdout)["resources"]["jobs"]
    return {key: {n: v for n, v in job.items() if n not in ADDED} for key, job in jobs.items()}


# only: pip-cli
@pytest.mark.parametrize("team", [GoCli], indirect=True)
def test_a_target_that_databricks_cli_has_deployed_is_handed_over(team: Team) -> None:
    """As docs/ci_cd.md says it, and as the refusal says it."""
    team.settings = ("WORKSPACE_FOLDER=/Shared/handed_over", "NAME_PREFIX=[handed over] ")
    team.cli = PipCli
    team.deploy("before")
    ids = [job.job_id for job in jobs_of(team)]
    team.cli = GoCli

    told = team.make("deploy", ok=False)
    assert "was deployed without a bundle" in told
    for job in jobs_of(team):
        key = job.settings.name.rpartition(" ")[2]
        bundle(
            team.workspace,
            team.checkout,
            team.target,
            "deployment",
            "bind",
            key,
            str(job.job_id),
            "--auto-approve",
        )
    version = team.deploy("after")

    assert [job.job_id for job in jobs_of(team)] == ids
    assert all(version in job.settings.tasks[0].notebook_task.notebook_path for job in jobs_of(team))


def jobs_of(team: Team) -> list[Job]:
    listed = team.workspace.client.jobs.list(expand_tasks=True)
    return [job for job in listed if job.settings.name.startswith("[handed over] ")]


# end only
@pytest.mark.parametrize("team", [GoCli], indirect=True)
def test_every_target_runs_with_it(team: Team) -> None:
    shutil.copytree(ROOT / "ml_data", team.checkout / "ml_data")
    here = ("CATALOG=spark_catalog", "SECRET_SCOPE=of-the-team")
    for target in ("databricks-init", "databricks-secrets-put", "databricks-upload-data"):
        team.make(target, *here)
    team.deploy("all", *here)

    for job in ("model-training", "batch-scoring", "monitoring"):
        assert "SUCCESS" in team.make(f"run-diabetes-{job}", *here)
    assert re.search(rf"{PRIMARY} +\d", team.make("report", *here))
    assert "champion" in team.make("models", *here)

    def said(command: str, *arguments: str) -> str:
        finished = bundle(team.workspace, team.checkout, team.target, command, *arguments)
        return finished.stdout + finished.stderr

    assert "TERMINATED SUCCESS" in said("run", "diabetes_monitoring")
    assert "[dev local_user] diabetes_monitoring" in said("summary")
    assert "Destroy: 4 deleted" in said("destroy", "--auto-approve")


def bundle(
    workspace: WorkspaceUnderTest, checkout: Path, target: str, command: str, *arguments: str
) -> subprocess.CompletedProcess[str]:
    """Runs a plain `databricks bundle`, as one would after a deployment by make."""
    clean = {name: value for name, value in os.environ.items() if not name.startswith("DATABRICKS_")}
    here = ("--profile", "local", "bundle", command, "--target", target)
    finished = subprocess.run(
        [require_program(GoCli), *here, *arguments],
        cwd=checkout,
        env=clean | {"DATABRICKS_CONFIG_FILE": str(workspace.state / "databrickscfg")},
        capture_output=True,
        text=True,
        check=False,
    )
    assert finished.returncode == 0, finished.stderr
    return finished
