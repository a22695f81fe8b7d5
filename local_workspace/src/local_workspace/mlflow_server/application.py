"""MLflow's own server application, on the workspace's files."""

import os
from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any

from fastapi import FastAPI

from local_workspace.mlflow_server import mlflow_file
from local_workspace.store.sqlite_file import SqliteFile
from local_workspace.store.state import StateFolder

if TYPE_CHECKING:
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

    Stores = tuple[TrackingStore, SqlAlchemyStore]


def mlflow_application(state: StateFolder) -> tuple[FastAPI, "Stores", AbstractContextManager[Any]]:
    """MLflow's own server application on a sqlite file, its stores, and the lock of their writers.

    Leans on names that MLflow does not promise.
    """
    os.environ |= {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false", "MLFLOW_DISABLE_TELEMETRY": "true"}
    from mlflow.server import constants, handlers

    if not state.mlflow_database.exists():
        mlflow_file.create(state.mlflow_database)
    file = SqliteFile(state.mlflow_database)
    mlflow_file.take_along(state.mlflow_database, state.root)
    os.environ[constants.BACKEND_STORE_URI_ENV_VAR] = f"sqlite:///{state.mlflow_database}"
    os.environ[constants.ARTIFACT_ROOT_ENV_VAR] = state.mlflow_artifacts.as_uri()
    handlers.initialize_backend_stores(
        os.environ[constants.BACKEND_STORE_URI_ENV_VAR],
        default_artifact_root=os.environ[constants.ARTIFACT_ROOT_ENV_VAR],
    )
    mlflow_file.keep_in_place(file)
    mlflow_file.keep_artifacts_inside(handlers, state.mlflow_artifacts)
    from mlflow.server.fastapi_app import app
    from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
    from mlflow.store.tracking.sqlalchemy_store import SqlAlchemyStore as TrackingStore

    tracking, store = handlers._get_tracking_store(), handlers._get_model_registry_store()
    assert isinstance(tracking, TrackingStore)
    assert isinstance(store, SqlAlchemyStore)
    return app, (tracking, store), mlflow_file.take_turns(tracking, store)
