"""Users, groups and service principals: `/api/2.0/preview/scim/v2`. Administrators alone change them."""

import re
from collections.abc import Callable
from typing import Any

from fastapi import APIRouter

from local_workspace.errors import InvalidParameter
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.database import Database, Document
from local_workspace.store.principals import GROUP, KINDS, USER, Kind, Principals

SCHEMA = "urn:ietf:params:scim:schemas:core:2.0:"
FILTER = re.compile(r"""(\w+) eq ["']?([^"']*)["']?""", re.IGNORECASE)
ONE_MEMBER = re.compile(r"""members\[value eq ["']?([^"'\]]*)["']?\]""")
KEPT = ("userName", "displayName", "applicationId", "active", "externalId", "entitlements", "emails", "name")
LISTED_AT_ONCE = 10_000


def router(database: Database) -> APIRouter:
    """Create, list, read, change and delete principals of each kind."""
    routes = APIRouter(prefix="/api/2.0/preview/scim/v2")
    for kind in KINDS:
        routes.include_router(_of_kind(database, kind), prefix=f"/{kind.resource}")
    return routes


def _of_kind(database: Database, kind: Kind) -> APIRouter:
    routes, principals = APIRouter(), Principals(database)
    doing = f"change {kind.resource}"

    @routes.post("", status_code=201)
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make one."""
        principals.require_administrator(doing)
        fields.text(kind.required)
        return shown(principals, kind, principals.create(kind, _kept(principals, kind, fields)))

    @routes.get("")
    def list_all(fields: RequestFields) -> dict[str, Any]:
        """All of them, or those that `filter` names."""
        found = [one for one in principals.all(kind) if _meets(one, fields.text("filter", ""))]
        first = max(fields.natural("startIndex", 1), 1)
        part = found[first - 1 :][: fields.natural("count", LISTED_AT_ONCE)]
        return {
            "schemas": ["urn:ietf:params:scim:api:messages:2.0:ListResponse"],
            "totalResults": len(found),
            "startIndex": first,
            "itemsPerPage": len(part),
            "Resources": [shown(principals, kind, one) for one in part],
        }

    @routes.get("/{principal_id}")
    def get(principal_id: str) -> dict[str, Any]:
        """One, with the groups that it is in."""
        return shown(principals, kind, principals.require(kind, principal_id))

    @routes.put("/{principal_id}", status_code=204)
    def replace(principal_id: str, fields: RequestFields) -> None:
        """Replace what is kept about one; its name stays."""
        principals.require_administrator(doing)
        principals.change(kind, principal_id, _kept(principals, kind, fields))

    @routes.patch("/{principal_id}", status_code=204)
    def change(principal_id: str, fields: RequestFields) -> None:
        """Carry out `Operations`: add, remove and replace members and other fields."""
        principals.require_administrator(doing)
        with database.transaction():  # two that come at once both count
            document = principals.require(kind, principal_id)
            for operation in fields.get("Operations") or []:
                _carry_out(document, Fields(operation))
            principals.change(kind, principal_id, _kept(principals, kind, Fields(document)))

    @routes.delete("/{principal_id}", status_code=204)
    def delete(principal_id: str) -> None:
        """Remove one with its tokens."""
        principals.require_administrator(doing)
        principals.delete(kind, principal_id)

    return routes


def shown(principals: Principals, kind: Kind, principal: Document) -> Document:
    """A principal as SCIM shows it: with its groups, and a group with the names of its members."""
    groups = principals.direct_groups(principal)
    document = {
        "schemas": [f"{SCHEMA}{kind.resource.removesuffix('s')}"],
        **principal,
        "groups": [
            {"display": each["displayName"], "type": "direct", "value": each["id"]} for each in groups
        ],
    }
    if kind is GROUP:
        return document | {"members": [_member(principals, each) for each in principal.get("members", [])]}
    emails = [{"type": "work", "value": principal["userName"], "primary": True}] if kind is USER else []
    return {"active": True, "displayName": principal[kind.name], "emails": emails} | document


def _member(principals: Principals, member: Document) -> Document:
    for kind in KINDS:
        if found := principals.by_id(kind, member["value"]):
            name = found.get("displayName") or found[kind.name]
            return {"value": member["value"], "display": name, "$ref": f"{kind.resource}/{member['value']}"}
    return member


def _kept(principals: Principals, kind: Kind, fields: Fields) -> Document:
    kept = {name: fields[name] for name in KEPT if fields.get(name) is not None}
    if kind is not GROUP:
        return kept
    members = {str(Fields(member).text("value")) for member in fields.get("members") or []}
    unknown = [each for each in members if not any(principals.by_id(kind, each) for kind in KINDS)]
    if unknown:
        raise InvalidParameter(f"members {sorted(unknown)} are not ids of principals of this workspace")
    return kept | {"members": [{"value": each} for each in sorted(members)]}


def _meets(principal: Document, condition: str) -> bool:
    if not condition:
        return True
    match = FILTER.fullmatch(condition.strip())
    if match is None:
        raise InvalidParameter(f"filter {condition!r:.200} is not of the form: <field> eq <value>")
    return str(principal.get(match[1], "")).lower() == match[2].lower()


def _carry_out(document: Document, operation: Fields) -> None:
    """One operation of a PATCH."""
    what, path, value = operation.text("op").lower(), operation.text("path", ""), operation.get("value")
    if what not in OPERATIONS:
        raise InvalidParameter(f"op {what!r} is not one of {sorted(OPERATIONS)}")
    if one := ONE_MEMBER.fullmatch(path):
        path, value = "members", [{"value": one[1]}]
    changes = {path: value} if path else value
    if not isinstance(changes, dict):
        raise InvalidParameter(f"an operation without a path takes an object, not {value!r:.200}")
    for name, given in changes.items():
        OPERATIONS[what](document, name, given)


def _add(document: Document, name: str, value: Any) -> None:
    before = document.get(name)
    document[name] = [*before, *value] if isinstance(before, list) and isinstance(value, list) else value


def _remove(document: Document, name: str, value: Any) -> None:
    gone = value if isinstance(value, list) else []
    left = [each for each in document.get(name) or [] if gone and each not in gone]
    document.pop(name, None)
    if left:
        document[name] = left


def _replace(document: Document, name: str, value: Any) -> None:
    document[name] = value


OPERATIONS: dict[str, Callable[[Document, str, Any], None]] = {
    "add": _add,
    "remove": _remove,
    "replace": _replace,
}
