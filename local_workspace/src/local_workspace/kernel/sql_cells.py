"""What a `%sql` cell says: its statements, with the values of widgets in them, and those about widgets."""

import re
from collections.abc import Callable
from typing import Any

import sqlparse
from sqlparse.lexer import tokenize
from sqlparse.tokens import Name

from local_workspace.kernel.dbutils import Widgets
from local_workspace.spark.sql_text import literal, quoted, statements

_TEXT = r"'(?:[^'\\]|\\.)*'|\"(?:[^\"\\]|\\.)*\""
_CREATE_WIDGET = re.compile(
    r"CREATE\s+WIDGET\s+(?P<kind>TEXT|DROPDOWN|COMBOBOX|MULTISELECT)\s+(?P<name>`[^`]+`|[\w.-]+)"
    rf"\s+DEFAULT\s+(?P<default>{_TEXT})(?:\s+CHOICES\s+(?P<choices>.+))?",
    re.IGNORECASE | re.DOTALL,
)
_REMOVE_WIDGET = re.compile(r"REMOVE\s+WIDGET\s+(?P<name>`[^`]+`|[\w.-]+)", re.IGNORECASE)
_OLDER_MARKER = re.compile(r"\$\{(?P<name>[\w.-]+)\}")
_OF_QUERIES = re.compile(r"(?P<mark>`?)\{\{\s*(?P<name>[\w.-]+)\s*\}\}(?P=mark)")


def run(text: str, widgets: Widgets, query: Callable[[str], Any]) -> Any:
    """Runs the statements of a cell with `query`; gives the table of the last, None for one about widgets.

    A `:name` in a statement, and the `{{name}}` of the SQL editor's queries, take the value of the widget of
    that name, as a text, or in backticks as a name; the older `${name}` is replaced by that value as it is.
    """
    table = None
    for statement in statements(text):
        table = None if _is_of_widgets(statement, widgets, query) else query(_filled(statement, widgets))
    return table


def _is_of_widgets(statement: str, widgets: Widgets, query: Callable[[str], Any]) -> bool:
    """Carries out `CREATE WIDGET` and `REMOVE WIDGET`; False for any other statement."""
    if "WIDGET" not in statement.upper():
        return False
    plain = sqlparse.format(statement, strip_comments=True).strip()
    if removed := _REMOVE_WIDGET.fullmatch(plain):
        widgets.remove(removed["name"].strip("`"))
    elif created := _CREATE_WIDGET.fullmatch(plain):
        rows = query(created["choices"]).collect() if created["choices"] else None
        choices = [] if rows is None else [[str(row[0]) for row in rows]]
        declare = getattr(widgets, created["kind"].lower())
        declare(created["name"].strip("`"), _unquoted(created["default"]), *choices)
    else:
        return False
    return True


def _filled(statement: str, widgets: Widgets) -> str:
    """A statement with literals for its markers."""
    values = widgets.getAll()
    whole = _OLDER_MARKER.sub(lambda marker: values.get(marker["name"], marker[0]), statement)
    texts = {name: literal(value) for name, value in values.items()}
    names = {name: quoted(value) for name, value in values.items()}
    whole = _OF_QUERIES.sub(
        lambda marker: (names if marker["mark"] else texts).get(marker["name"], marker[0]), whole
    )
    return "".join(
        texts[text[1:]] if kind in Name.Placeholder and text.startswith(":") and text[1:] in texts else text
        for kind, text in tokenize(whole)  # type: ignore[no-untyped-call]
    )


def _unquoted(text: str) -> str:
    return re.sub(r"\\(.)", r"\1", text[1:-1])
