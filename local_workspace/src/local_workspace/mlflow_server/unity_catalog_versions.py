"""Versions of models in Unity Catalog: made, finished, found, tagged and removed."""

from contextlib import AbstractContextManager
from typing import Any

from fastapi import APIRouter
from mlflow.entities.model_registry import (
    ModelVersionTag,
)
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from local_workspace.callers import caller
from local_workspace.jobs.deployment_jobs import DeploymentJobs
from local_workspace.mlflow_server.kept_models import Sources
from local_workspace.mlflow_server.model_requests import length_of, name_of, page_token_of, tags_of
from local_workspace.mlflow_server.owned_models import (
    ADDING,
    KNOWING,
    TAGGING,
    delete_version,
    folder_of,
    remove_files,
    version_document,
    visible,
)
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.securables import MODEL, Securable, Securables
from local_workspace.store.state import StateFolder

PENDING, READY = "PENDING_REGISTRATION", "READY"


def add_versions(
    routes: APIRouter,
    store: SqlAlchemyStore,
    state: StateFolder,
    sources: Sources,
    writing: AbstractContextManager[Any],
    rights: Securables,
    jobs: DeploymentJobs,
) -> None:
    """Routes of `/model-versions` that make, finish, find, describe and remove one."""

    @routes.post("/model-versions/create")
    def create_version(fields: RequestFields) -> dict[str, Any]:
        """Make a version that waits for its files."""
        name = name_of(fields)
        tags = [ModelVersionTag(key, value) for key, value in tags_of(fields)]
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
            folder = folder_of(state, name, made.version)
            remove_files(state, folder)  # of a deleted version that had this number
            kept = {"status": PENDING, "storage_location": folder.as_uri(), "user_id": caller()}
            _write(store, name, made.version, **kept)
            sources.remember(found_at, folder)
            return {"model_version": version_document(store.get_model_version(name, made.version))}

    @routes.post("/model-versions/finalize")
    def finalize_version(fields: RequestFields) -> dict[str, Any]:
        """Say that the files are there; they do not change any more. Starts the model's deployment job."""
        name, version = name_of(fields), fields.natural("version")
        rights.require(Securable(MODEL, name), *ADDING)
        with writing:  # of two that say so, one starts the job
            was_pending = store.get_model_version(name, version).status == PENDING
            _write(store, name, version, status=READY)
        if was_pending:
            jobs.start(name, str(version))
        return {"model_version": version_document(store.get_model_version(name, version))}

    @routes.get("/model-versions/get")
    def get_version(fields: RequestFields) -> dict[str, Any]:
        """One version with its aliases and tags."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *KNOWING)
        return {"model_version": version_document(store.get_model_version(name, fields.natural("version")))}

    @routes.get("/model-versions/search")
    def search_versions(fields: RequestFields) -> dict[str, Any]:
        """The versions of a model or a run, page by page."""
        found = store.search_model_versions(
            fields.text("filter", "") or None, length_of(fields), None, page_token_of(fields)
        )
        shown = [version_document(version) for version in found if visible(rights, version.name)]
        return {"model_versions": shown, "next_page_token": found.token}

    @routes.patch("/model-versions/update")
    def update_version(fields: RequestFields) -> dict[str, Any]:
        """Change a version's description."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), "MANAGE")
        version = store.update_model_version(name, fields.natural("version"), fields.text("description", ""))
        return {"model_version": version_document(version)}

    @routes.delete("/model-versions/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a version and its files."""
        delete_version(store, state, writing, rights, name_of(fields), fields.natural("version"))
        return {}


def add_version_tags(routes: APIRouter, store: SqlAlchemyStore, rights: Securables) -> None:
    """Routes of a version's tags."""

    @routes.post("/model-versions/set-tag")
    def set_version_tag(fields: RequestFields) -> dict[str, Any]:
        """Set a tag of a version."""
        tag = ModelVersionTag(fields.text("key"), fields.text("value", ""))
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.set_model_version_tag(name, fields.natural("version"), tag)
        return {}

    @routes.delete("/model-versions/delete-tag")
    def delete_version_tag(fields: RequestFields) -> dict[str, Any]:
        """Remove a tag of a version."""
        name = name_of(fields)
        rights.require(Securable(MODEL, name), *TAGGING)
        store.delete_model_version_tag(name, fields.natural("version"), fields.text("key"))
        return {}


def _write(store: SqlAlchemyStore, name: str, version: int, **columns: str) -> None:
    """Write what the store itself offers no way to change."""
    with store.ManagedSessionMaker(read_only=False) as session:
        row = store._get_sql_model_version(session, name, version)
        for column, value in columns.items():
            setattr(row, column, value)
