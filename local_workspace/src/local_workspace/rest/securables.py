"""What Unity Catalog's securables are, who owns each, who was granted what on it, and what follows from that.

The catalog of Spark's tables, models, volumes and what else was made have a record once somebody owns them
or something was granted on them; what has none belongs to the first user.
"""

import re
from collections.abc import Collection, Iterator
from dataclasses import dataclass
from typing import Any

from local_workspace.callers import USER_NAME, caller
from local_workspace.clock import now
from local_workspace.errors import InvalidParameter, PermissionDenied
from local_workspace.spark.warehouse import CATALOG_NAME
from local_workspace.store.database import Database, Document
from local_workspace.store.principals import Principals

METASTORE, CATALOG, SCHEMA = "metastore", "catalog", "schema"
TABLE, VOLUME, MODEL = "table", "volume", "function"
CREDENTIAL, LOCATION = "storage_credential", "external_location"
# By the word in an address: how a sentence calls it. A model is a kind of function there, as on Databricks.
TITLES = {
    METASTORE: "Metastore",
    CATALOG: "Catalog",
    SCHEMA: "Schema",
    TABLE: "Table",
    VOLUME: "Volume",
    MODEL: "Registered Model",
    CREDENTIAL: "Storage Credential",
    LOCATION: "External Location",
}
METASTORE_NAME = "local"
_CREATING = {
    "CREATE_FUNCTION",
    "CREATE_MATERIALIZED_VIEW",
    "CREATE_MODEL",
    "CREATE_TABLE",
    "CREATE_VIEW",
    "CREATE_VOLUME",
}
_MAKING = {"CREATE_SCHEMA"} | _CREATING
_ANY = {"ALL_PRIVILEGES", "MANAGE"}
_OF_TABLES, _OF_VOLUMES = {"SELECT", "MODIFY", "REFRESH"}, {"READ_VOLUME", "WRITE_VOLUME"}
_OF_MODELS = {"EXECUTE", "CREATE_MODEL_VERSION"}
_OF_SCHEMAS = {"USE_SCHEMA", "EXTERNAL_USE_SCHEMA", "BROWSE", "APPLY_TAG"} | _CREATING
_INSIDE_SCHEMAS = _OF_SCHEMAS | _OF_TABLES | _OF_VOLUMES | _OF_MODELS
# What can be granted on each kind: its own privileges and those of what is in it.
PRIVILEGES: dict[str, set[str]] = {
    METASTORE: {
        "CREATE_CATALOG",
        "CREATE_EXTERNAL_LOCATION",
        "CREATE_STORAGE_CREDENTIAL",
        "MANAGE_ALLOWLIST",
    },
    CATALOG: {"USE_CATALOG", "CREATE_SCHEMA"} | _INSIDE_SCHEMAS | _ANY,
    SCHEMA: _INSIDE_SCHEMAS | _ANY,
    TABLE: {"APPLY_TAG", "BROWSE"} | _OF_TABLES | _ANY,
    VOLUME: {"APPLY_TAG", "BROWSE"} | _OF_VOLUMES | _ANY,
    MODEL: {"APPLY_TAG", "BROWSE"} | _OF_MODELS | _ANY,
    CREDENTIAL: {"CREATE_EXTERNAL_LOCATION", "CREATE_EXTERNAL_TABLE", "READ_FILES", "WRITE_FILES"} | _ANY,
    LOCATION: {"BROWSE", "CREATE_EXTERNAL_TABLE", "CREATE_EXTERNAL_VOLUME", "READ_FILES", "WRITE_FILES"}
    | _ANY,
}
# What the owner of a catalog or schema may do with what others own in it.
_OF_OWNERS_ABOVE = {"MANAGE", "USE_SCHEMA", "BROWSE"} | _MAKING
# ALL PRIVILEGES is not these.
_ALONE = {"MANAGE", "EXTERNAL_USE_SCHEMA"}
KIND = "securable"


