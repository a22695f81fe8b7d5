"""One setting makes gate, approval and champion a deployment job of the model, and another undoes that."""

import re
import time
from collections.abc import Iterator
from configparser import ConfigParser
from dataclasses import dataclass
from typing import Any

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service.iam import ComplexValue
from databricks.sdk.service.jobs import JobParameterDefinition, NotebookTask, Run, Task
from databricks.sdk.service.workspace import ImportFormat, Language
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
# Looks for the approval first, and ends when a person has given it, as a task that looked a moment too early.
LOOKS_TOO_EARLY = """# Databricks notebook source
import time
from mlflow import MlflowClient

client = MlflowClient()
name, number = dbutils.widgets.get("model_name"), dbutils.widgets.get("model_version")

def is_approved():
    return client.get_model_version(name, number).tags.get("approval") == "Approved"

was_approved = is_approved()
client.set_model_version_tag(name, number, "looked", "yes")
end = time.monotonic() + 60
while not is_approved() and time.monotonic() < end:
    time.sleep(0.1)
assert was_approved, "nobody had approved it a moment ago"
"""
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

    def newest_version(self) -> str:
        found = self._ask("/api/2.0/mlflow/unity-catalog/model-versions/search", filter=f"name='{MODEL}'")
        return str(max(int(version["version"]) for version in found["model_versions"]))

    def artifacts(self, run_id: str) -> set[str]:
        return {file["path"] for file in self._ask("/api/2.0/mlflow/artifacts/list", run_id=run_id)["files"]}

    def link(self, job_id: int) -> None:
        """Links the model to another job."""
        body = {"name": MODEL, "deployment_job_id": str(job_id)}
        self.workspace.client.api_client.do("PATCH", f"{MODELS}/update", body=body)

    def make_job(self, notebook: str) -> int:
        """A deployment job that has `approval` alone, as this notebook does it."""
        client, path = self.workspace.client, f"{FOLDER}/approval"
        client.workspace.upload(
            path, notebook.encode(), format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
        )
        cluster = next(iter(client.clusters.list())).cluster_id
        task = Task("approval", existing_cluster_id=cluster, notebook_task=NotebookTask(path), max_retries=0)
        parameters = [
            JobParameterDefinition(default="", name=f"model_{name}") for name in ("name", "version")
        ]
        return int(client.jobs.create(name="[approved] early", tasks=[task], parameters=parameters).job_id)

    def start_run(self, job_id: int, version: str) -> int:
        """Starts a run for a version, and waits until it has looked whether it is approved."""
        given = {"model_name": MODEL, "model_version": version}
        run_id = int(self.workspace.client.jobs.run_now(job_id, job_parameters=given).run_id)
        end = time.monotonic() + 60
        while "looked" not in self.tags(version):
            assert time.monotonic() < end
            time.sleep(0.2)
        return run_id

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


def test_the_report_has_the_training_and_where_the_gate_reported_though_nothing_is_scored(
    model: Model, first: Run
):
    report = model.make("report")

    assert f"Model {MODEL}, version 1, alias none of the training, its deployment job decides" in report
    assert "job '[approved] diabetes_batch_scoring' has no successful run" in report
    assert re.search(rf"deployment job run +{re.escape(first.run_page_url)}$", report, re.MULTILINE)
    training, gate = re.findall(r"/experiments/\d+/runs/(\w+)", report)
    assert "plots" in model.artifacts(training) and "report.html" in model.artifacts(gate)
    assert re.search(rf"report of the gate +http\S+/{gate}$", report, re.MULTILINE)


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

    gate = re.search(r"report of the gate +http\S+/(\w+)$", model.make("report"), re.MULTILINE)
    assert gate and "report.html" in model.artifacts(gate[1])
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


def test_a_run_that_looked_a_moment_before_the_approval_goes_on_all_the_same(model: Model, first: Run):
    job_id, version = model.make_job(LOOKS_TOO_EARLY), model.newest_version()
    model.link(job_id)
    run_id = model.start_run(job_id, version)

    said = model.make("promote", f"VERSION={version}")

    assert f"Run {run_id} of its deployment job is under way" in said
    assert f"Run {run_id} had looked a moment before the approval; it goes on" in said
    run = model.workspace.client.jobs.get_run(run_id)
    assert results(run) == {"approval": "SUCCESS"}
