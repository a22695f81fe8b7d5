"""Keeps the files of a logged model where they are when it is registered at `databricks-uc`.

MLflow's client takes the folder of a model for a download of its own, and removes it when it has registered
the model; here the folder may be the only one. It is put back before MLflow is asked for anything else.
"""

import shutil
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

from starlette.concurrency import run_in_threadpool
from starlette.types import ASGIApp, Receive, Scope, Send

from local_workspace.store.state import StateFolder

# What the client writes into the folder of a version and not into that of the model.
OF_THE_VERSION = "registered_model_meta"
# The client removes the folder at once; whoever does so later means it.
SECONDS = 300
MLFLOW = ("/api/2.0/mlflow", "/ajax-api/")


class Sources:
    """The folders of models that were registered a short while ago, each with that of its version."""

    def __init__(self, state: StateFolder) -> None:
        self._root = state.mlflow_artifacts.resolve()
        self._lock = threading.Lock()
        self._registered: dict[Path, tuple[Path, float]] = {}

    def remember(self, uri: str, version: Path) -> None:
        """Note that the model at `uri` becomes a version whose files are in the folder `version`."""
        location = urlsplit(uri)
        folder = Path(unquote(location.path)).resolve()
        if location.scheme == "file" and folder.is_dir() and folder.is_relative_to(self._root):
            with self._lock:
                self._registered[folder] = (version, time.monotonic() + SECONDS)

    def is_empty(self) -> bool:
        """Whether there is nothing to look after."""
        return not self._registered

    def put_back(self) -> None:
        """Restore each folder that is gone; forget those that were registered long enough ago."""
        with self._lock:
            for folder, (version, until) in list(self._registered.items()):
                if time.monotonic() > until or (not version.exists() and not folder.exists()):
                    del self._registered[folder]
                elif not folder.exists():
                    shutil.copytree(version, folder, ignore=shutil.ignore_patterns(OF_THE_VERSION))


class PutBack:
    """Has the folders put back before a request reaches MLflow."""

    def __init__(self, app: ASGIApp, sources: Sources) -> None:
        self.app = app
        self.sources = sources

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on."""
        if scope["type"] == "http" and not self.sources.is_empty() and scope["path"].startswith(MLFLOW):
            await run_in_threadpool(self.sources.put_back)
        await self.app(scope, receive, send)
