"""The one metastore of the workspace: `/api/2.1/unity-catalog`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.errors import DoesNotExist
from local_workspace.rest.catalogs import METASTORE_ID, PREFIX, THE_METASTORE, Inventory, change, shown
from local_workspace.rest.fields import RequestFields
from local_workspace.spark.warehouse import CATALOG_NAME
from local_workspace.words import WORKSPACE_ID


def router(inventory: Inventory) -> APIRouter:
    """Which metastore this workspace has, and who administers it."""
    routes = APIRouter(prefix=PREFIX)

    @routes.get("/current-metastore-assignment")
    def get_assignment() -> dict[str, Any]:
        """The metastore of this workspace, and its default catalog."""
        return {
            "workspace_id": int(WORKSPACE_ID),
            "metastore_id": METASTORE_ID,
            "default_catalog_name": CATALOG_NAME,
        }

    def summary() -> dict[str, Any]:
        more = {"cloud": "local", "region": "local", "privilege_model_version": "1.0"}
        return shown(inventory.rights, THE_METASTORE, global_metastore_id=f"local:{METASTORE_ID}", **more)

    @routes.get("/metastore_summary")
    def get_summary() -> dict[str, Any]:
        """The metastore and its owner."""
        return summary()

    @routes.get("/metastores")
    def list_metastores() -> dict[str, Any]:
        """The one metastore."""
        return {"metastores": [summary()]}

    @routes.get("/metastores/{metastore_id}")
    def get_metastore(metastore_id: str) -> dict[str, Any]:
        """The one metastore, by its id."""
        _require_metastore(metastore_id)
        return summary()

    @routes.patch("/metastores/{metastore_id}")
    def change_metastore(metastore_id: str, fields: RequestFields) -> dict[str, Any]:
        """Give the metastore another owner, whose members administer it beside the first user."""
        _require_metastore(metastore_id)
        change(inventory.rights, THE_METASTORE, fields)
        return shown(inventory.rights, THE_METASTORE)

    return routes


def _require_metastore(metastore_id: str) -> None:
    if metastore_id != METASTORE_ID:
        raise DoesNotExist(f"Metastore '{metastore_id}' does not exist.")
