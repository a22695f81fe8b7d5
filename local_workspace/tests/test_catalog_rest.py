"""Unity Catalog over REST: tables, schemas, volumes and grants as the SDK's dataclasses have them."""

from collections.abc import Iterator

import pytest
import requests
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, ResourceAlreadyExists
from databricks.sdk.service.catalog import (
    ColumnTypeName,
    DataSourceFormat,
    EntityTagAssignment,
    PermissionsChange,
    Privilege,
    TableType,
    VolumeType,
)
from real_workspace import RealWorkspace

SCHEMA = "spark_catalog.described"


@pytest.fixture(scope="module")
def client(real_workspace: RealWorkspace) -> Iterator[WorkspaceClient]:
    """The first user's, with a schema of tables and views."""
    client = real_workspace.client
    client.schemas.create("described", "spark_catalog", comment="of the tests")
    for statement in (
        "CREATE TABLE one (id BIGINT NOT NULL COMMENT 'the key', price DECIMAL(10, 2), many ARRAY<INT>) "
        "COMMENT 'what is sold' TBLPROPERTIES ('team' = 'ml')",
        "CREATE TABLE two AS SELECT 1S AS small, TIMESTAMP'2026-11-30' AS moment",
        "CREATE VIEW three AS SELECT id FROM one",
    ):
        answer = client.statement_execution.execute_statement(
            statement, "default", schema="described", wait_timeout="50s"
        )
        assert answer.status.error is None, answer.status.error
    yield client
    client.schemas.delete(SCHEMA, force=True)


def test_a_table_is_shown_with_its_columns(client):
    table = client.tables.get(f"{SCHEMA}.one")

    kinds = [(column.name, column.type_name, column.type_text) for column in table.columns]
    assert kinds == [
        ("id", ColumnTypeName.LONG, "bigint"),
        ("price", ColumnTypeName.DECIMAL, "decimal(10,2)"),
        ("many", ColumnTypeName.ARRAY, "array<int>"),
    ]
    assert (table.columns[0].comment, table.columns[1].type_precision) == ("the key", 10)
    assert (table.table_type, table.data_source_format) == (TableType.MANAGED, DataSourceFormat.DELTA)
    assert (table.comment, table.properties["team"]) == ("what is sold", "ml")
    assert table.storage_location.startswith("dbfs:/")
    assert (table.catalog_name, table.schema_name, table.full_name) == (
        "spark_catalog",
        "described",
        f"{SCHEMA}.one",
    )
    assert table.table_id == client.tables.get(f"{SCHEMA}.one").table_id


def test_a_view_is_one(client):
    view = client.tables.get(f"{SCHEMA}.three")

    assert (view.table_type, view.data_source_format) == (TableType.VIEW, None)
    assert "SELECT id FROM one" in view.view_definition


def test_tables_are_listed_with_columns_and_page_by_page(client):
    tables = {table.name: table for table in client.tables.list("spark_catalog", "described")}
    paged = [table.name for table in client.tables.list("spark_catalog", "described", max_results=1)]
    brief = next(client.tables.list("spark_catalog", "described", omit_columns=True))

    assert sorted(tables) == sorted(paged) == ["one", "three", "two"]
    assert [column.type_name for column in tables["two"].columns] == [
        ColumnTypeName.SHORT,
        ColumnTypeName.TIMESTAMP,
    ]
    assert (brief.name, brief.columns) == ("one", [])
    with pytest.raises(InvalidParameterValue, match="max_results must not be negative"):
        next(client.tables.list("spark_catalog", "described", max_results=-1))
    with pytest.raises(NotFound, match=r"Schema 'spark_catalog\.none' does not exist"):
        next(client.tables.list("spark_catalog", "none"))


def test_summaries_are_found_by_patterns(client):
    found = list(
        client.tables.list_summaries(
            "spark_catalog", schema_name_pattern="describe_", table_name_pattern="t%", max_results=1
        )
    )

    assert {(each.full_name, each.table_type) for each in found} == {
        (f"{SCHEMA}.three", TableType.VIEW),
        (f"{SCHEMA}.two", TableType.MANAGED),
    }


