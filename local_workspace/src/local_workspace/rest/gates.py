"""What keeps a caller away from files and models that Unity Catalog gives them no right to."""

import re
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import APIRouter, Depends, Request
from starlette.types import ASGIApp, Receive, Scope, Send

from local_workspace.callers import caller
from local_workspace.errors import PermissionDenied
from local_workspace.rest.error_responses import to_response
from local_workspace.rest.fields import RequestFields
from local_workspace.rest.securables import Securables, of_path
from local_workspace.store.state import StateFolder

READING = ("GET", "HEAD")
PATHS = ("path", "source_path", "destination_path")
# MLflow's own ways to the registry, past the rights of Unity Catalog.
OWN_REGISTRY = re.compile(
    r"/(ajax-)?api/[23]\.0/(preview/)?mlflow/(databricks/)?(registered-models|model-versions)(/|$)|/graphql|/model-versions/"
)


def volumes_gate(router: APIRouter, rights: Securables) -> APIRouter:
    """Files of volumes, with READ VOLUME and WRITE VOLUME."""

    def check(request: Request) -> None:
        path = str(request.path_params["path"])
        volume, writes = of_path(path), request.method not in READING
        if volume is not None:
            rights.require(volume, "WRITE_VOLUME" if writes else "READ_VOLUME")
        elif writes:
            _require_metastore_admin(rights, f"/Volumes/{path}", "a volume is made with CREATE VOLUME")

    return _gated(router, check)


def dbfs_gate(router: APIRouter, rights: Securables, state: StateFolder) -> APIRouter:
    """Files of DBFS, without those of volumes and tables."""
    elsewhere = (state.volumes, state.dbfs / "user" / "hive" / "warehouse")

    def check(fields: RequestFields) -> None:
        for name in PATHS:
            path = fields.text(name, "").removeprefix("dbfs:")
            place = state.local_path(f"dbfs:{path}") if path.startswith("/") else None
            if place and any(place.is_relative_to(root) or root.is_relative_to(place) for root in elsewhere):
                reason = "files of volumes go over /api/2.0/fs, those of tables are read as tables"
                _require_metastore_admin(rights, path, reason)

    return _gated(router, check)


class RegistryGate:
    """Leaves MLflow's own registry to administrators of the metastore: it knows no owners and no rights."""

    def __init__(self, app: ASGIApp, rights: Securables) -> None:
        self.app = app
        self.rights = rights

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Passes the request on, or answers it."""
        if scope["type"] == "http" and OWN_REGISTRY.match(scope["path"]):
            try:
                _require_metastore_admin(self.rights, scope["path"], "use the registry databricks-uc")
            except PermissionDenied as error:
                return await to_response(None, error)(scope, receive, send)
        await self.app(scope, receive, send)


def _require_metastore_admin(rights: Securables, what: str, instead: str) -> None:
    if not rights.is_metastore_admin(caller()):
        raise PermissionDenied(f"User {caller()} may not use {what}: {instead}.")


def _gated(
    router: APIRouter, check: Callable[..., None] | Callable[..., Coroutine[Any, Any, None]]
) -> APIRouter:
    gated = APIRouter(dependencies=[Depends(check)])
    gated.include_router(router)
    return gated
