"""Says plainly which part of the Databricks API is not here."""

import re

from fastapi import APIRouter, Request
from fastapi.routing import APIRoute
from starlette.routing import Match
from starlette.types import Scope

from local_workspace.errors import NotSupported

# MLflow has no list of experiments any more, Databricks has.
OTHERS = re.compile(r"^/api/2\.\d+/(?!mlflow(?!/experiments/list$)(-artifacts)?(/|$))")
METHODS = ["GET", "HEAD", "POST", "PUT", "PATCH", "DELETE"]


class _NotMlflow(APIRoute):
    """Matches no path that belongs to MLflow, whatever stands behind this route."""

    def matches(self, scope: Scope) -> tuple[Match, Scope]:
        if not OTHERS.match(scope["path"]):
            return Match.NONE, {}
        return super().matches(scope)


def _refuse(request: Request) -> None:
    raise NotSupported(f"{request.method} {request.url.path} is not part of the local workspace")


def router() -> APIRouter:
    """Answer 501 to every path under /api/2.x that is not MLflow's; to be put behind the other routers."""
    routes = APIRouter(route_class=_NotMlflow)
    routes.add_api_route("/api/{rest:path}", _refuse, methods=METHODS)
    return routes
