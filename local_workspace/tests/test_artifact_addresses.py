"""Artifacts as clients at `databricks` see them, and the folders that MLflow's client removes."""

import shutil
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
import uvicorn
from fastapi import FastAPI, Request
from local_workspace.mlflow_server import artifact_addresses
from local_workspace.mlflow_server.kept_models import PutBack, Sources
from local_workspace.rest.body_limit import LARGEST_BODY, BodyLimit
from local_workspace.rest.error_responses import add_handlers
from local_workspace.store.state import StateFolder
from real_workspace import free_port

SDK = {"user-agent": "unknown/0.0.0 databricks-sdk-py/0.156.0"}
PLAIN = {"user-agent": "mlflow-python-client/3.17.2"}


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    folder = StateFolder(tmp_path / "a state")
    folder.create()
    return folder


@pytest.fixture
def sources(state: StateFolder) -> Sources:
    return Sources(state)


@dataclass
class Client:
    """A server that answers with what it was sent, in MLflow's place."""

    host: str
    received: list[dict[str, Any]] = field(default_factory=list)

    def __call__(self, method: str, path: str, **options: Any) -> requests.Response:
        return requests.request(method, self.host + path, allow_redirects=False, timeout=10, **options)


@pytest.fixture
def client(state: StateFolder, sources: Sources, eventually: Callable[..., None]) -> Iterator[Client]:
    port = free_port()
    client = Client(f"http://127.0.0.1:{port}")
    app = FastAPI()
    add_handlers(app)
    app.include_router(artifact_addresses.router(state))

    @app.post("/api/2.0/mlflow/echo")
    async def echo(request: Request) -> dict[str, Any]:
        client.received.append(await request.json())
        return client.received[-1]

    app.add_middleware(PutBack, sources=sources)
    app.add_middleware(artifact_addresses.ArtifactAddresses, state=state)
    app.add_middleware(BodyLimit)
    server = uvicorn.Server(uvicorn.Config(app, port=port, http="httptools", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    eventually(lambda: server.started)
    yield client
    server.should_exit = True
    thread.join()


def test_a_body_that_grows_too_large_before_its_addresses_are_translated_is_refused(client: Client):
    pieces = (b"x" * 2**20 for _ in range(LARGEST_BODY // 2**20 + 1))
    try:
        answer = client("POST", "/api/2.0/mlflow/echo", data=pieces, headers=SDK)
    except requests.ConnectionError:
        return  # the server closed while it was still being sent to
    assert (answer.status_code, answer.json()["error_code"]) == (413, "MAX_REQUEST_SIZE_EXCEEDED")


@pytest.mark.parametrize(
    ("kept", "shown"),
    [
        ("7/abc/artifacts", "7/abc/artifacts"),
        ("7/models/m-1/artifacts", "7/logged_models/m-1/artifacts"),
        ("7", "7"),
    ],
)
def test_addresses_are_databricks_own_for_a_client_at_databricks(client, state, kept, shown):
    kept_uri = f"{state.mlflow_artifacts.as_uri()}/{kept}"
    shown_uri = f"dbfs:/databricks/mlflow-tracking/{shown}"

    answer = client("POST", "/api/2.0/mlflow/echo", json={"uri": shown_uri}, headers=SDK)
    plain = client("POST", "/api/2.0/mlflow/echo", json={"uri": kept_uri}, headers=PLAIN)

    assert answer.json()["uri"] == shown_uri
    assert int(answer.headers["content-length"]) == len(answer.content)
    assert plain.json()["uri"] == kept_uri
    assert client.received == [{"uri": kept_uri}, {"uri": kept_uri}]
    assert answer.headers["x-databricks-org-id"] == "1"


def test_files_of_runs_and_logged_models_travel_over_the_files_api(client, state):
    root = "/api/2.0/fs/files/WorkspaceInternal/Mlflow/Artifacts/7"
    client("PUT", f"{root}/Runs/abc/artifacts/notes/a.txt", data=b"run")
    client("PUT", f"{root}/LoggedModels/m-1/artifacts/MLmodel", data=b"model")

    assert (state.mlflow_artifacts / "7/abc/artifacts/notes/a.txt").read_bytes() == b"run"
    assert client("GET", f"{root}/LoggedModels/m-1/artifacts/MLmodel").content == b"model"
    assert (state.mlflow_artifacts / "7/models/m-1/artifacts/MLmodel").read_bytes() == b"model"
    for elsewhere in ("Other/abc/x", "Runs", "Runs/%2E%2E/%2E%2E/mlflow.db"):
        assert client("GET", f"{root}/{elsewhere}").status_code == 400


def test_a_folder_that_was_removed_after_registration_is_put_back(client, state, sources):
    folder = state.mlflow_artifacts / "7/models/m-1/artifacts"
    version = state.registered_models / "main/default/model/1"
    for place in (folder, version):
        place.mkdir(parents=True)
        (place / "MLmodel").write_text("flavors: {}")
    (version / "registered_model_meta").write_text("model_name: x")
    sources.remember(folder.as_uri(), version)
    shutil.rmtree(folder)

    client("POST", "/api/2.0/mlflow/echo", json={}, headers=PLAIN)

    assert [file.name for file in folder.iterdir()] == ["MLmodel"]


def test_only_what_mlflow_keeps_is_put_back_and_not_for_ever(state, sources, tmp_path, monkeypatch):
    foreign = tmp_path / "foreign"
    foreign.mkdir()
    sources.remember(foreign.as_uri(), tmp_path)
    sources.remember("runs:/abc/model", tmp_path)
    outside_is_ignored = sources.is_empty()
    own = state.mlflow_artifacts / "7"
    own.mkdir()
    monkeypatch.setattr("local_workspace.mlflow_server.kept_models.SECONDS", -1)
    sources.remember(own.as_uri(), tmp_path)
    own.rmdir()
    sources.put_back()

    assert outside_is_ignored
    assert sources.is_empty()
    assert not own.exists()
