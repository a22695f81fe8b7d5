"""Unity Catalog's securables, their owners and grants: `/api/2.1/unity-catalog`.

There is one catalog of tables, `spark_catalog`, which is Spark's own. Other catalogs have models and volumes.
"""

import json
from collections.abc import Callable, Iterable
from typing import Any

from fastapi import APIRouter
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from local_workspace.arranging import check_removable
from local_workspace.callers import caller
from local_workspace.database import Document
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter, InvalidState
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.identity import WORKSPACE_ID
from local_workspace.securables import (
    CATALOG,
    CREDENTIAL,
    LOCATION,
    METASTORE,
    METASTORE_NAME,
    MODEL,
    SCHEMA,
    TABLE,
    VOLUME,
    Securable,
    Securables,
    securable,
)
from local_workspace.state import StateFolder, resolve
from local_workspace.warehouse import CATALOG_NAME, Warehouse

PREFIX = "/api/2.1/unity-catalog"
METASTORE_ID = "00000000-0000-0000-0000-000000000001"
THE_METASTORE = Securable(METASTORE, METASTORE_NAME)
LISTED_AT_ONCE = 1000
# What is kept of credentials and locations, beside their names.
CREDENTIAL_FIELDS = ("comment", "read_only", "azure_managed_identity", "azure_service_principal")
LOCATION_FIELDS = ("url", "credential_name", "comment", "read_only")
TYPE_NAMES = {"integer": "INT", "bigint": "LONG", "string": "STRING"}


class Inventory:
    """Which securables are there: those with a record, and what Spark, volumes and the registry hold."""

    def __init__(
        self, state: StateFolder, store: SqlAlchemyStore, warehouse: Warehouse, rights: Securables
    ) -> None:
        self.state = state
        self.store = store
        self.warehouse = warehouse
        self.rights = rights

    def catalogs(self) -> list[str]:
        """The names of all catalogs."""
        kept = [record["name"] for record in self.rights.all(CATALOG)]
        return _distinct([CATALOG_NAME, *kept, *self._folders(), *self._levels_of_models()])

    def schemas(self, catalog: str) -> list[str]:
        """The names of a catalog's schemas."""
        kept = [name for name in self._recorded(SCHEMA) if name.startswith(f"{catalog}.")]
        of_spark = self.warehouse.schemas() if catalog == CATALOG_NAME else []
        elsewhere = [*self._folders(catalog), *self._levels_of_models(catalog)]
        return _distinct([*of_spark, *(name.partition(".")[2] for name in kept), *elsewhere])

    def volumes(self, catalog: str, schema: str) -> list[str]:
        """The names of a schema's volumes, which are folders."""
        return _distinct(self._folders(catalog, schema))

    def tables(self, catalog: str, schema: str) -> list[str]:
        """The names of a schema's tables."""
        is_of_spark = catalog == CATALOG_NAME and schema in self.warehouse.schemas()
        return self.warehouse.tables(schema) if is_of_spark else []

    def models(self) -> list[str]:
        """The full names of all models of three levels."""
        found, token = list[str](), None
        while True:
            part = self.store.search_registered_models(None, LISTED_AT_ONCE, None, token)
            found += [model.name for model in part if model.name.count(".") == 2]
            if not (token := part.token):
                return found

    def require(self, one: Securable) -> Securable:
        """The securable if it is there, or DoesNotExist."""
        levels = one.name.split(".")
        names: dict[str, Callable[[], Iterable[str]]] = {
            METASTORE: lambda: [METASTORE_NAME],
            CATALOG: self.catalogs,
            SCHEMA: lambda: self.schemas(levels[0]),
            TABLE: lambda: self.tables(*levels[:2]),
            VOLUME: lambda: self.volumes(*levels[:2]),
            MODEL: lambda: [name.rpartition(".")[2] for name in self.models() if _is_in(name, levels[:2])],
        }
        known = names.get(one.kind, lambda: [each.rpartition(".")[2] for each in self._recorded(one.kind)])
        if levels[-1].lower() not in [name.lower() for name in known()]:
            raise DoesNotExist(f"{one} does not exist.")
        return one

    def _recorded(self, kind: str) -> list[str]:
        return [record["name"] for record in self.rights.all(kind)]

    def _folders(self, *levels: str) -> list[str]:
        folder = resolve(self.state.volumes, "/".join(levels)) if levels else self.state.volumes
        return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []

    def _levels_of_models(self, *above: str) -> list[str]:
        return [name.split(".")[len(above)] for name in self.models() if _is_in(name, above)]


