"""Who may do what with a job, a cluster, an experiment, …: `/api/2.0/permissions`.

Permissions are kept and shown as they were set, and keep nobody out.
"""

from collections.abc import Callable, Mapping
from functools import partial
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import USER_NAME
from local_workspace.errors import DoesNotExist, InvalidParameter
from local_workspace.notebooks.workspace_tree import KIND as WORKSPACE_OBJECT
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.spark.sql_warehouses import KIND as WAREHOUSE
from local_workspace.store.database import Database, Document

PRINCIPALS = ("user_name", "group_name", "service_principal_name")
_OBJECT_LEVELS = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
_WAREHOUSE_LEVELS = ("CAN_VIEW", "CAN_MONITOR", "CAN_USE", "IS_OWNER", "CAN_MANAGE")
_MODEL_LEVELS = (
    "CAN_READ",
    "CAN_EDIT",
    "CAN_MANAGE_STAGING_VERSIONS",
    "CAN_MANAGE_PRODUCTION_VERSIONS",
    "CAN_MANAGE",
)
# By the plural in the path: the singular in the answers, and the levels, the weakest first.
TYPES = {
    "jobs": ("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "IS_OWNER", "CAN_MANAGE")),
    "clusters": ("cluster", ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE")),
    "directories": ("directory", _OBJECT_LEVELS),
    "notebooks": ("notebook", _OBJECT_LEVELS),
    "files": ("file", _OBJECT_LEVELS),
    "experiments": ("mlflowExperiment", ("CAN_READ", "CAN_EDIT", "CAN_MANAGE")),
    "pipelines": ("pipelines", ("CAN_VIEW", "CAN_RUN", "IS_OWNER", "CAN_MANAGE")),
    "registered-models": ("registered-model", _MODEL_LEVELS),
    "warehouses": ("warehouses", _WAREHOUSE_LEVELS),
    "sql/warehouses": ("warehouses", _WAREHOUSE_LEVELS),
}
# What is kept in the workspace's database, by its kind there.
_KEPT = {
    "jobs": "job",
    "clusters": "cluster",
    "pipelines": "pipeline",
    "warehouses": WAREHOUSE,
    "sql/warehouses": WAREHOUSE,
}
Exists = Callable[[str], bool]


def router(database: Database, elsewhere: Mapping[str, Exists] | None = None) -> APIRouter:
    """Get, set (replace) and update (add) the permissions of the kinds of things that are here.

    `elsewhere` tells of kinds that are not in the database, by their plural, whether an id is one of theirs.
    """
    routes = APIRouter(prefix="/api/2.0/permissions")
    others = elsewhere or {}
    for plural in TYPES:
        exists = others.get(plural, partial(_is_kept, database, plural))
        routes.include_router(_permissions(database, plural, exists), prefix=f"/{plural}")
    return routes


def _permissions(database: Database, plural: str, exists: Exists) -> APIRouter:
    singular, levels = TYPES[plural]
    key = plural.rpartition("/")[2]
    routes = APIRouter()

    def require(object_id: str) -> None:
        if not exists(object_id):
            raise DoesNotExist(f"{_title(singular)} {object_id} does not exist.")

    @routes.get("/{object_id}/permissionLevels")
    def list_levels(object_id: str) -> dict[str, Any]:
        """The levels that there are, the weakest first."""
        require(object_id)
        return {"permission_levels": [{"permission_level": level, "description": ""} for level in levels]}

    @routes.get("/{object_id}")
    def get_permissions(object_id: str) -> dict[str, Any]:
        """Who has which level."""
        require(object_id)
        return shown(object_id)

    @routes.put("/{object_id}")
    def set_permissions(object_id: str, fields: RequestFields) -> dict[str, Any]:
        """Replace what was set."""
        with database.transaction():
            return save(object_id, fields, {})

    @routes.patch("/{object_id}")
    def update_permissions(object_id: str, fields: RequestFields) -> dict[str, Any]:
        """Add to what was set."""
        with database.transaction():
            return save(object_id, fields, kept(object_id))

    def save(object_id: str, fields: Fields, before: dict[str, Document]) -> Document:
        require(object_id)
        entries = before | {_principal(entry): entry for entry in _entries(fields, levels)}
        database.put("permissions", f"{key}/{object_id}", {"entries": entries})
        return shown(object_id)

    def kept(object_id: str) -> dict[str, Document]:
        document = database.get("permissions", f"{key}/{object_id}") or {"entries": {}}
        entries: dict[str, Document] = document["entries"]
        return entries

    def shown(object_id: str) -> Document:
        job = database.get("job", object_id) if plural == "jobs" else None
        who = job["creator_user_name"] if job else USER_NAME
        owner = {"user_name": who, "permission_level": "IS_OWNER" if "IS_OWNER" in levels else "CAN_MANAGE"}
        entries = {_principal(owner): owner} | kept(object_id)
        return {
            "object_id": f"/{plural}/{object_id}",
            "object_type": singular,
            "access_control_list": [_with_all_permissions(entry) for entry in entries.values()],
        }

    return routes


def _is_kept(database: Database, plural: str, object_id: str) -> bool:
    if kind := _KEPT.get(plural):
        return database.get(kind, object_id) is not None
    wanted = (TYPES[plural][0], object_id)
    kept = database.all(WORKSPACE_OBJECT)
    return wanted in {(record["object_type"].lower(), str(record["object_id"])) for record in kept}


def _title(singular: str) -> str:
    names = {
        "mlflowExperiment": "Experiment",
        "registered-model": "Model",
        "warehouses": "SQL warehouse",
        "pipelines": "Pipeline",
    }
    return names.get(singular, singular.capitalize())


def _entries(fields: Fields, levels: tuple[str, ...]) -> list[Document]:
    entries = fields.get("access_control_list") or []
    if not isinstance(entries, list) or not all(isinstance(entry, dict) for entry in entries):
        raise InvalidParameter(f"access_control_list must be a list of objects, not {entries!r}")
    for entry in entries:
        if entry.get("permission_level") not in levels:
            raise InvalidParameter(
                f"permission_level {entry.get('permission_level')!r} is not one of {levels}"
            )
    return entries


def _principal(entry: Document) -> str:
    named = [f"{kind}:{entry[kind]}" for kind in PRINCIPALS if entry.get(kind)]
    if len(named) != 1:
        raise InvalidParameter(f"an entry names one of {PRINCIPALS}; this one has {sorted(entry)}")
    return named[0]


def _with_all_permissions(entry: Document) -> Document:
    who = {kind: entry[kind] for kind in PRINCIPALS if kind in entry}
    return {**who, "all_permissions": [{"permission_level": entry["permission_level"], "inherited": False}]}
