"""Catalogs with three-level names on both Sparks: those that are always there, and those that are made."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databricks.sdk.errors import NotFound
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from people import People, Person
from real_workspace import DEDICATED, FOLDER, STANDARD

# Does one step after another in one session, and tells how each ended.
NOTEBOOK = """# Databricks notebook source
import json

def shown(value):
    return [list(row) for row in value.collect()] if hasattr(value, "collect") else value

def done(step):
    try:
        return shown(eval(step[3:]) if step.startswith("py:") else spark.sql(step))
    except Exception as error:
        return f"{type(error).__name__}: {error}"

# COMMAND ----------

steps = json.loads(dbutils.widgets.get("steps"))
dbutils.notebook.exit(json.dumps([done(step) for step in steps], default=str))
"""
Run = Callable[..., dict[str, Any]]


@pytest.fixture(scope="module", params=[STANDARD, DEDICATED])
def mode(request) -> str:
    """The access mode of the cluster: Spark Connect, then Spark Classic."""
    return str(request.param)


@pytest.fixture(scope="module")
def people(real_workspace, tmp_path_factory) -> People:
    real_workspace.upload(f"{FOLDER}/catalog_steps", NOTEBOOK)
    return People(real_workspace, tmp_path_factory.mktemp("people_of_catalogs") / "databrickscfg")


@pytest.fixture(scope="module")
def run_as(people, mode) -> Run:
    """Has somebody run steps, each another one, in one notebook of theirs; gives by step how it ended."""

    def run(person: Person, *steps: str) -> dict[str, Any]:
        task = NotebookTask(f"{FOLDER}/catalog_steps", base_parameters={"steps": json.dumps(steps)})
        cluster = people.workspace.cluster_id(mode)
        tasks = [SubmitTask("main", existing_cluster_id=cluster, notebook_task=task)]
        submitted = person.client.jobs.submit_and_wait(tasks=tasks)
        output = person.client.jobs.get_run_output(submitted.tasks[0].run_id)
        assert len(set(steps)) == len(steps)
        return dict(zip(steps, json.loads(output.notebook_output.result), strict=True))

    return run


@pytest.fixture(scope="module")
def run(run_as, people) -> Run:
    return lambda *steps: run_as(people.first, *steps)


@pytest.fixture(scope="module")
def schema(people, mode) -> Iterator[str]:
    """A schema of `main`, made over REST, before Spark has heard of it."""
    name = f"main.shelf_{mode}".lower()
    people.admin.schemas.create(name.partition(".")[2], "main", comment="of the tests")
    yield name
    people.admin.schemas.delete(name, force=True)


def test_a_session_begins_with_the_catalogs_of_a_workspace(run):
    found = run("SHOW CATALOGS", "SELECT current_catalog(), current_schema()", "SHOW SCHEMAS IN main")

    names = [row[0] for row in found["SHOW CATALOGS"]]
    assert {"main", "samples", "spark_catalog", "system", "workspace"} <= set(names)
    assert found["SELECT current_catalog(), current_schema()"] == [["spark_catalog", "default"]]
    assert ["default"] in found["SHOW SCHEMAS IN main"]
    assert ["information_schema"] in found["SHOW SCHEMAS IN main"]


def test_a_table_of_delta_lives_its_life_under_its_three_level_name(run, schema):
    table = f"{schema}.life"
    ends = run(
        f"CREATE TABLE {table} (id BIGINT, word STRING) COMMENT 'a life'",
        f"INSERT INTO {table} VALUES (1, 'a'), (2, 'b')",
        f"py:spark.range(3, 5).selectExpr('id', \"'c' AS word\").write.mode('append').saveAsTable('{table}')",
        f"UPDATE {table} SET word = 'z' WHERE id = 2",
        f"DELETE FROM {table} WHERE id = 1",
        f"MERGE INTO {table} AS old USING (SELECT 9L AS id) AS new ON new.id = old.id"
        " WHEN NOT MATCHED THEN INSERT (id, word) VALUES (9, 'new')",
        f"OPTIMIZE {table}",
        f"ALTER TABLE {table} ADD COLUMNS (more INT)",
        f"SELECT {table}.id, word, more FROM {table} ORDER BY id",
        f"SELECT count(*) FROM {table} VERSION AS OF 1",
        f"py:spark.read.option('versionAsOf', 1).table('{table}').count()",
        f"py:spark.table('{table}').count()",
        f"py:[row.operation for row in spark.sql('DESCRIBE HISTORY {table}').collect()][::-1]",
        f"py:spark.sql('DESCRIBE DETAIL {table}').first().name",
        f"DESCRIBE TABLE EXTENDED {table}",
        f"SHOW TABLES IN {schema}",
        f"ALTER TABLE {table} RENAME TO {schema}.later",
        f"DROP TABLE {schema}.later",
        f"SELECT * FROM {schema}.later",
    )
    told = list(ends.values())

    assert told[8] == [[2, "z", None], [3, "c", None], [4, "c", None], [9, "new", None]], ends
    assert told[9:12] == [[[2]], 2, 4]
    made = ["CREATE TABLE", "WRITE", "WRITE", "UPDATE", "DELETE", "MERGE"]
    assert told[12][:6] == made
    assert told[13] == table
    assert ["Name", table, ""] in told[14]
    assert ["Comment", "a life", ""] in told[14]
    assert told[15] == [[schema.partition(".")[2], "life", False]]
    assert told[16:18] == [[], []]
    assert "TABLE_OR_VIEW_NOT_FOUND" in told[18]


def test_tables_are_made_from_queries_and_frames(run, schema):
    ends = run(
        f"CREATE TABLE {schema}.from_query AS SELECT 1 AS x",
        f"CREATE OR REPLACE TABLE {schema}.from_query AS SELECT 2 AS x",
        f"py:spark.range(2).write.saveAsTable('{schema}.from_frame')",
        f"py:spark.range(3).write.mode('overwrite').saveAsTable('{schema}.from_frame')",
        f"py:spark.range(1).writeTo('{schema}.from_frame').append()",
        f"CREATE TABLE IF NOT EXISTS {schema}.from_query (x INT)",
        f"CREATE TABLE {schema}.from_query (x INT)",
        f"CREATE TABLE {schema}.cloned SHALLOW CLONE {schema}.from_query",
        f"SELECT (SELECT max(x) FROM {schema}.from_query), (SELECT count(*) FROM {schema}.from_frame),"
        f" (SELECT sum(x) FROM {schema}.cloned)",
        f"DESCRIBE {schema}.from_frame",
        f"SELECT * FROM {schema}.none",
        "CREATE TABLE main.no_such_schema.t (x INT)",
    )
    told = list(ends.values())

    assert told[8] == [[2, 4, 2]], ends
    assert told[9] == [["id", "bigint", None]]
    assert "TABLE_OR_VIEW_ALREADY_EXISTS" in told[6] and f"`{schema.partition('.')[2]}`" in told[6]
    assert f"`{'`.`'.join(schema.split('.'))}`.`none`" in told[10]
    assert "SCHEMA_NOT_FOUND" in told[11] and "uc4_" not in "".join(map(str, told))


def test_using_a_catalog_shortens_names(run, schema):
    short = schema.partition(".")[2]
    ends = run(
        "USE CATALOG main",
        f"USE SCHEMA {short}",
        "CREATE TABLE shortened AS SELECT 5 AS x",
        "CREATE VIEW seen AS SELECT x + 1 AS y FROM shortened",
        "SELECT * FROM seen",
        f"SELECT seen.y FROM {short}.seen",
        "SELECT current_catalog(), current_schema()",
        "SHOW VIEWS",
        "SHOW TABLES LIKE 's*'",
        "USE spark_catalog.default",
        f"SELECT y FROM {schema}.seen",
        f"ALTER VIEW {schema}.seen AS SELECT 7 AS y",
        f"SELECT y + 0 FROM {schema}.seen",
        f"DROP VIEW {schema}.seen",
        f"USE {schema}",
        "DROP TABLE shortened",
        "SHOW TABLES",
        "py:spark.catalog.currentCatalog()",
    )
    told = list(ends.values())

    assert told[4:7] == [[[6]], [[6]], [["main", short]]], ends
    assert [row[1] for row in told[7]] == ["seen"]
    assert [row[1] for row in told[8]] == ["seen", "shortened"]
    assert told[10:13] == [[[6]], [], [[7]]], ends
    assert "shortened" not in [row[1] for row in told[16]]
    assert told[17] == "main"


def test_the_catalog_interface_knows_them(run, schema):
    table = f"{schema}.listed"
    ends = run(
        f"CREATE TABLE {table} (x INT)",
        f"py:spark.catalog.tableExists('{table}')",
        f"py:spark.catalog.tableExists('{schema}.none')",
        f"py:spark.catalog.databaseExists('{schema}')",
        f"SHOW TABLES IN {schema} LIKE 'listed'",
        f"py:[column.name for column in spark.catalog.listColumns('{table}')]",
        "py:spark.catalog.setCurrentCatalog('main')",
        "py:'default' in [database.name for database in spark.catalog.listDatabases()]",
        f"py:spark.catalog.setCurrentDatabase('{schema.partition('.')[2]}')",
        "py:spark.table('listed').columns",
        "py:sorted(found.name for found in spark.catalog.listCatalogs())",
        "py:spark.catalog.setCurrentCatalog('spark_catalog')",
        "py:[database.name for database in spark.catalog.listDatabases() if database.name.startswith('uc')]",
    )
    told = list(ends.values())

    assert told[1:4] == [True, False, True], ends
    assert told[4] == [[schema.partition(".")[2], "listed", False]]
    assert told[5] == ["x"]
    assert told[7] is True
    assert told[9] == ["x"]
    assert {"main", "samples", "spark_catalog", "workspace"} <= set(told[10])
    assert told[12] == []


def test_a_catalog_is_made_and_dropped(run, people, mode):
    name = f"made_{mode}".lower()
    ends = run(
        f"CREATE CATALOG {name} COMMENT 'of the tests'",
        f"CREATE CATALOG {name}",
        f"CREATE CATALOG IF NOT EXISTS {name}",
        f"CREATE SCHEMA {name}.inner COMMENT 'within'",
        f"CREATE TABLE {name}.inner.t AS SELECT 1 AS x",
        f"SHOW SCHEMAS IN {name}",
        f"COMMENT ON CATALOG {name} IS 'now this'",
        f"COMMENT ON SCHEMA {name}.inner IS 'now that'",
        f"DESCRIBE CATALOG {name}",
        f"DESCRIBE SCHEMA {name}.inner",
    )
    told, kept = list(ends.values()), people.admin.catalogs.get(name)
    schemas = {found.name for found in people.admin.schemas.list(name)}
    table = people.admin.tables.get(f"{name}.inner.t")
    after = run(f"SELECT * FROM {name}.inner.t", f"DROP CATALOG {name}", f"DROP CATALOG {name} CASCADE")
    gone = run(f"SELECT * FROM {name}.inner.t", f"DROP CATALOG IF EXISTS {name}", f"USE CATALOG {name}")

    assert told[0] == told[2] == told[3] == [], ends
    assert "ALREADY_EXISTS" in told[1]
    assert told[5] == [["default"], ["information_schema"], ["inner"]]
    assert ["Comment", "now this"] in told[8] and ["Comment", "now that"] in told[9], ends
    assert (kept.owner, {"default", "inner"} <= schemas) == ("local.user@localhost", True)
    assert (table.full_name, [column.name for column in table.columns]) == (f"{name}.inner.t", ["x"])
    told = list(after.values())
    assert told[0] == [[1]] and "NOT_EMPTY" in told[1] and told[2] == [], after
    told = list(gone.values())
    assert "TABLE_OR_VIEW_NOT_FOUND" in told[0] and told[1] == [] and "CATALOG_NOT_FOUND" in told[2], gone
    with pytest.raises(NotFound):
        people.admin.catalogs.get(name)


def test_a_catalog_made_over_rest_has_tables(run, people, mode):
    name = f"rest_{mode}".lower()
    people.admin.catalogs.create(name)
    people.admin.schemas.create("inner", name)
    ends = run(
        f"CREATE TABLE {name}.inner.t AS SELECT 1 AS x",
        f"SELECT * FROM {name}.inner.t",
        f"DROP TABLE {name}.inner.t",
    )
    people.admin.schemas.delete(f"{name}.inner")
    people.admin.catalogs.delete(name)

    assert ends[f"SELECT * FROM {name}.inner.t"] == [[1]], ends
    assert "CATALOG_NOT_FOUND" in str(run(f"USE CATALOG {name}"))


def test_the_information_schema_tells_what_is_there(run, schema):
    short = schema.partition(".")[2]
    ends = run(
        f"CREATE TABLE {schema}.told (x INT NOT NULL COMMENT 'a number', words ARRAY<STRING>)",
        f"CREATE VIEW {schema}.told_view AS SELECT x FROM {schema}.told",
        "SELECT table_name, table_type, data_source_format FROM main.information_schema.tables"
        f" WHERE table_schema = '{short}' AND table_name LIKE 'told%' ORDER BY table_name",
        "SELECT column_name, ordinal_position, is_nullable, full_data_type, comment"
        " FROM system.information_schema.columns"
        f" WHERE table_catalog = 'main' AND table_schema = '{short}' AND table_name = 'told' ORDER BY 2",
        f"SELECT schema_name FROM main.information_schema.schemata WHERE schema_name = '{short}'",
        "SELECT catalog_name FROM system.information_schema.catalogs WHERE catalog_name = 'main'",
        f"SELECT table_name FROM main.information_schema.views WHERE table_schema = '{short}'",
        f"py:[row for row in spark.sql('DESCRIBE TABLE EXTENDED {schema}.told_view').collect()"
        " if row.col_name == 'Type']",
    )
    told = list(ends.values())

    assert told[2] == [["told", "MANAGED", "DELTA"], ["told_view", "VIEW", "UNKNOWN"]], ends
    assert told[3] == [["x", 0, "NO", "int", "a number"], ["words", 1, "YES", "array<string>", None]], ends
    assert told[4:7] == [[[short]], [["main"]], [["told_view"]]], ends
    assert told[7][0][1] == "VIEW"


def test_the_taxi_trips_are_there_and_cannot_be_changed(run):
    columns = [
        "tpep_pickup_datetime",
        "tpep_dropoff_datetime",
        "trip_distance",
        "fare_amount",
        "pickup_zip",
        "dropoff_zip",
    ]
    ends = run(
        "py:spark.read.table('samples.nyctaxi.trips').columns",
        "SELECT count(*), count(DISTINCT pickup_zip) > 5, min(fare_amount) > 0,"
        " min(tpep_dropoff_datetime - tpep_pickup_datetime) > INTERVAL '1' MINUTE FROM samples.nyctaxi.trips",
        "SELECT round(avg(fare_amount)) FROM samples.nyctaxi.trips WHERE trip_distance > 20",
        "DELETE FROM samples.nyctaxi.trips",
        "CREATE SCHEMA samples.mine",
        "py:[row.data_type for row in spark.sql('DESCRIBE TABLE EXTENDED samples.nyctaxi.trips').collect()"
        " if row.col_name == 'Comment']",
    )
    told = list(ends.values())

    assert told[0] == columns
    assert told[1] == [[10000, True, True, True]], ends
    assert told[2][0][0] > 20
    assert "Error" in told[3] or "Exception" in told[3], ends
    assert "can only be read" in told[4]
    assert "Made up" in told[5][0]


def test_rights_are_asked_for_by_the_three_level_name(run, run_as, people, schema, mode):
    guest = people.user(f"catalog-guest-{mode}@example.com".lower())
    table = f"{schema}.guarded"
    run(f"CREATE TABLE {table} AS SELECT 1 AS x", f"CREATE VIEW {schema}.ajar AS SELECT x FROM {table}")
    path = f"dbfs:/user/hive/warehouse/uc4_{schema.replace('.', '_')}.db/guarded"
    refused = run_as(
        guest,
        f"SELECT * FROM {table}",
        f"SELECT * FROM {schema}.ajar",
        f"INSERT INTO {table} VALUES (2)",
        f"DROP TABLE {table}",
        f"CREATE TABLE {schema}.mine (x INT)",
        f"py:spark.read.format('delta').load('{path}')",
        "CREATE CATALOG of_a_guest",
        "CREATE SCHEMA main.of_a_guest",
        "SELECT * FROM main.information_schema.tables",
        "SELECT count(*) FROM samples.nyctaxi.trips",
    )
    people.grant(guest.name, "catalog", "main", "USE_CATALOG")
    people.grant(guest.name, "schema", schema, "USE_SCHEMA", "CREATE_TABLE")
    people.grant(guest.name, "table", f"{schema}.ajar", "SELECT")
    allowed = run_as(
        guest,
        f"SELECT * FROM {schema}.ajar",
        f"CREATE TABLE {schema}.mine AS SELECT 2 AS x",
        f"UPDATE {schema}.mine SET x = 3",
        f"SELECT * FROM {schema}.mine",
        f"SELECT * FROM {table}",
    )

    told = list(refused.values())
    assert all("INSUFFICIENT_PERMISSIONS" in str(each) for each in told[:9]), refused
    assert f"USE SCHEMA on Schema '{schema}'" in told[0] and "CREATE CATALOG on Metastore" in told[6]
    assert told[9] == [[10000]]
    told = list(allowed.values())
    assert (told[0], told[3]) == ([[1]], [[3]]), allowed
    assert f"SELECT on Table '{table}'" in told[4]
    assert people.admin.tables.get(f"{schema}.mine").owner == guest.name


def test_a_statement_takes_values_by_name_and_by_place(run, schema):
    table = f"{schema}.of_values"
    named = "py:spark.sql('SELECT :a + 1, :t', args={'a': 41, 't': \"it's :a\"})"
    placed = "py:spark.sql('SELECT ?, ?', args=[1.5, None])"
    made = f"py:spark.sql('CREATE TABLE IDENTIFIER(:t) AS SELECT :n AS n', args={{'t': '{table}', 'n': 7}})"
    missing = "py:spark.sql('SELECT :gone', args={'a': 1})"
    used, where = "-- What a colon: says.\nUSE CATALOG 'main'", "SELECT current_catalog()"

    found = run(named, placed, made, f"SELECT * FROM {table}", missing, used, where)

    assert found[where] == [["main"]]
    assert (found[named], found[placed]) == ([[42, "it's :a"]], [[1.5, None]])
    assert found[f"SELECT * FROM {table}"] == [[7]]
    assert "UNBOUND_SQL_PARAMETER" in found[missing] and "gone" in found[missing]


def test_sql_grants_revokes_and_shows_what_was_granted(run, run_as, people, schema, mode):
    guest = people.user(f"guest.of.grants.{mode}@example.com".lower())
    table, seen = f"{schema}.lent", f"SELECT count(*) FROM {schema}.lent"
    shown = f"SHOW GRANTS `{guest.name}` ON TABLE {table}"
    given = run(
        f"CREATE TABLE {table} (id INT)",
        f"USE {schema}",
        f"-- To one who asked.\nGRANT USE CATALOG ON CATALOG main TO `{guest.name}`;",
        f"GRANT USE SCHEMA ON SCHEMA {schema.partition('.')[2]} TO `{guest.name}`",
        f"GRANT SELECT, MODIFY ON lent TO `{guest.name}`",
        f"REVOKE MODIFY ON TABLE {table} FROM `{guest.name}`",
        shown,
    )
    assert given[shown] == [[guest.name, "SELECT", "TABLE", table]]
    assert [each for each in given.values() if each not in ([], given[shown])] == []
    refused = f"GRANT MODIFY ON TABLE {table} TO `{guest.name}`"

    found = run_as(guest, seen, refused)
    taken = run(f"REVOKE SELECT ON TABLE {table} FROM `{guest.name}`", f"ALTER TABLE {table} OWNER TO admins")

    assert found[seen] == [[0]]
    assert "PERMISSION_DENIED" in found[refused]
    assert list(taken.values()) == [[], []]
    assert people.admin.tables.get(table).owner == "admins"


def test_sql_sets_and_unsets_tags(run, people, schema):
    table = f"{schema}.tagged"
    tags = people.admin.entity_tag_assignments
    run(
        f"CREATE TABLE {table} (id INT, `column` STRING)",
        f"ALTER TABLE {table} SET TAGS ('team' = 'it\\'s ml', 'pii')",
        f"ALTER TABLE {table} SET TAGS ('pii' = 'no')",
        f"ALTER TABLE {table} ALTER COLUMN `column` SET TAGS ('pii' = 'yes')",
        f"ALTER SCHEMA {schema} SET TAGS ('a' = '1', 'b' = '2')",
        f"ALTER SCHEMA {schema} UNSET TAGS ('a', 'none')",
    )
    none = f"ALTER TABLE {table} ALTER COLUMN gone SET TAGS ('a' = 'b')"

    found = run(none)

    def told(kind: str, name: str) -> dict[str, str]:
        return {each.tag_key: each.tag_value for each in tags.list(kind, name)}

    assert told("tables", table) == {"team": "it's ml", "pii": "no"}
    assert told("columns", f"{table}.column") == {"pii": "yes"}
    assert told("columns", f"{table}.id") == {}
    assert told("schemas", schema) == {"b": "2"}
    assert "has no column 'gone'; there are ['id', 'column']" in found[none]


def test_sql_makes_shows_and_drops_volumes(run, people, schema):
    made = f"CREATE VOLUME IF NOT EXISTS {schema}.files COMMENT 'what\\'s read'"
    again = f"CREATE VOLUME {schema}.files"
    listed, none = f"SHOW VOLUMES IN {schema}", "SHOW VOLUMES"
    found = run(made, f"{made} ", again, listed, f"USE {schema}", none)
    volume = people.admin.volumes.read(f"{schema}.files")
    dropped = f"DROP VOLUME {schema}.files"
    gone = run(dropped, f"{dropped} ", f"DROP VOLUME IF EXISTS {schema}.files")

    assert (found[made], found[f"{made} "]) == ([], [])
    assert found[listed] == found[none] == [[schema.partition(".")[2], "files"]]
    assert "RESOURCE_ALREADY_EXISTS" in found[again]
    assert volume.comment == "what's read"
    assert (gone[dropped], gone[f"DROP VOLUME IF EXISTS {schema}.files"]) == ([], [])
    assert "RESOURCE_DOES_NOT_EXIST" in gone[f"{dropped} "]
