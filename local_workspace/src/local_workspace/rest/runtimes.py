"""Which runtimes and machines a cluster may name; all stand for the one Spark of this machine."""

import os
from typing import Any

import psutil
from fastapi import APIRouter

# Long-term support of today, by version: which Spark the platform has there, and for which Scala.
RUNTIMES = {
    "16.4": ("3.5.2", ("2.12", "2.13")),
    "17.3": ("4.0.0", ("2.13",)),
    "18.0": ("4.1.0", ("2.13",)),
}
KINDS = {"": "", "-cpu-ml": " ML"}
# Types of Azure that clients and templates choose of themselves.
NODE_TYPES = ("Standard_D3_v2", "Standard_DS3_v2", "Standard_D4ds_v5")


def router() -> APIRouter:
    """What clients ask before they make a cluster."""
    routes = APIRouter()

    @routes.get("/api/2.0/clusters/spark-versions")
    @routes.get("/api/2.1/clusters/spark-versions")
    def list_spark_versions() -> dict[str, Any]:
        """The runtimes of long-term support; each is a name for the Spark that is here."""
        return {
            "versions": [
                {
                    "key": f"{version}.x{kind}-scala{scala}",
                    "name": f"{version} LTS{title} (includes Apache Spark {spark}, Scala {scala})",
                }
                for version, (spark, scalas) in RUNTIMES.items()
                for kind, title in KINDS.items()
                for scala in scalas
            ]
        }

    @routes.get("/api/2.0/clusters/list-node-types")
    @routes.get("/api/2.1/clusters/list-node-types")
    def list_node_types() -> dict[str, Any]:
        """Names of machines, each with what this machine has."""
        return {"node_types": [_node_type(name) for name in NODE_TYPES]}

    return routes


def _node_type(name: str) -> dict[str, Any]:
    disks = {"local_disks": 1, "local_disk_size_gb": psutil.disk_usage("/").total // 2**30}
    return {
        "node_type_id": name,
        "instance_type_id": name,
        "node_instance_type": {"instance_type_id": name, **disks},
        "description": "this machine",
        "category": "General Purpose",
        "memory_mb": psutil.virtual_memory().total // 2**20,
        "num_cores": os.cpu_count() or 1,
        "num_gpus": 0,
        "is_deprecated": False,
    }