def router(inventory: Inventory) -> APIRouter:
    """The metastore, catalogs, schemas, volumes, tables, credentials, locations and grants."""
    routes = APIRouter(prefix=PREFIX)
    _add_metastore(routes, inventory)
    _add_catalogs(routes, inventory)
    _add_schemas(routes, inventory)
    _add_volumes(routes, inventory)
    _add_tables(routes, inventory)
    _add_kept(routes, inventory, CREDENTIAL, "storage-credentials", CREDENTIAL_FIELDS)
    _add_kept(routes, inventory, LOCATION, "external-locations", LOCATION_FIELDS)
    _add_grants(routes, inventory)
    return routes


def shown(rights: Securables, one: Securable, **more: Any) -> Document:
    """What the answers about every kind of securable have in common."""
    record = rights.record(one)
    levels = one.name.split(".")
    names = {"catalog_name": levels[0]} if len(levels) > 1 else {}
    names |= {"schema_name": levels[1]} if len(levels) > 2 else {}
    times = {name: record[name] for name in ("created_at", "updated_at", "updated_by") if name in record}
    answer: Document = {
        "name": one.name if one.kind in (CREDENTIAL, LOCATION) else levels[-1],
        "full_name": one.name,
        "owner": record["owner"],
        "created_by": record["created_by"],
        "metastore_id": METASTORE_ID,
    }
    details: Document = record["details"]
    return answer | names | times | details | more


def change(rights: Securables, one: Securable, fields: Fields, *names: str) -> None:
    """Carries out a PATCH: another owner, and other details of these names."""
    rights.require(one, "MANAGE")
    if fields.get("new_name") and fields["new_name"] != one.name.rpartition(".")[2]:
        raise InvalidParameter(f"{one} cannot be renamed to {fields['new_name']!r} here")
    rights.change(one, fields.text("owner", ""), **{name: fields.get(name) for name in names})


def _add_metastore(routes: APIRouter, inventory: Inventory) -> None:
    @routes.get("/current-metastore-assignment")
    def get_assignment() -> dict[str, Any]:
        """The metastore of this workspace, and its default catalog."""
        return {
            "workspace_id": int(WORKSPACE_ID),
            "metastore_id": METASTORE_ID,
            "default_catalog_name": CATALOG_NAME,
        }

    @routes.get("/metastore_summary")
    def get_summary() -> dict[str, Any]:
        """The metastore and its owner."""
        more = {"cloud": "local", "region": "local", "privilege_model_version": "1.0"}
        return shown(inventory.rights, THE_METASTORE, global_metastore_id=f"local:{METASTORE_ID}", **more)

    @routes.patch("/metastores/{metastore_id}")
    def change_metastore(metastore_id: str, fields: RequestFields) -> dict[str, Any]:
        """Give the metastore another owner, whose members administer it beside the first user."""
        if metastore_id != METASTORE_ID:
            raise DoesNotExist(f"Metastore '{metastore_id}' does not exist.")
        change(inventory.rights, THE_METASTORE, fields)
        return shown(inventory.rights, THE_METASTORE)


