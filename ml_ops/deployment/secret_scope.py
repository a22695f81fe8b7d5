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
    if scope not in [existing["name"] for existing in cli.scopes()]:
        cli.create_scope(scope)
    print(f"Secret scope '{scope}' exists")


def put_secrets(cli: DatabricksCli, scope: str) -> None:
    """Writes both keys. A local workspace gets made-up values, once; another asks for them."""
    if cli.workspace.is_local:
        missing = set(KEYS) - set(cli.secret_keys(scope))
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
    """Writes one secret; an empty one is refused."""
    if not value:
        raise DeploymentError(f"the value of '{key}' is empty")
    cli.put_secret(scope, key, value)
