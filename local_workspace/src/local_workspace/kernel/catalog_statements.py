"""Statements of SQL about grants, owners and volumes, of which the workspace knows and Spark does not."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import partial, wraps
from types import ModuleType
from typing import Any
from urllib.parse import quote

import sqlparse

from local_workspace.kernel import rest
from local_workspace.kernel.after_import import after_import

# The columns of an answer, as a schema of Spark, and its rows.
Rows = tuple[str, Sequence[tuple[str, ...]]]
NOTHING: Rows = ("", [])
_UNITY = "2.1/unity-catalog"
# How many levels a full name has, by the word of SQL for what it names; and where addresses have another.
_LEVELS = {"CATALOG": 1, "SCHEMA": 2, "DATABASE": 2, "TABLE": 3, "VIEW": 3, "VOLUME": 3}
_IN_ADDRESSES = {"DATABASE": "schema", "VIEW": "table"}
_PART = r"(?:`(?:[^`]|``)+`|[\w$-]+)"
_NAME = rf"(?P<name>{_PART}(?:\.{_PART}){{0,2}})"
_KIND = rf"(?P<kind>{'|'.join(_LEVELS)})"
_WHO = r"(?P<who>`[^`]+`|[\w.@-]+)"
_WORDS = r"[A-Z_]+(?: [A-Z_]+)*"
_PRIVILEGES = rf"(?P<privileges>{_WORDS}(?: ?, ?{_WORDS})*)"
_COMMENT = r"(?: COMMENT '(?P<comment>(?:[^'\\]|\\.)*)')?"
# Most statements are Spark's: a look at their first words is enough.
_BEGINS = re.compile(
    r"(?:\s|--[^\n]*\n|/\*(?s:.*?)\*/)*"
    r"(?:GRANT|REVOKE|SHOW\s+(?:GRANTS?|VOLUMES)|(?:CREATE|DROP)\s+VOLUME|ALTER\s[^;]*\sOWNER\s+TO)\b",
    re.IGNORECASE,
)


def prepare() -> None:
    """Has `spark.sql` of both Sparks carry them out, whoever imports the sessions first."""
    for module in ("pyspark.sql.session", "pyspark.sql.connect.session"):
        after_import(module, _wrap)


def _wrap(module: ModuleType) -> None:
    session: Any = module.SparkSession
    original = session.sql

    @wraps(original)
    def sql(self: Any, sqlQuery: str, *arguments: Any, **options: Any) -> Any:
        found = carried_out(sqlQuery, self.catalog) if isinstance(sqlQuery, str) else None
        if found is None:
            return original(self, sqlQuery, *arguments, **options)
        columns, rows = found
        return self.createDataFrame(rows, columns) if columns else self.range(0).select()

    session.sql = sql


def carried_out(statement: str, catalog: Any) -> Rows | None:
    """Carry out a statement; gives the columns and rows that it has, None for one that is Spark's.

    `catalog` is that of the session: a name of fewer levels is one in its current catalog and schema. Raises
    WorkspaceError for what the workspace refuses.
    """
    if not _BEGINS.match(statement):
        return None
    plain = sqlparse.format(statement, strip_comments=True).strip().rstrip("; \n")
    for pattern, carry_out in _STATEMENTS.items():
        # Between two words there may be any white space.
        spaced = pattern.replace(" ?", r"\s*").replace(" ", r"\s+")
        if found := re.fullmatch(spaced, plain, re.IGNORECASE):
            return carry_out(found, catalog)
    return None


def _change_grants(change: str, found: re.Match[str], catalog: Any) -> Rows:
    privileges = ["_".join(each.upper().split()) for each in found["privileges"].split(",")]
    changes = [{"principal": _unquoted(found["who"]), change: privileges}]
    rest.send("PATCH", f"{_UNITY}/permissions/{_kind(found)}/{_address(found, catalog)}", changes=changes)
    return NOTHING


def _show_grants(found: re.Match[str], catalog: Any) -> Rows:
    query = {"principal": _unquoted(found["who"])} if found["who"] else {}
    told = rest.get(f"{_UNITY}/permissions/{_kind(found)}/{_address(found, catalog)}", **query)
    rows = [
        (each["principal"], privilege.replace("_", " "), found["kind"].upper(), _full_name(found, catalog))
        for each in told.get("privilege_assignments", [])
        for privilege in each["privileges"]
    ]
    return "Principal STRING, ActionType STRING, ObjectType STRING, ObjectKey STRING", rows


def _change_owner(found: re.Match[str], catalog: Any) -> Rows:
    owner = _unquoted(found["who"])
    rest.send("PATCH", f"{_UNITY}/{_kind(found)}s/{_address(found, catalog)}", owner=owner)
    return NOTHING


def _create_volume(found: re.Match[str], catalog: Any) -> Rows:
    levels = zip(("catalog_name", "schema_name", "name"), _levels(found["name"], 3, catalog), strict=True)
    comment = re.sub(r"\\(.)", r"\1", found["comment"] or "")
    with _let_pass("ALREADY_EXISTS" if found["condition"] else None):
        rest.post(f"{_UNITY}/volumes", volume_type="MANAGED", comment=comment, **dict(levels))
    return NOTHING


def _drop_volume(found: re.Match[str], catalog: Any) -> Rows:
    with _let_pass("DOES_NOT_EXIST" if found["condition"] else None):
        rest.send("DELETE", f"{_UNITY}/volumes/{_address(found, catalog)}")
    return NOTHING


def _show_volumes(found: re.Match[str], catalog: Any) -> Rows:
    in_catalog, schema = _levels(found["name"] or str(catalog.currentDatabase()), 2, catalog)
    told = rest.get(f"{_UNITY}/volumes", catalog_name=in_catalog, schema_name=schema)
    rows = [(schema, str(each["name"])) for each in told.get("volumes", [])]
    return "database STRING, volume_name STRING", rows


# By how they are written.
_STATEMENTS: dict[str, Callable[[re.Match[str], Any], Rows]] = {
    rf"GRANT {_PRIVILEGES} ON (?:{_KIND} )?{_NAME} TO {_WHO}": partial(_change_grants, "add"),
    rf"REVOKE {_PRIVILEGES} ON (?:{_KIND} )?{_NAME} FROM {_WHO}": partial(_change_grants, "remove"),
    rf"SHOW GRANTS? (?:{_WHO} )?ON {_KIND} {_NAME}": _show_grants,
    rf"ALTER {_KIND} {_NAME} (?:SET )?OWNER TO {_WHO}": _change_owner,
    rf"CREATE VOLUME (?P<condition>IF NOT EXISTS )?{_NAME}{_COMMENT}": _create_volume,
    rf"DROP VOLUME (?P<condition>IF EXISTS )?{_NAME}": _drop_volume,
    rf"SHOW VOLUMES(?: (?:IN|FROM) {_NAME})?": _show_volumes,
}


@contextmanager
def _let_pass(code: str | None) -> Iterator[None]:
    """Takes a refusal with this code for nothing that is wrong."""
    try:
        yield
    except rest.WorkspaceError as error:
        if code is None or not str(error).partition(":")[0].endswith(code):
            raise


def _kind(found: re.Match[str]) -> str:
    """What a name is of, as an address says it; without a word for it a table."""
    kind = (found["kind"] or "TABLE").upper()
    return _IN_ADDRESSES.get(kind, kind.lower())


def _address(found: re.Match[str], catalog: Any) -> str:
    return quote(_full_name(found, catalog), safe="")


def _full_name(found: re.Match[str], catalog: Any) -> str:
    kind = (found.groupdict().get("kind") or "TABLE").upper()
    return ".".join(_levels(found["name"], _LEVELS[kind], catalog))


def _levels(name: str, count: int, catalog: Any) -> list[str]:
    """The levels of a name, those that it has not from where the session is."""
    levels = [_unquoted(each) for each in re.findall(_PART, name)]
    if len(levels) < count:
        current = [str(catalog.currentCatalog()), str(catalog.currentDatabase())]
        levels = [*current[: count - len(levels)], *levels]
    return levels


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name
