"""Settings of the workspace by name, and its Git folders: `/api/2.0/workspace-conf`, `/api/2.0/repos`."""

from typing import Any

from fastapi import APIRouter

from local_workspace.errors import InvalidParameter
from local_workspace.rest.fields import RequestFields
from local_workspace.store.database import Database
from local_workspace.store.principals import Principals

KIND = "workspace_setting"


def router(database: Database) -> APIRouter:
    """Settings are kept and given back; they change nothing here."""
    routes, principals = APIRouter(), Principals(database)

    @routes.get("/api/2.0/workspace-conf")
    def get_settings(fields: RequestFields) -> dict[str, str | None]:
        """The settings named in `keys`, with commas between them; null for one that was not set."""
        principals.require_administrator("read settings of the workspace")
        kept = {key: database.get(KIND, key) for key in fields.text("keys").split(",")}
        return {key: found["value"] if found else None for key, found in kept.items()}

    @routes.patch("/api/2.0/workspace-conf", status_code=204)
    def change_settings(fields: RequestFields) -> None:
        """Keep settings, each a text; they change nothing here."""
        principals.require_administrator("change settings of the workspace")
        for key, value in fields.items():
            if not isinstance(value, str):
                raise InvalidParameter(f"{key} must be text, not {type(value).__name__}")
        with database.transaction():
            for key, value in fields.items():
                database.put(KIND, key, {"value": value})

    @routes.get("/api/2.0/repos")
    def list_repos() -> dict[str, Any]:
        """None: there are no Git folders here."""
        return {"repos": []}

    return routes
