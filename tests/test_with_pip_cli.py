"""databricks-cli 0.18: how it is found, what it says of an error, and how it deploys a job."""

from pathlib import Path

import pytest
from deployment.command_lines import open_cli
from deployment.pip_cli import PipCli, error_text
from test_deployment_unit import Server, listed_job, program, server, workspace_at

__all__ = ["server"]


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


def test_deploying_again_resets_the_job_of_that_name(server: Server, tmp_path: Path) -> None:
    server.replies |= {
        "/api/2.1/jobs/list": {"jobs": [listed_job(3, "train"), listed_job(4, "train_old")]},
        "/api/2.1/jobs/reset": {},
    }
    cli = PipCli(workspace_at(server.host, tmp_path), PipCli.find())

    assert cli.deploy_job({"name": "train", "tasks": []}) == 3
    assert server.body_sent_to("/api/2.1/jobs/reset")["new_settings"]["name"] == "train"
    assert "/api/2.1/jobs/create" not in [path for path, _ in server.received]