def _add_catalogs(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(name: str) -> Document:
        more = {"catalog_type": "MANAGED_CATALOG", "securable_type": "CATALOG", "isolation_mode": "OPEN"}
        return shown(rights, Securable(CATALOG, name), **more)

    @routes.post("/catalogs")
    def create_catalog(fields: RequestFields) -> dict[str, Any]:
        """Make a catalog, of models and volumes: tables are in Spark's alone."""
        one = securable(CATALOG, fields.text("name"))
        rights.require(THE_METASTORE, "CREATE_CATALOG")
        _check_free(one, inventory.catalogs())
        root = fields.text("storage_root", "")
        kept = {"storage_root": root, "storage_location": root} if root else {}
        rights.made(one, caller(), comment=fields.text("comment", ""), **kept)
        return info(one.name)

    @routes.get("/catalogs")
    def list_catalogs() -> dict[str, Any]:
        """The catalogs that the caller may see."""
        names = inventory.catalogs()
        return {"catalogs": [info(name) for name in names if rights.may_see(Securable(CATALOG, name))]}

    @routes.get("/catalogs/{name}")
    def get_catalog(name: str) -> dict[str, Any]:
        """One catalog."""
        one = inventory.require(securable(CATALOG, name))
        rights.require(one, "USE_CATALOG", "BROWSE", "MANAGE")
        return info(name)

    @routes.patch("/catalogs/{name}")
    def change_catalog(name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner and comment of a catalog."""
        change(rights, inventory.require(securable(CATALOG, name)), fields, "comment")
        return info(name)

    @routes.delete("/catalogs/{name}")
    def delete_catalog(name: str) -> dict[str, Any]:
        """Remove an empty catalog."""
        one = inventory.require(securable(CATALOG, name))
        rights.require(one, "MANAGE")
        if name == CATALOG_NAME or inventory.schemas(name):
            raise InvalidState(f"{one} stays: it has the schemas {inventory.schemas(name)[:5]}.")
        rights.removed(one)
        return {}


def _add_schemas(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(one: Securable) -> Document:
        return shown(rights, one, catalog_type="MANAGED_CATALOG")

    @routes.post("/schemas")
    def create_schema(fields: RequestFields) -> dict[str, Any]:
        """Make a schema; in `spark_catalog` it is one of Spark's."""
        catalog, name = fields.text("catalog_name"), fields.text("name")
        one = securable(SCHEMA, f"{catalog}.{name}")
        rights.require(inventory.require(Securable(CATALOG, catalog)), "CREATE_SCHEMA")
        _check_free(one, inventory.schemas(catalog))
        if catalog == CATALOG_NAME:
            inventory.warehouse.create_schema(name, fields.text("comment", ""))
        rights.made(one, caller(), comment=fields.text("comment", ""))
        return info(one)

    @routes.get("/schemas")
    def list_schemas(fields: RequestFields) -> dict[str, Any]:
        """The schemas of a catalog that the caller may see."""
        catalog = inventory.require(securable(CATALOG, fields.text("catalog_name")))
        found = [Securable(SCHEMA, f"{catalog.name}.{name}") for name in inventory.schemas(catalog.name)]
        return {"schemas": [info(one) for one in found if rights.may_see(one)]}

    @routes.get("/schemas/{full_name}")
    def get_schema(full_name: str) -> dict[str, Any]:
        """One schema."""
        one = inventory.require(securable(SCHEMA, full_name))
        rights.require(one, "USE_SCHEMA", "BROWSE", "MANAGE")
        return info(one)

    @routes.patch("/schemas/{full_name}")
    def change_schema(full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner and comment of a schema."""
        one = inventory.require(securable(SCHEMA, full_name))
        change(rights, one, fields, "comment")
        return info(one)

    @routes.delete("/schemas/{full_name}")
    def delete_schema(full_name: str, force: bool = False) -> dict[str, Any]:
        """Remove a schema; one with tables where `force` is true."""
        one = inventory.require(securable(SCHEMA, full_name))
        rights.require(one, "MANAGE")
        catalog, name = full_name.split(".")
        models = [model for model in inventory.models() if _is_in(model, (catalog, name))]
        if left := inventory.volumes(catalog, name) + models:
            raise InvalidState(f"{one} is not empty: it has {left[:5]}.")
        if catalog == CATALOG_NAME:
            inventory.warehouse.drop_schema(name, force)
        rights.removed(one)
        return {}


def _add_volumes(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(one: Securable) -> Document:
        path = f"dbfs:/Volumes/{one.name.replace('.', '/')}"
        return shown(rights, one, volume_type="MANAGED", storage_location=path)

    @routes.post("/volumes")
    def create_volume(fields: RequestFields) -> dict[str, Any]:
        """Make a volume, which is a folder under `/Volumes`."""
        catalog, schema, name = (fields.text(each) for each in ("catalog_name", "schema_name", "name"))
        one = securable(VOLUME, f"{catalog}.{schema}.{name}")
        above = inventory.require(Securable(SCHEMA, f"{catalog}.{schema}"))
        rights.require(above, "CREATE_VOLUME")
        _check_free(one, inventory.volumes(catalog, schema))
        resolve(inventory.state.volumes, f"{catalog}/{schema}/{name}").mkdir(parents=True)
        rights.made(one, caller(), comment=fields.text("comment", ""))
        return info(one)

    @routes.get("/volumes")
    def list_volumes(fields: RequestFields) -> dict[str, Any]:
        """The volumes of a schema that the caller may see."""
        catalog, schema = fields.text("catalog_name"), fields.text("schema_name")
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        names = inventory.volumes(catalog, schema)
        found = [Securable(VOLUME, f"{catalog}.{schema}.{name}") for name in names]
        return {"volumes": [info(one) for one in found if rights.may_see(one)]}

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
        folder = resolve(inventory.state.volumes, full_name.replace(".", "/"))
        check_removable(inventory.state, folder, f"/Volumes/{full_name.replace('.', '/')}")
        inventory.state.remove(folder)
        rights.removed(one)
        return {}


def _add_tables(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(one: Securable) -> Document:
        found = inventory.warehouse.table(*one.name.split(".")[1:])
        details = found["details"]
        return shown(
            rights,
            one,
            table_type="VIEW" if details.get("Type") == "VIEW" else details.get("Type", "MANAGED"),
            data_source_format=str(details.get("Provider", "")).upper(),
            storage_location=details.get("Location", ""),
            columns=[_column(field, position) for position, field in enumerate(found["fields"])],
        )

    @routes.get("/tables")
    def list_tables(fields: RequestFields) -> dict[str, Any]:
        """The tables of a schema that the caller may see, without their columns."""
        catalog, schema = fields.text("catalog_name"), fields.text("schema_name")
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        names = inventory.tables(catalog, schema)
        found = [Securable(TABLE, f"{catalog}.{schema}.{name}") for name in names]
        return {"tables": [shown(rights, one) for one in found if rights.may_see(one)]}

    @routes.get("/tables/{full_name}")
    def get_table(full_name: str) -> dict[str, Any]:
        """One table with its columns."""
        one = inventory.require(securable(TABLE, full_name))
        rights.require(one, "SELECT", "MODIFY", "BROWSE", "MANAGE")
        return info(one)

    @routes.get("/tables/{full_name}/exists")
    def table_exists(full_name: str) -> dict[str, Any]:
        """Whether there is a table."""
        one = securable(TABLE, full_name)
        catalog, schema, name = one.name.split(".")
        return {"table_exists": name.lower() in inventory.tables(catalog, schema)}

    @routes.patch("/tables/{full_name}")
    def change_table(full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Give a table another owner."""
        change(rights, inventory.require(securable(TABLE, full_name)), fields)
        return {}

    @routes.delete("/tables/{full_name}")
    def delete_table(full_name: str) -> dict[str, Any]:
        """Remove a table."""
        one = inventory.require(securable(TABLE, full_name))
        rights.require(one, "MANAGE")
        inventory.warehouse.drop(*full_name.split(".")[1:])
        rights.removed(one)
        return {}


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
        _check_free(one, [record["name"] for record in rights.all(kind)])
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


def _add_grants(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    @routes.get("/permissions/{kind}/{full_name}")
    def get_grants(kind: str, full_name: str, principal: str = "") -> dict[str, Any]:
        """What was granted on a securable itself."""
        one = inventory.require(securable(kind, full_name))
        _check_may_know(rights, one, principal)
        return _grants(rights.record(one), principal)

    @routes.patch("/permissions/{kind}/{full_name}")
    def change_grants(kind: str, full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Grant and revoke, by the owner of a securable or of what it is in, or with MANAGE."""
        one = inventory.require(securable(kind, full_name))
        rights.require(one, "MANAGE")
        changes = [Fields(each) for each in fields.get("changes") or []]
        told = [
            (each.text("principal"), set(each.texts("add")), set(each.texts("remove"))) for each in changes
        ]
        return _grants(rights.grant(one, told), "")

    @routes.get("/effective-permissions/{kind}/{full_name}")
    def get_effective_grants(kind: str, full_name: str, principal: str = "") -> dict[str, Any]:
        """What was granted on a securable and on what it is in."""
        one = inventory.require(securable(kind, full_name))
        _check_may_know(rights, one, principal)
        found: dict[str, list[Document]] = {}
        for each in one.line():
            origin = {"inherited_from_type": each.kind.upper(), "inherited_from_name": each.name}
            for name, privileges in rights.record(each)["grants"].items():
                entries = [{"privilege": p} | (origin if each != one else {}) for p in privileges]
                found.setdefault(name, []).extend(entries)
        chosen = {name: entries for name, entries in found.items() if principal in ("", name)}
        return {"privilege_assignments": _assignments(chosen)}


def _check_may_know(rights: Securables, one: Securable, principal: str) -> None:
    """Everybody may ask for what they have themselves; others' is for who may change it."""
    if principal not in rights.principals.names_of(caller()):
        rights.require(one, "MANAGE")


def _grants(record: Document, principal: str) -> Document:
    chosen = {name: given for name, given in record["grants"].items() if principal in ("", name)}
    return {"privilege_assignments": _assignments(chosen)}


def _assignments(given: dict[str, Any]) -> list[Document]:
    return [{"principal": name, "privileges": privileges} for name, privileges in given.items()]


def _column(field: Any, position: int) -> Document:
    text = field.dataType.simpleString()
    name = text.partition("(")[0].partition("<")[0]
    return {
        "name": field.name,
        "position": position,
        "nullable": field.nullable,
        "type_text": text,
        "type_name": TYPE_NAMES.get(name, name.upper()),
        "type_json": json.dumps(field.jsonValue()),
    }


def _shareable(value: Any) -> Any:
    """What is kept of a detail: Databricks shows the secret of a service principal to nobody either."""
    return (
        {name: value[name] for name in value if name != "client_secret"} if isinstance(value, dict) else value
    )


def _check_free(one: Securable, names: Iterable[str]) -> None:
    if one.name.rpartition(".")[2].lower() in [name.lower() for name in names]:
        raise AlreadyExists(f"{one} already exists.")


def _is_in(full_name: str, levels: Iterable[str]) -> bool:
    above = list(levels)
    return full_name.split(".")[: len(above)] == above


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