def test_a_table_is_there_until_it_is_deleted(client):
    client.statement_execution.execute_statement(
        "CREATE TABLE described.gone (x INT)", "default", wait_timeout="50s"
    )
    assert client.tables.exists(f"{SCHEMA}.gone").table_exists
    client.tables.delete(f"{SCHEMA}.gone")

    assert not client.tables.exists(f"{SCHEMA}.gone").table_exists
    with pytest.raises(NotFound, match="gone"):
        client.tables.get(f"{SCHEMA}.gone")


def test_there_are_no_functions(client):
    assert list(client.functions.list("spark_catalog", "described")) == []
    with pytest.raises(NotFound, match=r"described\.none"):
        client.functions.get(f"{SCHEMA}.none")


def test_schemas_and_volumes_have_ids_and_pages(client):
    for name in ("first", "second"):
        client.volumes.create("spark_catalog", "described", name, VolumeType.MANAGED, comment=name)
    volumes = {each.name: each for each in client.volumes.list("spark_catalog", "described", max_results=1)}
    schemas = {each.name: each for each in client.schemas.list("spark_catalog", max_results=1)}

    assert set(volumes) == {"first", "second"}
    assert volumes["first"].volume_id != volumes["second"].volume_id
    assert volumes["first"].comment == client.volumes.read(f"{SCHEMA}.first").comment == "first"
    assert {"default", "described"} <= set(schemas)
    assert schemas["described"].schema_id == client.schemas.get(SCHEMA).schema_id
    assert schemas["described"].comment == "of the tests"


def test_a_schema_whose_volumes_are_gone_goes_too(client):
    client.catalogs.create("emptied", properties={"team": "ml"})
    made = client.schemas.create("of_volumes", "emptied", properties={"cost": "1"})
    client.volumes.create("emptied", "of_volumes", "one", VolumeType.MANAGED)
    with pytest.raises(BadRequest, match=r"is not empty: it has \['one'\]"):
        client.schemas.delete("emptied.of_volumes")
    client.volumes.delete("emptied.of_volumes.one")
    client.schemas.delete("emptied.of_volumes")
    left = list(client.schemas.list("emptied"))
    client.schemas.create("another", "emptied")
    with pytest.raises(BadRequest, match="another"):
        client.catalogs.delete("emptied")
    client.catalogs.delete("emptied", force=True)

    assert made.properties == {"cost": "1"}
    assert [schema.name for schema in left] == ["default"]
    with pytest.raises(NotFound, match="emptied"):
        client.catalogs.get("emptied")


@pytest.fixture
def page(client, real_workspace):
    """The text of a page, and its status, as somebody with a token sees it."""

    def read(address: str, token: str = "") -> tuple[int, str]:
        profile = real_workspace.profile
        headers = {"Authorization": f"Bearer {token or profile['token']}", "Accept": "text/html"}
        answer = requests.get(profile["host"] + address, headers=headers, timeout=120)
        return answer.status_code, answer.text

    return read


def test_a_table_has_a_page_with_rows_and_history(page):
    status, text = page("/explore/data/spark_catalog/described/two")

    assert status == 200
    for shown in (
        "spark_catalog.described.two",
        "smallint",
        "2026-11-30T00:00:00.000Z",
        "CREATE TABLE AS SELECT",
    ):
        assert shown in text
    assert "Nothing was granted on this table itself" in text
    view = page("/data/spark_catalog/described/three")[1]
    assert "History" not in view
    assert "This table is empty" in view


