"""Jobs run on an existing cluster, on one of their own or serverless; policies limit new clusters."""

import json

import pytest
import requests
from databricks.sdk.errors import DatabricksError, InvalidParameterValue, NotFound, ResourceAlreadyExists
from databricks.sdk.service.compute import DataSecurityMode, EventType, GetEventsOrder

CLUSTER = {"spark_version": "18.x-cpu-ml-scala2.13", "node_type_id": "Standard_D4ds_v5", "num_workers": 1}

OLDEST = GetEventsOrder.ASC
BIG = {"job_cluster_key": "big", "new_cluster": {**CLUSTER, "data_security_mode": "USER_ISOLATION"}}


@pytest.mark.parametrize(
    ("task", "job", "shown", "mode"),
    [
        (
            {"job_cluster_key": "big"},
            {"job_clusters": [BIG]},
            "job cluster big",
            "Standard · Spark Connect",
        ),
        ({"new_cluster": CLUSTER}, {}, "job cluster", "No isolation shared · Spark Classic"),
        ({}, {}, "serverless", "Serverless · Spark Connect"),
    ],
    ids=["job cluster", "new cluster", "serverless"],
)
def test_a_job_runs_without_an_existing_cluster(local, notebook, task, job, shown, mode):
    notebook_task = {"notebook_path": notebook, "base_parameters": {"exit": "done"}}
    settings = {"name": shown, "tasks": [{"task_key": "a", "notebook_task": notebook_task, **task}], **job}
    job_id = local.request("POST", "/api/2.2/jobs/create", body=settings)["job_id"]

    run_id = local.client.jobs.run_now(job_id).run_id
    run = local.client.jobs.wait_get_run_job_terminated_or_skipped(run_id)

    assert run.state.result_state.value == "SUCCESS"
    assert run.tasks[0].cluster_instance is None
    page = requests.get(f"{local.host}/jobs/{job_id}", headers={"Authorization": "Bearer x"}, timeout=30)
    assert f'<td data-label="on">{shown}' in page.text
    assert f"{mode}</span>" in page.text


ENVIRONMENT = {
    "environment_key": "default",
    "spec": {"environment_version": "5", "dependencies": ["-r /a.txt"]},
}


def with_environments(notebook, *environments, **task):
    """The settings of a job whose one task names the environment `default`, if it says no other."""
    whole = {
        "task_key": "a",
        "notebook_task": {"notebook_path": notebook},
        "environment_key": "default",
    } | task
    return {"name": "environments", "tasks": [whole], "environments": list(environments)}


def test_the_environment_of_a_task_is_kept_and_shown_and_installed(local, notebook):
    lines = ["-r /Workspace/Shared/in.txt", "tabulate==0.9.0  # a table", "", "a; python_version < '3'"]
    environment = {"environment_key": "default", "spec": {"client": "5", "dependencies": lines}}
    settings = with_environments(notebook, environment)

    job_id = local.request("POST", "/api/2.2/jobs/create", body=settings)["job_id"]
    run = local.client.jobs.run_now_and_wait(job_id)

    kept = local.client.jobs.get(job_id).settings
    assert [each.as_dict() for each in kept.environments] == [environment]
    assert kept.tasks[0].environment_key == "default"
    description = json.loads((local.state.runs / str(run.tasks[0].run_id) / "task.json").read_text())
    assert description["pip_arguments"] == [
        *("-r", "/Workspace/Shared/in.txt"),
        *("tabulate==0.9.0", "a; python_version < '3'"),
    ]
    page = requests.get(f"{local.host}/jobs/{job_id}", headers={"Authorization": "Bearer x"}, timeout=30)
    assert "environment default, version 5: -r /Workspace/Shared/in.txt, tabulate==0.9.0" in page.text


def test_a_one_time_run_has_environments_too_and_no_task_needs_one(local, notebook):
    of_none = {"task_key": "b", "notebook_task": {"notebook_path": notebook}}
    body = with_environments(notebook, {"environment_key": "default", "spec": {"environment_version": "5"}})
    body["tasks"].append(of_none)

    run_id = local.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"]

    run = local.client.jobs.wait_get_run_job_terminated_or_skipped(run_id)
    assert run.state.result_state.value == "SUCCESS"


