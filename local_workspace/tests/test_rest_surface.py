"""What clients expect of answers beyond the happy path: permissions, pages of lists, codes, odd requests."""

import io
import json

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, InvalidParameterValue, ResourceDoesNotExist
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.compute import Library, ListClustersFilterBy, State
from databricks.sdk.service.iam import AccessControlRequest, PermissionLevel
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from fastapi import FastAPI
from local_workspace.errors import NotSupported
from local_workspace.jobs.libraries import pip_arguments
from local_workspace.rest.error_responses import add_handlers
from local_workspace.web import pages


def levels_of(permissions) -> dict[str, PermissionLevel]:
    return {
        acl.user_name or acl.group_name: acl.all_permissions[0].permission_level
        for acl in permissions.access_control_list
    }


def test_permissions_are_set_added_to_and_shown(local):
    folder = "/Shared/permitted"
    local.client.workspace.mkdirs(folder)
    object_id = str(local.client.workspace.get_status(folder).object_id)
    permissions = local.client.permissions

    def entry(group: str, level: PermissionLevel) -> list[AccessControlRequest]:
        return [AccessControlRequest(group_name=group, permission_level=level)]

    permissions.set("directories", object_id, access_control_list=entry("readers", PermissionLevel.CAN_READ))
    permissions.update(
        "directories", object_id, access_control_list=entry("editors", PermissionLevel.CAN_EDIT)
    )
    after_update = levels_of(permissions.get("directories", object_id))
    permissions.set("directories", object_id, access_control_list=entry("runners", PermissionLevel.CAN_RUN))

    assert after_update == {
        "local.user@localhost": PermissionLevel.CAN_MANAGE,
        "readers": PermissionLevel.CAN_READ,
        "editors": PermissionLevel.CAN_EDIT,
    }
    assert set(levels_of(permissions.get("directories", object_id))) == {"local.user@localhost", "runners"}
    with pytest.raises(InvalidParameterValue, match="IS_OWNER"):
        permissions.set("directories", object_id, access_control_list=entry("x", PermissionLevel.IS_OWNER))
    with pytest.raises(ResourceDoesNotExist, match="Job 999999 does not exist"):
        permissions.get("jobs", "999999")


def test_an_entry_names_one_principal(local, cluster_id):
    path = f"/api/2.0/permissions/clusters/{cluster_id}"
    for entry in ({}, {"user_name": "a", "group_name": "b"}):
        body = {"access_control_list": [entry | {"permission_level": "CAN_RESTART"}]}
        with pytest.raises(InvalidParameterValue, match="one of"):
            local.request("PUT", path, body=body)

    shown = local.request("GET", f"{path}/permissionLevels")["permission_levels"]
    assert [level["permission_level"] for level in shown] == ["CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE"]


def test_clusters_are_listed_by_state_and_page_by_page(local):
    made = [local.client.clusters.create(spark_version="18", num_workers=0).cluster_id for _ in range(3)]
    local.client.clusters.delete_and_wait(made[0])

    terminated = ListClustersFilterBy(cluster_states=[State.TERMINATED])
    pending_or_so = ListClustersFilterBy(cluster_states=[State.TERMINATED, State.ERROR])
    listed = [cluster.cluster_id for cluster in local.client.clusters.list(page_size=2)]
    assert listed[:3] == made[::-1]
    assert len(listed) == len(set(listed))
    for filter_by in (terminated, pending_or_so):
        states = {cluster.state for cluster in local.client.clusters.list(filter_by=filter_by)}
        assert states == {State.TERMINATED}
    with pytest.raises(BadRequest, match="unexpected state Terminated"):
        local.client.clusters.restart(made[0])
    for cluster_id in made:
        local.client.clusters.permanent_delete(cluster_id)


def test_a_large_file_goes_to_a_volume_in_one_request(local):
    client = WorkspaceClient(host=local.host, token="x", auth_type="pat")
    client.files._config.files_ext_multipart_upload_min_stream_size = 1000
    content = bytes(range(256)) * 20

    client.files.upload("/Volumes/main/default/large/a.bin", io.BytesIO(content), overwrite=True)

    assert client.files.download("/Volumes/main/default/large/a.bin").contents.read() == content


def test_a_folder_in_use_says_so_in_the_words_that_clients_look_for(local):
    local.request("POST", "/api/2.0/dbfs/put", body={"path": "/in_use/file", "contents": ""})
    local.client.files.upload("/Volumes/main/default/in_use/file", io.BytesIO(b"x"))

    with pytest.raises(BadRequest, match="not empty") as volume:
        local.client.files.delete_directory("/Volumes/main/default/in_use")
    with pytest.raises(BadRequest, match="not empty") as dbfs:
        local.request("POST", "/api/2.0/dbfs/delete", body={"path": "/in_use"})
    assert volume.value.get_error_info()[0].reason == "FILES_API_DIRECTORY_IS_NOT_EMPTY"
    assert dbfs.value.error_code == "IO_ERROR"


@pytest.mark.parametrize(
    ("query", "reason"),
    [
        ({"limit": 101}, "at most 100"),
        ({"limit": "many"}, "whole number"),
        ({"page_token": "nonsense"}, "page_token"),
        ({"limit": [1, 2]}, "whole number"),
    ],
)
def test_a_page_that_cannot_be_is_refused(local, query, reason):
    with pytest.raises(InvalidParameterValue, match=reason):
        local.request("GET", "/api/2.1/jobs/list", query=query)


