"""databricks-cli 0.18: how it is found, what it says of an error, and how it deploys a job."""

import shutil
from pathlib import Path

import pytest
from deployment.command_lines import open_cli
from deployment.errors import DeploymentError
from deployment.gaps import Refusal
from deployment.pip_cli import PipCli, error_text
from deployment.targets import Target
from deployment.workspace import User
from machine import ROOT
from rest_server import Server, listed_job, program, workspace_at


def test_a_script_on_the_path_is_not_taken_for_the_databricks_cli(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace = workspace_at("http://127.0.0.1:9", tmp_path)
    script = program(tmp_path / "bin", b"#!/bin/sh\necho 'Version 0.18.0'\n")
    monkeypatch.setenv("PATH", str(script.parent))

    assert isinstance(open_cli(workspace), PipCli)
    assert open_cli(workspace, str(script)).program == str(script)


def test_error_of_the_program_is_reduced_to_code_and_message() -> None:
    printed = 'Error: b\'{"error_code":"INVALID_STATE","message":"Error: it is full"}\'\n'

    assert error_text(printed) == "INVALID_STATE: Error: it is full"
    assert error_text("Error: RuntimeError: no file\n") == "RuntimeError: no file"


@pytest.mark.parametrize(
    ("asked", "seconds"), [("", 1), ("7", 7), ("600", 60), ("soon", 1), ("Sun, 06 Nov 1994 08:49:37 GMT", 1)]
)
def test_the_pause_is_what_the_workspace_asks_for_within_a_minute(asked: str, seconds: float) -> None:
    refusal = Refusal("POST", "/api/2.0/workspace/mkdirs", 429, "<html>busy</html>", asked)

    assert refusal.seconds_until_again(1) == seconds
    assert str(refusal) == "POST /api/2.0/workspace/mkdirs was answered by HTTP 429"


def test_a_job_without_its_notebook_is_told_before_anything_is_there(server: Server, tmp_path: Path) -> None:
    (tmp_path / "checkout").mkdir()
    for name in ("databricks.yml", "ml_ops/orchestrator", "ml_ops/deployment/databricks"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, tmp_path / "checkout" / name)
    next((tmp_path / "checkout" / "ml_ops" / "orchestrator").glob("*_train.py")).unlink()
    given = {"version": "0.1.0+d1234567", "cluster_id": "7", "job_cluster_key": "", "git_commit": ""}
    target = Target("staging", lambda: User("ada@example.com"), given, tmp_path / "checkout")
    cli = PipCli(workspace_at(server.host, tmp_path), PipCli.find())

    with pytest.raises(DeploymentError, match=r"there is no notebook .*_train\.py"):
        cli.deploy_code(target)

    assert server.received == []


def test_deploying_again_resets_the_job_of_that_name(server: Server, tmp_path: Path) -> None:
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, "train"), listed_job(4, "train_old")]},
        "/api/2.1/jobs/reset": {},
    }
    cli = PipCli(workspace_at(server.host, tmp_path), PipCli.find())

    assert cli.deploy_job({"name": "train", "tasks": []}) == 3
    assert server.body_sent_to("/api/2.1/jobs/reset")["new_settings"]["name"] == "train"
    assert "/api/2.1/jobs/create" not in [path for path, _ in server.received]