@pytest.mark.parametrize(
    ("environments", "task", "message"),
    [
        (
            [ENVIRONMENT],
            {"environment_key": "other"},
            r"Task 'a': environment_key 'other' is not one of the job's environments \['default'\]",
        ),
        (
            [ENVIRONMENT],
            {"new_cluster": CLUSTER},
            "Task 'a': environment_key 'default' is for serverless compute, and the task has new_cluster",
        ),
        (
            [],
            {"environment_key": None, "libraries": [{"whl": "/Workspace/a.whl"}]},
            "Task 'a': Libraries field is not supported for serverless task, please specify libraries in "
            "environment.",
        ),
        ([ENVIRONMENT, ENVIRONMENT], {}, "every environment needs an environment_key of its own"),
        ([{"spec": {}}], {}, "environment_key must be letters, digits, _ and -; there are"),
        (
            [{"environment_key": "default"}],
            {},
            "Environment 'default' needs a spec with an environment_version",
        ),
        (
            [{"environment_key": "default", "spec": {"environment_version": 5}}],
            {},
            "Environment 'default' needs an environment_version such as '5', not 5",
        ),
        (
            [{"environment_key": "default", "spec": {"environment_version": "5", "dependencies": "a"}}],
            {},
            "Environment 'default': dependencies must be a list of requirements, not 'a'",
        ),
    ],
)
def test_an_environment_that_cannot_be_meant_is_refused(local, notebook, environments, task, message):
    settings = with_environments(notebook, *environments, **task)

    for path in ("jobs/create", "jobs/runs/submit"):
        with pytest.raises(InvalidParameterValue, match=message):
            local.request("POST", f"/api/2.2/{path}", body=settings)


def test_what_nobody_makes_of_an_environment_here_is_refused_by_its_name(local, notebook):
    spec = {"environment_version": "5", "java_dependencies": ["/Volumes/main/a/b/c.jar"]}
    settings = with_environments(notebook, {"environment_key": "default", "spec": spec})

    with pytest.raises(DatabricksError, match="Environment 'default': java_dependencies is not part of the"):
        local.request("POST", "/api/2.2/jobs/create", body=settings)


CLASSIC_OF_ALL = {mode.value for mode in DataSecurityMode} - {
    *("USER_ISOLATION", "DATA_SECURITY_MODE_STANDARD", "DATA_SECURITY_MODE_AUTO")
}


@pytest.mark.parametrize(
    ("settings", "shown"),
    [
        *[({"data_security_mode": mode}, "Spark Classic") for mode in sorted(CLASSIC_OF_ALL)],
        ({"data_security_mode": "USER_ISOLATION"}, "Standard · Spark Connect"),
        ({"data_security_mode": "DATA_SECURITY_MODE_STANDARD"}, "Standard · Spark Connect"),
        ({"data_security_mode": "DATA_SECURITY_MODE_AUTO"}, "Dedicated · Spark Classic"),
        (
            {"data_security_mode": "DATA_SECURITY_MODE_AUTO", "spark_version": "18.x-scala2.13"},
            "Standard · Spark Connect",
        ),
        ({}, "No isolation shared · Spark Classic"),
    ],
)
def test_each_access_mode_of_the_sdk_gives_the_spark_that_databricks_gives(local, settings, shown):
    made = local.request("POST", "/api/2.1/clusters/create", body={**CLUSTER, **settings})["cluster_id"]
    page = requests.get(f"{local.host}/clusters", headers={"Authorization": "Bearer x"}, timeout=30).text
    local.client.clusters.permanent_delete(made)

    row = next(row for row in page.split("<tr>") if made in row)
    assert shown in row


def test_an_access_mode_that_there_is_not_is_refused_with_those_there_are(local, notebook):
    wrong = {**CLUSTER, "data_security_mode": "SHARED"}
    task = {"task_key": "a", "notebook_task": {"notebook_path": notebook}, "new_cluster": wrong}

    for method, body in (("clusters/create", wrong), ("jobs/create", {"name": "x", "tasks": [task]})):
        with pytest.raises(InvalidParameterValue, match=r"data_security_mode 'SHARED' is not one of \["):
            local.request("POST", f"/api/2.1/{method}", body=body)


def policy(local, name, **rules):
    body = {"name": name, "definition": json.dumps(rules)}
    return local.request("POST", "/api/2.0/policies/clusters/create", body=body)["policy_id"]


