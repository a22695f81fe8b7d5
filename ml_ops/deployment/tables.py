"""Small tables for the terminal."""

from collections.abc import Mapping, Sequence
from typing import Any


def format_table(rows: Sequence[Mapping[str, Any]]) -> str:
    """Rows under their column names, aligned; the columns are those of the first row."""
    if not rows:
        return "(no rows)"
    columns = list(rows[0])
    return _align([columns, *[[_cell(row.get(column)) for column in columns] for row in rows]])


def format_values(values: Mapping[str, Any]) -> str:
    """One line for each value; a group's name stands in front of its values'.

    A list of texts takes a line for each, another list is left out.
    """
    return _align([["  " + name, _cell(value)] for name, value in _flat(values)])


def _flat(values: Mapping[str, Any], prefix: str = "") -> list[tuple[str, Any]]:
    lines: list[tuple[str, Any]] = []
    for name, value in values.items():
        if isinstance(value, Mapping):
            lines += _flat(value, f"{prefix}{name}.")
        elif isinstance(value, list):
            texts = [item for item in value if isinstance(item, str)]
            lines += [("" if position else prefix + name, text) for position, text in enumerate(texts)]
        else:
            lines.append((prefix + name, value))
    return lines


def _cell(value: Any) -> str:
    return f"{value:.4f}" if isinstance(value, float) else str(value)


def _align(rows: Sequence[Sequence[str]]) -> str:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    lines = ["  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) for row in rows]
    return "\n".join(line.rstrip() for line in lines)
