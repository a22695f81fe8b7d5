"""Grants on what is in Unity Catalog: `/api/2.1/unity-catalog/permissions`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.rest.catalogs import PREFIX, Inventory
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.securables import Securable, Securables, securable
from local_workspace.store.database import Document


def router(inventory: Inventory) -> APIRouter:
    """What was granted on a securable, and to change it."""
    routes, rights = APIRouter(prefix=PREFIX), inventory.rights

    @routes.get("/permissions/{kind}/{full_name}")
    def get_grants(kind: str, full_name: str, principal: str = "") -> dict[str, Any]:
        """What was granted on a securable itself."""
        one = inventory.require(securable(kind, full_name))
        _check_may_know(rights, one, principal)
        return _grants(rights.record(one), principal)

    @routes.patch("/permissions/{kind}/{full_name}")
    def change_grants(kind: str, full_name: str, fields: RequestFields) -> dict[str, Any]:
        """Grant and revoke, by the owner of a securable or of what it is in, or with MANAGE."""
        one = inventory.require(securable(kind, full_name))
        rights.require(one, "MANAGE")
        changes = [Fields(each) for each in fields.get("changes") or []]
        told = [
            (each.text("principal"), set(each.texts("add")), set(each.texts("remove"))) for each in changes
        ]
        return _grants(rights.grant(one, told), "")

    @routes.get("/effective-permissions/{kind}/{full_name}")
    def get_effective_grants(kind: str, full_name: str, principal: str = "") -> dict[str, Any]:
        """What was granted on a securable and on what it is in."""
        one = inventory.require(securable(kind, full_name))
        _check_may_know(rights, one, principal)
        found: dict[str, list[Document]] = {}
        for each in one.line():
            origin = {"inherited_from_type": each.kind.upper(), "inherited_from_name": each.name}
            for name, privileges in rights.record(each)["grants"].items():
                entries = [{"privilege": p} | (origin if each != one else {}) for p in privileges]
                found.setdefault(name, []).extend(entries)
        chosen = {name: entries for name, entries in found.items() if principal in ("", name)}
        return {"privilege_assignments": _assignments(chosen)}

    return routes


def _check_may_know(rights: Securables, one: Securable, principal: str) -> None:
    """Everybody may ask for what they have themselves; others' is for who may change it."""
    if principal not in rights.principals.names_of(caller()):
        rights.require(one, "MANAGE")


def _grants(record: Document, principal: str) -> Document:
    chosen = {name: given for name, given in record["grants"].items() if principal in ("", name)}
    return {"privilege_assignments": _assignments(chosen)}


def _assignments(given: dict[str, Any]) -> list[Document]:
    return [{"principal": name, "privileges": privileges} for name, privileges in given.items()]
