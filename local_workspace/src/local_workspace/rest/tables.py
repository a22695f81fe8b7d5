"""Tables, and functions, of which there are none: `/api/2.1/unity-catalog`."""

import json
import re
from typing import Any

from fastapi import APIRouter

from local_workspace.errors import DoesNotExist
from local_workspace.rest.catalogs import PREFIX, Inventory, change, shown
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.paging import part
from local_workspace.rest.securables import CATALOG, SCHEMA, TABLE, Securable, securable
from local_workspace.spark.type_names import described
from local_workspace.store.database import Document

# How many are shown at once: with their columns, each of which is asked of Spark, and without.
LISTED_WITH_COLUMNS, LISTED_AT_ONCE = 50, 1000
PROPERTY = re.compile(r"([^=,\[\]]+)=([^,\]]*)")


def router(inventory: Inventory) -> APIRouter:
    """List, show, change and remove tables."""
    routes = APIRouter(prefix=PREFIX)
    _add_lists(routes, inventory)
    _add_tables(routes, inventory)
    _add_functions(routes, inventory)
    return routes


def _add_lists(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    @routes.get("/tables")
    def list_tables(fields: RequestFields) -> dict[str, Any]:
        """The tables of a schema that the caller may see; with `omit_columns` without their details."""
        catalog, schema = fields.text("catalog_name"), fields.text("schema_name")
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        is_brief = fields.flag("omit_columns")
        most = LISTED_AT_ONCE if is_brief else LISTED_WITH_COLUMNS
        names, more = part(inventory.tables(catalog, schema), fields, most)
        seen = [
            one for name in names if rights.may_see(one := Securable(TABLE, f"{catalog}.{schema}.{name}"))
        ]
        return {"tables": [shown(rights, one) if is_brief else info(inventory, one) for one in seen]} | more

    @routes.get("/table-summaries")
    def list_summaries(fields: RequestFields) -> dict[str, Any]:
        """The names and kinds of the tables of a catalog, by patterns of SQL's LIKE."""
        catalog = inventory.require(securable(CATALOG, fields.text("catalog_name"))).name
        schemas, tables = (_like(fields.text(f"{what}_name_pattern", "")) for what in ("schema", "table"))
        names = [
            f"{catalog}.{schema}.{name}"
            for schema in inventory.schemas(catalog)
            if schemas.fullmatch(schema)
            for name in inventory.tables(catalog, schema)
            if tables.fullmatch(name)
        ]
        chosen, more = part(names, fields, LISTED_WITH_COLUMNS)
        seen = [one for name in chosen if rights.may_see(one := Securable(TABLE, name))]
        return {"tables": [_summary(inventory, one) for one in seen]} | more


def _add_tables(routes: APIRouter, inventory: Inventory) -> None:
    rights = inventory.rights

    @routes.get("/tables/{full_name}")
    def get_table(full_name: str) -> dict[str, Any]:
        """One table with its columns."""
        one = inventory.require(securable(TABLE, full_name))
        rights.require(one, "SELECT", "MODIFY", "BROWSE", "MANAGE")
        return info(inventory, one)

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
        inventory.warehouse.drop(*full_name.split("."))
        rights.removed(one)
        return {}


def _add_functions(routes: APIRouter, inventory: Inventory) -> None:
    @routes.get("/functions")
    def list_functions(fields: RequestFields) -> dict[str, Any]:
        """None: functions are made in a session here, and end with it."""
        catalog, schema = fields.text("catalog_name"), fields.text("schema_name")
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        return {"functions": []}

    @routes.get("/functions/{full_name}")
    def get_function(full_name: str) -> dict[str, Any]:
        """None: functions are made in a session here, and end with it."""
        raise DoesNotExist(f"Routine or Model '{full_name}' does not exist.")


def info(inventory: Inventory, one: Securable) -> Document:
    """A table in the official form, as Spark describes it."""
    found = inventory.warehouse.table(*one.name.split("."))
    details: dict[str, str] = found["details"]
    kind = details.get("Type") or "MANAGED"
    told = {
        "data_source_format": details.get("Provider", "").upper() if kind != "VIEW" else "",
        "storage_location": details.get("Location", ""),
        "comment": details.get("Comment", ""),
        "view_definition": details.get("View Text", "") if kind == "VIEW" else "",
        "properties": dict(PROPERTY.findall(details.get("Table Properties", ""))),
    }
    columns = [_column(field, position) for position, field in enumerate(found["fields"])]
    known = {name: value for name, value in told.items() if value}
    return shown(inventory.rights, one, table_type=kind, columns=columns, **known)


def _summary(inventory: Inventory, one: Securable) -> Document:
    details = inventory.warehouse.table(*one.name.split("."))["details"]
    return {"full_name": one.name, "table_type": details.get("Type") or "MANAGED"}


def _column(field: Any, position: int) -> Document:
    comment = {"comment": field.metadata["comment"]} if "comment" in (field.metadata or {}) else {}
    return {
        "name": field.name,
        "position": position,
        "nullable": field.nullable,
        "type_json": json.dumps(field.jsonValue()),
        **described(field.dataType),
        "type_text": field.dataType.simpleString(),
        **comment,
    }


def _like(pattern: str) -> re.Pattern[str]:
    """A pattern of SQL's LIKE; an empty one fits all."""
    letters = (".*" if letter == "%" else "." if letter == "_" else re.escape(letter) for letter in pattern)
    return re.compile("".join(letters) or ".*", re.IGNORECASE | re.DOTALL)
