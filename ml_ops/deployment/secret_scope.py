"""The secret scope and the keys of the storage account in it."""

import getpass
import secrets
import sys
from collections.abc import Iterable

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError

KEYS = ("storage-account-name", "storage-account-key")


def ensure_scope(cli: DatabricksCli, scope: str) -> None:
    """Creates the secret scope unless it exists; only its creator may manage it."""
    scopes = cli.run("secrets", "list-scopes", "--output", "json").get("scopes", [])
    if scope not in [existing["name"] for existing in scopes]:
        cli.text("secrets", "create-scope", "--scope", scope)
    print(f"Secret scope '{scope}' exists")


def put_secrets(cli: DatabricksCli, scope: str) -> None:
    """Writes both keys. A local workspace gets made-up values, once; another asks for them."""
    if cli.workspace.is_local:
        missing = set(KEYS) - set(_existing_keys(cli, scope))
        values = {key: secrets.token_urlsafe(24) for key in KEYS if key in missing}
    elif sys.stdin.isatty():
        values = {key: getpass.getpass(f"{key} (not shown): ") for key in KEYS}
    else:
        values = read_values(sys.stdin)
    for key, value in values.items():
        put_secret(cli, scope, key, value)
    print(f"Secret scope '{scope}' has {', '.join(KEYS)}")


def read_values(lines: Iterable[str]) -> dict[str, str]:
    """One value a line, in the order of KEYS."""
    values = [line.strip() for line in lines if line.strip()]
    if len(values) != len(KEYS):
        raise DeploymentError(
            f"expected {len(KEYS)} lines on standard input, {list(KEYS)}; got {len(values)}"
        )
    return dict(zip(KEYS, values, strict=True))


def put_secret(cli: DatabricksCli, scope: str, key: str, value: str) -> None:
    """Writes one secret, through a pipe: a program's arguments are open to every user of the machine."""
    if not value:
        raise DeploymentError(f"the value of '{key}' is empty")
    cli.text("secrets", "put", "--scope", scope, "--key", key, "--binary-file", "/dev/stdin", stdin=value)


def _existing_keys(cli: DatabricksCli, scope: str) -> list[str]:
    found = cli.run("secrets", "list", "--scope", scope, "--output", "json").get("secrets", [])
    return [secret["key"] for secret in found]
