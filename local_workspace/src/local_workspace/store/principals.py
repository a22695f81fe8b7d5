"""Users, groups and service principals, and the tokens by which they sign in."""

import hashlib
import secrets
import uuid
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from local_workspace.callers import USER_NAME, caller
from local_workspace.clock import now
from local_workspace.errors import DoesNotExist, InvalidParameter, NameTaken, PermissionDenied
from local_workspace.store.database import Database, Document

ADMINS = "admins"
# Everybody is in these; they have no list of members.
EVERYBODY = ("users", "account users")
# Of the first user and of the group of administrators; apart, because members are told by their ids alone.
FIRST_ID, ADMINS_ID = "1", "2"
TOKEN = "token"
# So far the numbers are kept for what a workspace begins with.
RESERVED_IDS = 100


@dataclass(frozen=True)
class Kind:
    """One kind of principal: its name in the database and in SCIM, and the field that names one."""

    kind: str
    resource: str
    name: str
    required: str


USER = Kind("user", "Users", "userName", "userName")
GROUP = Kind("group", "Groups", "displayName", "displayName")
SERVICE_PRINCIPAL = Kind("service_principal", "ServicePrincipals", "applicationId", "displayName")
KINDS = (USER, GROUP, SERVICE_PRINCIPAL)


class Principals:
    """The principals that are kept in a database."""

    def __init__(self, database: Database) -> None:
        self._database = database

    def prepare(self) -> None:
        """Makes the first user and the group of administrators, where they are missing."""
        with self._database.transaction():
            self._database.skip_ids("principal", RESERVED_IDS)
            if self.by_id(USER, FIRST_ID) is None:
                self._put(USER, {"id": FIRST_ID, "userName": USER_NAME, "displayName": USER_NAME})
            if self.by_id(GROUP, ADMINS_ID) is None:
                self._put(GROUP, {"id": ADMINS_ID, "displayName": ADMINS, "members": [{"value": FIRST_ID}]})

    def create(self, kind: Kind, fields: Document) -> Document:
        """A new one; NameTaken where its name is taken."""
        fields = {**fields}
        if kind is SERVICE_PRINCIPAL:
            fields.setdefault("applicationId", str(uuid.uuid4()))
        with self._database.transaction():
            if self.named(fields[kind.name]) is not None or fields[kind.name] in EVERYBODY:
                raise NameTaken(f"{kind.kind} {fields[kind.name]!r} already exists.")
            fields["id"] = str(self._database.next_id("principal"))
            self._put(kind, fields)
        return fields

    def change(self, kind: Kind, principal_id: str, changed: Document) -> Document:
        """Keeps what one has become; its id and name stay."""
        with self._database.transaction():
            before = self.require(kind, principal_id)
            fixed = {"id": principal_id, kind.name: before[kind.name]}
            self._refuse_to_lose_the_first(kind, changed | fixed)
            self._put(kind, changed | fixed)
        return changed | fixed

    def delete(self, kind: Kind, principal_id: str) -> None:
        """Removes one, its tokens, and its place in groups."""
        with self._database.transaction():
            name = self.require(kind, principal_id)[kind.name]
            if principal_id in (FIRST_ID, ADMINS_ID):
                raise InvalidParameter(f"{kind.kind} {name} stays: the workspace is run with it.")
            for group in self.all(GROUP):
                left = [member for member in group.get("members", []) if member["value"] != principal_id]
                self._put(GROUP, group | {"members": left})
            for token in self.tokens(name):
                self._database.delete(TOKEN, token["hash"])
            self._database.delete(kind.kind, principal_id)

    def all(self, kind: Kind) -> list[Document]:
        """Every one of a kind, the oldest first."""
        return self._database.all(kind.kind)

    def by_id(self, kind: Kind, principal_id: str) -> Document | None:
        """One, or None."""
        return self._database.get(kind.kind, principal_id)

    def require(self, kind: Kind, principal_id: str) -> Document:
        """One, or DoesNotExist."""
        found = self.by_id(kind, principal_id)
        if found is None:
            raise DoesNotExist(f"{kind.kind} with id {principal_id} does not exist.")
        return found

    def named(self, name: str) -> Document | None:
        """The user, group or service principal of this name, however it is spelled."""
        for kind in KINDS:
            for one in self.all(kind):
                if one[kind.name].lower() == name.lower():
                    return one
        return None

    def as_kept(self, name: str) -> str:
        """The name of one to whom something can be granted, however it was spelled, or InvalidParameter."""
        known = (*EVERYBODY, *(one[kind.name] for kind in KINDS for one in self.all(kind)))
        for each in known:
            if each.lower() == name.lower():
                return str(each)
        raise InvalidParameter(f"Could not find principal with name {name}")

    def is_active(self, name: str) -> bool:
        """Whether this user or service principal may come in."""
        found = self.named(name)
        return found is not None and _is_active(found)

    def names_of(self, name: str) -> set[str]:
        """A user's own name and those of the groups it is in, also through other groups."""
        found = self.named(name)
        return {name, *EVERYBODY, *(group["displayName"] for group in self._groups_of(found))}

    def direct_groups(self, principal: Document) -> list[Document]:
        """The groups that have this one among their members."""
        return [group for group in self.all(GROUP) if _has_member(group, principal["id"])]

    def is_administrator(self, name: str) -> bool:
        """Whether somebody is an administrator of the workspace."""
        return name == USER_NAME or ADMINS in self.names_of(name)

    def require_administrator(self, doing: str) -> None:
        """Refuses a caller who is no administrator of the workspace."""
        if not self.is_administrator(caller()):
            raise PermissionDenied(f"User {caller()} is not an administrator, who alone may {doing}.")

    def new_token(self, name: str, comment: str, seconds: int) -> tuple[str, Document]:
        """A token for one, shown this once, and what is kept about it; without `seconds` it does not end."""
        value = f"dapi{secrets.token_hex(16)}"
        created = now()
        kept: Document = {
            "hash": _hash(value),
            "token_id": secrets.token_hex(32),
            "owner": name,
            "created_by": caller(),
            "comment": comment,
            "creation_time": created,
            "expiry_time": created + seconds * 1000 if seconds else -1,
        }
        self._database.put(TOKEN, kept["hash"], kept)
        return value, kept

    def tokens(self, name: str | None = None) -> list[Document]:
        """What is kept about everybody's tokens, or about one's."""
        return [token for token in self._database.all(TOKEN) if name in (None, token["owner"])]

    def delete_token(self, token_id: str, name: str | None = None) -> None:
        """Ends a token, or DoesNotExist; `name` is whose it has to be."""
        for token in self.tokens(name):
            if token["token_id"] == token_id:
                return self._database.delete(TOKEN, token["hash"])
        raise DoesNotExist(f"Token {token_id} does not exist.")

    def of_token(self, value: str) -> str | None:
        """Whose token this is; None for one that has ended, or whose owner may not come in any more."""
        kept = self._database.get(TOKEN, _hash(value))
        if kept is None or -1 < kept["expiry_time"] < now():
            return None
        return kept["owner"] if self.is_active(kept["owner"]) else None

    def _groups_of(self, principal: Document | None) -> Iterator[Document]:
        waiting, seen = [principal] if principal else [], set[str]()
        while waiting:
            for group in self.direct_groups(waiting.pop()):
                if group["id"] not in seen:
                    seen.add(group["id"])
                    waiting.append(group)
                    yield group

    def _refuse_to_lose_the_first(self, kind: Kind, changed: Document) -> None:
        if changed["id"] not in (FIRST_ID, ADMINS_ID):
            return
        if not _is_active(changed) or (kind is GROUP and not _has_member(changed, FIRST_ID)):
            raise InvalidParameter(f"{USER_NAME} stays an administrator: the workspace is run with it.")

    def _put(self, kind: Kind, document: dict[str, Any]) -> None:
        self._database.put(kind.kind, document["id"], document)


def _is_active(principal: Document) -> bool:
    """Some clients send truth values as words."""
    return str(principal.get("active", True)).lower() != "false"


def _has_member(group: Document, principal_id: str) -> bool:
    return any(member["value"] == principal_id for member in group.get("members", []))


def _hash(value: str) -> str:
    return hashlib.sha256(value.encode(errors="replace")).hexdigest()