def test_tags_are_set_changed_listed_and_removed_and_stand_on_the_page(client, page):
    tags, table = client.entity_tag_assignments, f"{SCHEMA}.two"
    places = [("tables", table), ("columns", f"{table}.small"), ("schemas", SCHEMA)]
    for kind, name in places:
        made = tags.create(EntityTagAssignment(name, "cost/center", kind, tag_value="7"))
        assert (made.entity_type, made.entity_name, made.tag_value) == (kind, name, "7")
    with pytest.raises(ResourceAlreadyExists, match="Tag 'cost/center' of column 'small' of Table"):
        tags.create(EntityTagAssignment(f"{table}.small", "cost/center", "columns"))
    eight = EntityTagAssignment(table, "cost/center", "tables", tag_value="8")
    tags.update("tables", table, "cost/center", eight, "tag_value")
    tags.create(EntityTagAssignment(table, "pii", "tables"))

    text = page("/data/spark_catalog/described/two")[1]
    assert "<dd>cost/center = 8, pii</dd>" in text
    assert "<td>cost/center = 7</td>" in text
    assert [each.tag_key for each in tags.list("tables", table, max_results=1)] == ["cost/center", "pii"]
    for kind, name in places:
        tags.delete(kind, name, "cost/center")
        with pytest.raises(NotFound, match=r"Tag 'cost/center' of .* does not exist"):
            tags.get(kind, name, "cost/center")
    assert [each.tag_key for each in tags.list("tables", table)] == ["pii"]


@pytest.mark.parametrize(
    ("kind", "name", "key", "error", "reason"),
    [
        ("tables", f"{SCHEMA}.none", "a", NotFound, "none' does not exist"),
        ("columns", f"{SCHEMA}.two.none", "a", NotFound, "has no column 'none'; there are"),
        ("functions", f"{SCHEMA}.two", "a", InvalidParameterValue, "'functions' is not one of"),
        ("tables", f"{SCHEMA}.two", "a" * 256, InvalidParameterValue, "a key has 1 to 255 characters"),
        ("tables", "two", "a", InvalidParameterValue, "it has 3 levels"),
    ],
)
def test_a_tag_that_cannot_be_is_refused_with_the_reason(client, kind, name, key, error, reason):
    with pytest.raises(error, match=reason):
        client.entity_tag_assignments.create(EntityTagAssignment(name, key, kind))


def test_pages_lead_from_catalogs_to_tables(page):
    for address, leads_on in [
        ("/data", "/data/spark_catalog"),
        ("/explore/data?o=1", "/data/spark_catalog"),
        ("/data/spark_catalog", f"/data/{SCHEMA.replace('.', '/')}"),
        ("/explore/data/spark_catalog/described", "/data/spark_catalog/described/one"),
        ("/explore/data/volumes/spark_catalog/described/any", "/data/spark_catalog/described/one"),
    ]:
        assert f'href="{leads_on}"' in page(address)[1]
    status, text = page("/data/spark_catalog/none")
    assert (status, "does not exist" in text) == (404, True)


def test_a_page_shows_nobody_what_they_may_not_see(page, real_workspace):
    name = "looking@example.com"
    real_workspace.client.users.create(user_name=name)
    made = real_workspace.request("POST", "/api/2.0/local-workspace/tokens", body={"user_name": name})

    assert "spark_catalog" not in page("/data", made["token_value"])[1]
    status, text = page("/data/spark_catalog/described/two", made["token_value"])
    assert (status, "2026-11-30" in text) == (403, False)


def test_effective_grants_say_where_they_come_from(client):
    change = PermissionsChange(principal="users", add=[Privilege.SELECT])
    client.grants.update("SCHEMA", SCHEMA, changes=[change])
    own = client.grants.get("TABLE", f"{SCHEMA}.one").privilege_assignments
    effective = client.grants.get_effective("TABLE", f"{SCHEMA}.one", principal="users")
    client.grants.update(
        "SCHEMA", SCHEMA, changes=[PermissionsChange(principal="users", remove=[Privilege.SELECT])]
    )

    ((privilege,),) = [each.privileges for each in effective.privilege_assignments]
    assert not own
    assert (privilege.privilege, privilege.inherited_from_name) == (Privilege.SELECT, SCHEMA)
    assert privilege.inherited_from_type.value == "SCHEMA"


def test_the_metastore_is_found_by_its_id_and_in_the_list(client):
    metastore_id = client.metastores.current().metastore_id

    assert [each.metastore_id for each in client.metastores.list()] == [metastore_id]
    assert client.metastores.get(metastore_id).name == client.metastores.summary().name
    with pytest.raises(NotFound, match="Metastore 'none'"):
        client.metastores.get("none")
