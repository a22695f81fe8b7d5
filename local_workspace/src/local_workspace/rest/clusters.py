"""Clusters, each a name for the one Spark of the workspace: `/api/2.0/clusters` and `/api/2.1/clusters`."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.compute import check_access_mode
from local_workspace.database import Database, Document
from local_workspace.document_index import Search
from local_workspace.errors import InvalidParameter, InvalidState
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.paging import page
from local_workspace.rest.policies import obeyed

LISTED_AT_ONCE = 100


def router(database: Database, spark_state: Callable[[], str]) -> APIRouter:
    """Clusters whose state is `spark_state()` (an official State word) unless they were terminated."""
    routes = APIRouter()
    for version in ("2.0", "2.1"):
        routes.include_router(_clusters(database, spark_state, version), prefix=f"/api/{version}/clusters")
    return routes


def _clusters(database: Database, spark_state: Callable[[], str], version: str) -> APIRouter:
    routes = APIRouter()

    @routes.post("/create")
    def create_cluster(fields: RequestFields) -> dict[str, Any]:
        """Make a cluster; it runs as soon as Spark does."""
        fields.text("spark_version")
        moment = time.strftime("%m%d-%H%M%S", time.gmtime())
        cluster = {
            **obeyed(database, _settings(fields)),
            "cluster_id": f"{moment}-{secrets.token_hex(4)}",
            "cluster_source": "API",
            "creator_user_name": caller(),
            "start_time": now(),
            "terminated": False,
        }
        database.put("cluster", cluster["cluster_id"], cluster)
        return {"cluster_id": cluster["cluster_id"]}

    @routes.get("/get")
    def get_cluster(fields: RequestFields) -> dict[str, Any]:
        """One cluster with its settings and state."""
        return _with_state(find_cluster(database, fields.text("cluster_id")), spark_state())

    @routes.get("/list")
    def list_clusters(fields: RequestFields) -> dict[str, Any]:
        """Clusters, the newest first, by `filter_by`; in 2.1 page by page."""
        state = spark_state()
        search = _search(fields, state)
        if version == "2.0":
            found = [cluster for _, cluster in database.find(search, newest_first=True)]
            return {"clusters": [_with_state(cluster, state) for cluster in found]}
        paged = Fields({**fields, "limit": fields.get("page_size", LISTED_AT_ONCE)})
        reply = page("clusters", database, search, paged, LISTED_AT_ONCE)
        reply["clusters"] = [_with_state(cluster, state) for cluster in reply["clusters"]]
        return {name: value for name, value in reply.items() if name != "has_more"}

    @routes.post("/start")
    def start_cluster(fields: RequestFields) -> dict[str, Any]:
        """Start a terminated cluster."""
        with database.transaction():
            cluster = find_cluster(database, fields.text("cluster_id"))
            if not cluster["terminated"]:
                state = spark_state().capitalize()
                raise InvalidState(f"Cluster {cluster['cluster_id']} is in unexpected state {state}.")
            start(database, cluster["cluster_id"])
        return {}

    @routes.post("/restart")
    def restart_cluster(fields: RequestFields) -> dict[str, Any]:
        """Accepted for a running cluster; Spark itself goes on."""
        with database.transaction():
            cluster = find_cluster(database, fields.text("cluster_id"))
            if cluster["terminated"]:
                raise InvalidState(f"Cluster {cluster['cluster_id']} is in unexpected state Terminated.")
            change = {"start_time": now()}
            database.update("cluster", cluster["cluster_id"], lambda document: document.update(change))
        return {}

    @routes.post("/delete")
    def terminate_cluster(fields: RequestFields) -> dict[str, Any]:
        """Terminate a cluster; a run on it starts it again."""
        with database.transaction():
            cluster = find_cluster(database, fields.text("cluster_id"))
            change = {"terminated": True, "terminated_time": now()}
            database.update("cluster", cluster["cluster_id"], lambda document: document.update(change))
        return {}

    @routes.post("/permanent-delete")
    def delete_cluster(fields: RequestFields) -> dict[str, Any]:
        """Remove a cluster."""
        with database.transaction():
            database.delete("cluster", find_cluster(database, fields.text("cluster_id"))["cluster_id"])
        return {}

    @routes.post("/edit")
    def edit_cluster(fields: RequestFields) -> dict[str, Any]:
        """Replace the settings of a cluster."""
        with database.transaction():
            fields.text("spark_version")
            cluster = find_cluster(database, fields.text("cluster_id"))
            kept = ("cluster_id", "cluster_source", "creator_user_name", "start_time", "terminated")
            document = {**_settings(fields), **{name: cluster[name] for name in kept}}
            database.put("cluster", cluster["cluster_id"], document)
        return {}

    return routes


def find_cluster(database: Database, cluster_id: str) -> Document:
    """One cluster's document; a missing one is an InvalidParameter, as on Databricks."""
    cluster = database.get("cluster", cluster_id)
    if cluster is None:
        raise InvalidParameter(f"Cluster {cluster_id} does not exist")
    return cluster


def start(database: Database, cluster_id: str) -> None:
    """Take back a cluster's termination; a running one stays as it is."""
    change = {"terminated": False, "start_time": now()}
    if find_cluster(database, cluster_id)["terminated"]:
        database.update("cluster", cluster_id, lambda document: document.update(change))


def _settings(fields: Fields) -> Document:
    check_access_mode(fields)
    return {"cluster_name": "", **fields}


def _search(fields: Fields, spark_state: str) -> Search:
    """The clusters that `filter_by` asks for."""
    sources, states = fields.texts("filter_by.cluster_sources"), fields.texts("filter_by.cluster_states")
    names = {0: spark_state, 1: "TERMINATED"}
    terminated = [value for value, name in names.items() if not states or name in states]
    of_sources = {"json_extract(document, '$.cluster_source')": sources} if sources else {}
    return Search("cluster", {"json_extract(document, '$.terminated')": terminated, **of_sources})


def _with_state(cluster: Document, spark_state: str) -> Document:
    shown = {name: value for name, value in cluster.items() if name != "terminated"}
    return {**shown, "state": "TERMINATED" if cluster["terminated"] else spark_state, "state_message": ""}