@pytest.mark.parametrize(
    ("method", "path", "body", "status", "code"),
    [
        ("GET", "/api/2.1/jobs/get?job_id=999999", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/api/2.1/jobs/runs/get?run_id=999999", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/api/2.1/clusters/get?cluster_id=none", None, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/api/2.0/workspace/get-status?path=/none", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/api/2.0/dbfs/get-status?path=/none", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("GET", "/api/2.0/secrets/list?scope=none", None, 404, "RESOURCE_DOES_NOT_EXIST"),
        ("POST", "/api/2.0/workspace/mkdirs", {}, 400, "INVALID_PARAMETER_VALUE"),
        ("GET", "/api/2.0/git-credentials", None, 501, "NOT_IMPLEMENTED"),
        ("POST", "/api/2.1/unity-catalog/functions", {}, 501, "NOT_IMPLEMENTED"),
        ("DELETE", "/api/2.0/unheard-of/thing", {}, 501, "NOT_IMPLEMENTED"),
        ("GET", "/api/warehouses/v1/default-warehouse-overrides", None, 501, "NOT_IMPLEMENTED"),
        ("PATCH", "/api/3.1/unheard-of", {}, 501, "NOT_IMPLEMENTED"),
        ("PUT", "/ajax-api/2.0/unheard-of", {}, 501, "NOT_IMPLEMENTED"),
        ("OPTIONS", "/api/2.2/jobs/create", None, 501, "NOT_IMPLEMENTED"),
        ("PUT", "/api/2.2/jobs/create", {}, 501, "NOT_IMPLEMENTED"),
    ],
)
def test_errors_have_databricks_own_status_and_code(local, method, path, body, status, code):
    token = {"Authorization": "Bearer x"}
    answer = requests.request(method, local.host + path, json=body, headers=token, timeout=10)

    assert (answer.status_code, answer.json()["error_code"]) == (status, code)
    assert answer.json()["message"]
    assert status != 501 or f"{method} {path}" in answer.json()["message"]


def test_clients_choose_a_runtime_and_a_machine(local):
    api = local.client.clusters

    assert api.select_spark_version(long_term_support=True) == "16.4.x-scala2.12"
    # Written out, `ml` would be a name of the code that no project could take.
    assert api.select_spark_version(**{"ml": True, "scala": "2.13"}) == "18.0.x-cpu-ml-scala2.13"
    assert api.select_spark_version(spark_version="4.0.0", scala="2.13") == "17.3.x-scala2.13"
    assert api.select_node_type(local_disk=True, min_cores=1).startswith("Standard_D")


def test_a_pipeline_is_kept_and_shown_with_its_updates(local):
    api = local.client.pipelines
    made = api.create(name="etl", catalog="main", schema="dev", serverless=True, allow_duplicate_names=True)
    api.update(made.pipeline_id, name="changed", catalog="main", schema="prod")

    kept = api.get(made.pipeline_id)
    assert (kept.name, kept.spec.schema, kept.spec.serverless) == ("changed", "prod", None)
    assert kept.creator_user_name == "local.user@localhost"
    assert "changed" in [each.name for each in api.list_pipelines()]
    assert levels_of(local.client.permissions.get("pipelines", made.pipeline_id)) == {
        "local.user@localhost": PermissionLevel.IS_OWNER
    }
    started = api.start_update(made.pipeline_id).update_id
    assert [each.update_id for each in api.list_updates(made.pipeline_id).updates] == [started]
    with pytest.raises(NotImplementedHere, match="an update: validate_only is not part"):
        api.start_update(made.pipeline_id, validate_only=True)
    with pytest.raises(ResourceDoesNotExist, match="Update nothing of pipeline"):
        api.get_update(made.pipeline_id, "nothing")
    api.delete(made.pipeline_id)
    with pytest.raises(ResourceDoesNotExist, match="was not found"):
        api.get(made.pipeline_id)


def test_libraries_become_what_pip_is_told_to_install():
    libraries = [
        {"whl": "/Workspace/Shared/a.whl"},
        {"requirements": "/Workspace/Shared/requirements.txt"},
        {"pypi": {"package": "x==1"}},
        {"pypi": {"package": "y", "repo": "https://packages.example"}},
    ]

    task = {"task_key": "main", "existing_cluster_id": "1"}

    assert pip_arguments(task | {"libraries": libraries}, {}) == [
        "/Workspace/Shared/a.whl",
        *("-r", "/Workspace/Shared/requirements.txt"),
        "x==1",
        *("y", "--extra-index-url", "https://packages.example"),
    ]
    assert pip_arguments(task, {}) == []
    with pytest.raises(NotSupported, match=r"'main' has the library .*maven"):
        pip_arguments(task | {"libraries": [{"maven": {"coordinates": "a:b:1"}}]}, {})


def test_the_process_of_a_task_is_told_the_libraries(local, cluster_id, notebook):
    task = SubmitTask(
        "main",
        existing_cluster_id=cluster_id,
        notebook_task=NotebookTask(notebook),
        libraries=[Library(whl="/Workspace/Shared/a.whl")],
    )

    run = local.client.jobs.submit_and_wait(run_name="libraries", tasks=[task])

    description = json.loads((local.state.runs / str(run.tasks[0].run_id) / "task.json").read_text())
    assert description["pip_arguments"] == ["/Workspace/Shared/a.whl"]


def test_a_browser_gets_a_page_and_a_client_json_for_every_error_that_has_words(served):
    app = FastAPI()
    add_handlers(app, pages.error_response)

    @app.get("/{kind}/there")
    def read(kind: str) -> None:
        raise FileNotFoundError(f"{kind} is gone")

    with served(app) as host:
        page = requests.get(f"{host}/jobs/there", headers={"Accept": "text/html"}, timeout=10)
        reply = requests.get(f"{host}/jobs/there", timeout=10)

    assert (page.status_code, reply.status_code) == (404, 404)
    assert page.headers["content-type"].startswith("text/html")
    assert "jobs is gone" in page.text
    assert reply.json()["error_code"] == "RESOURCE_DOES_NOT_EXIST"
