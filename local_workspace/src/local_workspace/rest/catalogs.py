"""Catalogs and schemas of Unity Catalog, and which securables there are: `/api/2.1/unity-catalog`.

Spark's own catalog is `spark_catalog`; Spark has tables in the other ones too. A catalog with a name that
Spark cannot have here, such as one with a hyphen, has models and volumes alone.
"""

import uuid
from collections.abc import Callable, Iterable, Iterator
from typing import Any

from fastapi import APIRouter
from mlflow.entities.model_registry import RegisteredModel
from mlflow.store.model_registry.sqlalchemy_store import SqlAlchemyStore

from local_workspace.callers import caller
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter, InvalidState
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.paging import part
from local_workspace.rest.securables import (
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
from local_workspace.spark.spark_catalogs import READ_ONLY, is_name
from local_workspace.spark.warehouse import CATALOG_NAME, Warehouse
from local_workspace.store.arranging import check_removable
from local_workspace.store.database import Document
from local_workspace.store.state import StateFolder, resolve

PREFIX = "/api/2.1/unity-catalog"
METASTORE_ID = "00000000-0000-0000-0000-000000000001"
THE_METASTORE = Securable(METASTORE, METASTORE_NAME)
LISTED_AT_ONCE = 1000
# What has an id beside its name.
WITH_ID = (SCHEMA, TABLE, VOLUME)


class Inventory:
    """Which securables are there: those with a record, and what Spark, volumes and the registry hold."""

    def __init__(
        self, state: StateFolder, store: SqlAlchemyStore, warehouse: Warehouse, rights: Securables
    ) -> None:
        self.state = state
        self.store = store
        self.warehouse = warehouse
        self.rights = rights
        warehouse.catalogs.begin(self._recorded(CATALOG), self._recorded(SCHEMA))

    def catalogs(self) -> list[str]:
        """The names of all catalogs."""
        kept = [name for name in self._recorded(CATALOG) if not is_name(name)]
        of_spark = [CATALOG_NAME, *self.warehouse.catalogs.names(), *READ_ONLY]
        return _distinct([*of_spark, *kept, *self._folders(), *self._levels_of_models()])

    def schemas(self, catalog: str) -> list[str]:
        """The names of a catalog's schemas."""
        recorded = [name.partition(".")[2] for name in self._recorded(SCHEMA) if _is_in(name, (catalog,))]
        is_of_spark = catalog in (CATALOG_NAME, *self.warehouse.catalogs.names())
        kept = [name for name in recorded if not (is_of_spark and is_name(name))]
        of_spark = self.warehouse.schemas(catalog)
        elsewhere = [*self._folders(catalog), *self._levels_of_models(catalog)]
        return _distinct([*of_spark, *kept, *elsewhere])

    def volumes(self, catalog: str, schema: str) -> list[str]:
        """The names of a schema's volumes, which are folders."""
        return _distinct(self._folders(catalog, schema))

    def tables(self, catalog: str, schema: str) -> list[str]:
        """The names of a schema's tables."""
        is_of_spark = schema in self.warehouse.schemas(catalog)
        return self.warehouse.tables(catalog, schema) if is_of_spark else []

    def is_untouched(self, catalog: str, schema: str) -> bool:
        """Whether a schema is the one that every catalog begins with, and nothing was made in it."""
        models = [name for name in self.models() if _is_in(name, (catalog, schema))]
        is_first = catalog != CATALOG_NAME and schema == "default"
        return is_first and not (models or self.volumes(catalog, schema) or self.tables(catalog, schema))

    def models(self) -> list[str]:
        """The full names of all models of three levels."""
        return [model.name for model in every_model(self.store) if model.name.count(".") == 2]

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

    def remove_volume(self, one: Securable) -> None:
        """Removes a volume with its files."""
        path = one.name.replace(".", "/")
        folder = resolve(self.state.volumes, path)
        check_removable(self.state, folder, f"/Volumes/{path}")
        self.state.remove(folder)
        self.rights.removed(one)

    def removed(self, one: Securable) -> None:
        """Forgets a catalog or schema without volumes, with the empty folders of those that were there."""
        folder = resolve(self.state.volumes, one.name.replace(".", "/"))
        for empty in [*sorted(folder.rglob("*"), reverse=True), folder] if folder.is_dir() else []:
            empty.rmdir()
        self.rights.removed(one)

    def _recorded(self, kind: str) -> list[str]:
        return [record["name"] for record in self.rights.all(kind)]

    def _folders(self, *levels: str) -> list[str]:
        folder = resolve(self.state.volumes, "/".join(levels)) if levels else self.state.volumes
        return sorted(child.name for child in folder.iterdir() if child.is_dir()) if folder.is_dir() else []

    def _levels_of_models(self, *above: str) -> list[str]:
        return [name.split(".")[len(above)] for name in self.models() if _is_in(name, above)]


def router(inventory: Inventory) -> APIRouter:
    """Catalogs and their schemas."""
    routes = APIRouter(prefix=PREFIX)
    _add_catalogs(routes, inventory)
    _add_schemas(routes, inventory)
    return routes


def every_model(store: SqlAlchemyStore) -> Iterator[RegisteredModel]:
    """The models of MLflow's registry, page by page."""
    token = None
    while True:
        found = store.search_registered_models(None, LISTED_AT_ONCE, None, token)
        yield from found
        if not (token := found.token):
            return


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
    own_id = {f"{one.kind}_id": str(uuid.uuid5(uuid.NAMESPACE_URL, one.key))} if one.kind in WITH_ID else {}
    return answer | names | times | own_id | details | more


def change(rights: Securables, one: Securable, fields: Fields, *names: str) -> None:
    """Carries out a PATCH: another owner, and other details of these names."""
    rights.require(one, "MANAGE")
    if fields.get("new_name") and fields["new_name"] != one.name.rpartition(".")[2]:
        raise InvalidParameter(f"{one} cannot be renamed to {fields['new_name']!r} here")
    rights.change(one, fields.text("owner", ""), **{name: fields.get(name) for name in names})


def _add_catalogs(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(name: str) -> Document:
        more = {"catalog_type": "MANAGED_CATALOG", "securable_type": "CATALOG", "isolation_mode": "OPEN"}
        return shown(rights, Securable(CATALOG, name), **more)

    @routes.post("/catalogs")
    def create_catalog(fields: RequestFields) -> dict[str, Any]:
        """Make a catalog."""
        one = securable(CATALOG, fields.text("name"))
        rights.require(THE_METASTORE, "CREATE_CATALOG")
        check_free(one, inventory.catalogs())
        root = fields.text("storage_root", "")
        kept = {"storage_root": root, "storage_location": root} if root else {}
        inventory.warehouse.catalogs.make(one.name, fields.text("comment", ""))
        rights.made(one, caller(), **given(fields, "comment", "properties", "options"), **kept)
        return info(one.name)

    @routes.get("/catalogs")
    def list_catalogs(fields: RequestFields) -> dict[str, Any]:
        """The catalogs that the caller may see."""
        names, more = part(inventory.catalogs(), fields, LISTED_AT_ONCE)
        return {"catalogs": [info(name) for name in names if rights.may_see(Securable(CATALOG, name))]} | more

    @routes.get("/catalogs/{name}")
    def get_catalog(name: str) -> dict[str, Any]:
        """One catalog."""
        one = inventory.require(securable(CATALOG, name))
        rights.require(one, "USE_CATALOG", "BROWSE", "MANAGE")
        return info(name)

    @routes.patch("/catalogs/{name}")
    def change_catalog(name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner, comment and properties of a catalog."""
        one = inventory.require(securable(CATALOG, name))
        change(rights, one, fields, "comment", "properties", "options")
        return info(name)

    @routes.delete("/catalogs/{name}")
    def delete_catalog(name: str, force: bool = False) -> dict[str, Any]:
        """Remove a catalog; one with schemas where `force` is true and they are empty."""
        one = inventory.require(securable(CATALOG, name))
        rights.require(one, "MANAGE")
        left = [schema for schema in inventory.schemas(name) if not inventory.is_untouched(name, schema)]
        if force:
            models = [model.split(".")[1] for model in inventory.models() if _is_in(model, (name,))]
            left = [
                schema
                for schema in left
                if schema in models or inventory.volumes(name, schema) or inventory.tables(name, schema)
            ]
        if left or name in (CATALOG_NAME, *READ_ONLY):
            raise InvalidState(f"{one} stays: it has the schemas {left[:5]}.")
        inventory.warehouse.catalogs.remove(name)
        inventory.removed(one)
        return {}


def _add_schemas(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    def info(one: Securable) -> Document:
        return shown(rights, one, catalog_type="MANAGED_CATALOG")

    @routes.post("/schemas")
    def create_schema(fields: RequestFields) -> dict[str, Any]:
        """Make a schema."""
        catalog, name = fields.text("catalog_name"), fields.text("name")
        one = securable(SCHEMA, f"{catalog}.{name}")
        rights.require(inventory.require(Securable(CATALOG, catalog)), "CREATE_SCHEMA")
        check_free(one, inventory.schemas(catalog))
        inventory.warehouse.create_schema(catalog, name, fields.text("comment", ""))
        rights.made(one, caller(), **given(fields, "comment", "properties", "storage_root"))
        return info(one)

    @routes.get("/schemas")
    def list_schemas(fields: RequestFields) -> dict[str, Any]:
        """The schemas of a catalog that the caller may see."""
        catalog = inventory.require(securable(CATALOG, fields.text("catalog_name")))
        names, more = part(inventory.schemas(catalog.name), fields, LISTED_AT_ONCE)
        found = [Securable(SCHEMA, f"{catalog.name}.{name}") for name in names]
        return {"schemas": [info(one) for one in found if rights.may_see(one)]} | more

    @routes.get("/schemas/{full_name}")
    def get_schema(full_name: str) -> dict[str, Any]:
        """One schema."""
        one = inventory.require(securable(SCHEMA, full_name))
        rights.require(one, "USE_SCHEMA", "BROWSE", "MANAGE")
        return info(one)

    @routes.patch("/schemas/{full_name}")
    def change_schema(full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Change owner, comment and properties of a schema."""
        one = inventory.require(securable(SCHEMA, full_name))
        change(rights, one, fields, "comment", "properties")
        return info(one)

    @routes.delete("/schemas/{full_name}")
    def delete_schema(full_name: str, force: bool = False) -> dict[str, Any]:
        """Remove a schema; one with tables and volumes where `force` is true, and never one with models."""
        one = inventory.require(securable(SCHEMA, full_name))
        rights.require(one, "MANAGE")
        catalog, name = full_name.split(".")
        models = [model for model in inventory.models() if _is_in(model, (catalog, name))]
        volumes = inventory.volumes(catalog, name)
        if left := models if force else volumes + models:
            raise InvalidState(f"{one} is not empty: it has {left[:5]}.")
        for volume in volumes:
            inventory.remove_volume(Securable(VOLUME, f"{full_name}.{volume}"))
        inventory.warehouse.drop_schema(catalog, name, force)
        inventory.removed(one)
        return {}


def given(fields: Fields, *names: str) -> Document:
    """What a request says of these details, a comment always."""
    return {"comment": ""} | {name: fields[name] for name in names if fields.get(name) is not None}


def check_free(one: Securable, names: Iterable[str]) -> None:
    """Refuses a name that is taken."""
    if one.name.rpartition(".")[2].lower() in [name.lower() for name in names]:
        raise AlreadyExists(f"{one} already exists.")


def _is_in(full_name: str, levels: Iterable[str]) -> bool:
    above = list(levels)
    return full_name.split(".")[: len(above)] == above


def _distinct(names: Iterable[str]) -> list[str]:
    return list(dict.fromkeys(names))
