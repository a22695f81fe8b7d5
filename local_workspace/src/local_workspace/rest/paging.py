"""Long lists, given out page by page."""

import re
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.rest.fields import Fields

USUAL_LENGTH = 20


def page(
    name: str, items: list[Any], fields: Fields, longest: int, number: str | None = None
) -> dict[str, Any]:
    """The part of `items` that `limit` with `offset` or `page_token` asks for, and the way to the next.

    `number` is the field that numbers the items, the newest first: what is added later is on no later page.
    """
    limit = fields.natural("limit", USUAL_LENGTH) or longest
    if limit > longest:
        raise InvalidParameter(f"limit is {limit}; one page has at most {longest}")
    start = fields.natural("offset", 0)
    if token := fields.get("page_token"):
        newest, start = _read(token)
        items = [item for item in items if number is None or item[number] <= newest]
    first = items[0][number] if items and number else 0
    end = start + limit
    reply: dict[str, Any] = {name: items[start:end], "has_more": end < len(items)}
    if end < len(items):
        reply["next_page_token"] = f"{first}-{end}"
    if start > 0:
        reply["prev_page_token"] = f"{first}-{max(0, start - limit)}"
    return reply


def _read(token: Any) -> tuple[int, int]:
    """The newest item of a list, and where in it a page starts."""
    match = re.fullmatch(r"(\d{1,18})-(\d{1,18})", str(token))
    if match is None:
        raise InvalidParameter(f"page_token {token!r} is none that was given out")
    return int(match[1]), int(match[2])
