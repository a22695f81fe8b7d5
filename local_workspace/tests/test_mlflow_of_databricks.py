"""What Databricks' MLflow API has beside MLflow's own, for the SDK and MLflow's client."""

from collections.abc import Iterator

import mlflow
import pytest
import requests
from databricks.sdk.errors import NotFound
from databricks.sdk.service.iam import PermissionLevel
from databricks.sdk.service.ml import (
    ExperimentAccessControlRequest,
    ExperimentPermissionLevel,
    RegisteredModelAccessControlRequest,
    RegisteredModelPermissionLevel,
    ViewType,
)
from mlflow import MlflowClient
from people import People, people_of
from real_workspace import RealWorkspace


@pytest.fixture(scope="module")
def people(real_workspace: RealWorkspace, tmp_path_factory) -> Iterator[People]:
    with people_of(real_workspace, tmp_path_factory.mktemp("tracking")) as everybody:
        yield everybody


@pytest.fixture(scope="module")
def tracking(people: People) -> MlflowClient:
    profile = people.first.profile
    return MlflowClient(f"databricks://{profile}", f"databricks://{profile}")


def test_experiments_are_listed_without_saying_how_many(people, tracking):
    kept = tracking.create_experiment("/Shared/listed by the sdk")
    gone = tracking.create_experiment("/Shared/deleted by the sdk")
    tracking.delete_experiment(gone)
    api = people.admin.experiments

    assert kept in [each.experiment_id for each in api.list_experiments()]
    searched = api.search_experiments(filter="name LIKE '/Shared/% by the sdk'")
    assert [each.experiment_id for each in searched] == [kept]
    every = api.search_experiments(filter="name LIKE '/Shared/% by the sdk'", view_type=ViewType.ALL)
    assert {each.experiment_id for each in every} == {kept, gone}
    paged = api.search_experiments(max_results=1, order_by=["name"])
    assert kept in [each.experiment_id for each in paged]
    assert kept in [each.experiment_id for each in tracking.search_experiments()]


def test_experiments_and_models_have_permissions(people, tracking):
    experiment = tracking.create_experiment("/Shared/permitted experiment")
    tracking.create_registered_model("permitted model")
    model = people.admin.model_registry.get_model("permitted model").registered_model_databricks
    readers = ExperimentAccessControlRequest(
        group_name="users", permission_level=ExperimentPermissionLevel.CAN_READ
    )
    editors = RegisteredModelAccessControlRequest(
        group_name="users", permission_level=RegisteredModelPermissionLevel.CAN_EDIT
    )

    of_experiment = people.admin.experiments.set_permissions(experiment, access_control_list=[readers])
    of_model = people.admin.model_registry.update_permissions(model.id, access_control_list=[editors])
    levels = people.admin.model_registry.get_permission_levels(model.id).permission_levels

    assert (of_experiment.object_id, of_experiment.object_type) == (
        f"/experiments/{experiment}",
        "mlflowExperiment",
    )
    assert of_experiment.access_control_list[1].all_permissions[0].permission_level.value == "CAN_READ"
    assert of_model.access_control_list[1].all_permissions[0].permission_level.value == "CAN_EDIT"
    assert levels[-1].permission_level.value == model.permission_level.value == "CAN_MANAGE"
    for kind, wrong in (("experiments", "999999999"), ("experiments", "none"), ("registered-models", "none")):
        with pytest.raises(NotFound, match=f"{wrong} does not exist"):
            people.admin.permissions.get(kind, wrong)


def test_warehouses_have_permissions_at_both_addresses(people):
    warehouse = people.admin.warehouses.get("default").id
    people.workspace.request(
        "PUT",
        f"/api/2.0/permissions/sql/warehouses/{warehouse}",
        body={"access_control_list": [{"group_name": "users", "permission_level": "CAN_USE"}]},
    )

    entries = people.admin.permissions.get("warehouses", warehouse).access_control_list
    assert [entry.all_permissions[0].permission_level for entry in entries] == [
        PermissionLevel.IS_OWNER,
        PermissionLevel.CAN_USE,
    ]


def test_traces_are_written_and_found_by_the_client_of_databricks(people, monkeypatch):
    # Its files travel by a client that looks at no profile.
    monkeypatch.setenv("DATABRICKS_HOST", people.first.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", people.first.token)
    before = mlflow.get_tracking_uri()
    mlflow.set_tracking_uri("databricks")
    try:
        experiment = mlflow.set_experiment("/Shared/traced").experiment_id
        with mlflow.start_span("outer") as span:
            span.set_inputs({"x": 1})
            span.set_outputs({"y": 2})
        mlflow.flush_trace_async_logging()
        found = mlflow.search_traces(locations=[experiment], return_type="list")
        read = mlflow.get_trace(found[0].info.trace_id)
    finally:
        mlflow.set_tracking_uri(before)

    assert [each.info.state.value for each in found] == ["OK"]
    assert [span.name for span in read.data.spans] == ["outer"]
    assert read.data.spans[0].outputs == {"y": 2}


@pytest.mark.parametrize("method", ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"])
@pytest.mark.parametrize(
    "path",
    [
        "/api/2.0/unheard-of",
        "/api/2.1/unity-catalog/unheard-of",
        "/api/3.0/unheard-of/of",
        "/api/unheard-of/v1/things",
        "/ajax-api/2.0/unheard-of",
        "/ajax-api/unheard-of",
        "/api/2.0/mlflow/unheard-of",
        "/api/3.0/mlflow/unheard-of",
        "/ajax-api/2.0/mlflow/unheard-of",
        "/ajax-api/3.0/mlflow/unheard-of",
        "/ajax-api/2.0/preview/mlflow/unheard-of",
        "/api/2.0/mlflow/unity-catalog/unheard-of",
    ],
)
def test_what_is_not_here_says_so_in_json_under_every_prefix(real_workspace, method: str, path: str):
    profile = real_workspace.profile
    answer = requests.request(
        method,
        profile["host"] + path,
        headers={"Authorization": f"Bearer {profile['token']}", "Accept": "text/html,*/*"},
        timeout=30,
    )

    assert answer.status_code == 501
    assert answer.headers["Content-Type"].startswith("application/json")
    if method != "HEAD":
        assert answer.json()["error_code"] == "NOT_IMPLEMENTED"
        assert f"{method} {path} is not part" in answer.json()["message"]


def test_a_known_address_with_another_method_says_so_too(real_workspace):
    profile = real_workspace.profile
    for method, path in (("PUT", "/api/2.0/mlflow/experiments/create"), ("PATCH", "/api/2.2/jobs/create")):
        answer = requests.request(
            method,
            profile["host"] + path,
            headers={"Authorization": f"Bearer {profile['token']}"},
            timeout=30,
        )
        assert (answer.status_code, answer.json()["error_code"]) == (501, "NOT_IMPLEMENTED")
