"""In the notebooks of a user Spark does what Unity Catalog gives them rights to, in SQL and in DataFrames."""

import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from people import People, Person
from real_workspace import DEDICATED, FOLDER, STANDARD

# Does one step after another, and tells how each ended.
NOTEBOOK = """# Databricks notebook source
import json

def done(step):
    try:
        if step.startswith("py:"):
            exec(step[3:])
            return "done"
        return [list(row) for row in spark.sql(step).collect()]
    except Exception as error:
        return str(error)

# COMMAND ----------

dbutils.notebook.exit(json.dumps([done(step) for step in json.loads(dbutils.widgets.get("steps"))]))
"""
Run = Callable[..., list[Any]]
ROWS = "spark.range(3, 5).selectExpr('id', \"'c' AS word\")"
APPEND = f"py:{ROWS}.write.mode('append').saveAsTable('guarded.shared')"
FILES = "/user/hive/warehouse/guarded.db/shared"
CATALOG, SCHEMA = "spark_catalog", "spark_catalog.guarded"


@pytest.fixture(scope="module", params=[STANDARD, DEDICATED])
def mode(request) -> str:
    """The access mode of the cluster: Spark Connect, then Spark Classic."""
    return str(request.param)


@pytest.fixture(scope="module")
def people(real_workspace, mode, tmp_path_factory) -> Iterator[People]:
    everybody = People(real_workspace, tmp_path_factory.mktemp("people") / "databrickscfg")
    real_workspace.upload(f"{FOLDER}/steps", NOTEBOOK)
    everybody.admin.schemas.create("guarded", CATALOG)
    yield everybody
    everybody.admin.schemas.delete(SCHEMA, force=True)


@pytest.fixture(scope="module")
def run(people, mode) -> Run:
    """Has somebody run steps in a notebook of their own; gives how each ended."""

    def run_as(person: Person, *steps: str) -> list[Any]:
        task = NotebookTask(f"{FOLDER}/steps", base_parameters={"steps": json.dumps(steps)})
        cluster = people.workspace.cluster_id(mode)
        submitted = person.client.jobs.submit_and_wait(
            tasks=[SubmitTask("main", existing_cluster_id=cluster, notebook_task=task)]
        )
        output = person.client.jobs.get_run_output(submitted.tasks[0].run_id)
        return list(json.loads(output.notebook_output.result))

    return run_as


def missing(privilege: str, what: str, person: Person) -> str:
    return f"User does not have {privilege} on {what}. The user is {person.name}."


def test_a_table_belongs_to_who_makes_it_and_others_need_rights(people, run, mode):
    owner, guest = (
        people.user(f"table-owner-{mode}@example.com".lower()),
        people.user(f"table-guest-{mode}@example.com".lower()),
    )
    for person in (owner, guest):
        people.grant(person.name, "catalog", CATALOG, "USE_CATALOG")
    create = "CREATE TABLE guarded.shared (id BIGINT, word STRING)"
    [before] = run(owner, create)
    people.grant(owner.name, "schema", SCHEMA, "USE_SCHEMA", "CREATE_TABLE")
    own = run(
        owner,
        create,
        "INSERT INTO guarded.shared VALUES (1, 'a'), (2, 'b')",
        APPEND,
        "SELECT count(*) FROM guarded.shared",
        "DELETE FROM guarded.shared WHERE id = 1",
        "UPDATE guarded.shared SET word = 'z' WHERE id = 2",
        "MERGE INTO guarded.shared USING (SELECT 9L AS id) AS new ON new.id = shared.id"
        " WHEN NOT MATCHED THEN INSERT (id, word) VALUES (9, 'new')",
        "OPTIMIZE guarded.shared",
        "py:spark.table('guarded.shared').write.format('delta').mode('overwrite').saveAsTable('guarded.copy')",
        "CREATE VIEW guarded.seen AS SELECT id FROM guarded.shared",
        "ALTER VIEW guarded.seen AS SELECT id, word FROM guarded.shared",
        "SELECT id, word FROM guarded.seen ORDER BY id",
    )
    steps = {
        "SELECT * FROM guarded.shared": "SELECT",
        "SELECT 1 WHERE EXISTS (SELECT * FROM guarded.shared)": "SELECT",
        "py:spark.read.table('spark_catalog.guarded.shared').collect()": "SELECT",
        "py:spark.read.format('delta').load('/user/hive/warehouse/guarded.db/shared').collect()": "SELECT",
        "py:spark.read.parquet('dbfs:/user/hive/warehouse/guarded.db/shared').collect()": "SELECT",
        "CREATE TEMP VIEW mine AS SELECT * FROM guarded.shared": "SELECT",
        "DESCRIBE HISTORY guarded.shared": "SELECT",
        "INSERT INTO guarded.shared VALUES (7, 'x')": "MODIFY",
        APPEND: "MODIFY",
        f"py:spark.range(1).write.format('delta').mode('overwrite').save('{FILES}')": "MODIFY",
        "DELETE FROM guarded.shared": "MODIFY",
        "UPDATE guarded.shared SET word = 'x'": "MODIFY",
        "ALTER TABLE guarded.shared SET TBLPROPERTIES ('a' = 'b')": "MODIFY",
        "VACUUM guarded.shared": "MODIFY",
        "TRUNCATE TABLE guarded.shared": "MODIFY",
        "ALTER TABLE guarded.shared RENAME TO guarded.taken": "MANAGE",
        "DROP TABLE guarded.shared": "MANAGE",
        "py:spark.range(1).write.format('delta').mode('overwrite').saveAsTable('guarded.shared')": "MANAGE",
    }
    people.grant(guest.name, "schema", SCHEMA, "USE_SCHEMA")
    others = dict(zip(steps, run(guest, *steps), strict=True))

    assert missing("CREATE TABLE", f"Schema '{SCHEMA}'", owner) in before or "USE SCHEMA" in before
    assert own[-1] == [[2, "z"], [3, "c"], [4, "c"], [9, "new"]], own
    assert people.admin.tables.get(f"{SCHEMA}.shared").owner == owner.name
    expected = {
        step: missing(privilege, f"Table '{SCHEMA}.shared'", guest) for step, privilege in steps.items()
    }
    assert {step: reason in str(others[step]) for step, reason in expected.items()} == dict.fromkeys(
        steps, True
    ), others


