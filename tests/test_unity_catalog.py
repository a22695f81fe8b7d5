"""The registry behind `databricks-uc`, used by MLflow's own client in a process of its own."""

import json
import subprocess
import sys

import pytest
import requests
from databricks.sdk.errors import BadRequest, DatabricksError, NotFound
from workspace_under_test import MODEL, ROOT, WorkspaceUnderTest, clean_environment

NAME = "main.tests.twice"


@pytest.fixture
def workspace(demo) -> WorkspaceUnderTest:
    return demo.workspace


def test_a_model_is_registered_aliased_and_loaded(workspace):
    workspace.home.mkdir(exist_ok=True)
    environment = clean_environment() | {
        "DATABRICKS_HOST": workspace.profile["host"],
        "DATABRICKS_TOKEN": workspace.profile["token"],
        "MLFLOW_TRACKING_TOKEN": workspace.profile["token"],
        "MLFLOW_TRACKING_URI": "databricks",
        "MLFLOW_REGISTRY_URI": "databricks-uc",
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "HOME": str(workspace.home),
    }
    script = [sys.executable, str(ROOT / "tests" / "unity_catalog_client.py"), NAME, MODEL]
    done = subprocess.run(
        script, env=environment, cwd=workspace.home, capture_output=True, text=True, timeout=200, check=False
    )

    assert done.returncode == 0, done.stderr
    seen = json.loads(done.stdout.splitlines()[-1])
    assert seen.pop("artifact_uri").startswith("dbfs:/databricks/mlflow-tracking/")
    assert seen.pop("model_id").startswith("m-")
    assert "sklearn" in seen.pop("other_flavors"), "what was registered over http is loaded here too"
    assert seen == {
        "note": "kept",
        "statuses": ["READY", "READY"],
        "same_run": True,
        "champion": ["2", ["champion"], {"gate": "passed"}, "the second"],
        "aliases": {"champion": "2"},
        "tags": {"team": "ml"},
        "versions": ["1", "2"],
        "listed": True,
        "predictions": [2.0, 4.0],
        "predictions_of_the_first": [2.0, 4.0],
        "after": [{}, {}],
        "no_alias": "INVALID_PARAMETER_VALUE",
        "no_version": "RESOURCE_DOES_NOT_EXIST",
        "taken": "RESOURCE_ALREADY_EXISTS",
        "two_levels": "INVALID_PARAMETER_VALUE",
        "gone": "RESOURCE_DOES_NOT_EXIST",
        "kept_files": True,
    }


def test_a_registered_version_keeps_its_files(workspace):
    registry = "/api/2.0/mlflow/unity-catalog"
    client, name = workspace.client, {"name": "main.tests.files"}
    file = "/Models/main/tests/files/1/deep/MLmodel"

    def post(path: str, **more: str) -> dict:
        return client.api_client.do("POST", f"{registry}/{path}", body=name | more)

    post("registered-models/create")
    version = post("model-versions/create", source="dbfs:/elsewhere/model")
    pending = version["model_version"]["status"]
    client.api_client.do("PUT", f"/api/2.0/fs/files{file}", data=b"flavors: {}")
    ready = post("model-versions/finalize", version="1")["model_version"]["status"]

    assert (pending, ready) == ("PENDING_REGISTRATION", "READY")
    assert client.files.download(file).contents.read() == b"flavors: {}"
    with pytest.raises(BadRequest, match="its files do not change"):
        client.api_client.do("PUT", f"/api/2.0/fs/files{file}", data=b"other")
    with pytest.raises(BadRequest, match="not allowed"):
        client.api_client.do("GET", "/api/2.0/fs/files/Models/main/tests/files/1/%2E%2E/%2E%2E/x")
    with pytest.raises(NotFound):
        client.files.download("/Models/main/tests/files/2/MLmodel")
    with pytest.raises(BadRequest, match="<version>"):
        client.files.download(f"/Models/main/tests/files/{10**20}/MLmodel")
    with pytest.raises(DatabricksError, match="no cloud storage here"):
        post("model-versions/generate-temporary-credentials", version="1")
    with pytest.raises(DatabricksError, match=r"POST /api/2\.0/mlflow/unity-catalog/prompts is not part"):
        post("prompts")
    client.api_client.do("DELETE", f"{registry}/registered-models/delete", query=name)
    assert not (workspace.state / "registered_models/main/tests/files").exists()


@pytest.mark.parametrize("token", ["é", "NQ==", "nonsense"])
def test_a_page_token_that_nobody_gave_out_is_refused(workspace, token):
    for kind in ("registered-models", "model-versions"):
        with pytest.raises(BadRequest, match="page_token is not one that was given out"):
            workspace.client.api_client.do(
                "GET", f"/api/2.0/mlflow/unity-catalog/{kind}/search", query={"page_token": token}
            )


def test_a_stranger_reads_no_model(workspace):
    answer = requests.get(f"{workspace.profile['host']}/api/2.0/fs/files/Models/a/b/c/1/MLmodel", timeout=30)

    assert answer.status_code == 401
