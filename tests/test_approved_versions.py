"""One setting makes gate, approval and champion a deployment job of the model, and another undoes that."""

import time
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from typing import Any

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service.iam import ComplexValue
from databricks.sdk.service.jobs import Run
from science import NEVER
from workspace_under_test import WorkspaceUnderTest

FOLDER, SCHEMA = "/Shared/deployment_job", "deployment_job"
MODEL, JOB = f"spark_catalog.{SCHEMA}.diabetes", "[approved] diabetes_model_deployment"
OWNERS, MEMBER, OUTSIDER = "approvers", "ada@example.com", "bo@example.com"
HERE = (
    *(f"SCHEMA={SCHEMA}", f"WORKSPACE_FOLDER={FOLDER}", f"EXPERIMENT={FOLDER}/experiment"),
    *("NAME_PREFIX=[approved] ", "PROMOTION=deployment-job", f"MODEL_OWNER={OWNERS}"),
)
MODELS = "/api/2.0/mlflow/unity-catalog/registered-models"
APPROVAL_WAITS = {"evaluate": "SUCCESS", "approval": "FAILED", "deploy": "UPSTREAM_FAILED"}


@dataclass
class Model:
    """The model of a team whose versions a person approves."""

    workspace: WorkspaceUnderTest

    def make(self, *arguments: str, ok: bool = True) -> str:
        """What a make target prints; the settings that are given come before those of the team."""
        given = {argument.partition("=")[0] for argument in arguments}
        settings = [setting for setting in HERE if setting.partition("=")[0] not in given]
        done = self.workspace.make(*arguments, *settings)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def make_as(self, person: str, *arguments: str, ok: bool = True) -> str:
        """The same, signed in as somebody else."""
        profile = person.partition("@")[0]
        return self.make(*arguments, "TARGET=local", f"WORKSPACE={profile}", ok=ok)

    def runs(self) -> list[Run]:
        """The runs of the job, the oldest first, each with its tasks."""
        jobs = self.workspace.client.jobs
        (job,) = [job for job in jobs.list() if job.settings.name == JOB]
        return [jobs.get_run(run.run_id) for run in jobs.list_runs(job_id=job.job_id)][::-1]

    def wait_for_run(self, number: int) -> Run:
        """The run of a version, which started by itself, when it has ended."""
        deadline = time.monotonic() + 60
        while len(self.runs()) < number and time.monotonic() < deadline:
            time.sleep(0.2)
        (run,) = self.runs()[number - 1 :]
        return self.workspace.client.jobs.wait_get_run_job_terminated_or_skipped(run.run_id)

    def tags(self, version: str) -> dict[str, str]:
        found = self._ask("/api/2.0/mlflow/unity-catalog/model-versions/get", name=MODEL, version=version)
        return {tag["key"]: tag["value"] for tag in found["model_version"]["tags"]}

    @property
    def champion(self) -> str | None:
        try:
            found = self._ask(f"{MODELS}/alias", name=MODEL, alias="champion")
        except InvalidParameterValue:
            return None
        return str(found["model_version"]["version"])

    @property
    def linked_job(self) -> str:
        return str(self._ask(f"{MODELS}/get", name=MODEL)["registered_model"]["deployment_job_id"])

    def _ask(self, path: str, **query: str) -> Any:
        return self.workspace.client.api_client.do("GET", path, query=query)


def results(run: Run) -> dict[str, str]:
    """How the last attempt of each task ended."""
    return {task.task_key: task.state.result_state.value for task in run.tasks}


@pytest.fixture(scope="module")
def model(demo) -> Iterator[Model]:
    """A model that is linked to its job, of a group with one member; nothing is trained yet."""
    workspace: WorkspaceUnderTest = demo.workspace
    config = ConfigParser(interpolation=None)
    for person in (MEMBER, OUTSIDER):
        token = workspace.make_user(person)
        config[person.partition("@")[0]] = {"host": workspace.profile["host"], "token": token}
    ids = {user.user_name: str(user.id) for user in workspace.client.users.list()}
    workspace.client.groups.create(display_name=OWNERS, members=[ComplexValue(value=ids[MEMBER])])
    file = workspace.home / ".databrickscfg"
    with file.open("w") as opened:
        config.write(opened)
    model = Model(workspace)
    model.make("databricks-init")
    model.make("deploy")
    yield model
    file.unlink()


