"""Models in Unity Catalog, kept in MLflow's own registry: `/api/2.0/mlflow/unity-catalog`.

What a client registers here is the same model that plain MLflow sees, and the other way round.
"""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Request
from mlflow.entities.model_registry import (
    RegisteredModel,
    RegisteredModelTag,
)
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from local_workspace.errors import DoesNotExist, InvalidParameter, InvalidState, NotSupported
from local_workspace.jobs.deployment_jobs import DeploymentJobs
from local_workspace.mlflow_server.kept_models import Sources
from local_workspace.mlflow_server.model_requests import (
    MlflowRoute,
    length_of,
    name_of,
    page_token_of,
    tags_of,
)
from local_workspace.mlflow_server.owned_models import (
    ADDING,
    KNOWING,
    TAGGING,
    create_model,
    delete_alias,
    delete_model,
    folder_of,
    model_document,
    set_alias,
    version_document,
    visible,
)
from local_workspace.mlflow_server.unity_catalog_versions import PENDING, add_version_tags, add_versions
from local_workspace.rest import files
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.securables import MODEL, Securable, Securables
from local_workspace.store.database import Document
from local_workspace.store.state import StateFolder, resolve

PREFIX = "/api/2.0/mlflow/unity-catalog"
VERSION = re.compile(r"[0-9]{1,18}")
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


def router(
    store: SqlAlchemyStore,
    state: StateFolder,
    sources: Sources,
    writing: AbstractContextManager[Any],
    rights: Securables,
    jobs: DeploymentJobs,
) -> APIRouter:
    """The registry behind `databricks-uc`, and the files of its models under `/api/2.0/fs`.

    `writing` keeps other writers away while a row and its files change together.
    """
    routes = APIRouter(prefix=PREFIX, route_class=MlflowRoute)
    _add_models(routes, store, state, writing, rights, jobs)
    _add_model_tags_and_aliases(routes, store, rights)
    add_versions(routes, store, state, sources, writing, rights, jobs)
    add_version_tags(routes, store, rights)
    _add_storage(routes, store, rights)
    both = APIRouter()
    both.include_router(routes)
    locate = ModelFiles(store, state, rights).locate
    both.include_router(files.folder_router("Models", state.registered_models, locate, state, MlflowRoute))
    return both


class ModelFiles:
    """Where the files of a model version lie; those of a finished version can only be read."""

    def __init__(self, store: SqlAlchemyStore, state: StateFolder, rights: Securables) -> None:
        self._store = store
        self._state = state
        self._rights = rights

    def locate(self, path: str, write: bool) -> Path:
        """The file or folder that `<catalog>/<schema>/<model>/<version>/…` names."""
        *levels, version, rest = [*path.strip("/").split("/", 4), ""][:5]
        if len(levels) < 3 or not VERSION.fullmatch(version):
            raise InvalidParameter(f"/Models/{path} is not /Models/<catalog>/<schema>/<model>/<version>/…")
        name = ".".join(levels)
        self._rights.require(Securable(MODEL, name), *(ADDING if write else ("EXECUTE",)))
        if write and self._store.get_model_version(name, version).status != PENDING:
            raise InvalidState(f"Version {version} of model {name} is registered: its files do not change.")
        return resolve(self._root(name, version), rest)

    def _root(self, name: str, version: str) -> Path:
        location = urlsplit(self._store.get_model_version_download_uri(name, version))
        root = Path(unquote(location.path))
        kept = (self._state.mlflow_artifacts, self._state.registered_models)
        if location.scheme != "file" or not any(root.resolve().is_relative_to(f.resolve()) for f in kept):
            raise DoesNotExist(f"The files of version {version} of model {name} are not in this workspace.")
        return root


