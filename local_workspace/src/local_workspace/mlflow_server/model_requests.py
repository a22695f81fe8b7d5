"""What requests of the registry say: a model's name, tags, and which page; and how it answers an error."""

import json
from collections.abc import Callable, Coroutine
from typing import Any

from fastapi import Request, Response
from fastapi.responses import JSONResponse
from fastapi.routing import APIRoute
from mlflow.exceptions import MlflowException
from mlflow.utils.search_utils import SearchUtils

from local_workspace.errors import InvalidParameter
from local_workspace.mlflow_server.owned_models import (
    NAME,
)
from local_workspace.rest.fields import Fields

LISTED_AT_ONCE = 100


class MlflowRoute(APIRoute):
    """Answers an error of MLflow's store as Databricks does: `error_code` and `message`."""

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        handle = super().get_route_handler()

        async def answer(request: Request) -> Response:
            try:
                return await handle(request)
            except MlflowException as error:
                return JSONResponse(json.loads(error.serialize_as_json()), error.get_http_status_code())

        return answer


def name_of(fields: Fields) -> str:
    """The model that is meant; refuses what does not have three levels."""
    name = fields.text("name")
    if not NAME.fullmatch(name):
        raise InvalidParameter(f"model name {name!r} must have three levels: <catalog>.<schema>.<model>")
    return name


def tags_of(fields: Fields) -> list[tuple[str, str]]:
    """The tags that are sent, as keys and values."""
    tags = fields.get("tags") or []
    if not isinstance(tags, list) or not all(isinstance(tag, dict) for tag in tags):
        raise InvalidParameter("tags must be a list of objects with key and value")
    return [(Fields(tag).text("key"), Fields(tag).text("value", "")) for tag in tags]


def length_of(fields: Fields) -> int:
    """How many a page shall have."""
    return fields.natural("max_results", 0) or LISTED_AT_ONCE


def page_token_of(fields: Fields) -> str | None:
    """The token of a page; MLflow's store itself fails on one that it never gave out."""
    token = fields.text("page_token", "") or None
    try:
        SearchUtils.parse_start_offset_from_page_token(token)
    except (ValueError, AttributeError, MlflowException) as error:
        raise InvalidParameter(f"page_token is not one that was given out: {token!r:.100}") from error
    return token
