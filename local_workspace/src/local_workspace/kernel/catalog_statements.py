"""Statements of SQL about grants, owners and volumes, of which the workspace knows and Spark does not."""

import re
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
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
_TAGS = f"{_UNITY}/entity-tag-assignments"
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
_STRING = r"'(?:[^'\\]|\\.)*'"
_COLUMN = rf"(?: ALTER COLUMN (?P<column>{_PART}))?"
_TAG = rf"{_STRING}(?: ?= ?{_STRING})?"
_KEYS = rf"(?P<tags>{_STRING}(?: ?, ?{_STRING})*)"
_TEXT = r"'((?:[^'\\]|\\.)*)'"
# Most statements are Spark's: a look at their first words is enough.
_BEGINS = re.compile(
    r"(?:\s|--[^\n]*\n|/\*(?s:.*?)\*/)*"
    r"(?:GRANT|REVOKE|SHOW\s+(?:GRANTS?|VOLUMES)|(?:CREATE|DROP)\s+VOLUME"
    r"|ALTER\s[^;]*\s(?:OWNER\s+TO|(?:UN)?SET\s+TAGS))\b",
    re.IGNORECASE,
)


@dataclass(frozen=True)
class Session:
    """Where a statement is given: the catalog of a session of Spark, and what opens the workspace."""

    catalog: Any
    opened: Callable[[], rest.Workspace]

    @property
    def workspace(self) -> rest.Workspace:
        """The workspace, for who gives the statement."""
        return self.opened()


def prepare() -> None:
    """Has `spark.sql` of both Sparks carry them out, whoever imports the sessions first."""
    for module in ("pyspark.sql.session", "pyspark.sql.connect.session"):
        after_import(module, _wrap)


def _wrap(module: ModuleType) -> None:
    session: Any = module.SparkSession
    original = session.sql

    @wraps(original)
    def sql(self: Any, sqlQuery: str, *arguments: Any, **options: Any) -> Any:
        where = Session(self.catalog, rest.own)
        found = carried_out(sqlQuery, where) if isinstance(sqlQuery, str) else None
        if found is None:
            return original(self, sqlQuery, *arguments, **options)
        columns, rows = found
        return self.createDataFrame(rows, columns) if columns else self.range(0).select()

    session.sql = sql


def carried_out(statement: str, session: Session) -> Rows | None:
    """Carry out a statement; gives the columns and rows that it has, None for one that is Spark's.

    A name of fewer levels is one in the session's current catalog and schema. Raises WorkspaceError for what
    the workspace refuses.
    """
    if not _BEGINS.match(statement):
        return None
    plain = sqlparse.format(statement, strip_comments=True).strip().rstrip("; \n")
    for pattern, carry_out in _STATEMENTS.items():
        # Between two words there may be any white space.
        spaced = pattern.replace(" ?", r"\s*").replace(" ", r"\s+")
        if found := re.fullmatch(spaced, plain, re.IGNORECASE):
            return carry_out(found, session)
    return None


def _change_grants(change: str, found: re.Match[str], session: Session) -> Rows:
    privileges = ["_".join(each.upper().split()) for each in found["privileges"].split(",")]
    changes = [{"principal": _unquoted(found["who"]), change: privileges}]
    session.workspace.send(
        "PATCH", f"{_UNITY}/permissions/{_kind(found)}/{_address(found, session)}", changes=changes
    )
    return NOTHING


def _show_grants(found: re.Match[str], session: Session) -> Rows:
    query = {"principal": _unquoted(found["who"])} if found["who"] else {}
    told = session.workspace.get(f"{_UNITY}/permissions/{_kind(found)}/{_address(found, session)}", **query)
    rows = [
        (each["principal"], privilege.replace("_", " "), found["kind"].upper(), _full_name(found, session))
        for each in told.get("privilege_assignments", [])
        for privilege in each["privileges"]
    ]
    return "Principal STRING, ActionType STRING, ObjectType STRING, ObjectKey STRING", rows


def _change_owner(found: re.Match[str], session: Session) -> Rows:
    owner = _unquoted(found["who"])
    session.workspace.send("PATCH", f"{_UNITY}/{_kind(found)}s/{_address(found, session)}", owner=owner)
    return NOTHING


