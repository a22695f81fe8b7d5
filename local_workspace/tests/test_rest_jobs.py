"""Clusters, secrets and job definitions through the two real clients."""

import base64
import json
from typing import Any

import pytest
from databricks.sdk.errors import (
    BadRequest,
    InvalidParameterValue,
    NotFound,
    ResourceAlreadyExists,
    ResourceDoesNotExist,
)
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.compute import State
from databricks.sdk.service.jobs import JobSettings, NotebookTask, Task, TaskDependency
from databricks.sdk.service.workspace import AclPermission


def settings_of(name: str, cluster_id: str, notebook: str, **more: Any) -> dict[str, Any]:
    """A job with one notebook task."""
    notebook_task = {"notebook_path": notebook, "base_parameters": {"alpha": "0.5"}}
    task = {"task_key": "main", "existing_cluster_id": cluster_id, "notebook_task": notebook_task}
    return {"name": name, "tasks": [task], **more}


def test_the_pip_cli_makes_a_cluster_whose_state_is_that_of_spark(local):
    created = local.cli("clusters", "create", "--json", '{"cluster_name": "mine", "spark_version": "18"}')
    cluster_id = json.loads(created)["cluster_id"]
    local.spark["state"] = "PENDING"
    pending = local.request("GET", "/api/2.0/clusters/get", query={"cluster_id": cluster_id})
    local.spark["state"] = "RUNNING"

    listed = json.loads(local.cli("clusters", "list", "--output", "json"))["clusters"]
    assert pending["state"] == "PENDING"
    assert [c["state"] for c in listed if c["cluster_name"] == "mine"] == ["RUNNING"]


def test_a_cluster_is_stopped_and_started_and_changed(local):
    made = local.client.clusters.create(spark_version="18", cluster_name="one", num_workers=0).response
    stopped = local.client.clusters.delete_and_wait(made.cluster_id)
    started = local.client.clusters.start_and_wait(made.cluster_id)
    local.client.clusters.edit(made.cluster_id, spark_version="18", cluster_name="two")

    assert (stopped.state, started.state) == (State.TERMINATED, State.RUNNING)
    assert local.client.clusters.get(made.cluster_id).cluster_name == "two"
    with pytest.raises(BadRequest, match="unexpected state Running"):
        local.client.clusters.start(made.cluster_id)
    local.client.clusters.permanent_delete(made.cluster_id)
    with pytest.raises(ResourceDoesNotExist, match="does not exist"):
        local.client.clusters.get(made.cluster_id)


def test_a_secret_is_put_by_the_pip_cli_and_never_listed(local, tmp_path):
    value = tmp_path / "value"
    value.write_bytes(b"hidden\xff")
    local.client.secrets.create_scope("storage")
    local.client.secrets.put_secret("storage", "text", string_value="hidden")
    local.cli("secrets", "put", "--scope", "storage", "--key", "bytes", "--binary-file", str(value))
    listing = local.cli("secrets", "list", "--scope", "storage")

    secrets = local.client.secrets
    assert "storage" in [scope.name for scope in secrets.list_scopes()]
    assert ("bytes" in listing, "hidden" in listing) == (True, False)
    assert secrets.get_secret("storage", "text").value == base64.b64encode(b"hidden").decode()
    assert base64.b64decode(secrets.get_secret("storage", "bytes").value) == b"hidden\xff"


def test_secret_scopes_refuse_what_databricks_refuses(local):
    secrets = local.client.secrets
    secrets.create_scope("once")
    secrets.put_secret("once", "key", string_value="v")

    with pytest.raises(ResourceAlreadyExists, match="Scope once already exists!"):
        secrets.create_scope("once")
    with pytest.raises(ResourceDoesNotExist, match="Scope missing does not exist!"):
        secrets.put_secret("missing", "key", string_value="v")
    with pytest.raises(InvalidParameterValue, match="a/b"):
        secrets.create_scope("a/b")
    with pytest.raises(InvalidParameterValue, match="exactly one"):
        secrets.put_secret("once", "key")
    secrets.delete_scope("once")
    secrets.create_scope("once")
    with pytest.raises(NotFound):
        secrets.get_secret("once", "key")


def test_a_scope_belongs_to_its_maker_until_others_are_let_in(local):
    local.client.secrets.create_scope("shared")
    local.client.secrets.put_acl("shared", "users", AclPermission.READ)

    acls = {acl.principal: acl.permission for acl in local.client.secrets.list_acls("shared")}
    assert acls == {"local.user@localhost": AclPermission.MANAGE, "users": AclPermission.READ}


