"""Long lists, given out page by page."""

import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.rest.fields import Fields
from local_workspace.store.database import Database, Entry
from local_workspace.store.document_index import Search

USUAL_LENGTH = 20


@dataclass(frozen=True)
class Place:
    """Which part of a list is asked for: how many of it, and next to which position or behind how many."""

    limit: int
    offset: int = 0
    way: str = ""
    position: int = 0


def page(name: str, database: Database, search: Search, fields: Fields, longest: int) -> dict[str, Any]:
    """The documents, the newest first, that `limit` with `offset` or `page_token` asks for, and the way on.

    A token names the document that a page ends or begins with: what comes or goes meanwhile moves no other.
    """
    place = _place(fields, longest)
    found, is_cut = _found(database, search, place)
    reply: dict[str, Any] = {name: [document for _, document in found], "has_more": False}
    if not found:
        return reply
    newest, oldest = found[0][0], found[-1][0]
    is_way_back = place.way == "newer"
    has_older = _is_there(database, search, {"position < ?": oldest}) if is_way_back else is_cut
    has_newer = is_cut if is_way_back else _is_there(database, search, {"position > ?": newest})
    if has_older:
        reply |= {"has_more": True, "next_page_token": f"older-{oldest}"}
    if has_newer:
        reply["prev_page_token"] = f"newer-{newest}"
    return reply


def part(names: Iterable[str], fields: Fields, longest: int) -> tuple[list[str], dict[str, str]]:
    """The names, in the order of their letters, that `max_results` and `page_token` ask for, and the way on.

    0 asks for as many as are given at once. A token is the last name of a page: what comes or goes meanwhile
    moves no other.
    """
    most = min(fields.natural("max_results", 0) or longest, longest)
    last = fields.text("page_token", "")
    following = sorted(name for name in names if name > last)
    is_cut = len(following) > most
    return following[:most], {"next_page_token": following[most - 1]} if is_cut else {}


def _found(database: Database, search: Search, place: Place) -> tuple[list[Entry], bool]:
    """The entries of a page, the newest first, and whether more follow on the way asked for."""
    if place.way == "newer":
        newer = search.within({"position > ?": place.position})
        found = database.find(newer, most=place.limit + 1)
        return found[: place.limit][::-1], len(found) > place.limit
    older = search.within({"position < ?": place.position}) if place.way else search
    found = database.find(older, newest_first=True, most=place.limit + 1, offset=place.offset)
    return found[: place.limit], len(found) > place.limit


def _is_there(database: Database, search: Search, condition: dict[str, int]) -> bool:
    return bool(database.find(search.within(condition), most=1))


def _place(fields: Fields, longest: int) -> Place:
    limit = fields.natural("limit", USUAL_LENGTH) or longest
    if limit > longest:
        raise InvalidParameter(f"limit is {limit}; one page has at most {longest}")
    offset, token = fields.natural("offset", 0), fields.get("page_token")
    if not token:
        return Place(limit, offset)
    match = re.fullmatch(r"(older|newer)-([0-9]{1,18})", str(token))
    if match is None:
        raise InvalidParameter(f"page_token {token!r:.100} is not one that was given out")
    return Place(limit, 0, match[1], int(match[2]))