@dataclass(frozen=True)
class Securable:
    """Something that has an owner: its kind, as addresses spell it, and its full name."""

    kind: str
    name: str

    @property
    def key(self) -> str:
        """By which the record is found.

        To Spark letters of either case are the same. Folders and MLflow's registry tell them apart: there
        another spelling is something else, and must not have the record of the first.
        """
        is_of_spark = self.kind == TABLE or (self.kind == SCHEMA and self.name.startswith(f"{CATALOG_NAME}."))
        return f"{self.kind}:{self.name.lower() if is_of_spark else self.name}"

    @property
    def parent(self) -> "Securable | None":
        """What it is in."""
        if self.kind == METASTORE:
            return None
        if self.kind in (CATALOG, CREDENTIAL, LOCATION):
            return Securable(METASTORE, METASTORE_NAME)
        return Securable(CATALOG if self.kind == SCHEMA else SCHEMA, self.name.rpartition(".")[0])

    def line(self) -> "Iterator[Securable]":
        """Itself and all that it is in."""
        each: Securable | None = self
        while each is not None:
            yield each
            each = each.parent

    def __str__(self) -> str:
        return f"{TITLES[self.kind]} '{self.name}'"


def securable(kind: str, name: str) -> Securable:
    """A securable as an address names it, or InvalidParameter."""
    kind = {"registered_model": MODEL, "model": MODEL}.get(kind.lower(), kind.lower())
    levels = {CATALOG: 1, SCHEMA: 2, TABLE: 3, VOLUME: 3, MODEL: 3}.get(kind)
    if kind not in TITLES:
        raise InvalidParameter(f"securable type {kind!r} is not one of {sorted(TITLES)}")
    if levels and (len(parts := name.split(".")) != levels or not all(parts)):
        raise InvalidParameter(f"{name!r} is not the full name of a {TITLES[kind]}: it has {levels} levels")
    if levels and ("/" in name or not name.isprintable()):
        raise InvalidParameter(
            f"{name!r} is not the name of a {TITLES[kind]}: it has '/' or control characters"
        )
    return Securable(kind, METASTORE_NAME if kind == METASTORE else name)


