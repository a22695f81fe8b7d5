"""Clusters, each a name for the one Spark of the workspace: `/api/2.0/clusters` and `/api/2.1/clusters`."""

import secrets
import time
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.errors import InvalidState
from local_workspace.jobs import compute
from local_workspace.jobs.compute import find_cluster, with_event
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.paging import page
from local_workspace.rest.policies import obeyed
from local_workspace.spark.access_modes import check_access_mode
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search

LISTED_AT_ONCE, LISTED_EVENTS = 100, 50
# What is kept of a cluster and is no part of its settings.
_OWN = ("terminated", "events")


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
        database.put("cluster", cluster["cluster_id"], with_event(cluster, "CREATING"))
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
            compute.start_cluster(database, cluster["cluster_id"])
        return {}

    @routes.post("/restart")
    def restart_cluster(fields: RequestFields) -> dict[str, Any]:
        """Accepted for a running cluster; Spark itself goes on."""
        with database.transaction():
            cluster = find_cluster(database, fields.text("cluster_id"))
            if cluster["terminated"]:
                raise InvalidState(f"Cluster {cluster['cluster_id']} is in unexpected state Terminated.")
            compute.change_cluster(database, cluster["cluster_id"], "RESTARTING", start_time=now())
        return {}

    @routes.post("/delete")
    def terminate_cluster(fields: RequestFields) -> dict[str, Any]:
        """Terminate a cluster; a run on it starts it again."""
        with database.transaction():
            cluster = find_cluster(database, fields.text("cluster_id"))
            change = {"terminated": True, "terminated_time": now()}
            compute.change_cluster(database, cluster["cluster_id"], "TERMINATING", **change)
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
            document["events"] = cluster.get("events", [])
            database.put("cluster", cluster["cluster_id"], with_event(document, "EDITED"))
        return {}

    @routes.post("/events")
    def list_events(fields: RequestFields) -> dict[str, Any]:
        """What has happened to a cluster, the newest first or by `order`, of `event_types` or of all."""
        cluster, wanted = find_cluster(database, fields.text("cluster_id")), fields.texts("event_types")
        events = [each for each in cluster.get("events", []) if not wanted or each["type"] in wanted]
        if fields.text("order", "DESC") == "DESC":
            events.reverse()
        first, most = fields.natural("offset", 0), fields.natural("limit", LISTED_EVENTS)
        named = [{"cluster_id": cluster["cluster_id"], **each} for each in events[first : first + most]]
        reply: dict[str, Any] = {"events": named, "total_count": len(events)}
        if first + most < len(events):
            reply["next_page"] = {**fields, "offset": first + most}
        return reply

    return routes


def _settings(fields: Fields) -> Document:
    check_access_mode(fields)
    return {"cluster_name": "", **{name: value for name, value in fields.items() if name not in _OWN}}


def _search(fields: Fields, spark_state: str) -> Search:
    """The clusters that `filter_by` asks for."""
    sources, states = fields.texts("filter_by.cluster_sources"), fields.texts("filter_by.cluster_states")
    names = {0: spark_state, 1: "TERMINATED"}
    terminated = [value for value, name in names.items() if not states or name in states]
    of_sources = {"json_extract(document, '$.cluster_source')": sources} if sources else {}
    return Search("cluster", {"json_extract(document, '$.terminated')": terminated, **of_sources})


def _with_state(cluster: Document, spark_state: str) -> Document:
    shown = {name: value for name, value in cluster.items() if name not in _OWN}
    return {**shown, "state": "TERMINATED" if cluster["terminated"] else spark_state, "state_message": ""}