@pytest.fixture(scope="module")
def first(model: Model) -> Run:
    """The run of the first version, when it waits for a person."""
    model.make("run-diabetes-model-training")
    return model.wait_for_run(1)


def test_a_new_version_starts_the_job_which_waits_for_a_person(model: Model, first: Run):
    (approval,) = [task for task in first.tasks if task.task_key == "approval"]
    said = model.workspace.client.jobs.get_run_output(approval.run_id).error

    assert {each.name: each.value for each in first.job_parameters} == {
        "model_name": MODEL,
        "model_version": "1",
    }
    assert results(first) == APPROVAL_WAITS
    assert model.tags("1")["gate"] == "passed" and model.champion is None
    assert "version 1 of" in said and "`make promote VERSION=1`" in said


def test_only_who_owns_the_model_approves_and_then_the_version_is_champion(model: Model, first: Run):
    refused = model.make_as(OUTSIDER, "promote", "VERSION=1", ok=False)
    untouched = model.champion, "approval" in model.tags("1")
    approved = model.make_as(MEMBER, "promote", "VERSION=1")

    assert "User does not have" in refused and OUTSIDER in refused
    assert untouched == (None, False)
    assert f"Version 1 of {MODEL} is approved by {MEMBER}" in approved
    assert f"Run {first.run_id} of its deployment job goes on" in approved and "SUCCESS" in approved
    (repaired,) = model.runs()
    assert results(repaired) == dict.fromkeys(APPROVAL_WAITS, "SUCCESS")
    assert [task.attempt_number for task in repaired.tasks if task.task_key == "evaluate"] == [0]
    assert model.champion == "1"
    assert model.tags("1")["promoted_by"] == f"{MEMBER}, deployment job run {first.run_id}"
    assert "is the champion of" in model.make_as(MEMBER, "promote", "VERSION=1")


def test_a_later_version_meets_the_champion_and_a_rollback_goes_back(model: Model, first: Run):
    before = model.champion
    model.make("run-diabetes-model-training")
    run = model.wait_for_run(2)
    model.make("promote", "VERSION=2")
    after = model.champion

    rolled_back = model.make("rollback")

    assert before == "1" and results(run) == APPROVAL_WAITS
    assert after == "2"
    assert f"Version 1 is the champion of {MODEL} again, in place of version 2" in rolled_back
    assert model.champion == "1"


def test_a_version_that_the_gate_rejects_never_gets_there(model: Model, first: Run):
    champion = model.champion
    model.make("deploy", f"THRESHOLDS={NEVER.removeprefix('thresholds=')}")
    model.make("run-diabetes-model-training")
    run = model.wait_for_run(3)

    refused = model.make("promote", "VERSION=3", ok=False)

    skipped = dict.fromkeys(("approval", "deploy"), "UPSTREAM_FAILED")
    assert results(run) == {"evaluate": "FAILED"} | skipped
    assert "the gate refused version 3" in refused and "PROMOTION=manual" in refused
    assert "approval" not in model.tags("3")
    assert model.champion == champion


def test_deploying_again_changes_no_link_and_another_value_undoes_it(model: Model, first: Run):
    job = model.linked_job
    again = model.make("deploy")
    linked = model.linked_job
    undone = model.make("deploy", "PROMOTION=manual")
    unlinked = model.linked_job
    runs = len(model.runs())
    model.make("run-diabetes-model-training", "PROMOTION=manual")

    assert job and linked == job
    assert f"Model '{MODEL}' is linked to job '{JOB}'" in again
    assert f"Model '{MODEL}' is linked to job '{JOB}' no more" in undone and unlinked == ""
    assert len(model.runs()) == runs


def test_without_the_model_the_deployment_says_how_to_make_it(model: Model):
    said = model.make("deploy", f"MODEL_NAME=spark_catalog.{SCHEMA}.absent", ok=False)

    assert f"there is no model 'spark_catalog.{SCHEMA}.absent' to link" in said
    assert "`make databricks-init`" in said
