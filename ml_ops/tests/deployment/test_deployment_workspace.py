"""The sign-in to a workspace, against a small HTTP server: who it is, and what is said where it fails."""

from pathlib import Path

import pytest
from deployment.errors import CliError, DeploymentError
from deployment.settings import Settings
from deployment.workspace import open_workspace
from programs import any_cli
from rest_server import TOKEN, Server, workspace_at


def settings(workspace: str = "local") -> Settings:
    return Settings(workspace=workspace, target="local", local_workspace_state=".local_workspace")


def test_unknown_profile_is_named_with_those_that_exist(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    workspace_at("https://adb-1.azuredatabricks.net", tmp_path, profile="dev")
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "databrickscfg"))

    with pytest.raises(DeploymentError, match=r"no profile 'prod' in .*it has \['dev'\]"):
        open_workspace(settings("prod"))


def test_without_a_profile_the_environment_signs_in(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("DATABRICKS_HOST", server.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", TOKEN)
    server.replies["/api/2.0/clusters/list"] = {"clusters": []}

    workspace = open_workspace(settings("staging"))

    assert (workspace.host, workspace.config_file) == (server.host, None)
    assert any_cli(workspace).clusters() == []
    assert any_cli(workspace).environment()["DATABRICKS_AUTH_TYPE"] == "pat"
    assert TOKEN not in repr(workspace)


def test_a_sign_in_that_fails_ends_in_one_message(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_CONFIG_FILE", str(tmp_path / "none"))
    monkeypatch.setenv("DATABRICKS_HOST", server.host)
    monkeypatch.setenv("DATABRICKS_AUTH_TYPE", "pat")

    with pytest.raises(DeploymentError, match=r"cannot sign in with DATABRICKS_HOST: .*pat"):
        open_workspace(settings("staging"))


def test_token_stays_out_of_what_is_printed_of_a_workspace(tmp_path: Path) -> None:
    assert TOKEN not in repr(workspace_at("http://127.0.0.1:1", tmp_path))


def test_wrong_token_ends_in_one_message(server: Server, tmp_path: Path) -> None:
    workspace = workspace_at(server.host, tmp_path, token="stale")

    with pytest.raises(DeploymentError, match=r"refuses the token of profile 'local' .*HTTP 403"):
        workspace.user_name()
    with pytest.raises(CliError, match=r"Authorization failed|Invalid access token"):
        any_cli(workspace).clusters()


def test_dead_workspace_ends_in_one_message(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"http://127.0.0.1:9 does not answer; start it with `make"):
        workspace_at("http://127.0.0.1:9", tmp_path).user_name()
