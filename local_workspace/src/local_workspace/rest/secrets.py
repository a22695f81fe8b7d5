"""Secret scopes, their secrets and who may use them: `/api/2.0/secrets`."""

import base64
import re
import time
from typing import Any

from fastapi import APIRouter

from local_workspace.database import Database, Document
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter, NotSupported
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.rest.identity import USER_NAME

NAME = re.compile(r"[\w.@-]{1,128}", re.ASCII)
PERMISSIONS = ("READ", "WRITE", "MANAGE")


def router(database: Database) -> APIRouter:
    """Scopes that the workspace keeps itself; a value is readable through get, never through list."""
    routes = APIRouter(prefix="/api/2.0/secrets")
    _add_scopes(routes, database)
    _add_secrets(routes, database)
    _add_acls(routes, database)
    return routes


def _add_scopes(routes: APIRouter, database: Database) -> None:
    @routes.post("/scopes/create")
    def create_scope(fields: RequestFields) -> dict[str, Any]:
        name = _name(fields, "scope")
        if fields.get("scope_backend_type") == "AZURE_KEYVAULT":
            raise NotSupported(f"scope {name!r}: only scopes of backend type DATABRICKS are kept here")
        if database.get("secret_scope", name) is not None:
            raise AlreadyExists(f"Scope {name} already exists!")
        manager = fields.get("initial_manage_principal") or USER_NAME
        database.put("secret_scope", name, {"name": name, "acls": {manager: "MANAGE"}})
        return {}

    @routes.get("/scopes/list")
    def list_scopes() -> dict[str, Any]:
        names = [scope["name"] for scope in database.all("secret_scope")]
        return {"scopes": [{"name": name, "backend_type": "DATABRICKS"} for name in names]}

    @routes.post("/scopes/delete")
    def delete_scope(fields: RequestFields) -> dict[str, Any]:
        scope = _scope(database, fields)["name"]
        for secret in _secrets(database, scope):
            database.delete("secret", f"{scope}/{secret['key']}")
        database.delete("secret_scope", scope)
        return {}


def _add_secrets(routes: APIRouter, database: Database) -> None:
    @routes.post("/put")
    def put_secret(fields: RequestFields) -> dict[str, Any]:
        scope, key = _scope(database, fields)["name"], _name(fields, "key")
        document = {"scope": scope, "key": key, "value": _value(fields), "updated": int(time.time() * 1000)}
        database.put("secret", f"{scope}/{key}", document)
        return {}

    @routes.get("/get")
    def get_secret(fields: RequestFields) -> dict[str, Any]:
        secret = _secret(database, fields)
        return {"key": secret["key"], "value": secret["value"]}

    @routes.get("/list")
    def list_secrets(fields: RequestFields) -> dict[str, Any]:
        secrets = _secrets(database, _scope(database, fields)["name"])
        return {"secrets": [{"key": s["key"], "last_updated_timestamp": s["updated"]} for s in secrets]}

    @routes.post("/delete")
    def delete_secret(fields: RequestFields) -> dict[str, Any]:
        secret = _secret(database, fields)
        database.delete("secret", f"{secret['scope']}/{secret['key']}")
        return {}


def _add_acls(routes: APIRouter, database: Database) -> None:
    @routes.post("/acls/put")
    def put_acl(fields: RequestFields) -> dict[str, Any]:
        name, principal, permission = (
            _name(fields, "scope"),
            fields.text("principal"),
            fields.text("permission"),
        )
        if permission not in PERMISSIONS:
            raise InvalidParameter(f"permission {permission!r} is none of {PERMISSIONS}")
        _scope(database, fields)
        database.update("secret_scope", name, lambda scope: scope["acls"].update({principal: permission}))
        return {}

    @routes.get("/acls/list")
    def list_acls(fields: RequestFields) -> dict[str, Any]:
        acls = _scope(database, fields)["acls"]
        return {"items": [{"principal": who, "permission": what} for who, what in acls.items()]}

    @routes.get("/acls/get")
    def get_acl(fields: RequestFields) -> dict[str, Any]:
        principal = fields.text("principal")
        return {"principal": principal, "permission": _permission(_scope(database, fields), principal)}

    @routes.post("/acls/delete")
    def delete_acl(fields: RequestFields) -> dict[str, Any]:
        principal, scope = fields.text("principal"), _scope(database, fields)
        _permission(scope, principal)
        database.update("secret_scope", scope["name"], lambda document: document["acls"].pop(principal, None))
        return {}


def _name(fields: Fields, field: str) -> str:
    name = fields.text(field)
    if not NAME.fullmatch(name):
        raise InvalidParameter(f"{field} {name!r} must be 1 to 128 letters, digits, '-', '_', '@' or '.'")
    return name


def _scope(database: Database, fields: Fields) -> Document:
    name = _name(fields, "scope")
    scope = database.get("secret_scope", name)
    if scope is None:
        raise DoesNotExist(f"Scope {name} does not exist!")
    return scope


def _secrets(database: Database, scope: str) -> list[Document]:
    return [secret for secret in database.all("secret") if secret["scope"] == scope]


def _secret(database: Database, fields: Fields) -> Document:
    scope, key = _scope(database, fields)["name"], _name(fields, "key")
    secret = database.get("secret", f"{scope}/{key}")
    if secret is None:
        raise DoesNotExist(f"No secret exists with scope: {scope} and key: {key}")
    return secret


def _permission(scope: Document, principal: str) -> str:
    permission = scope["acls"].get(principal)
    if permission is None:
        raise DoesNotExist(f"Principal {principal} has no permission on scope {scope['name']}")
    return str(permission)


def _value(fields: Fields) -> str:
    """The secret's bytes in base64, from exactly one of the two fields that can carry them."""
    if ("string_value" in fields) == ("bytes_value" in fields):
        raise InvalidParameter("send exactly one of string_value and bytes_value")
    if "string_value" in fields:
        return base64.b64encode(str(fields["string_value"]).encode()).decode()
    return base64.b64encode(fields.content("bytes_value").read()).decode()
