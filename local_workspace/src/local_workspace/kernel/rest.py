"""Asks the workspace that runs this notebook, as `dbutils` does; databricks-sdk takes a second to import."""

import functools
import os
from typing import Any

import requests


class WorkspaceError(Exception):
    """The workspace refused what it was asked for."""


def host() -> str:
    """Where the workspace is."""
    return os.environ["DATABRICKS_HOST"]


def get(path: str, /, **query: str | int) -> Any:
    """What the workspace answers, as JSON; WorkspaceError with its reason if it refuses."""
    return _call("GET", path, params=query).json()


def get_bytes(path: str, /, **query: str | int) -> bytes:
    """The same for what is no JSON."""
    return _call("GET", path, params=query).content


def post(path: str, /, **body: Any) -> Any:
    """What the workspace answers to `body`, as JSON; WorkspaceError with its reason if it refuses."""
    return send("POST", path, **body)


def send(method: str, path: str, /, **body: Any) -> Any:
    """The same by another method."""
    return _call(method, path, json=body).json()


def _call(method: str, path: str, **options: Any) -> requests.Response:
    response = _session().request(method, f"{host()}/api/{path}", **options)
    if response.status_code != requests.codes.ok:
        raise WorkspaceError(_reason(response))
    return response


def _reason(response: requests.Response) -> str:
    try:
        error = response.json()
        return f"{error['error_code']}: {error['message']}"
    except (ValueError, KeyError):
        return f"{response.status_code} {response.reason}: {response.text[:200]}"


@functools.cache
def _session() -> requests.Session:
    session = requests.Session()
    session.trust_env = False  # neither a proxy nor the passwords of a .netrc file are for this machine
    session.headers["Authorization"] = f"Bearer {os.environ['DATABRICKS_TOKEN']}"
    return session
