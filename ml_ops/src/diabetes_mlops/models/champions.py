"""The history of a model's champions: a list of changes, oldest first.

"+3" where version 3 became champion, "-3" where it was rolled back. Imports no MLflow, because a deployment
reads the history too.
"""

import json
from collections.abc import Sequence

CHAMPION = "champion"
# The tag of a registered model that keeps the changes as JSON.
HISTORY = "champion_history"
# What Unity Catalog allows for the value of a tag.
LONGEST_TAG = 1000


def read_changes(text: str) -> list[str]:
    """Read the changes out of the tag; an empty text has none."""
    return [str(change) for change in json.loads(text or "[]")]


def with_champion(changes: Sequence[str], champion: str | None) -> list[str]:
    """Give the changes, with the present champion added where its alias was set by other means."""
    if champion is None or play(changes)[-1:] == [champion]:
        return list(changes)
    return [*changes, f"+{champion}"]


def play(changes: Sequence[str]) -> list[str]:
    """Play the changes: the present champion comes last, before it the one that a roll-back goes to."""
    champions: list[str] = []
    for change in changes:
        if change[0] == "+":
            champions.append(change[1:])
        elif champions[-1:] == [change[1:]]:
            champions.pop()
    return champions


def find_earlier(changes: Sequence[str], champion: str | None) -> str | None:
    """Give the number of the version that a roll-back from `champion` goes to; None where there is none."""
    champions = play(with_champion(changes, champion))
    return champions[-2] if champion and len(champions) > 1 else None


def encode(changes: Sequence[str]) -> str:
    """Write the changes as JSON; where a tag cannot hold them all, those that a roll-back needs, newest."""
    kept = list(changes) if len(json.dumps(changes)) <= LONGEST_TAG else [f"+{n}" for n in play(changes)]
    while len(json.dumps(kept)) > LONGEST_TAG:
        kept = kept[1:]
    return json.dumps(kept)
