"""Asks the workspace that runs this notebook, as `dbutils` does; databricks-sdk takes a second to import."""

import functools
import os
from typing import Any

import requests


class WorkspaceError(Exception):
    """The workspace refused what it was asked for."""


class Workspace:
    """The REST API of a workspace, for who has this token."""

    def __init__(self, host: str, authorization: str) -> None:
        self._host = host
        self._session = requests.Session()
        self._session.trust_env = (
            False  # neither a proxy nor the passwords of a .netrc file are for this machine
        )
        self._session.headers["Authorization"] = authorization

    def get(self, path: str, /, **query: str | int) -> Any:
        """What the workspace answers, as JSON; WorkspaceError with its reason if it refuses."""
        return self._call("GET", path, params=query).json()

    def get_bytes(self, path: str, /, **query: str | int) -> bytes:
        """The same for what is no JSON."""
        return self._call("GET", path, params=query).content

    def post(self, path: str, /, **body: Any) -> Any:
        """What the workspace answers to `body`, as JSON; WorkspaceError with its reason if it refuses."""
        return self.send("POST", path, **body)

    def send(self, method: str, path: str, /, **body: Any) -> Any:
        """The same by another method."""
        return self._call(method, path, json=body).json()

    def _call(self, method: str, path: str, **options: Any) -> requests.Response:
        response = self._session.request(method, f"{self._host}/api/{path}", **options)
        if response.status_code != requests.codes.ok:
            raise WorkspaceError(_reason(response))
        return response


def host() -> str:
    """Where the workspace of this notebook is."""
    return os.environ["DATABRICKS_HOST"]


@functools.cache
def own() -> Workspace:
    """The workspace of this notebook, with its token."""
    return Workspace(host(), f"Bearer {os.environ['DATABRICKS_TOKEN']}")


def _reason(response: requests.Response) -> str:
    try:
        error = response.json()
        return f"{error['error_code']}: {error['message']}"
    except (ValueError, KeyError):
        return f"{response.status_code} {response.reason}: {response.text[:200]}"