def test_rights_let_one_read_and_then_write(people, run, mode):
    user = people.user(f"table-user-{mode}@example.com".lower())
    people.grant(user.name, "catalog", CATALOG, "USE_CATALOG")
    run(people.first, "CREATE TABLE guarded.given (id BIGINT)", "INSERT INTO guarded.given VALUES (1)")
    read, write = "SELECT * FROM guarded.given", "INSERT INTO guarded.given VALUES (2)"
    [no_schema] = run(user, read)
    people.grant(user.name, "schema", SCHEMA, "USE_SCHEMA")
    people.grant(user.name, "table", f"{SCHEMA}.given", "SELECT")
    reader = run(user, read, write)
    people.grant(user.name, "table", f"{SCHEMA}.given", "MODIFY")
    writer = run(user, write, read, "DROP TABLE guarded.given")
    people.grant(user.name, "table", f"{SCHEMA}.given", "MANAGE")
    manager = run(user, "DROP TABLE guarded.given", "SHOW TABLES IN guarded LIKE 'given'")

    assert missing("USE SCHEMA", f"Schema '{SCHEMA}'", user) in no_schema
    assert reader[0] == [[1]]
    assert missing("MODIFY", f"Table '{SCHEMA}.given'", user) in reader[1]
    assert sorted(writer[1]) == [[1], [2]]
    assert missing("MANAGE", f"Table '{SCHEMA}.given'", user) in writer[2]
    assert manager == [[], []]


def test_a_view_shows_what_its_reader_has_no_right_to_itself(people, run, mode):
    user = people.user(f"view-user-{mode}@example.com".lower())
    run(
        people.first,
        "CREATE TABLE guarded.under AS SELECT 1 AS id, 'secret' AS word",
        "CREATE VIEW guarded.ids AS SELECT id FROM guarded.under",
    )
    people.grant(user.name, "catalog", CATALOG, "USE_CATALOG")
    people.grant(user.name, "schema", SCHEMA, "USE_SCHEMA")
    [closed] = run(user, "SELECT * FROM guarded.ids")
    people.grant(user.name, "table", f"{SCHEMA}.ids", "SELECT")
    opened, under, altered = run(
        user,
        "SELECT * FROM guarded.ids",
        "SELECT * FROM guarded.under",
        "ALTER VIEW guarded.ids AS SELECT 2 AS id",
    )

    assert missing("SELECT", f"Table '{SCHEMA}.ids'", user) in closed
    assert opened == [[1]]
    assert missing("SELECT", f"Table '{SCHEMA}.under'", user) in under
    assert missing("MANAGE", f"Table '{SCHEMA}.ids'", user) in altered


def test_files_of_volumes_schemas_and_odd_ways_are_looked_at_too(people, run, mode):
    user = people.user(f"volume-user-{mode}@example.com".lower())
    people.admin.files.create_directory("/Volumes/lake/raw/landing")
    people.grant(user.name, "catalog", "lake", "USE_CATALOG", "USE_SCHEMA")
    people.grant(user.name, "catalog", CATALOG, "USE_CATALOG")
    write = "py:spark.range(3).write.mode('overwrite').csv('/Volumes/lake/raw/landing/numbers')"
    read = "py:assert spark.read.csv('dbfs:/Volumes/lake/raw/landing/numbers').count() == 3"
    [no_write] = run(user, write)
    people.grant(user.name, "volume", "lake.raw.landing", "WRITE_VOLUME")
    elsewhere = "CREATE TABLE guarded.elsewhere (id STRING) USING csv LOCATION '/Volumes/lake/raw/landing'"
    written, no_read, no_table = run(user, write, read, elsewhere)
    people.grant(user.name, "volume", "lake.raw.landing", "READ_VOLUME")
    was_read, schema, machine, another_user, unknown = run(
        user,
        read,
        "CREATE SCHEMA spark_catalog.theirs",
        "py:spark.read.text('file:/etc/hostname').collect()",
        "py:spark.conf.set('spark.local_workspace.user', 'local.user@localhost');"
        " spark.sql('CREATE SCHEMA spark_catalog.theirs')",
        "ANALYZE TABLES IN guarded COMPUTE STATISTICS",
    )
    if mode == DEDICATED:
        [other_session] = run(user, "py:spark.newSession().sql('CREATE SCHEMA spark_catalog.theirs')")
        assert missing("CREATE SCHEMA", "Catalog 'spark_catalog'", user) in other_session

    volume = "Volume 'lake.raw.landing'"
    assert missing("WRITE VOLUME", volume, user) in no_write
    assert written == "done"
    assert missing("READ VOLUME", volume, user) in no_read
    assert missing("READ VOLUME", volume, user) in no_table
    assert was_read == "done"
    assert missing("CREATE SCHEMA", "Catalog 'spark_catalog'", user) in schema
    assert "may not use files of the machine" in machine
    assert missing("CREATE SCHEMA", "Catalog 'spark_catalog'", user) in another_user
    assert "what rights it needs is not known here" in unknown