def _add_models(
    routes: APIRouter,
    store: SqlAlchemyStore,
    state: StateFolder,
    writing: AbstractContextManager[Any],
    rights: Securables,
    jobs: DeploymentJobs,
) -> None:
    def shown(model: RegisteredModel) -> Document:
        deployment = {
            "deployment_job_id": jobs.job_of(model.name),
            "deployment_job_state": jobs.state_of(model.name),
        }
        return model_document(model, rights) | deployment

    @routes.post("/registered-models/create")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make a model of three levels, without versions; it belongs to who makes it."""
        tags = [RegisteredModelTag(key, value) for key, value in tags_of(fields)]
        name, job_id = name_of(fields), fields.text("deployment_job_id", "")
        folder_of(state, name)  # refuses a name that no folder can have
        if job_id:
            jobs.check(job_id)
        made = create_model(store, rights, name, tags, fields.text("description", ""))
        if job_id:
            jobs.connect(name, job_id)
        return {"registered_model": shown(made)}

    @routes.get("/registered-models/get")
    def get_model(fields: RequestFields) -> dict[str, Any]:
        """One model with its aliases and tags."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        return {"registered_model": shown(store.get_registered_model(name))}

    @routes.get("/registered-models/search")
    def search_models(fields: RequestFields) -> dict[str, Any]:
        """The models that the caller may see, page by page."""
        found = store.search_registered_models(None, length_of(fields), None, page_token_of(fields))
        return {
            "registered_models": [shown(model) for model in found if visible(rights, model.name)],
            "next_page_token": found.token,
        }

    @routes.patch("/registered-models/update")
    def update_model(fields: RequestFields) -> dict[str, Any]:
        """Change a model's description, and the job that each new version of it starts."""
        name, new_name = name_of(fields), fields.text("new_name", "")
        if new_name:
            raise NotSupported(f"model {name} cannot be renamed to {new_name!r} here; register it anew")
        rights.require(Securable(MODEL, name), "MANAGE")
        changed = store.get_registered_model(name)
        if job_id := fields.text("deployment_job_id", ""):
            jobs.connect(name, job_id)
        elif "deployment_job_id" in fields:
            jobs.disconnect(name)
        if "description" in fields or "deployment_job_id" not in fields:
            changed = store.update_registered_model(name, fields.text("description", ""))
        return {"registered_model": shown(changed)}

    @routes.delete("/registered-models/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a model with its versions and their files."""
        delete_model(store, state, writing, rights, name_of(fields), jobs)
        return {}


def _add_model_tags_and_aliases(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    @routes.post("/registered-models/set-tag")
    def set_model_tag(fields: RequestFields) -> dict[str, Any]:
        """Set a tag of a model."""
        tag = RegisteredModelTag(fields.text("key"), fields.text("value", ""))
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.set_registered_model_tag(name, tag)
        return {}

    @routes.delete("/registered-models/delete-tag")
    def delete_model_tag(fields: RequestFields) -> dict[str, Any]:
        """Remove a tag of a model."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.delete_registered_model_tag(name, fields.text("key"))
        return {}

    @routes.post("/registered-models/alias")
    def put_alias(fields: RequestFields) -> dict[str, Any]:
        """Let an alias name a version."""
        set_alias(store, rights, name_of(fields), fields.text("alias"), fields.natural("version"))
        return {}

    @routes.get("/registered-models/alias")
    def get_version_by_alias(fields: RequestFields) -> dict[str, Any]:
        """The version that an alias names."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        version = store.get_model_version_by_alias(name, fields.text("alias"))
        return {"model_version": version_document(version)}

    @routes.delete("/registered-models/alias")
    def remove_alias(fields: RequestFields) -> dict[str, Any]:
        """Remove an alias."""
        delete_alias(store, rights, name_of(fields), fields.text("alias"))
        return {}


def _add_storage(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    @routes.get("/registered-models:is-databricks-sdk-models-artifact-repository-enabled")
    def files_travel_over_the_files_api() -> dict[str, Any]:
        """Yes: files travel over `/api/2.0/fs/files/Models`."""
        return {"is_databricks_sdk_models_artifact_repository_enabled": True}

    @routes.get("/model-versions/get-download-uri")
    def get_download_uri(fields: RequestFields) -> dict[str, Any]:
        """Where the files of a version lie."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), "EXECUTE")
        uri = store.get_model_version_download_uri(name, fields.natural("version"))
        return {"artifact_uri": uri}

    @routes.post("/model-versions/emit-lineage")
    def take_lineage(fields: RequestFields) -> dict[str, Any]:
        """Accepted and not kept: there is no lineage page here."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *ADDING)
        store.get_model_version(name, fields.natural("version"))
        return {}

    @routes.post("/model-versions/generate-temporary-credentials", include_in_schema=False)
    def refuse_credentials() -> None:
        raise NotSupported("there is no cloud storage here; model files travel over /api/2.0/fs/files")

    @routes.api_route("/{rest:path}", methods=METHODS, include_in_schema=False)
    def refuse(request: Request) -> None:
        raise NotSupported(f"{request.method} {request.url.path} is not part of the local workspace")
