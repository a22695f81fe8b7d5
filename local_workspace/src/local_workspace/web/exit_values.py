"""What a notebook exits with, as the page of a run shows it."""

import json
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from local_workspace.jobs.task_output import output_of
from local_workspace.store.database import Document

SHOWN_ROWS, SHOWN_LETTERS = 100, 2000
_WORD = re.compile(r"[A-Za-z][A-Za-z_ -]{0,23}")


def exit_value_of(task: Document, folder: Path) -> Any:
    """The value: what its JSON says, or the text itself; None without one."""
    text = output_of(task, folder).get("notebook_output", {}).get("result")
    try:
        return json.loads(text) if text else None
    except json.JSONDecodeError:
        return text


def rows_of(value: Any) -> list[tuple[str, str]]:
    """The value as names and texts, those of nested objects with their path; of very many the first."""
    if value is None:
        return []
    rows = list(_flattened(value)) if isinstance(value, dict) else [("", _written(value))]
    return rows[:SHOWN_ROWS]


def verdict_of(value: Any) -> str:
    """What the `status` of the value says of the data or the model, in a word; empty without one."""
    said = value.get("status") if isinstance(value, dict) else None
    return said if isinstance(said, str) and _WORD.fullmatch(said) else ""


def _flattened(value: dict[str, Any], above: str = "") -> Iterator[tuple[str, str]]:
    for name, each in value.items():
        if isinstance(each, dict) and each:
            yield from _flattened(each, f"{above}{name}.")
        else:
            yield f"{above}{name}", _written(each)


def _written(value: Any) -> str:
    text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
    return text if len(text) <= SHOWN_LETTERS else f"{text[:SHOWN_LETTERS]}… ({len(text):,} letters)"
