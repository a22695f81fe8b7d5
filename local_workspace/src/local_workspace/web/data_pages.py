"""The pages of Unity Catalog: catalogs, schemas, and a table with its columns, rows, history and grants."""

from collections.abc import Callable
from urllib.parse import quote

from fastapi import APIRouter
from fastapi.responses import HTMLResponse, RedirectResponse, Response

from local_workspace.callers import caller
from local_workspace.rest.catalogs import Inventory
from local_workspace.rest.securables import CATALOG, SCHEMA, TABLE, Securable, securable
from local_workspace.rest.tables import info
from local_workspace.spark.sql_text import quoted
from local_workspace.spark.statement_session import Statement
from local_workspace.spark.statements import SUCCEEDED, Statements
from local_workspace.web.templates import render

SHOWN_ROWS, SHOWN_VERSIONS = 20, 20
PATIENCE_SECONDS = 60
Shown = dict[str, object]


def router(inventory: Inventory, statements: Statements) -> APIRouter:
    """Pages of what is in the catalogs; rows and history are asked of Spark as who looks."""
    routes = APIRouter(default_response_class=HTMLResponse, include_in_schema=False)

    @routes.get("/data")
    def catalogs_page() -> str:
        return _list_page("Catalog", (), inventory.catalogs(), inventory)

    @routes.get("/data/{catalog}")
    def catalog_page(catalog: str) -> str:
        inventory.require(securable(CATALOG, catalog))
        return _list_page("Schema", (catalog,), inventory.schemas(catalog), inventory)

    @routes.get("/data/{catalog}/{schema}")
    def schema_page(catalog: str, schema: str) -> str:
        inventory.require(securable(SCHEMA, f"{catalog}.{schema}"))
        return _list_page("Table", (catalog, schema), inventory.tables(catalog, schema), inventory)

    @routes.get("/data/{catalog}/{schema}/{table}")
    def table_page(catalog: str, schema: str, table: str) -> str:
        one = inventory.require(securable(TABLE, f"{catalog}.{schema}.{table}"))
        inventory.rights.require(one, "SELECT", "MODIFY", "BROWSE", "MANAGE")
        return _table_page(inventory, one, lambda text, most: _asked(statements, text, most))

    @routes.get("/explore/data{rest:path}")
    def databricks_style(rest: str) -> Response:
        """Addresses of catalogs, schemas, tables and volumes as Databricks writes them."""
        levels = [level for level in rest.split("/") if level]
        if levels[:1] == ["volumes"]:  # their files have no page; their schema has
            levels = levels[1:3]
        return RedirectResponse("/data" + "".join(f"/{quote(level)}" for level in levels[:3]))

    return routes


def _list_page(kind: str, above: tuple[str, ...], names: list[str], inventory: Inventory) -> str:
    """What the caller may see of what is in a catalog or schema."""
    found = [Securable(kind.lower(), ".".join((*above, name))) for name in sorted(names)]
    rows = [
        {
            "name": one.name.rpartition(".")[2],
            "address": "/data" + "".join(f"/{quote(level)}" for level in one.name.split(".")),
            "owner": inventory.rights.record(one)["owner"],
            "comment": inventory.rights.record(one)["details"].get("comment", ""),
        }
        for one in found
        if inventory.rights.may_see(one)
    ]
    return render("data.html", section="data", kind=kind, rows=rows, crumbs=_crumbs(*above))


def _table_page(inventory: Inventory, one: Securable, ask: Callable[[str, int], Shown]) -> str:
    table, levels = info(inventory, one), one.name.split(".")
    name = quoted(*levels)
    record, is_delta = inventory.rights.record(one), table.get("data_source_format") == "DELTA"
    return render(
        "table.html",
        section="data",
        table=table,
        crumbs=_crumbs(*levels),
        rows=ask(f"SELECT * FROM {name}", SHOWN_ROWS),
        tags=record.get("tags", {}),
        history=ask(f"DESCRIBE HISTORY {name} LIMIT {SHOWN_VERSIONS}", SHOWN_VERSIONS) if is_delta else None,
        grants=None if inventory.rights.lack(caller(), ["MANAGE"], one) else record["grants"],
    )


def _asked(statements: Statements, text: str, most: int) -> Shown:
    """The columns and rows of a statement, or why there are none."""
    execution = statements.submit(Statement(text, caller(), row_limit=most))
    try:
        execution.ended.result(PATIENCE_SECONDS)
    except TimeoutError:
        execution.cancel()
    if execution.state != SUCCEEDED:
        reason = execution.failure.message if execution.failure else "Spark is busy. Look again in a while."
        return {"columns": [], "rows": [], "more": False, "error": reason.partition("\n")[0]}
    result = execution.result
    rows = [row for chunk in result.chunks for row in chunk.rows]
    return {"columns": result.columns, "rows": rows, "more": result.truncated, "error": ""}


def _crumbs(*levels: str) -> list[tuple[str, str]]:
    """Each level on the way, with its address."""
    return [("Data", "/data")] + [
        (level, "/data/" + "/".join(levels[: number + 1])) for number, level in enumerate(levels)
    ]
