"""The secret scope: where it keeps its secrets, who may read them, and how they come into it."""

import getpass
import secrets
import sys
from collections.abc import Iterable
from dataclasses import replace
from typing import Any

from deployment import azure
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.secret_files import fault_of, read_secret_file, read_standard_input
from deployment.workspace import Workspace

LOCAL_KEYS = ("storage-account-key",)
# What the jobs read; spelled here once more, because their modules import Spark, which takes seconds.
KEYS = (
    *LOCAL_KEYS,
    "service-principal-id",
    "service-principal-secret",
    "service-principal-tenant",
    "appinsights-connection-string",
)
KEYS_BEFORE_VALUES = tuple(f"{key}=" for key in KEYS)
EVERYBODY = ("users", "account users")


def ensure_scope(
    cli: DatabricksCli, scope: str, vault: azure.KeyVault | None = None, readers: str = ""
) -> None:
    """Creates the secret scope unless it exists, backed by `vault` if given; group `readers` may read it."""
    if readers.strip().lower() in EVERYBODY:
        raise DeploymentError(
            f"SECRETS_READERS={readers} would show the secrets to everybody in the workspace; "
            "name a group of those who run the jobs"
        )
    existing = _find_scope(cli, scope)
    if existing is not None:
        _require_same_backend(existing, vault)
    elif vault is None:
        cli.create_scope(scope)
    else:
        _create_backed_scope(cli.workspace, scope, vault)
    if readers:
        _share(cli, scope, readers)
    state = "is created" if existing is None else "exists"
    print(f"Secret scope '{scope}' {state}" + (f", backed by {vault.dns_name}" if vault else ""))


def put_secrets(cli: DatabricksCli, scope: str, secrets_file: str = "") -> None:
    """Writes secrets from the file, a person at the terminal, or standard input.

    A local workspace gets a made-up key of a storage account, once.
    """
    if cli.workspace.is_local:
        missing = set(LOCAL_KEYS) - set(cli.secret_keys(scope))
        values = {key: secrets.token_urlsafe(24) for key in LOCAL_KEYS if key in missing}
        vault_name = ""
    else:
        vault_name = _vault_name(cli, scope)
        values = given_values(secrets_file)
    for key, value in values.items():
        if vault_name:
            azure.set_secret(vault_name, key, value)
        else:
            cli.put_secret(scope, key, value)
    where = f"Key Vault '{vault_name}'" if vault_name else f"secret scope '{scope}'"
    print(f"Written to {where}: {', '.join(values) or 'nothing'}")


def read_values(lines: Iterable[str]) -> dict[str, str]:
    """`key=value` lines, empty ones and comments. No error repeats a line: it may be a secret.

    A value is all that stands behind the first `=`, as it stands there; what is doubtful is refused.
    """
    values: dict[str, str] = {}
    for number, line in enumerate(lines, start=1):
        text = line.removesuffix("\n").removesuffix("\r")
        if not text.strip() or text.lstrip().startswith("#"):
            continue
        key, _, value = text.partition("=")
        where = f"line {number} of the secrets"
        if key.strip() not in KEYS:
            raise DeploymentError(f"{where} is not `key=value`, a key of {list(KEYS)}; nothing is written")
        if key != key.strip():
            raise DeploymentError(f"{where} has white space around {key.strip()}; nothing is written")
        if key in values:
            raise DeploymentError(f"{where} gives {key} a second time; nothing is written")
        values[key] = _require_secret(value, key, where)
    return values


def given_values(secrets_file: str) -> dict[str, str]:
    """The secrets that the file holds, a person types without echo, or standard input brings."""
    if sys.stdin.isatty() and not secrets_file:
        answers = {key: getpass.getpass(f"{key} (not shown; Enter skips it): ") for key in KEYS}
        return {
            key: _require_secret(answer, key, "what was typed") for key, answer in answers.items() if answer
        }
    text = read_secret_file("SECRETS_FILE", secrets_file) if secrets_file else read_standard_input()
    values = read_values(text.split("\n"))
    if not values:
        where = f"SECRETS_FILE={secrets_file}" if secrets_file else "standard input"
        raise DeploymentError(f"{where} has no `key=value` line with a key of {list(KEYS)}")
    return values


def _require_secret(value: str, key: str, where: str) -> str:
    fault = "begins with the name of a key" if value.startswith(KEYS_BEFORE_VALUES) else fault_of(value)
    if fault:
        raise DeploymentError(f"{where}: the value of {key} {fault}; nothing is written")
    return value


def _find_scope(cli: DatabricksCli, scope: str) -> dict[str, Any] | None:
    return next((existing for existing in cli.scopes() if existing["name"] == scope), None)


def _require_same_backend(existing: dict[str, Any], vault: azure.KeyVault | None) -> None:
    kept_in = existing.get("keyvault_metadata", {}).get("resource_id", "")
    if vault is not None and kept_in.lower() != vault.id.lower():
        raise DeploymentError(
            f"secret scope '{existing['name']}' is backed by {kept_in or 'Databricks'}, not by {vault.id}; "
            "name another with SECRET_SCOPE=, or delete it with `databricks secrets delete-scope`"
        )


def _create_backed_scope(workspace: Workspace, scope: str, vault: azure.KeyVault) -> None:
    """Asks the workspace itself: for this it takes a token of Entra alone, none that it has given out."""
    if not workspace.is_local:
        workspace = replace(workspace, sign_in=azure.databricks_token)
    backend = {"resource_id": vault.id, "dns_name": vault.dns_name}
    wanted = {"scope": scope, "scope_backend_type": "AZURE_KEYVAULT", "backend_azure_keyvault": backend}
    try:
        workspace.call("POST", "/api/2.0/secrets/scopes/create", json=wanted)
    except DeploymentError as error:
        raise DeploymentError(
            f"secret scope '{scope}' cannot be backed by {vault.id}: {error}. Who signed in with `az` has "
            "to be a user of the workspace and Contributor of the vault"
        ) from error


def _share(cli: DatabricksCli, scope: str, readers: str) -> None:
    """Lets a group read the scope; a stronger permission that it has stays."""
    permissions = cli.scope_permissions(scope)
    for everybody in permissions.keys() & set(EVERYBODY):
        print(
            f"Warning: '{everybody}' has {permissions[everybody]} on secret scope '{scope}', so everybody "
            "sees the secrets; take it away with `databricks secrets delete-acl`",
            file=sys.stderr,
        )
    if permissions.get(readers) not in ("WRITE", "MANAGE"):
        cli.let_read(scope, readers)
    print(f"Group '{readers}' may read secret scope '{scope}'")


def _vault_name(cli: DatabricksCli, scope: str) -> str:
    """The Key Vault behind the scope, empty where Databricks keeps the secrets."""
    existing = _find_scope(cli, scope)
    if existing is None:
        raise DeploymentError(f"there is no secret scope '{scope}'; make it with `make databricks-init`")
    metadata = existing.get("keyvault_metadata")
    return azure.KeyVault(metadata["resource_id"], metadata["dns_name"]).name if metadata else ""
