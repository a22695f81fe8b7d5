"""Models in Unity Catalog, kept in MLflow's own registry: `/api/2.0/mlflow/unity-catalog`.

What a client registers here is the same model that plain MLflow sees, and the other way round.
"""

import json
import re
from collections.abc import Callable, Coroutine
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any
from urllib.parse import unquote, urlsplit

from fastapi import APIRouter, Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from mlflow.entities.model_registry import (
    ModelVersion,
    ModelVersionTag,
    RegisteredModel,
    RegisteredModelTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore
from mlflow.utils.search_utils import SearchUtils

from local_workspace.callers import USER_NAME, caller
from local_workspace.errors import DoesNotExist, InvalidParameter, InvalidState, NotSupported
from local_workspace.jobs.deployment_jobs import DeploymentJobs
from local_workspace.mlflow_server.kept_models import Sources
from local_workspace.rest import files
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.securables import MODEL, SCHEMA, Securable, Securables
from local_workspace.store.database import Document
from local_workspace.store.state import StateFolder, resolve

PREFIX = "/api/2.0/mlflow/unity-catalog"
PENDING, READY = "PENDING_REGISTRATION", "READY"
LEVEL = r"[^\x00-\x20./\x7f]+"
NAME = re.compile(rf"{LEVEL}\.{LEVEL}\.{LEVEL}")
VERSION = re.compile(r"[0-9]{1,18}")
LOGGED_MODEL = re.compile(r"models:/(m-\w+)")
LISTED_AT_ONCE = 100
# Any one of these is enough; the first is what a refusal names.
KNOWING = ("EXECUTE", "CREATE_MODEL_VERSION", "MANAGE", "APPLY_TAG", "BROWSE")
ADDING = ("CREATE_MODEL_VERSION",)
TAGGING = ("APPLY_TAG",)
METHODS = ["GET", "POST", "PUT", "PATCH", "DELETE"]


class MlflowRoute(APIRoute):
    """Answers an error of MLflow's store as Databricks does: `error_code` and `message`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except MlflowException as error:
                return JSONResponse(json.loads(error.serialize_as_json()), error.get_http_status_code())

        return answer


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
    _add_versions(routes, store, state, sources, writing, rights, jobs)
    _add_version_tags(routes, store, rights)
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
        return _model(model, rights) | deployment

    @routes.post("/registered-models/create")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make a model of three levels, without versions; it belongs to who makes it."""
        tags = [RegisteredModelTag(key, value) for key, value in _tags(fields)]
        name, job_id = _name(fields), fields.text("deployment_job_id", "")
        _folder(state, name)  # refuses a name that no folder can have
        if job_id:
            jobs.check(job_id)
        made = create_model(store, rights, name, tags, fields.text("description", ""))
        if job_id:
            jobs.connect(name, job_id)
        return {"registered_model": shown(made)}

    @routes.get("/registered-models/get")
    def get_model(fields: RequestFields) -> dict[str, Any]:
        """One model with its aliases and tags."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        return {"registered_model": shown(store.get_registered_model(name))}

    @routes.get("/registered-models/search")
    def search_models(fields: RequestFields) -> dict[str, Any]:
        """The models that the caller may see, page by page."""
        found = store.search_registered_models(None, _length(fields), None, _page_token(fields))
        return {
            "registered_models": [shown(model) for model in found if visible(rights, model.name)],
            "next_page_token": found.token,
        }

    @routes.patch("/registered-models/update")
    def update_model(fields: RequestFields) -> dict[str, Any]:
        """Change a model's description, and the job that each new version of it starts."""
        name, new_name = _name(fields), fields.text("new_name", "")
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
        delete_model(store, state, writing, rights, _name(fields), jobs)
        return {}


def create_model(
    store: SqlAlchemyStore, rights: Securables, name: str, tags: list[RegisteredModelTag], description: str
) -> RegisteredModel:
    """A model of the caller's, with CREATE MODEL on its schema."""
    one = Securable(MODEL, name)
    # Who may see that the model is there is told so: clients make sure of it before each version.
    if not (exists(store, name) and visible(rights, name)):
        rights.require(Securable(SCHEMA, name.rpartition(".")[0]), "CREATE_MODEL")
    model: RegisteredModel = store.create_registered_model(name, tags, description)
    rights.made(one, caller())
    return model


def delete_model(
    store: SqlAlchemyStore,
    state: StateFolder,
    writing: AbstractContextManager[Any],
    rights: Securables,
    name: str,
    jobs: DeploymentJobs,
) -> None:
    """Removes a model with its versions, their files, its job and what was granted on it."""
    rights.require(Securable(MODEL, name), "MANAGE")
    with writing:
        store.delete_registered_model(name)
        _remove_files(state, _folder(state, name))
    jobs.disconnect(name)
    rights.removed(Securable(MODEL, name))


def delete_version(
    store: SqlAlchemyStore,
    state: StateFolder,
    writing: AbstractContextManager[Any],
    rights: Securables,
    name: str,
    version: int,
) -> None:
    """Removes a version and its files."""
    rights.require(Securable(MODEL, name), "MANAGE")
    with writing:
        store.delete_model_version(name, version)
        _remove_files(state, _folder(state, name, version))


def set_alias(store: SqlAlchemyStore, rights: Securables, name: str, alias: str, version: int) -> None:
    """Lets an alias name a version: the owner's, and an administrator's of the metastore."""
    rights.require(Securable(MODEL, name), "MANAGE")
    store.set_registered_model_alias(name, alias, str(version))


def delete_alias(store: SqlAlchemyStore, rights: Securables, name: str, alias: str) -> None:
    """Removes an alias; who may set one may do this."""
    rights.require(Securable(MODEL, name), "MANAGE")
    store.delete_registered_model_alias(name, alias)


def exists(store: SqlAlchemyStore, name: str) -> bool:
    """Whether there is a model of this name."""
    try:
        store.get_registered_model(name)
    except MlflowException:
        return False
    return True


def visible(rights: Securables, name: str) -> bool:
    """Whether the caller may know of a model."""
    return NAME.fullmatch(name) is not None and not rights.lack(caller(), KNOWING, Securable(MODEL, name))


def _add_model_tags_and_aliases(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    @routes.post("/registered-models/set-tag")
    def set_model_tag(fields: RequestFields) -> dict[str, Any]:
        """Set a tag of a model."""
        tag = RegisteredModelTag(fields.text("key"), fields.text("value", ""))
        name = _name(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.set_registered_model_tag(name, tag)
        return {}

    @routes.delete("/registered-models/delete-tag")
    def delete_model_tag(fields: RequestFields) -> dict[str, Any]:
        """Remove a tag of a model."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.delete_registered_model_tag(name, fields.text("key"))
        return {}

    @routes.post("/registered-models/alias")
    def put_alias(fields: RequestFields) -> dict[str, Any]:
        """Let an alias name a version."""
        set_alias(store, rights, _name(fields), fields.text("alias"), fields.natural("version"))
        return {}

    @routes.get("/registered-models/alias")
    def get_version_by_alias(fields: RequestFields) -> dict[str, Any]:
        """The version that an alias names."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        version = store.get_model_version_by_alias(name, fields.text("alias"))
        return {"model_version": _version(version)}

    @routes.delete("/registered-models/alias")
    def remove_alias(fields: RequestFields) -> dict[str, Any]:
        """Remove an alias."""
        delete_alias(store, rights, _name(fields), fields.text("alias"))
        return {}


def _add_versions(
    routes: APIRouter,
    store: SqlAlchemyStore,
    state: StateFolder,
    sources: Sources,
    writing: AbstractContextManager[Any],
    rights: Securables,
    jobs: DeploymentJobs,
) -> None:
    @routes.post("/model-versions/create")
    def create_version(fields: RequestFields) -> dict[str, Any]:
        """Make a version that waits for its files."""
        name = _name(fields)
        tags = [ModelVersionTag(key, value) for key, value in _tags(fields)]
        rights.require(Securable(MODEL, name), *ADDING)
        source, run_id = fields.text("source"), fields.text("run_id", "") or None
        with writing:
            made = store.create_model_version(
                name,
                source,
                run_id,
                tags,
                None,
                fields.text("description", ""),
                model_id=fields.text("model_id", "") or None,
            )
            found_at = store.get_model_version_download_uri(name, made.version)
            folder = _folder(state, name, made.version)
            _remove_files(state, folder)  # of a deleted version that had this number
            kept = {"status": PENDING, "storage_location": folder.as_uri(), "user_id": caller()}
            _write(store, name, made.version, **kept)
            sources.remember(found_at, folder)
            return {"model_version": _version(store.get_model_version(name, made.version))}

    @routes.post("/model-versions/finalize")
    def finalize_version(fields: RequestFields) -> dict[str, Any]:
        """Say that the files are there; they do not change any more. Starts the model's deployment job."""
        name, version = _name(fields), fields.natural("version")
        rights.require(Securable(MODEL, name), *ADDING)
        with writing:  # of two that say so, one starts the job
            was_pending = store.get_model_version(name, version).status == PENDING
            _write(store, name, version, status=READY)
        if was_pending:
            jobs.start(name, str(version))
        return {"model_version": _version(store.get_model_version(name, version))}

    @routes.get("/model-versions/get")
    def get_version(fields: RequestFields) -> dict[str, Any]:
        """One version with its aliases and tags."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        return {"model_version": _version(store.get_model_version(name, fields.natural("version")))}

    @routes.get("/model-versions/search")
    def search_versions(fields: RequestFields) -> dict[str, Any]:
        """The versions of a model or a run, page by page."""
        found = store.search_model_versions(
            fields.text("filter", "") or None, _length(fields), None, _page_token(fields)
        )
        shown = [_version(version) for version in found if visible(rights, version.name)]
        return {"model_versions": shown, "next_page_token": found.token}

    @routes.patch("/model-versions/update")
    def update_version(fields: RequestFields) -> dict[str, Any]:
        """Change a version's description."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), "MANAGE")
        version = store.update_model_version(name, fields.natural("version"), fields.text("description", ""))
        return {"model_version": _version(version)}

    @routes.delete("/model-versions/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a version and its files."""
        delete_version(store, state, writing, rights, _name(fields), fields.natural("version"))
        return {}


def _add_version_tags(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    @routes.post("/model-versions/set-tag")
    def set_version_tag(fields: RequestFields) -> dict[str, Any]:
        """Set a tag of a version."""
        tag = ModelVersionTag(fields.text("key"), fields.text("value", ""))
        name = _name(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.set_model_version_tag(name, fields.natural("version"), tag)
        return {}

    @routes.delete("/model-versions/delete-tag")
    def delete_version_tag(fields: RequestFields) -> dict[str, Any]:
        """Remove a tag of a version."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.delete_model_version_tag(name, fields.natural("version"), fields.text("key"))
        return {}


def _add_storage(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    @routes.get("/registered-models:is-databricks-sdk-models-artifact-repository-enabled")
    def files_travel_over_the_files_api() -> dict[str, Any]:
        """Yes: files travel over `/api/2.0/fs/files/Models`."""
        return {"is_databricks_sdk_models_artifact_repository_enabled": True}

    @routes.get("/model-versions/get-download-uri")
    def get_download_uri(fields: RequestFields) -> dict[str, Any]:
        """Where the files of a version lie."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), "EXECUTE")
        uri = store.get_model_version_download_uri(name, fields.natural("version"))
        return {"artifact_uri": uri}

    @routes.post("/model-versions/emit-lineage")
    def take_lineage(fields: RequestFields) -> dict[str, Any]:
        """Accepted and not kept: there is no lineage page here."""
        name = _name(fields)
        rights.require(Securable(MODEL, name), *ADDING)
        store.get_model_version(name, fields.natural("version"))
        return {}

    @routes.post("/model-versions/generate-temporary-credentials", include_in_schema=False)
    def refuse_credentials() -> None:
        raise NotSupported("there is no cloud storage here; model files travel over /api/2.0/fs/files")

    @routes.api_route("/{rest:path}", methods=METHODS, include_in_schema=False)
    def refuse(request: Request) -> None:
        raise NotSupported(f"{request.method} {request.url.path} is not part of the local workspace")


def _name(fields: Fields) -> str:
    name = fields.text("name")
    if not NAME.fullmatch(name):
        raise InvalidParameter(f"model name {name!r} must have three levels: <catalog>.<schema>.<model>")
    return name


def _tags(fields: Fields) -> list[tuple[str, str]]:
    tags = fields.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        raise InvalidParameter("tags must be a list of objects with key and value")
    return [(Fields(tag).text("key"), Fields(tag).text("value", "")) for tag in tags]


def _length(fields: Fields) -> int:
    return fields.natural("max_results", 0) or LISTED_AT_ONCE


def _page_token(fields: Fields) -> str | None:
    """The token of a page; MLflow's store itself fails on one that it never gave out."""
    token = fields.text("page_token", "") or None
    try:
        SearchUtils.parse_start_offset_from_page_token(token)
    except (ValueError, AttributeError, MlflowException) as error:
        raise InvalidParameter(f"page_token is not one that was given out: {token!r:.100}") from error
    return token


def _write(store: SqlAlchemyStore, name: str, version: int, **columns: str) -> None:
    """Write what the store itself offers no way to change."""
    with store.ManagedSessionMaker(read_only=False) as session:
        row = store._get_sql_model_version(session, name, version)
        for column, value in columns.items():
            setattr(row, column, value)


def _folder(state: StateFolder, name: str, *version: int) -> Path:
    """Where the files of a version lie, or those of every version of a model."""
    return resolve(state.registered_models, "/".join([*name.split("."), *map(str, version)]))


def _remove_files(state: StateFolder, folder: Path) -> None:
    if folder.exists():
        state.remove(folder)


def _model(model: RegisteredModel, rights: Securables) -> Document:
    return {
        "name": model.name,
        "creation_timestamp": model.creation_timestamp,
        "last_updated_timestamp": model.last_updated_timestamp,
        "user_id": rights.record(Securable(MODEL, model.name))["owner"],
        "description": model.description or "",
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()],
        "tags": _pairs(model.tags),
    }


def _version(version: ModelVersion) -> Document:
    logged_model = LOGGED_MODEL.fullmatch(version.source or "")
    return {
        "name": version.name,
        "version": str(version.version),
        "creation_timestamp": version.creation_timestamp,
        "last_updated_timestamp": version.last_updated_timestamp,
        "user_id": version.user_id or USER_NAME,
        "description": version.description or "",
        "source": version.source,
        "run_id": version.run_id or "",
        "status": version.status,
        "status_message": version.status_message or "",
        "aliases": [{"alias": alias, "version": str(version.version)} for alias in version.aliases],
        "tags": _pairs(version.tags),
        "model_id": logged_model[1] if logged_model else "",
    }


def _pairs(tags: dict[str, str]) -> list[Document]:
    return [{"key": key, "value": value} for key, value in tags.items()]