class Securables:
    """The records of securables, and the rights that follow from them."""

    def __init__(self, database: Database) -> None:
        self._database = database
        self.principals = Principals(database)

    def find(self, one: Securable) -> Document | None:
        """The record of one, or None."""
        return self._database.get(KIND, one.key)

    def record(self, one: Securable) -> Document:
        """The record of one, or what one without a record is like."""
        return self.find(one) or {
            "kind": one.kind,
            "name": one.name,
            "owner": USER_NAME,
            "grants": {},
            "created_at": 0,
            "created_by": USER_NAME,
            "details": {},
        }

    def all(self, kind: str) -> list[Document]:
        """The records of a kind."""
        return [record for record in self._database.all(KIND) if record["kind"] == kind]

    def made(self, one: Securable, owner: str, **details: Any) -> Document:
        """Keeps a new one, which belongs to its maker; what an older one of the name had is gone."""
        fresh = {"grants": {}, "owner": owner, "created_by": owner, "created_at": now(), "details": details}
        record = {"kind": one.kind, "name": one.name} | fresh
        self._database.put(KIND, one.key, record)
        return record

    def removed(self, one: Securable) -> None:
        """Forgets one and all that is in it."""
        with self._database.transaction():
            self._database.delete(KIND, one.key)
            for record in self._database.all(KIND):
                inner = Securable(record["kind"], record["name"])
                if one.key in [each.key for each in inner.line()]:
                    self._database.delete(KIND, inner.key)

    def change(self, one: Securable, owner: str = "", **details: Any) -> Document:
        """Gives one another owner, who has to be known, or other details."""
        with self._database.transaction():
            record = self.record(one)
            owner = self.principals.as_kept(owner) if owner else record["owner"]
            record |= {"owner": owner, "updated_at": now(), "updated_by": caller()}
            record["details"] |= {name: value for name, value in details.items() if value is not None}
            self._database.put(KIND, one.key, record)
        return record

    def grant(self, one: Securable, changes: list[tuple[str, set[str], set[str]]]) -> Document:
        """Adds privileges to principals, and takes some away."""
        with self._database.transaction():
            record = self.record(one)
            for principal, added, taken in changes:
                unknown = (added | taken) - PRIVILEGES[one.kind]
                if unknown:
                    raise InvalidParameter(f"{sorted(unknown)} cannot be granted on a {TITLES[one.kind]}")
                name = self.principals.as_kept(principal)
                left = (set(record["grants"].pop(name, [])) | added) - taken
                if left:
                    record["grants"][name] = sorted(left)
            self._database.put(KIND, one.key, record)
        return record

    def tag(self, one: Securable, column: str, tags: dict[str, str | None]) -> None:
        """Sets tags of one, or of one of its columns; None takes one away."""
        with self._database.transaction():
            record = self.record(one)
            kept = record.setdefault("tags", {}).pop(column, {}) | tags
            if left := {key: value for key, value in kept.items() if value is not None}:
                record["tags"][column] = left
            self._database.put(KIND, one.key, record)

    def is_metastore_admin(self, user: str) -> bool:
        """Whether somebody owns the metastore, or is in the group that does, and so may do all."""
        owner = self.record(Securable(METASTORE, METASTORE_NAME))["owner"]
        return user == USER_NAME or owner in self.principals.names_of(user)

    def owns(self, user: str, one: Securable) -> bool:
        """Whether somebody owns one, or is in the group that does."""
        return self.record(one)["owner"] in self.principals.names_of(user)

    def has(self, user: str, privilege: str, one: Securable) -> bool:
        """Whether somebody has a privilege on one, whatever is asked of what it is in."""
        names = self.principals.names_of(user)
        wanted = {privilege} if privilege in _ALONE else {privilege, "ALL_PRIVILEGES"}
        for each in one.line():
            record = self.record(each)
            granted = {right for name in names for right in record["grants"].get(name, [])}
            is_owner = record["owner"] in names
            if wanted & granted or (is_owner and (each == one or privilege in _OF_OWNERS_ABOVE)):
                return True
        return self.is_metastore_admin(user)

    def lack(self, user: str, privileges: Collection[str], one: Securable) -> str:
        """Why somebody may not do what any one of these privileges lets one do; empty where they may."""
        makes_something_in_it = not _MAKING.isdisjoint(privileges)
        for above in one.line():
            usage = {CATALOG: "USE_CATALOG", SCHEMA: "USE_SCHEMA"}.get(above.kind)
            is_used = above != one or makes_something_in_it
            if usage and is_used and not self.has(user, usage, above):
                return sentence(user, [usage], above)
        is_allowed = any(self.has(user, privilege, one) for privilege in privileges)
        return "" if is_allowed else sentence(user, privileges, one)

    def require(self, one: Securable, *privileges: str) -> None:
        """Refuses a caller who has none of these privileges on one, or may not use what it is in."""
        if reason := self.lack(caller(), privileges, one):
            raise PermissionDenied(reason)

    def may_see(self, one: Securable) -> bool:
        """Whether the caller may know that one is there: its owner, and whoever has a right on it."""
        wanted = PRIVILEGES[one.kind]
        return any(self.has(caller(), privilege, one) for privilege in wanted)


def sentence(user: str, privileges: Collection[str], one: Securable) -> str:
    """Names what is missing, by the first of the privileges that would do, on what, and to whom."""
    named = next(iter(privileges)).replace("_", " ")
    return f"User does not have {named} on {one}. The user is {user}."


def of_path(path: str) -> Securable | None:
    """The volume in which a path below `/Volumes` lies; None where it names less than a volume."""
    match = re.match(r"/*([^/]+)/+([^/]+)/+([^/]+)", path)
    return Securable(VOLUME, ".".join(match.groups())) if match else None
