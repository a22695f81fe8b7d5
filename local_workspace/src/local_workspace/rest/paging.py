"""Long lists, given out page by page."""

from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.rest.fields import Fields

USUAL_LENGTH = 20


def page(name: str, items: list[Any], fields: Fields, longest: int) -> dict[str, Any]:
    """The part of `items` that `limit` with `offset` or `page_token` asks for, and the way to the next."""
    limit = fields.natural("limit", USUAL_LENGTH) or longest
    if limit > longest:
        raise InvalidParameter(f"limit is {limit}; one page has at most {longest}")
    start = fields.natural("page_token" if fields.get("page_token") else "offset", 0)
    end = start + limit
    reply: dict[str, Any] = {name: items[start:end], "has_more": end < len(items)}
    if end < len(items):
        reply["next_page_token"] = str(end)
    if start > 0:
        reply["prev_page_token"] = str(max(0, start - limit))
    return reply
