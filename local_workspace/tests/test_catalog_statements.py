"""How statements about grants, owners and volumes are understood; `test_spark_catalogs` carries them out."""

from types import SimpleNamespace
from typing import Any

import pytest
from local_workspace.kernel import catalog_statements, rest

Call = tuple[str, str, dict[str, Any]]
UNITY = "2.1/unity-catalog"


class Catalog:
    """Where a session is."""

    def currentCatalog(self) -> str:
        return "main"

    def currentDatabase(self) -> str:
        return "shop"


PLACE = catalog_statements.Session(Catalog(), lambda: rest.own())


@pytest.fixture
def calls(monkeypatch: pytest.MonkeyPatch) -> list[Call]:
    """What the workspace was asked for."""
    asked: list[Call] = []

    def send(method: str, path: str, /, **body: Any) -> Any:
        asked.append((method, path.removeprefix(f"{UNITY}/"), body))
        granted = {"principal": "me", "privileges": ["USE_SCHEMA"]}
        return {
            "privilege_assignments": [granted],
            "volumes": [{"name": "files"}],
            "tag_assignments": [{"tag_key": "cost"}],
        }

    workspace = SimpleNamespace(
        send=send,
        get=lambda path, /, **query: send("GET", path, **query),
        post=lambda path, /, **body: send("POST", path, **body),
    )
    monkeypatch.setattr(rest, "own", lambda: workspace)
    return asked


def granting(who: str, *privileges: str) -> dict[str, Any]:
    return {"changes": [{"principal": who, "add": list(privileges)}]}


@pytest.mark.parametrize(
    ("statement", "method", "path", "body"),
    [
        (
            "-- For them.\nGRANT USE CATALOG,  SELECT\n ON\tCATALOG main TO `a@b.c`;",
            "PATCH",
            "permissions/catalog/main",
            granting("a@b.c", "USE_CATALOG", "SELECT"),
        ),
        (
            "grant select on view v to users",
            "PATCH",
            "permissions/table/main.shop.v",
            granting("users", "SELECT"),
        ),
        (
            "REVOKE ALL PRIVILEGES ON other.t FROM x.y@z",
            "PATCH",
            "permissions/table/main.other.t",
            {"changes": [{"principal": "x.y@z", "remove": ["ALL_PRIVILEGES"]}]},
        ),
        ("SHOW GRANTS `me` ON DATABASE shop", "GET", "permissions/schema/main.shop", {"principal": "me"}),
        ("ALTER TABLE a.`b c`.d SET OWNER TO `g p`", "PATCH", "tables/a.b%20c.d", {"owner": "g p"}),
        ("ALTER CATALOG a OWNER TO admins", "PATCH", "catalogs/a", {"owner": "admins"}),
        (
            "ALTER TABLE t ALTER COLUMN `a b` UNSET TAGS ( 'it\\'s' )",
            "DELETE",
            "entity-tag-assignments/columns/main.shop.t.a%20b/tags/it%27s",
            {},
        ),
        ("DROP VOLUME a.b.c", "DELETE", "volumes/a.b.c", {}),
        ("SHOW VOLUMES FROM a.b", "GET", "volumes", {"catalog_name": "a", "schema_name": "b"}),
    ],
)
def test_a_statement_becomes_one_request(calls, statement, method, path, body):
    assert catalog_statements.carried_out(statement, PLACE) is not None
    assert calls == [(method, path, body)]


def test_a_volume_is_made_with_its_comment_as_it_is_written(calls):
    catalog_statements.carried_out("CREATE VOLUME IF NOT EXISTS v COMMENT 'it\\'s  two'", PLACE)

    place = {"catalog_name": "main", "schema_name": "shop", "name": "v"}
    assert calls == [("POST", "volumes", {"volume_type": "MANAGED", "comment": "it's  two"} | place)]


def test_tags_are_set_anew_or_changed(calls):
    catalog_statements.carried_out(
        "ALTER SCHEMA shop SET TAGS ('team' = 'ml' , 'pii','cost'='a=b, c')", PLACE
    )

    tags, entity = "entity-tag-assignments", {"entity_type": "schemas", "entity_name": "main.shop"}
    assert calls == [
        ("GET", f"{tags}/schemas/main.shop/tags", {}),
        ("POST", tags, entity | {"tag_key": "team", "tag_value": "ml"}),
        ("POST", tags, entity | {"tag_key": "pii", "tag_value": ""}),
        ("PATCH", f"{tags}/schemas/main.shop/tags/cost", {"tag_value": "a=b, c"}),
    ]


def test_what_was_granted_is_a_table(calls):
    found = catalog_statements.carried_out("SHOW GRANTS ON SCHEMA shop", PLACE)

    assert found is not None and list(found[1]) == [("me", "USE SCHEMA", "SCHEMA", "main.shop")]


@pytest.mark.parametrize(
    "statement",
    [
        "CREATE TABLE volume (a INT)",
        "SHOW TABLES",
        "ALTER TABLE t ADD COLUMN owner INT",
        "SELECT 'GRANT SELECT ON t TO u'",
        "DROP TABLE volume",
        "ALTER TABLE t SET TBLPROPERTIES ('a' = 'SET TAGS')",
    ],
)
def test_all_else_is_left_to_spark(calls, statement):
    assert catalog_statements.carried_out(statement, PLACE) is None
    assert calls == []
