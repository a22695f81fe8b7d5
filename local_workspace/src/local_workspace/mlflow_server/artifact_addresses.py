"""The files of runs and logged models, for clients that track at `databricks`.

As on Databricks these clients see addresses `dbfs:/databricks/mlflow-tracking/…`, and the files travel over
`/api/2.0/fs`. MLflow itself keeps `file:` addresses, which clients with an http address use as they are. A
client at `databricks` must not: registering a model, it removes the folder that it takes for its download.
"""

import re
from pathlib import Path

from fastapi import APIRouter
from starlette.datastructures import MutableHeaders
from starlette.types import ASGIApp, Message, Receive, Scope, Send

from local_workspace.errors import InvalidParameter
from local_workspace.rest import files
from local_workspace.store.state import StateFolder, resolve
from local_workspace.words import WORKSPACE_ID

ROOT = "WorkspaceInternal/Mlflow/Artifacts"
ADDRESS = b"dbfs:/databricks/mlflow-tracking"
FOLDERS = {"Runs": "", "LoggedModels": "models/"}
TRACKING = re.compile(r"/api/\d\.\d/mlflow/")


def router(state: StateFolder) -> APIRouter:
    """Read, write and list what MLflow keeps for its runs and logged models."""

    def locate(path: str, _write: bool) -> Path:
        experiment, _, rest = path.strip("/").partition("/")
        kind, _, below = rest.partition("/")
        if kind not in FOLDERS or not below.strip("/"):
            raise InvalidParameter(f"/{ROOT}/{path} is not /{ROOT}/<experiment>/{'|'.join(FOLDERS)}/<id>/…")
        return resolve(state.mlflow_artifacts, f"{experiment}/{FOLDERS[kind]}{below}")

    return files.folder_router(ROOT, state.mlflow_artifacts, locate, state)


class ArtifactAddresses:
    """Translates artifact addresses between MLflow's server and clients that track at `databricks`."""

    def __init__(self, app: ASGIApp, state: StateFolder) -> None:
        self.app = app
        self.kept = state.mlflow_artifacts.as_uri().encode()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, and the answer back, with the addresses that the other side knows."""
        agent = dict(scope.get("headers", ())).get(b"user-agent", b"")
        if scope["type"] != "http" or b"databricks-sdk-" not in agent or not TRACKING.match(scope["path"]):
            return await self.app(scope, receive, send)
        body = self._to_server(await _whole_body(receive))
        headers = MutableHeaders(raw=list(scope["headers"]))
        if body:
            headers["content-length"] = str(len(body))
        messages = iter([{"type": "http.request", "body": body, "more_body": False}])

        async def translated() -> Message:
            return next(messages, None) or await receive()

        await self.app({**scope, "headers": headers.raw}, translated, _Answer(self, send))

    def _to_server(self, body: bytes) -> bytes:
        body = re.sub(rb"(%s/[^/\"]+)/logged_models/" % re.escape(ADDRESS), rb"\1/models/", body)
        return body.replace(ADDRESS, self.kept)

    def to_client(self, body: bytes) -> bytes:
        """An answer with the addresses that Databricks gives out."""
        body = re.sub(rb"(%s/[^/\"]+)/models/" % re.escape(self.kept), rb"\1/logged_models/", body)
        return body.replace(self.kept, ADDRESS)


class _Answer:
    """Sends an answer on when it is complete, so that its length can be told."""

    def __init__(self, addresses: ArtifactAddresses, send: Send) -> None:
        self._addresses = addresses
        self._send = send
        self._body = bytearray()
        self._start: Message = {}

    async def __call__(self, message: Message) -> None:
        if message["type"] == "http.response.start":
            self._start = message
            return
        self._body += message.get("body", b"")
        if message.get("more_body"):
            return
        body = self._addresses.to_client(bytes(self._body))
        headers = MutableHeaders(raw=list(self._start["headers"]))
        headers["x-databricks-org-id"] = WORKSPACE_ID
        if "content-length" in headers:
            headers["content-length"] = str(len(body))
        await self._send({**self._start, "headers": headers.raw})
        await self._send({"type": "http.response.body", "body": body, "more_body": False})


async def _whole_body(receive: Receive) -> bytes:
    body, more = bytearray(), True
    while more:
        message = await receive()
        body += message.get("body", b"")
        more = message.get("more_body", False)
    return bytes(body)
