"""Who is signed in, and the document by which clients get to know a host."""

from typing import Any

from fastapi import APIRouter, Response

from local_workspace.callers import caller
from local_workspace.errors import DoesNotExist
from local_workspace.rest import scim
from local_workspace.store.database import Database
from local_workspace.store.principals import KINDS, Principals
from local_workspace.words import ACCOUNT_ID, WORKSPACE_ID


def router(host: str, database: Database) -> APIRouter:
    """SCIM Me and the well-known host document, which clients read before they sign in."""
    routes = APIRouter()
    principals = Principals(database)
    principals.prepare()

    @routes.get("/.well-known/databricks-config")
    def describe_host() -> dict[str, Any]:
        """What clients read before they sign in: where to ask for tokens, and the workspace's id."""
        return {"oidc_endpoint": f"{host}/oidc", "workspace_id": WORKSPACE_ID, "account_id": ACCOUNT_ID}

    @routes.get("/api/2.0/preview/scim/v2/Me")
    def me(response: Response) -> dict[str, Any]:
        """Who is signed in."""
        response.headers["X-Databricks-Org-Id"] = WORKSPACE_ID
        for kind in KINDS:
            for one in principals.all(kind):
                if one[kind.name] == caller():
                    return scim.shown(principals, kind, one)
        raise DoesNotExist(f"{caller()} is not a principal of this workspace any more.")

    return routes
