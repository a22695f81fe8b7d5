"""Tokens: `/api/2.0/token` for one's own, `/api/2.0/token-management` for an administrator."""

from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.errors import DoesNotExist
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.database import Database, Document
from local_workspace.store.principals import SERVICE_PRINCIPAL, USER, Kind, Principals


def router(database: Database) -> APIRouter:
    """Make, list and end tokens."""
    routes = APIRouter(prefix="/api/2.0")
    principals = Principals(database)
    _add_own(routes, principals)
    _add_managed(routes, principals)
    return routes


def _add_own(routes: APIRouter, principals: Principals) -> None:
    @routes.post("/token/create")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Make a token for who asks; `lifetime_seconds` ends it."""
        return _made(principals, caller(), fields)

    @routes.get("/token/list")
    def list_own() -> dict[str, Any]:
        """The tokens of who asks, without their values."""
        return {"token_infos": [_shown(token) for token in principals.tokens(caller())]}

    @routes.post("/token/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """End a token of who asks."""
        principals.delete_token(fields.text("token_id"), caller())
        return {}

    # Where a person would sign in with a password; only the workspace's own token opens it.
    @routes.post("/local-workspace/tokens")
    def create_for_user(fields: RequestFields) -> dict[str, Any]:
        """Make a token for a user, who has no other way to sign in for the first time."""
        return _made(principals, _existing(principals, USER, fields.text("user_name")), fields)


def _add_managed(routes: APIRouter, principals: Principals) -> None:
    doing = "manage the tokens of others"

    @routes.post("/token-management/on-behalf-of/tokens")
    def create_for_service_principal(fields: RequestFields) -> dict[str, Any]:
        """Make a token for a service principal."""
        principals.require_administrator(doing)
        name = _existing(principals, SERVICE_PRINCIPAL, fields.text("application_id"))
        return _made(principals, name, fields)

    @routes.get("/token-management/tokens")
    def list_all() -> dict[str, Any]:
        """Everybody's tokens, without their values."""
        principals.require_administrator(doing)
        return {"token_infos": [_shown(token) for token in principals.tokens()]}

    @routes.delete("/token-management/tokens/{token_id}")
    def delete_any(token_id: str) -> dict[str, Any]:
        """End anybody's token."""
        principals.require_administrator(doing)
        principals.delete_token(token_id)
        return {}


def _existing(principals: Principals, kind: Kind, name: str) -> str:
    for one in principals.all(kind):
        if one[kind.name] == name:
            return name
    raise DoesNotExist(f"{kind.kind} {name!r} does not exist.")


def _made(principals: Principals, name: str, fields: Fields) -> Document:
    value, kept = principals.new_token(
        name, fields.text("comment", ""), fields.natural("lifetime_seconds", 0)
    )
    return {"token_value": value, "token_info": _shown(kept)}


def _shown(token: Document) -> Document:
    shown = {name: token[name] for name in ("token_id", "comment", "creation_time", "expiry_time")}
    return shown | {"owner_id": 0, "created_by_username": token["created_by"]}
