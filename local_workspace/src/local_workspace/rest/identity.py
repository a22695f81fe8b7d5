"""Who is signed in, and the document by which clients get to know a host."""

from typing import Any

from fastapi import APIRouter, Response

WORKSPACE_ID = "1"
USER_NAME = "local.user@localhost"


def router(host: str) -> APIRouter:
    """SCIM Me and the well-known host document, which clients read before they sign in."""
    routes = APIRouter()

    @routes.get("/.well-known/databricks-config")
    def describe_host() -> dict[str, Any]:
        """What clients read before they sign in: where to ask for tokens, and the workspace's id."""
        return {"oidc_endpoint": f"{host}/oidc", "workspace_id": WORKSPACE_ID}

    @routes.get("/api/2.0/preview/scim/v2/Me")
    def me(response: Response) -> dict[str, Any]:
        """Who is signed in."""
        response.headers["X-Databricks-Org-Id"] = WORKSPACE_ID
        return {
            "schemas": ["urn:ietf:params:scim:schemas:core:2.0:User"],
            "id": "1",
            "userName": USER_NAME,
            "displayName": USER_NAME,
            "active": True,
            "emails": [{"type": "work", "value": USER_NAME, "primary": True}],
            "groups": [{"display": "admins", "type": "direct", "value": "1"}],
        }

    return routes
