"""Registered models as Unity Catalog shows them: `/api/2.1/unity-catalog/models`.

They are the models of `/api/2.0/mlflow/unity-catalog`.
"""

from contextlib import AbstractContextManager
from typing import Any

from fastapi import APIRouter
from mlflow.entities.model_registry import ModelVersion

from local_workspace.callers import USER_NAME
from local_workspace.errors import DoesNotExist
from local_workspace.jobs.deployment_jobs import DeploymentJobs
from local_workspace.mlflow_server import owned_models
from local_workspace.mlflow_server.model_requests import MlflowRoute
from local_workspace.mlflow_server.owned_models import KNOWING
from local_workspace.rest.catalogs import METASTORE_ID, PREFIX, Inventory, change, shown
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.securables import MODEL, Securable, securable
from local_workspace.store.database import Document


def router(inventory: Inventory, writing: AbstractContextManager[Any], jobs: DeploymentJobs) -> APIRouter:
    """Models, their versions and aliases."""
    routes = APIRouter(prefix=f"{PREFIX}/models", route_class=MlflowRoute)
    _add_models(routes, inventory, writing, jobs)
    _add_versions(routes, inventory, writing)
    _add_aliases(routes, inventory)
    return routes


def _add_models(
    routes: APIRouter, inventory: Inventory, writing: AbstractContextManager[Any], jobs: DeploymentJobs
) -> None:
    store, rights = inventory.store, inventory.rights

    @routes.post("")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make a model, without versions."""
        name = ".".join(fields.text(each) for each in ("catalog_name", "schema_name", "name"))
        owned_models.create_model(store, rights, securable(MODEL, name).name, [], fields.text("comment", ""))
        return _model(inventory, name)

    @routes.get("")
    def list_models(catalog_name: str = "", schema_name: str = "") -> dict[str, Any]:
        """The models that the caller may see, of a schema or of all."""
        wanted = [level for level in (catalog_name, schema_name) if level]
        names = [name for name in inventory.models() if name.split(".")[: len(wanted)] == wanted]
        seen = [name for name in names if owned_models.visible(rights, name)]
        return {"registered_models": [_model(inventory, name) for name in seen]}

    @routes.get("/{full_name}")
    def get(full_name: str) -> dict[str, Any]:
        """One model with its owner and aliases."""
        rights.require(_existing(inventory, full_name), *KNOWING)
        return _model(inventory, full_name)

    @routes.patch("/{full_name}")
    def update(full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner and comment of a model."""
        change(rights, _existing(inventory, full_name), fields)
        if "comment" in fields:
            store.update_registered_model(full_name, fields.text("comment", ""))
        return _model(inventory, full_name)

    @routes.delete("/{full_name}")
    def delete(full_name: str) -> dict[str, Any]:
        """Remove a model with its versions and their files."""
        one = _existing(inventory, full_name)
        owned_models.delete_model(store, inventory.state, writing, rights, one.name, jobs)
        return {}


def _add_versions(routes: APIRouter, inventory: Inventory, writing: AbstractContextManager[Any]) -> None:
    store, rights = inventory.store, inventory.rights

    @routes.get("/{full_name}/versions")
    def list_versions(full_name: str) -> dict[str, Any]:
        """The versions of a model, the newest first."""
        rights.require(_existing(inventory, full_name), *KNOWING)
        found = store.search_model_versions(f"name = '{full_name}'", 10_000)
        return {"model_versions": [_version(version) for version in found]}

    @routes.get("/{full_name}/versions/{version}")
    def get_version(full_name: str, version: int) -> dict[str, Any]:
        """One version."""
        rights.require(_existing(inventory, full_name), *KNOWING)
        return _version(store.get_model_version(full_name, str(version)))

    @routes.patch("/{full_name}/versions/{version}")
    def update_version(full_name: str, version: int, fields: RequestFields) -> dict[str, Any]:
        """Change the comment of a version."""
        rights.require(_existing(inventory, full_name), "MANAGE")
        return _version(store.update_model_version(full_name, str(version), fields.text("comment", "")))

    @routes.delete("/{full_name}/versions/{version}")
    def delete_version(full_name: str, version: int) -> dict[str, Any]:
        """Remove a version and its files."""
        one = _existing(inventory, full_name)
        owned_models.delete_version(store, inventory.state, writing, rights, one.name, version)
        return {}


def _add_aliases(routes: APIRouter, inventory: Inventory) -> None:
    store, rights = inventory.store, inventory.rights

    @routes.put("/{full_name}/aliases/{alias}")
    def set_alias(full_name: str, alias: str, fields: RequestFields) -> dict[str, Any]:
        """Let an alias name a version."""
        version = fields.natural("version_num")
        owned_models.set_alias(store, rights, _existing(inventory, full_name).name, alias, version)
        return {"alias_name": alias, "version_num": version}

    @routes.get("/{full_name}/aliases/{alias}")
    def get_by_alias(full_name: str, alias: str) -> dict[str, Any]:
        """The version that an alias names."""
        rights.require(_existing(inventory, full_name), *KNOWING)
        return _version(store.get_model_version_by_alias(full_name, alias))

    @routes.delete("/{full_name}/aliases/{alias}")
    def delete_alias(full_name: str, alias: str) -> dict[str, Any]:
        """Remove an alias."""
        owned_models.delete_alias(store, rights, _existing(inventory, full_name).name, alias)
        return {}


def _existing(inventory: Inventory, full_name: str) -> Securable:
    one = securable(MODEL, full_name)
    if not owned_models.exists(inventory.store, full_name):
        raise DoesNotExist(f"{one} does not exist.")
    return one


def _model(inventory: Inventory, full_name: str) -> Document:
    model = inventory.store.get_registered_model(full_name)
    return shown(
        inventory.rights,
        Securable(MODEL, full_name),
        comment=model.description or "",
        created_at=model.creation_timestamp,
        updated_at=model.last_updated_timestamp,
        aliases=[{"alias_name": alias, "version_num": int(n)} for alias, n in model.aliases.items()],
    )


def _version(version: ModelVersion) -> Document:
    catalog, schema, name = version.name.split(".")
    return {
        "catalog_name": catalog,
        "schema_name": schema,
        "model_name": name,
        "metastore_id": METASTORE_ID,
        "version": int(version.version),
        "status": version.status,
        "source": version.source,
        "run_id": version.run_id or "",
        "comment": version.description or "",
        "created_at": version.creation_timestamp,
        "created_by": version.user_id or USER_NAME,
        "updated_at": version.last_updated_timestamp,
        "aliases": [{"alias_name": alias, "version_num": int(version.version)} for alias in version.aliases],
    }
