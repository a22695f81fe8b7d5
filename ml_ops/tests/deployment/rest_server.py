"""A small HTTP server in the place of a workspace, and how the tests sign in to it."""

import json
import re
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from deployment.workspace import Workspace

TOKEN = "good-token"
API_VERSION = re.compile(r"(?<=/api/2\.)\d")


@dataclass
class Server:
    """A REST server with one reply for each path, prepared or made; it records the bodies that it gets.

    Each program asks for a path of a version of its own: `/api/2.0/clusters/list` answers 2.1 as well.
    """

    host: str = ""
    replies: dict[str, Any] = field(default_factory=dict)
    received: list[tuple[str, dict[str, Any]]] = field(default_factory=list)
    tokens: dict[str, str] = field(default_factory=dict)
    also_accepts: str = TOKEN

    def reply_to(self, path: str, body: bytes, token: str) -> tuple[int, Any]:
        path = next((known for known in self.replies if plain(known) == plain(path)), path)
        self.tokens[path] = token.removeprefix("Bearer ")
        if self.tokens[path] not in (TOKEN, self.also_accepts):
            return 403, {"error_code": "PERMISSION_DENIED", "message": "Invalid access token."}
        self.received.append((path, json.loads(body) if body else {}))
        if path not in self.replies:
            return 404, {"error_code": "RESOURCE_DOES_NOT_EXIST", "message": f"nothing at {path}"}
        try:
            reply = self.replies[path]() if callable(self.replies[path]) else self.replies[path]
        except PermissionError:
            return 403, {"error_code": "PERMISSION_DENIED", "message": "no USE SCHEMA"}
        return 200, reply.pop(0) if isinstance(reply, list) else reply

    def body_sent_to(self, path: str) -> dict[str, Any]:
        return next(body for called, body in self.received if called == path)


def plain(path: str) -> str:
    """A path without the version of the API."""
    return API_VERSION.sub("", path)


def workspace_at(host: str, folder: Path, token: str = TOKEN, profile: str = "local") -> Workspace:
    config = folder / "databrickscfg"
    config.write_text(f"[{profile}]\nhost = {host}\ntoken = {token}\n")
    return Workspace(profile, config, host, lambda: token)


def program(folder: Path, content: bytes) -> Path:
    file = folder / "databricks"
    folder.mkdir()
    file.write_bytes(content)
    file.chmod(0o700)
    return file


def listed_job(job_id: int, name: str, **parameters: str) -> dict[str, Any]:
    task = {"task_key": "a", "notebook_task": {"base_parameters": parameters}}
    return {"job_id": job_id, "settings": {"name": name, "tasks": [task]}}
