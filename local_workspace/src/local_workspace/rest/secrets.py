"""Secret scopes, their secrets and who may use them: `/api/2.0/secrets`."""

import base64
import re
from typing import Any

from fastapi import APIRouter

from local_workspace.callers import caller
from local_workspace.clock import now
from local_workspace.errors import AlreadyExists, DoesNotExist, InvalidParameter, LimitExceeded, NotSupported
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder
from local_workspace.store.vault import Vault

NAME = re.compile(r"[\w.@-]{1,128}", re.ASCII)
PERMISSIONS = ("READ", "WRITE", "MANAGE")
BACKENDS = ("DATABRICKS", "AZURE_KEYVAULT")
# Databricks' own limits.
LARGEST_VALUE = 128 * 1024
MOST_SCOPES = MOST_SECRETS = 1000


def router(database: Database, state: StateFolder) -> APIRouter:
    """Scopes, and the secrets of those that no Key Vault backs: readable through get, never through list."""
    routes = APIRouter(prefix="/api/2.0/secrets")
    vault = Vault(state.secrets_key)
    _add_scopes(routes, database)
    _add_secrets(routes, database, vault)
    _add_acls(routes, database)
    return routes


def _add_scopes(routes: APIRouter, database: Database) -> None:
    @routes.post("/scopes/create")
    def create_scope(fields: RequestFields) -> dict[str, Any]:
        """Make a scope; `initial_manage_principal` manages it, a Key Vault may back it."""
        with database.transaction():
            name = _name(fields, "scope")
            vault = _key_vault(fields)
            if database.get("secret_scope", name) is not None:
                raise AlreadyExists(f"Scope {name} already exists!")
            _check_count("scopes", database.all("secret_scope"), MOST_SCOPES)
            manager = fields.text("initial_manage_principal", caller())
            scope = {"name": name, "acls": {manager: "MANAGE"}}
            database.put("secret_scope", name, scope | ({"key_vault": vault} if vault else {}))
        return {}

    @routes.get("/scopes/list")
    def list_scopes() -> dict[str, Any]:
        """All scopes."""
        return {"scopes": [_listed(scope) for scope in database.all("secret_scope")]}

    @routes.post("/scopes/delete")
    def delete_scope(fields: RequestFields) -> dict[str, Any]:
        """Remove a scope with its secrets."""
        with database.transaction():
            scope = _scope(database, fields)["name"]
            for secret in _secrets(database, scope):
                database.delete("secret", f"{scope}/{secret['key']}")
            database.delete("secret_scope", scope)
        return {}


def _add_secrets(routes: APIRouter, database: Database, vault: Vault) -> None:
    @routes.post("/put")
    def put_secret(fields: RequestFields) -> dict[str, Any]:
        """Create or replace a secret, encrypted on disk."""
        with database.transaction():  # the scope is not deleted meanwhile
            scope, key = _own_scope(database, fields)["name"], _name(fields, "key")
            value, name = _value(fields), f"{scope}/{key}"
            others = [secret for secret in _secrets(database, scope) if secret["key"] != key]
            _check_count(f"secrets in scope {scope}", others)
            encrypted, updated = vault.encrypt(value, name), now()
            document = {"scope": scope, "key": key, "encrypted": encrypted, "updated": updated}
            database.put("secret", name, document)
        return {}

    @routes.get("/get")
    def get_secret(fields: RequestFields) -> dict[str, Any]:
        """One secret with its value in base64."""
        secret = _secret(database, fields)
        value = vault.decrypt(secret["encrypted"], f"{secret['scope']}/{secret['key']}")
        return {"key": secret["key"], "value": base64.b64encode(value).decode()}

    @routes.get("/list")
    def list_secrets(fields: RequestFields) -> dict[str, Any]:
        """The keys of a scope, without the values."""
        secrets = _secrets(database, _own_scope(database, fields)["name"])
        return {"secrets": [{"key": s["key"], "last_updated_timestamp": s["updated"]} for s in secrets]}

    @routes.post("/delete")
    def delete_secret(fields: RequestFields) -> dict[str, Any]:
        """Remove a secret."""
        with database.transaction():
            secret = _secret(database, fields)
            database.delete("secret", f"{secret['scope']}/{secret['key']}")
        return {}


