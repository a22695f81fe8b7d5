"""Who may do what with a job, a cluster or a workspace object: `/api/2.0/permissions`.

Permissions are kept and shown as they were set, and keep nobody out.
"""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import USER_NAME
from local_workspace.database import Database, Document
from local_workspace.errors import DoesNotExist, InvalidParameter
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.workspace_tree import KIND as WORKSPACE_OBJECT

PRINCIPALS = ("user_name", "group_name", "service_principal_name")
_OBJECT_LEVELS = ("CAN_READ", "CAN_RUN", "CAN_EDIT", "CAN_MANAGE")
# By the plural in the path: the singular in the answers, and the levels, the weakest first.
TYPES = {
    "jobs": ("job", ("CAN_VIEW", "CAN_MANAGE_RUN", "IS_OWNER", "CAN_MANAGE")),
    "clusters": ("cluster", ("CAN_ATTACH_TO", "CAN_RESTART", "CAN_MANAGE")),
    "directories": ("directory", _OBJECT_LEVELS),
    "notebooks": ("notebook", _OBJECT_LEVELS),
    "files": ("file", _OBJECT_LEVELS),
}


def router(database: Database) -> APIRouter:
    """Get, set (replace) and update (add) the permissions of the kinds of things that are here."""
    routes = APIRouter(prefix="/api/2.0/permissions")
    for plural in TYPES:
        routes.include_router(_permissions(database, plural), prefix=f"/{plural}")
    return routes


def _permissions(database: Database, plural: str) -> APIRouter:
    singular, levels = TYPES[plural]
    routes = APIRouter()

    @routes.get("/{object_id}/permissionLevels")
    def list_levels(object_id: str) -> dict[str, Any]:
        """The levels that there are, the weakest first."""
        _require(database, plural, object_id)
        return {"permission_levels": [{"permission_level": level, "description": ""} for level in levels]}

    @routes.get("/{object_id}")
    def get_permissions(object_id: str) -> dict[str, Any]:
        """Who has which level."""
        _require(database, plural, object_id)
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
        _require(database, plural, object_id)
        entries = before | {_principal(entry): entry for entry in _entries(fields, levels)}
        database.put("permissions", f"{plural}/{object_id}", {"entries": entries})
        return shown(object_id)

    def kept(object_id: str) -> dict[str, Document]:
        document = database.get("permissions", f"{plural}/{object_id}") or {"entries": {}}
        entries: dict[str, Document] = document["entries"]
        return entries

    def shown(object_id: str) -> Document:
        job = database.get("job", object_id) if plural == "jobs" else None
        who = job["creator_user_name"] if job else USER_NAME
        owner = {"user_name": who, "permission_level": "IS_OWNER" if plural == "jobs" else "CAN_MANAGE"}
        entries = {_principal(owner): owner} | kept(object_id)
        return {
            "object_id": f"/{plural}/{object_id}",
            "object_type": singular,
            "access_control_list": [_with_all_permissions(entry) for entry in entries.values()],
        }

    return routes


def _require(database: Database, plural: str, object_id: str) -> None:
    if plural in ("jobs", "clusters"):
        found = database.get(TYPES[plural][0], object_id) is not None
    else:
        ids = {
            (record["object_type"].lower(), record["object_id"]) for record in database.all(WORKSPACE_OBJECT)
        }
        found = object_id.isdecimal() and (TYPES[plural][0], int(object_id)) in ids
    if not found:
        raise DoesNotExist(f"{TYPES[plural][0].capitalize()} {object_id} does not exist.")


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