def _set_tags(found: re.Match[str], session: Session) -> Rows:
    kind, name = _entity(found, session)
    address = _tags(kind, name)
    kept = {each["tag_key"] for each in session.workspace.get(address).get("tag_assignments", [])}
    for written in re.findall(rf"{_TEXT}(?:\s*=\s*{_TEXT})?", found["tags"]):
        key, value = map(_text, written)
        if key in kept:
            session.workspace.send("PATCH", f"{address}/{quote(key, safe='')}", tag_value=value)
        else:
            session.workspace.post(_TAGS, entity_type=kind, entity_name=name, tag_key=key, tag_value=value)
    return NOTHING


def _unset_tags(found: re.Match[str], session: Session) -> Rows:
    address = _tags(*_entity(found, session))
    for key in re.findall(_TEXT, found["tags"]):
        with _let_pass("DOES_NOT_EXIST"):
            session.workspace.send("DELETE", f"{address}/{quote(_text(key), safe='')}")
    return NOTHING


def _create_volume(found: re.Match[str], session: Session) -> Rows:
    levels = zip(("catalog_name", "schema_name", "name"), _levels(found["name"], 3, session), strict=True)
    comment = _text(found["comment"] or "")
    with _let_pass("ALREADY_EXISTS" if found["condition"] else None):
        session.workspace.post(f"{_UNITY}/volumes", volume_type="MANAGED", comment=comment, **dict(levels))
    return NOTHING


def _drop_volume(found: re.Match[str], session: Session) -> Rows:
    with _let_pass("DOES_NOT_EXIST" if found["condition"] else None):
        session.workspace.send("DELETE", f"{_UNITY}/volumes/{_address(found, session)}")
    return NOTHING


def _show_volumes(found: re.Match[str], session: Session) -> Rows:
    in_catalog, schema = _levels(found["name"] or str(session.catalog.currentDatabase()), 2, session)
    told = session.workspace.get(f"{_UNITY}/volumes", catalog_name=in_catalog, schema_name=schema)
    rows = [(schema, str(each["name"])) for each in told.get("volumes", [])]
    return "database STRING, volume_name STRING", rows


# By how they are written.
_STATEMENTS: dict[str, Callable[[re.Match[str], Session], Rows]] = {
    rf"GRANT {_PRIVILEGES} ON (?:{_KIND} )?{_NAME} TO {_WHO}": partial(_change_grants, "add"),
    rf"REVOKE {_PRIVILEGES} ON (?:{_KIND} )?{_NAME} FROM {_WHO}": partial(_change_grants, "remove"),
    rf"SHOW GRANTS? (?:{_WHO} )?ON {_KIND} {_NAME}": _show_grants,
    rf"ALTER {_KIND} {_NAME} (?:SET )?OWNER TO {_WHO}": _change_owner,
    rf"ALTER {_KIND} {_NAME}{_COLUMN} SET TAGS ?\( ?(?P<tags>{_TAG}(?: ?, ?{_TAG})*) ?\)": _set_tags,
    rf"ALTER {_KIND} {_NAME}{_COLUMN} UNSET TAGS ?\( ?{_KEYS} ?\)": _unset_tags,
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


def _address(found: re.Match[str], session: Session) -> str:
    return quote(_full_name(found, session), safe="")


def _entity(found: re.Match[str], session: Session) -> tuple[str, str]:
    """What has tags: its kind, as an address says it, and its name."""
    if found["column"]:
        return "columns", f"{_full_name(found, session)}.{_unquoted(found['column'])}"
    kind = {"schema": "schemas"}.get(_kind(found), f"{_kind(found)}s")
    return kind, _full_name(found, session)


def _tags(kind: str, name: str) -> str:
    return f"{_TAGS}/{kind}/{quote(name, safe='')}/tags"


def _text(written: str) -> str:
    """A text of SQL without the marks before what has a meaning."""
    return re.sub(r"\\(.)", r"\1", written)


def _full_name(found: re.Match[str], session: Session) -> str:
    kind = (found.groupdict().get("kind") or "TABLE").upper()
    return ".".join(_levels(found["name"], _LEVELS[kind], session))


def _levels(name: str, count: int, session: Session) -> list[str]:
    """The levels of a name, those that it has not from where the session is."""
    levels = [_unquoted(each) for each in re.findall(_PART, name)]
    if len(levels) < count:
        current = [str(session.catalog.currentCatalog()), str(session.catalog.currentDatabase())]
        levels = [*current[: count - len(levels)], *levels]
    return levels


def _unquoted(name: str) -> str:
    return name[1:-1].replace("``", "`") if name.startswith("`") else name
