"""Registered models as what is owned: who may make, remove and name them, and what a client is shown."""

import re
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any

from mlflow.entities.model_registry import (
    ModelVersion,
    RegisteredModel,
    RegisteredModelTag,
)
from mlflow.exceptions import MlflowException
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from local_workspace.callers import USER_NAME, caller
from local_workspace.jobs.deployment_jobs import DeploymentJobs
from local_workspace.rest.securables import MODEL, SCHEMA, Securable, Securables
from local_workspace.store.database import Document
from local_workspace.store.state import StateFolder, resolve

LEVEL = r"[^\x00-\x20./\x7f]+"
NAME = re.compile(rf"{LEVEL}\.{LEVEL}\.{LEVEL}")
LOGGED_MODEL = re.compile(r"models:/(m-\w+)")
# Any one of these is enough; the first is what a refusal names.
KNOWING = ("EXECUTE", "CREATE_MODEL_VERSION", "MANAGE", "APPLY_TAG", "BROWSE")
ADDING = ("CREATE_MODEL_VERSION",)
TAGGING = ("APPLY_TAG",)


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
        remove_files(state, folder_of(state, name))
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
        remove_files(state, folder_of(state, name, version))


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


def folder_of(state: StateFolder, name: str, *version: int) -> Path:
    """Where the files of a version lie, or those of every version of a model."""
    return resolve(state.registered_models, "/".join([*name.split("."), *map(str, version)]))


def remove_files(state: StateFolder, folder: Path) -> None:
    """Removes a folder of model files, if it is there."""
    if folder.exists():
        state.remove(folder)


def model_document(model: RegisteredModel, rights: Securables) -> Document:
    """A model as clients of `databricks-uc` are shown it."""
    return {
        "name": model.name,
        "creation_timestamp": model.creation_timestamp,
        "last_updated_timestamp": model.last_updated_timestamp,
        "user_id": rights.record(Securable(MODEL, model.name))["owner"],
        "description": model.description or "",
        "aliases": [{"alias": alias, "version": str(number)} for alias, number in model.aliases.items()],
        "tags": _pairs(model.tags),
    }


def version_document(version: ModelVersion) -> Document:
    """A version as clients of `databricks-uc` are shown it."""
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
