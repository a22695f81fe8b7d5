"""What Spark asks: whether a user may do what a plan does, and whose the tables are that it makes."""

import posixpath
import re

from fastapi import APIRouter, Request
from fastapi.concurrency import run_in_threadpool
from fastapi.responses import PlainTextResponse

from local_workspace.rest.securables import (
    CATALOG,
    SCHEMA,
    TABLE,
    Securable,
    Securables,
    of_path,
    securable,
)
from local_workspace.spark.spark_catalogs import levels_of
from local_workspace.spark.spark_rights import ADDRESS
from local_workspace.spark.warehouse import CATALOG_NAME

WAREHOUSE = "/user/hive/warehouse"
WITH_A_HOST = re.compile(r"(dbfs:)?//[^/]")
# What a statement makes, and the privilege that it takes on what that is in.
CREATED_BY = {TABLE: "CREATE_TABLE", SCHEMA: "CREATE_SCHEMA", CATALOG: "CREATE_CATALOG"}
# Everybody may read what is in here.
FOR_EVERYBODY = "samples."
VOLUME_PRIVILEGES = {"SELECT": "READ_VOLUME", "MODIFY": "WRITE_VOLUME", "MANAGE": "WRITE_VOLUME"}


def router(rights: Securables) -> APIRouter:
    """One address, that Spark alone knows the token of."""
    routes = APIRouter(include_in_schema=False)

    @routes.post(ADDRESS)
    async def ask(request: Request) -> PlainTextResponse:
        """The refusal of a plan, empty where it may be carried out."""
        user, *lines = (await request.body()).decode().split("\n")
        return PlainTextResponse(await run_in_threadpool(refusal, rights, user, lines))

    return routes


def refusal(rights: Securables, user: str, lines: list[str]) -> str:
    """Why a user may not do all of this, empty where they may; what will be made is theirs then."""
    questions = [line.split("\t") for line in lines]
    if not rights.is_metastore_admin(user):
        for what, *words in questions:
            if reason := _reason(rights, user, what, words):
                return reason
    for what, *words in questions:
        if what == "create" and words[0] in CREATED_BY and words[2] == "false":
            rights.made(securable(words[0], words[1]), user)
    return ""


def _reason(rights: Securables, user: str, what: str, words: list[str]) -> str:
    if what == "create":
        return _reason_of_creation(rights, user, *words)
    if what == "need":
        privileges, kind, name = words
        return _reason_of_need(rights, user, privileges.split("|"), kind, name)
    return f"{words[0]}: what rights it needs is not known here. The user is {user}."


def _reason_of_creation(
    rights: Securables, user: str, kind: str, name: str, exists: str, replaces: str
) -> str:
    if kind == "path":
        return _reason_of_need(rights, user, ["MODIFY"], kind, name)
    one = securable(kind, name)
    if exists == "true":
        return rights.lack(user, ["MANAGE"], one) if replaces == "true" else ""
    above = one.parent
    assert above is not None
    return rights.lack(user, [CREATED_BY[kind]], above)


def _reason_of_need(rights: Securables, user: str, privileges: list[str], kind: str, name: str) -> str:
    if kind != "path":
        is_free = privileges == ["SELECT"] and name.startswith(FOR_EVERYBODY)
        return "" if is_free else rights.lack(user, privileges, securable(kind, name))
    if name.startswith("file:"):
        return f"User may not use files of the machine, such as {name}. The user is {user}."
    if WITH_A_HOST.match(name):  # Spark passes over the host
        return f"{name} has a host, and dbfs:/ has none. The user is {user}."
    path = posixpath.normpath("/" + name.removeprefix("dbfs:").lstrip("/"))
    if any(place.startswith(f"{path.rstrip('/')}/") for place in ("/Volumes/", f"{WAREHOUSE}/")):
        return f"{path} holds what belongs to others. The user is {user}."
    if path.startswith("/Volumes/"):
        volume = of_path(path.removeprefix("/Volumes"))
        needed = [VOLUME_PRIVILEGES[privilege] for privilege in privileges]
        return rights.lack(user, needed, volume) if volume else f"{path} is in no volume. The user is {user}."
    if path.startswith(f"{WAREHOUSE}/"):
        table = _table_of(path)
        return rights.lack(user, privileges, table) if table else f"{path} is no table. The user is {user}."
    return ""


def _table_of(path: str) -> Securable | None:
    """The table whose files lie there, by where Spark puts those of a schema."""
    first, _, rest = path.removeprefix(f"{WAREHOUSE}/").partition("/")
    if not first.endswith(".db"):
        return Securable(TABLE, f"{CATALOG_NAME}.default.{first}")
    schema, table = first.removesuffix(".db"), rest.partition("/")[0]
    above = ".".join(levels_of(schema) or (CATALOG_NAME, schema))
    return Securable(TABLE, f"{above}.{table}") if table else None
