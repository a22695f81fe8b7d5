"""SQL warehouses, each a name for the workspace's one Spark; one is there from the start.

Starting and stopping one is kept and shown, and changes nothing of Spark: a statement starts it again.
"""

import secrets
from typing import Any

from local_workspace.callers import USER_NAME, caller
from local_workspace.clock import now
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidState
from local_workspace.store.database import Database, Document

KIND = "sql_warehouse"
# The one that a new workspace of Databricks begins with has this name too.
FIRST_ID, FIRST_NAME = "0000000000000001", "Serverless Starter Warehouse"
# What clients ask for that want any.
ANY = "default"
SETTINGS = (
    "auto_stop_mins",
    "channel",
    "cluster_size",
    "enable_photon",
    "enable_serverless_compute",
    "instance_profile_arn",
    "max_num_clusters",
    "min_num_clusters",
    "name",
    "spot_instance_policy",
    "tags",
    "warehouse_type",
)
USUAL = {
    "auto_stop_mins": 10,
    "cluster_size": "2X-Small",
    "enable_photon": False,
    "enable_serverless_compute": True,
    "max_num_clusters": 1,
    "min_num_clusters": 1,
    "warehouse_type": "PRO",
}
STANDS_FOR = "Stands for the one Spark of this workspace, which goes on when the warehouse is stopped."


class SqlWarehouses:
    """The warehouses that are kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database
        with database.transaction():
            if database.get(KIND, FIRST_ID) is None:
                self._put(FIRST_ID, USUAL | {"name": FIRST_NAME}, USER_NAME)

    def all(self) -> list[Document]:
        """Every warehouse, the oldest first."""
        return self._database.all(KIND)

    def find(self, warehouse_id: str) -> Document:
        """One, or DoesNotExist; the first where any will do."""
        found = self._database.get(KIND, FIRST_ID if warehouse_id == ANY else warehouse_id)
        if found is None:
            there = [warehouse["id"] for warehouse in self.all()]
            raise DoesNotExist(f"SQL warehouse {warehouse_id!r:.100} does not exist; there are {there[:5]}.")
        return found

    def create(self, settings: Document) -> Document:
        """Makes one, whose name is not taken."""
        with self._database.transaction():
            self._check_name(settings["name"], "")
            return self._put(secrets.token_hex(8), USUAL | settings, caller())

    def edit(self, warehouse_id: str, settings: Document) -> Document:
        """Changes the settings of one."""
        with self._database.transaction():
            found = self.find(warehouse_id)
            self._check_name((found | settings)["name"], found["id"])
            return self._database.update(KIND, found["id"], lambda kept: kept.update(settings))

    def delete(self, warehouse_id: str) -> None:
        """Forgets one; the first stays."""
        with self._database.transaction():
            found = self.find(warehouse_id)
            if found["id"] == FIRST_ID:
                raise InvalidState(
                    f"SQL warehouse {FIRST_NAME!r} stays: it stands for the workspace's Spark."
                )
            self._database.delete(KIND, found["id"])

    def set_stopped(self, warehouse_id: str, stopped: bool) -> Document:
        """Keeps whether one was stopped."""
        with self._database.transaction():
            found = self.find(warehouse_id)
            if found["stopped"] == stopped:
                return found
            return self._database.update(KIND, found["id"], lambda kept: kept.update(stopped=stopped))

    def _check_name(self, name: str, own_id: str) -> None:
        if any(each["name"] == name and each["id"] != own_id for each in self.all()):
            raise AlreadyExists(f"SQL warehouse with name {name!r:.100} already exists.")

    def _put(self, warehouse_id: str, settings: Document, creator: str) -> Document:
        fixed = {"id": warehouse_id, "creator_name": creator, "created_at": now(), "stopped": False}
        document = settings | fixed
        self._database.put(KIND, warehouse_id, document)
        return document


def shown(warehouse: Document, spark_state: str) -> dict[str, Any]:
    """A warehouse in the official form, by the state of Spark."""
    kept = {name: warehouse[name] for name in ("id", "creator_name", *SETTINGS) if name in warehouse}
    running = "STARTING" if spark_state == "PENDING" else "RUNNING"
    is_well = spark_state in ("PENDING", "RUNNING")
    told = STANDS_FOR if is_well else f"Spark has ended ({spark_state}); the next statement starts it again."
    return kept | {
        "state": "STOPPED" if warehouse["stopped"] else running,
        "num_clusters": 0 if warehouse["stopped"] else 1,
        "num_active_sessions": 0,
        "health": {"status": "HEALTHY" if is_well else "DEGRADED", "message": told},
        "odbc_params": {"path": http_path(warehouse["id"])},
    }


def http_path(warehouse_id: str) -> str:
    """The address by which clients of SQL name a warehouse."""
    return f"/sql/1.0/warehouses/{warehouse_id}"