def test_a_cluster_takes_the_values_of_its_policy(local):
    policy_id = policy(
        local,
        "small",
        node_type_id={"type": "fixed", "value": "Standard_D4ds_v5"},
        autotermination_minutes={"type": "range", "maxValue": 60, "defaultValue": 20},
        **{"custom_tags.team": {"type": "fixed", "value": "ml"}},
    )
    wanted = {"spark_version": "18", "policy_id": policy_id, "apply_policy_default_values": True}

    made = local.request("POST", "/api/2.1/clusters/create", body=wanted)["cluster_id"]

    kept = local.client.clusters.get(made)
    assert (kept.node_type_id, kept.autotermination_minutes) == ("Standard_D4ds_v5", 20)
    assert kept.custom_tags == {"team": "ml"}
    local.client.clusters.permanent_delete(made)
    assert "small" in [each.name for each in local.client.cluster_policies.list()]


@pytest.mark.parametrize(
    ("rule", "value"),
    [
        ({"type": "fixed", "value": 1}, 2),
        ({"type": "allowlist", "values": [1, 2]}, 3),
        ({"type": "blocklist", "values": [3]}, 3),
        ({"type": "range", "minValue": 1, "maxValue": 2}, 3),
        ({"type": "regex", "pattern": "[12]"}, 3),
        ({"type": "forbidden"}, 1),
    ],
)
def test_what_a_policy_forbids_is_refused_with_the_rule(local, rule, value):
    policy_id = policy(local, f"rule {rule['type']}", num_workers=rule)
    wanted = {"spark_version": "18", "policy_id": policy_id, "num_workers": value}

    with pytest.raises(InvalidParameterValue, match=f"Validation failed for num_workers, the value {value}"):
        local.request("POST", "/api/2.1/clusters/create", body=wanted)


def test_policies_are_edited_and_deleted(local):
    policy_id = policy(local, "old", num_workers={"type": "fixed", "value": 1})
    local.client.cluster_policies.edit(policy_id, name="new", definition="{}")

    assert local.client.cluster_policies.get(policy_id).name == "new"
    with pytest.raises(ResourceAlreadyExists, match="named new exists"):
        policy(local, "new")
    local.client.cluster_policies.delete(policy_id)
    with pytest.raises(NotFound, match=f"Cluster policy {policy_id} does not exist"):
        local.client.cluster_policies.get(policy_id)
    with pytest.raises(NotFound, match="does not exist"):
        local.client.clusters.create(spark_version="18", policy_id=policy_id)


@pytest.mark.parametrize("definition", ["{", "[]", '{"num_workers": 1}', '{"num_workers": {"type": "odd"}}'])
def test_what_is_no_definition_of_a_policy_is_refused(local, definition):
    body = {"name": "broken", "definition": definition}

    with pytest.raises(InvalidParameterValue, match="definition"):
        local.request("POST", "/api/2.0/policies/clusters/create", body=body)


def test_what_has_happened_to_a_cluster_is_listed_page_by_page(local):
    clusters = local.client.clusters
    cluster_id = local.request("POST", "/api/2.1/clusters/create", body={"cluster_name": "told", **CLUSTER})[
        "cluster_id"
    ]
    for change in ("restart", "delete", "start"):
        local.request("POST", f"/api/2.1/clusters/{change}", body={"cluster_id": cluster_id})
    local.request("POST", "/api/2.1/clusters/edit", body={"cluster_id": cluster_id, **CLUSTER})

    told = [event.type.value for event in clusters.events(cluster_id, limit=2)]
    chosen = clusters.events(cluster_id, event_types=[EventType.STARTING, EventType.CREATING], order=OLDEST)

    assert told == ["EDITED", "STARTING", "TERMINATING", "RESTARTING", "CREATING"]
    assert [event.type.value for event in chosen] == ["CREATING", "STARTING"]
    assert "events" not in local.request("GET", "/api/2.1/clusters/get", query={"cluster_id": cluster_id})


def test_settings_of_the_workspace_are_kept_for_administrators(local):
    settings = local.client.workspace_conf
    settings.set_status({"enableResultsDownloading": "false"})

    assert settings.get_status("enableResultsDownloading,maxTokenLifetimeDays") == {
        "enableResultsDownloading": "false",
        "maxTokenLifetimeDays": None,
    }
    with pytest.raises(InvalidParameterValue, match="enableIpAccessLists must be text, not bool"):
        local.request("PATCH", "/api/2.0/workspace-conf", body={"a": "b", "enableIpAccessLists": True})
    assert settings.get_status("a") == {"a": None}
    assert list(local.client.repos.list()) == []
