"""SQL warehouses, each a name for the one Spark of the workspace: `/api/2.0/sql/warehouses`."""

from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.spark.sql_warehouses import SETTINGS, SqlWarehouses, shown
from local_workspace.store.database import Database, Document

PREFIX = "/api/2.0/sql/warehouses"


def router(database: Database, spark_state: Callable[[], str]) -> APIRouter:
    """Warehouses that run as soon as Spark does, unless they were stopped."""
    routes, warehouses = APIRouter(), SqlWarehouses(database)
    _add_warehouses(routes, warehouses, spark_state)
    _add_states(routes, warehouses)
    _add_others(routes, warehouses)
    return routes


def _add_warehouses(routes: APIRouter, warehouses: SqlWarehouses, spark_state: Callable[[], str]) -> None:
    @routes.get(PREFIX)
    def list_warehouses() -> dict[str, Any]:
        """All warehouses; one is there from the start."""
        state = spark_state()
        return {"warehouses": [shown(warehouse, state) for warehouse in warehouses.all()]}

    @routes.post(PREFIX)
    def create_warehouse(fields: RequestFields) -> dict[str, Any]:
        """Make a warehouse: another name for the same Spark."""
        fields.text("name")
        return {"id": warehouses.create(_settings(fields))["id"]}

    @routes.get(f"{PREFIX}/{{warehouse_id}}")
    def get_warehouse(warehouse_id: str) -> dict[str, Any]:
        """One warehouse; `default` is the first."""
        return shown(warehouses.find(warehouse_id), spark_state())

    @routes.post(f"{PREFIX}/{{warehouse_id}}/edit")
    def edit_warehouse(warehouse_id: str, fields: RequestFields) -> dict[str, Any]:
        """Change the settings that are kept of a warehouse."""
        warehouses.edit(warehouse_id, _settings(fields))
        return {}

    @routes.delete(f"{PREFIX}/{{warehouse_id}}")
    def delete_warehouse(warehouse_id: str) -> dict[str, Any]:
        """Forget a warehouse; the first stays."""
        warehouses.delete(warehouse_id)
        return {}


def _add_states(routes: APIRouter, warehouses: SqlWarehouses) -> None:
    @routes.post(f"{PREFIX}/{{warehouse_id}}/start")
    def start_warehouse(warehouse_id: str) -> dict[str, Any]:
        """Kept and shown; Spark runs already."""
        warehouses.set_stopped(warehouse_id, False)
        return {}

    @routes.post(f"{PREFIX}/{{warehouse_id}}/stop")
    def stop_warehouse(warehouse_id: str) -> dict[str, Any]:
        """Kept and shown; Spark goes on, and a statement starts the warehouse again."""
        warehouses.set_stopped(warehouse_id, True)
        return {}


def _add_others(routes: APIRouter, warehouses: SqlWarehouses) -> None:
    @routes.get("/api/2.0/sql/config/warehouses")
    def get_config() -> dict[str, Any]:
        """What all warehouses have in common: nothing is set."""
        return {"security_policy": "DATA_ACCESS_CONTROL", "enable_serverless_compute": True}

    @routes.get("/api/2.0/preview/sql/data_sources", response_model=None)
    def list_data_sources() -> list[dict[str, Any]]:
        """The warehouses under the ids by which older clients of SQL name them."""
        return [
            {"id": warehouse["id"], "name": warehouse["name"], "warehouse_id": warehouse["id"]}
            for warehouse in warehouses.all()
        ]


def _settings(fields: Fields) -> Document:
    return {name: fields[name] for name in SETTINGS if fields.get(name) is not None}
