"""Says plainly which part of the Databricks API is not here."""

import re

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from local_workspace.errors import NotSupported

PREFIXES = ("/api/", "/ajax-api/")
# What MLflow's server answers itself, or says of itself that it has not; of its jobs only its pages know.
OF_MLFLOW = re.compile(
    r"/(ajax-)?api/\d+\.\d+/(preview/)?mlflow(-artifacts)?(/|$)|/ajax-api/\d+\.\d+/jobs(/|$)"
)
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS"]


class _NotMlflow(APIRoute):
    """Matches no path that belongs to MLflow, whatever stands behind this route."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if OF_MLFLOW.match(scope["path"]):
            return Match.NONE, {}
        return super().matches(scope)


def refusal(method: str, path: str) -> NotSupported:
    """What is said of a part of the API that is not here."""
    return NotSupported(f"{method} {path} is not part of the local workspace")


def is_api(path: str) -> bool:
    """Whether programs ask there, and no browser for a page."""
    return path.startswith(PREFIXES)


def _refuse(request: Request) -> None:
    raise refusal(request.method, request.url.path)


def router() -> APIRouter:
    """Answer 501 to every path of an API that is not MLflow's; to be put behind the other routers."""
    routes = APIRouter(route_class=_NotMlflow)
    for prefix in PREFIXES:
        routes.add_api_route(f"{prefix}{{rest:path}}", _refuse, methods=METHODS)
    return routes
