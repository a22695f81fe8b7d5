"""Texts of SQL: statements one by one, and names and values as they are written in one."""

from collections.abc import Iterator

import sqlparse


def statements(text: str) -> Iterator[str]:
    """The statements of a text as they are written, each without the semicolon behind it.

    What has only comments in it is not a statement.
    """
    for part in sqlparse.split(text):
        statement = part.strip().removesuffix(";")
        if sqlparse.format(statement, strip_comments=True).strip():
            yield statement


def quoted(*names: str) -> str:
    """A name of one or more levels, with whatever letters."""
    return ".".join(f"`{name.replace('`', '``')}`" for name in names)


def literal(value: str) -> str:
    """A text."""
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"
