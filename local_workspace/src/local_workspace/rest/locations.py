"""Storage credentials and external locations, kept and shown: `/api/2.1/unity-catalog`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.rest.catalogs import PREFIX, THE_METASTORE, Inventory, change, check_free, shown
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.securables import CREDENTIAL, LOCATION, Securable, securable

# What is kept of each, beside its name.
CREDENTIAL_FIELDS = ("comment", "read_only", "azure_managed_identity", "azure_service_principal")
LOCATION_FIELDS = ("url", "credential_name", "comment", "read_only")


def router(inventory: Inventory) -> APIRouter:
    """Credentials and locations; there is no cloud storage here that they lead to."""
    routes = APIRouter(prefix=PREFIX)
    _add_kept(routes, inventory, CREDENTIAL, "storage-credentials", CREDENTIAL_FIELDS)
    _add_kept(routes, inventory, LOCATION, "external-locations", LOCATION_FIELDS)
    return routes


def _add_kept(
    routes: APIRouter, inventory: Inventory, kind: str, plural: str, names: tuple[str, ...]
) -> None:
    """Credentials and locations: kept and shown, since there is no cloud storage here."""
    rights = inventory.rights
    kept = plural.replace("-", "_")

    @routes.post(f"/{plural}")
    def create_one(fields: RequestFields) -> dict[str, Any]:
        """Keep one; nothing is asked of a cloud."""
        one = securable(kind, fields.text("name"))
        rights.require(THE_METASTORE, f"CREATE_{kind.upper()}")
        check_free(one, [record["name"] for record in rights.all(kind)])
        rights.made(one, caller(), **{name: _shareable(fields[name]) for name in names if name in fields})
        return shown(rights, one)

    @routes.get(f"/{plural}")
    def list_all() -> dict[str, Any]:
        """Those that the caller may see."""
        found = [Securable(kind, record["name"]) for record in rights.all(kind)]
        return {kept: [shown(rights, one) for one in found if rights.may_see(one)]}

    @routes.get(f"/{plural}/{{name}}")
    def get_one(name: str) -> dict[str, Any]:
        """One of them."""
        one = inventory.require(securable(kind, name))
        rights.require(one, "READ_FILES", "WRITE_FILES", "MANAGE")
        return shown(rights, one)

    @routes.patch(f"/{plural}/{{name}}")
    def change_one(name: str, fields: RequestFields) -> dict[str, Any]:
        """Change the owner and what is kept."""
        one = inventory.require(securable(kind, name))
        told = Fields({name: _shareable(value) for name, value in fields.items()})
        change(rights, one, told, *names)
        return shown(rights, one)

    @routes.delete(f"/{plural}/{{name}}")
    def delete_one(name: str) -> dict[str, Any]:
        """Forget one."""
        one = inventory.require(securable(kind, name))
        rights.require(one, "MANAGE")
        rights.removed(one)
        return {}


def _shareable(value: Any) -> Any:
    """What is kept of a detail: Databricks shows the secret of a service principal to nobody either."""
    return (
        {name: value[name] for name in value if name != "client_secret"} if isinstance(value, dict) else value
    )