def test_the_pip_cli_makes_and_resets_a_job(local, cluster_id: str, notebook: str):
    settings = settings_of("cli job", cluster_id, notebook)
    created = local.cli("jobs", "create", "--version=2.1", "--json", json.dumps(settings))
    job_id = str(json.loads(created)["job_id"])
    changed = json.dumps(settings | {"timeout_seconds": 60})
    local.cli("jobs", "reset", "--version=2.1", "--job-id", job_id, "--json", changed)

    arguments = ("jobs", "list", "--version=2.1", "--name", "CLI job", "--output", "json")
    listed = json.loads(local.cli(*arguments))["jobs"]
    job = local.request("GET", "/api/2.1/jobs/get", query={"job_id": job_id})
    assert [str(j["job_id"]) for j in listed] == [job_id]
    assert job["settings"]["timeout_seconds"] == 60
    assert job["settings"]["tasks"] == settings["tasks"]


def test_a_job_of_version_2_0_is_the_same_job_in_later_versions(local, cluster_id: str, notebook: str):
    old = {
        "name": "old",
        "existing_cluster_id": cluster_id,
        "notebook_task": {"notebook_path": notebook, "base_parameters": {"alpha": "0.5"}},
    }
    job_id = json.loads(local.cli("jobs", "create", "--version=2.0", "--json", json.dumps(old)))["job_id"]

    first = local.request("GET", "/api/2.0/jobs/get", query={"job_id": job_id})["settings"]
    later = local.client.jobs.get(job_id).settings
    assert {name: first[name] for name in old} == old
    assert "tasks" not in first
    assert [(task.task_key, task.notebook_task.notebook_path) for task in later.tasks] == [("main", notebook)]


def test_an_update_replaces_the_named_task_and_keeps_the_rest(local, cluster_id: str, notebook: str):
    def task(key: str, path: str, *after: str) -> Task:
        waits = [TaskDependency(task_key=name) for name in after]
        notebook_task = NotebookTask(notebook_path=path)
        return Task(
            task_key=key, existing_cluster_id=cluster_id, notebook_task=notebook_task, depends_on=waits
        )

    jobs = local.client.jobs
    job_id = jobs.create(name="two", tasks=[task("a", notebook), task("b", notebook, "a")]).job_id
    jobs.update(job_id, new_settings=JobSettings(name="renamed", tasks=[task("a", "/Shared/other")]))

    settings = jobs.get(job_id).settings
    assert settings.name == "renamed"
    assert settings.queue.enabled
    assert [t.notebook_task.notebook_path for t in settings.tasks] == ["/Shared/other", notebook]
    jobs.delete(job_id)
    with pytest.raises(ResourceDoesNotExist, match=f"Job {job_id} does not exist"):
        jobs.get(job_id)


def test_lists_of_jobs_are_paged_newest_first(local, cluster_id: str, notebook: str):
    made = []
    for number in range(5):
        settings = settings_of("paged", cluster_id, notebook, description=str(number))
        made.append(local.request("POST", "/api/2.1/jobs/create", body=settings)["job_id"])

    by_token = [job.job_id for job in local.client.jobs.list(name="paged", limit=2)]
    query = {"name": "paged", "limit": 2, "offset": 3}
    by_offset = local.request("GET", "/api/2.1/jobs/list", query=query)
    assert by_token == made[::-1]
    assert [job["job_id"] for job in by_offset["jobs"]] == made[1::-1]
    assert by_offset["has_more"] is False
    assert "tasks" not in by_offset["jobs"][0]["settings"]


def test_a_job_is_found_by_its_name_whatever_its_case_in_any_alphabet(local, cluster_id: str, notebook: str):
    settings = settings_of("Nächtlich ÜBER alles", cluster_id, notebook)
    job_id = local.request("POST", "/api/2.1/jobs/create", body=settings)["job_id"]

    for name in ("nächtlich über alles", "NÄCHTLICH ÜBER ALLES"):
        assert [job.job_id for job in local.client.jobs.list(name=name)] == [job_id]
    assert list(local.client.jobs.list(name="nächtlich über")) == []


@pytest.mark.parametrize(
    ("change", "error", "reason"),
    [
        ({"existing_cluster_id": "1-missing"}, InvalidParameterValue, "Cluster 1-missing does not exist"),
        ({"depends_on": [{"task_key": "nobody"}]}, InvalidParameterValue, "nobody"),
        ({"depends_on": [{"task_key": "main"}]}, InvalidParameterValue, "circle"),
        ({"notebook_task": {"notebook_path": "job"}}, InvalidParameterValue, "absolute notebook_path"),
        ({"spark_jar_task": {}}, NotImplementedHere, "spark_jar_task"),
        ({"libraries": [{"jar": "dbfs:/x.jar"}]}, NotImplementedHere, "x.jar"),
    ],
)
def test_a_job_that_cannot_run_is_refused(local, cluster_id, notebook, change, error, reason):
    settings = settings_of("refused", cluster_id, notebook)
    settings["tasks"][0] |= change

    with pytest.raises(error, match=reason):
        local.request("POST", "/api/2.1/jobs/create", body=settings)
