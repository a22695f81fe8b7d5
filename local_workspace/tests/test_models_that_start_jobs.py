"""A registered model starts its deployment job when it gets a version, whichever registry that comes over."""

from collections.abc import Callable, Iterator
from typing import Any

import pytest
import requests
from databricks.sdk.service.jobs import JobParameterDefinition, NotebookTask, Task
from people import People, people_of, refusal, saved_model

NOTEBOOK = "/Shared/deployment_jobs/task"
BOTH = ("model_name", "model_version")


@pytest.fixture(scope="module")
def people(real_workspace, tmp_path_factory) -> Iterator[People]:
    with people_of(real_workspace, tmp_path_factory.mktemp("people")) as everybody:
        everybody.admin.catalogs.create("deployed")
        everybody.admin.schemas.create("models", "deployed")
        real_workspace.upload(NOTEBOOK, "# Databricks notebook source\n1 + 1\n")
        yield everybody


@pytest.fixture
def make_job(people: People) -> Callable[..., int]:
    def make(*parameters: str) -> int:
        declared = [JobParameterDefinition(name, "") for name in parameters]
        task = Task("only", notebook_task=NotebookTask(NOTEBOOK))
        made = people.admin.jobs.create(name="deploys", tasks=[task], parameters=declared)
        return int(made.job_id)

    return make


@pytest.fixture
def source(tmp_path) -> str:
    """The address of a model; MLflow removes what was registered."""
    return saved_model(tmp_path / "model")


def started(people: People, job_id: int) -> list[dict[str, Any]]:
    """What the runs of a job were started with, the newest first, and by what."""
    # The client's own list of triggers does not have MODEL, which its documentation names.
    listed = people.workspace.request("GET", "/api/2.2/jobs/runs/list", query={"job_id": job_id})
    return [
        {each["name"]: each["value"] for each in run["job_parameters"]} | {"trigger": run["trigger"]}
        for run in listed.get("runs", [])
    ]


def shown(people: People, path: str) -> str:
    """A page of the workspace."""
    signed_in = {"Authorization": f"Bearer {people.first.token}", "Accept": "text/html"}
    answer = requests.get(f"{people.first.host}{path}", headers=signed_in, timeout=30)
    assert answer.status_code == 200, answer.text
    return answer.text


def test_a_new_version_starts_the_job_that_the_model_is_connected_to(people, make_job, source):
    registry, name, job_id = people.first.registry, "deployed.models.one", make_job(*BOTH)
    registry.create_registered_model(name, description="kept")
    registry.update_registered_model(name, deployment_job_id=str(job_id))
    connected = registry.get_registered_model(name)

    registry.create_model_version(name, source)

    assert (connected.deployment_job_id, connected.deployment_job_state) == (str(job_id), "CONNECTED")
    assert connected.description == "kept"
    assert started(people, job_id) == [{"model_name": name, "model_version": "1", "trigger": "MODEL"}]
    assert f"<dt>Deployment job of</dt><dd>{name}</dd>" in shown(people, f"/jobs/{job_id}")
    run = next(people.admin.jobs.list_runs(job_id=job_id))
    assert f"<dt>Model version</dt><dd>{name}, version 1</dd>" in shown(people, f"/runs/{run.run_id}")


def test_a_version_of_mlflows_own_registry_starts_it_too_until_its_model_is_deleted(people, make_job):
    name, job_id, models = "deployed.models.plain", make_job(*BOTH), "/api/2.0/mlflow"
    people.first.registry.create_registered_model(name, deployment_job_id=str(job_id))

    def plain(method: str, path: str, **body: str) -> None:
        people.workspace.request(method, f"{models}/{path}", body={"name": name} | body)

    plain("POST", "model-versions/create", source="dbfs:/elsewhere/model")
    plain("DELETE", "registered-models/delete")
    plain("POST", "registered-models/create")
    plain("POST", "model-versions/create", source="dbfs:/elsewhere/model")

    assert started(people, job_id) == [{"model_name": name, "model_version": "1", "trigger": "MODEL"}]
    assert people.first.registry.get_registered_model(name).deployment_job_state == "NOT_SET_UP"


def test_a_model_that_is_disconnected_starts_nothing(people, make_job, source):
    registry, name, job_id = people.first.registry, "deployed.models.apart", make_job(*BOTH)
    registry.create_registered_model(name, deployment_job_id=str(job_id))

    registry.update_registered_model(name, deployment_job_id="")
    registry.create_model_version(name, source)

    assert registry.get_registered_model(name).deployment_job_id == ""
    assert started(people, job_id) == []


def test_a_job_that_is_gone_or_lacks_the_parameters_is_told_and_keeps_no_version_away(
    people, make_job, source
):
    registry, name, job_id = people.first.registry, "deployed.models.gone", make_job(*BOTH)
    registry.create_registered_model(name, deployment_job_id=str(job_id))

    lacks = refusal(
        lambda: registry.update_registered_model(name, deployment_job_id=str(make_job("model_name")))
    )
    absent = refusal(
        lambda: registry.create_registered_model("deployed.models.no", deployment_job_id="987654")
    )
    people.admin.jobs.delete(job_id)
    registry.create_model_version(name, source)

    assert "lacks the parameters ['model_version']" in lacks
    assert "Job 987654 does not exist" in absent
    assert "not found" in refusal(lambda: registry.get_registered_model("deployed.models.no"))
    assert registry.get_registered_model(name).deployment_job_state == "NOT_FOUND"
    assert registry.get_model_version(name, "1").status == "READY"


def test_who_may_register_versions_may_not_say_what_they_start(people, make_job, source):
    maker, name, job_id = people.user("versions@example.com"), "deployed.models.theirs", make_job(*BOTH)
    people.first.registry.create_registered_model(name, deployment_job_id=str(job_id))
    people.grant(maker.name, "catalog", "deployed", "USE_CATALOG", "USE_SCHEMA", "CREATE_MODEL_VERSION")

    refused = refusal(lambda: maker.registry.update_registered_model(name, deployment_job_id=""))
    untagged = refusal(lambda: maker.registry.set_model_version_tag(name, "1", "approval", "Approved"))
    maker.registry.create_model_version(name, source)

    assert "MANAGE on Registered Model" in refused
    assert "APPLY TAG on Registered Model" in untagged
    assert [each["model_version"] for each in started(people, job_id)] == ["1"]