def _add_acls(routes: APIRouter, database: Database) -> None:
    @routes.post("/acls/put")
    def put_acl(fields: RequestFields) -> dict[str, Any]:
        """Set the permission of a principal on a scope; it keeps nobody out."""
        with database.transaction():
            name, principal, permission = (
                _name(fields, "scope"),
                fields.text("principal"),
                fields.text("permission"),
            )
            if permission not in PERMISSIONS:
                raise InvalidParameter(f"permission {permission[:100]!r} is not one of {PERMISSIONS}")
            _scope(database, fields)
            database.update("secret_scope", name, lambda scope: scope["acls"].update({principal: permission}))
        return {}

    @routes.get("/acls/list")
    def list_acls(fields: RequestFields) -> dict[str, Any]:
        """Who has which permission on a scope."""
        acls = _scope(database, fields)["acls"]
        return {"items": [{"principal": who, "permission": what} for who, what in acls.items()]}

    @routes.get("/acls/get")
    def get_acl(fields: RequestFields) -> dict[str, Any]:
        """The permission of one principal."""
        principal = fields.text("principal")
        return {"principal": principal, "permission": _permission(_scope(database, fields), principal)}

    @routes.post("/acls/delete")
    def delete_acl(fields: RequestFields) -> dict[str, Any]:
        """Take the permission of a principal away."""
        with database.transaction():
            principal, scope = fields.text("principal"), _scope(database, fields)
            _permission(scope, principal)
            database.update(
                "secret_scope", scope["name"], lambda document: document["acls"].pop(principal, None)
            )
        return {}


def _name(fields: Fields, field: str) -> str:
    name = fields.text(field)
    if not NAME.fullmatch(name):
        raise InvalidParameter(
            f"{field} {name[:200]!r} must be 1 to 128 letters, digits, '-', '_', '@' or '.'"
        )
    return name


def _scope(database: Database, fields: Fields) -> Document:
    name = _name(fields, "scope")
    scope = database.get("secret_scope", name)
    if scope is None:
        raise DoesNotExist(f"Scope {name} does not exist!")
    return scope


def _own_scope(database: Database, fields: Fields) -> Document:
    """A scope whose secrets are kept here, and not in a Key Vault."""
    scope = _scope(database, fields)
    if "key_vault" in scope:
        raise NotSupported(
            f"Scope {scope['name']} is backed by the Key Vault {scope['key_vault']['dns_name']}: its secrets "
            "are there, and this workspace does not reach it. Write them with `az keyvault secret set`; a "
            "run here needs a scope of backend type DATABRICKS"
        )
    return scope


def _key_vault(fields: Fields) -> Document | None:
    """The Key Vault that is to back a new scope, None where the workspace keeps the secrets itself."""
    backend = fields.text("scope_backend_type", "DATABRICKS")
    if backend not in BACKENDS:
        raise InvalidParameter(f"scope_backend_type {backend[:100]!r} is not one of {BACKENDS}")
    if backend == "DATABRICKS":
        return None
    given = Fields(fields.mapping("backend_azure_keyvault"))
    return {name: given.text(name) for name in ("resource_id", "dns_name")}


def _listed(scope: Document) -> Document:
    if "key_vault" not in scope:
        return {"name": scope["name"], "backend_type": "DATABRICKS"}
    kept_in = {"backend_type": "AZURE_KEYVAULT", "keyvault_metadata": scope["key_vault"]}
    return {"name": scope["name"], **kept_in}


def _secrets(database: Database, scope: str) -> list[Document]:
    return [secret for secret in database.all("secret") if secret["scope"] == scope]


def _secret(database: Database, fields: Fields) -> Document:
    scope, key = _own_scope(database, fields)["name"], _name(fields, "key")
    secret = database.get("secret", f"{scope}/{key}")
    if secret is None:
        raise DoesNotExist(f"No secret exists with scope: {scope} and key: {key}")
    return secret


def _permission(scope: Document, principal: str) -> str:
    permission = scope["acls"].get(principal)
    if permission is None:
        raise DoesNotExist(f"Principal {principal} has no permission on scope {scope['name']}")
    return str(permission)


def _value(fields: Fields) -> bytes:
    """The secret's bytes, from exactly one of the two fields that can carry them."""
    if ("string_value" in fields) == ("bytes_value" in fields):
        raise InvalidParameter("send exactly one of string_value and bytes_value")
    if "string_value" in fields:
        value = fields.text("string_value", "").encode()
    else:
        value = fields.content("bytes_value").read(LARGEST_VALUE + 1)
    if len(value) > LARGEST_VALUE:
        raise InvalidParameter(f"a secret has at most {LARGEST_VALUE} bytes")
    return value


def _check_count(what: str, present: list[Document], most: int = MOST_SECRETS) -> None:
    if len(present) >= most:
        raise LimitExceeded(f"there are {len(present)} {what}; there may be at most {most}")
