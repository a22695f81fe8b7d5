"""The commands of docs/azure.md, as they stand there, by a person who administers nothing."""

import re
import subprocess

import pytest
from databricks.sdk.service.catalog import PermissionsChange, Privilege
from machine import ROOT
from workspace_under_test import WorkspaceUnderTest

WALK = re.compile(r"```\n(az group create .+?)```", re.DOTALL)
PERSON = "ada.lovelace@example.com"
# Where the walk is gone here: on the cluster that may be attached to.
HERE = ("CLUSTER_NAME=azure-databricks-mlops-mlflow",)
# Of Azure, and what asks at a terminal for the token.
NOT_HERE = ("az group create", "make azure-deploy", "make databricks-authenticate")


def commands() -> list[str]:
    found = WALK.search((ROOT / "docs" / "azure.md").read_text())
    assert found
    return found[1].splitlines()


def sign_in(workspace: WorkspaceUnderTest) -> None:
    """Makes the person, lets them make a schema, and writes the profile as `databricks configure` does."""
    host, token = workspace.profile["host"], workspace.make_user(PERSON)
    rights = PermissionsChange(principal=PERSON, add=[Privilege.USE_CATALOG, Privilege.CREATE_SCHEMA])
    workspace.client.grants.update("catalog", "spark_catalog", changes=[rights])
    config = workspace.home / ".databrickscfg"
    config.touch(0o600)
    config.write_text(f"[dev]\nhost = {host}\ntoken = {token}\n")


@pytest.fixture(scope="module")
def walked(demo) -> dict[str, subprocess.CompletedProcess[str]]:
    """What each command did, in their order."""
    workspace: WorkspaceUnderTest = demo.workspace
    sign_in(workspace)
    done = {}
    for command in commands():
        if not command.startswith(NOT_HERE):
            done[command] = workspace.make(*command.split()[1:], *HERE)
            if done[command].returncode:
                break
    (workspace.home / ".databrickscfg").unlink()
    return done


def test_there_are_at_most_ten_commands():
    assert 6 < len(commands()) <= 10


def test_each_command_does_what_it_says(walked):
    for command, finished in walked.items():
        assert finished.returncode == 0, f"{command}\n{finished.stdout}{finished.stderr}"
    assert list(walked) == [command for command in commands() if not command.startswith(NOT_HERE)]


def test_all_of_it_is_the_persons(walked, demo):
    name = "spark_catalog.diabetes_ada_lovelace"
    client = demo.workspace.client

    assert client.schemas.get(name).owner == client.volumes.read(f"{name}.data").owner == PERSON
    assert client.registered_models.get(f"{name}.diabetes").owner == PERSON
    assert client.tables.get(f"{name}.diabetes_scored").owner == PERSON
    jobs = [
        job for job in client.jobs.list() if job.settings and "[dev ada_lovelace]" in str(job.settings.name)
    ]
    assert jobs and {job.creator_user_name for job in jobs} == {PERSON}


def test_the_last_prints_scored_rows(walked):
    last = list(walked.values())[-1].stdout

    assert "alias champion" in last and "Rows of spark_catalog.diabetes_ada_lovelace" in last
