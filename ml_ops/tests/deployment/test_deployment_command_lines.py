"""The `databricks` program that DATABRICKS_CLI names, and commands as they are printed."""

import os
import shlex
from pathlib import Path

import pytest
from deployment.command_lines import open_cli
from deployment.errors import CliError
from programs import any_cli
from rest_server import workspace_at


def test_a_program_that_is_none_is_named(tmp_path: Path) -> None:
    with pytest.raises(CliError, match="DATABRICKS_CLI names no program: /nowhere"):
        open_cli(workspace_at("http://127.0.0.1:9", tmp_path), "/nowhere")


def test_a_printed_command_names_the_file_that_has_the_sign_in(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", os.defpath)
    cli = any_cli(workspace_at("https://adb-1.azuredatabricks.net", tmp_path))

    printed = shlex.split(cli.typed("fs", "ls", "dbfs:/a folder"))
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    found_there = shlex.split(cli.typed("fs", "ls", "dbfs:/a folder"))

    assert printed[0] == "DATABRICKS_CONFIG_FILE=databrickscfg"
    assert printed[1:] == found_there == [cli.program, "--profile", "local", "fs", "ls", "dbfs:/a folder"]


def test_a_printed_command_is_short_where_the_program_is_the_first_on_the_path(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    cli = any_cli(workspace_at("https://adb-1.azuredatabricks.net", tmp_path, profile="dev"))
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))
    monkeypatch.setenv("PATH", f"{Path(cli.program).parent}{os.pathsep}{os.environ['PATH']}")

    assert cli.typed("fs", "ls") == "databricks --profile dev fs ls"
