"""Volumes, which are folders under `/Volumes`: `/api/2.1/unity-catalog/volumes`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.rest.catalogs import LISTED_AT_ONCE, PREFIX, Inventory, change, check_free, given, shown
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.paging import part
from local_workspace.rest.securables import SCHEMA, VOLUME, Securable, securable
from local_workspace.store.database import Document
from local_workspace.store.state import resolve


def router(inventory: Inventory) -> APIRouter:
    """Make, list, change and remove volumes."""
    routes, rights = APIRouter(prefix=PREFIX), inventory.rights

    def info(one: Securable) -> Document:
        path = f"dbfs:/Volumes/{one.name.replace('.', '/')}"
        kept: Document = rights.record(one)["details"]
        usual = {"volume_type": "MANAGED", "storage_location": path}
        return shown(rights, one, **{name: kept.get(name, value) for name, value in usual.items()})

    @routes.post("/volumes")
    def create_volume(fields: RequestFields) -> dict[str, Any]:
        """Make a volume, which is a folder under `/Volumes`, wherever an external one says that it lies."""
        catalog, schema, name = (fields.text(each) for each in ("catalog_name", "schema_name", "name"))
        one = securable(VOLUME, f"{catalog}.{schema}.{name}")
        above = inventory.require(Securable(SCHEMA, f"{catalog}.{schema}"))
        rights.require(above, "CREATE_VOLUME")
        check_free(one, inventory.volumes(catalog, schema))
        resolve(inventory.state.volumes, f"{catalog}/{schema}/{name}").mkdir(parents=True)
        rights.made(one, caller(), **given(fields, "comment", "volume_type", "storage_location"))
        return info(one)

    @routes.get("/volumes")
    def list_volumes(fields: RequestFields) -> dict[str, Any]:
        """The volumes of a schema that the caller may see."""
        catalog, schema = fields.text("catalog_name"), fields.text("schema_name")
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        names, more = part(inventory.volumes(catalog, schema), fields, LISTED_AT_ONCE)
        found = [Securable(VOLUME, f"{catalog}.{schema}.{name}") for name in names]
        return {"volumes": [info(one) for one in found if rights.may_see(one)]} | more

    @routes.get("/volumes/{full_name}")
    def get_volume(full_name: str) -> dict[str, Any]:
        """One volume."""
        one = inventory.require(securable(VOLUME, full_name))
        rights.require(one, "READ_VOLUME", "WRITE_VOLUME", "BROWSE", "MANAGE")
        return info(one)

    @routes.patch("/volumes/{full_name}")
    def change_volume(full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner and comment of a volume."""
        one = inventory.require(securable(VOLUME, full_name))
        change(rights, one, fields, "comment")
        return info(one)

    @routes.delete("/volumes/{full_name}")
    def delete_volume(full_name: str) -> dict[str, Any]:
        """Remove a volume with its files."""
        one = inventory.require(securable(VOLUME, full_name))
        rights.require(one, "MANAGE")
        inventory.remove_volume(one)
        return {}

    return routes
