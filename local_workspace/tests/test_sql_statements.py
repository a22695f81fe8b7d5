"""SQL over REST: the SDK's statement execution and warehouses, against the real server and its Spark."""

import re
import time
from collections.abc import Iterator
from datetime import timedelta
from typing import Any

import pytest
from databricks.sdk.errors import BadRequest, InvalidParameterValue, NotFound, ResourceAlreadyExists
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.sql import (
    Disposition,
    ExecuteStatementRequestOnWaitTimeout,
    Format,
    QueryFilter,
    QueryStatus,
    State,
    StatementParameterListItem,
    StatementResponse,
    StatementState,
    TimeRange,
)
from local_workspace.spark.parameters import bound
from local_workspace.spark.statement_session import Answer, Statement
from local_workspace.spark.statements import CHUNK_BYTES, collect
from people import People, people_of
from real_workspace import RealWorkspace

LONG = "SELECT sum(sqrt(id)) FROM range(1000000000000)"


@pytest.fixture(scope="module")
def people(real_workspace: RealWorkspace, tmp_path_factory) -> Iterator[People]:
    with people_of(real_workspace, tmp_path_factory.mktemp("asking")) as everybody:
        everybody.admin.schemas.create("asked", "spark_catalog")
        yield everybody
        everybody.admin.schemas.delete("spark_catalog.asked", force=True)


@pytest.fixture
def ask(people: People):
    """Runs a statement as the first user; gives its whole answer."""

    def run(statement: str, **options: Any) -> StatementResponse:
        waits = {"wait_timeout": "50s"} | options
        return people.admin.statement_execution.execute_statement(statement, "default", **waits)

    return run


def test_grants_and_tags_are_set_by_who_may(people: People, ask):
    guest = people.user("guest.of.statements@example.com")
    seen = "SELECT count(*) FROM spark_catalog.asked.lent"
    rows(ask("CREATE OR REPLACE TABLE spark_catalog.asked.lent (id INT)"))
    given = ask(f"GRANT SELECT ON TABLE lent TO `{guest.name}`", catalog="spark_catalog", schema="asked")
    for on in ("CATALOG spark_catalog", "SCHEMA spark_catalog.asked"):
        rows(ask(f"GRANT USE {on.partition(' ')[0]} ON {on} TO `{guest.name}`"))
    rows(ask("ALTER TABLE spark_catalog.asked.lent SET TAGS ('team' = 'ml')"))
    shown = ask("SHOW GRANTS ON TABLE spark_catalog.asked.lent")
    refused = guest.client.statement_execution.execute_statement(
        f"GRANT MODIFY ON TABLE spark_catalog.asked.lent TO `{guest.name}`", "default", wait_timeout="50s"
    )

    assert (given.status.state, given.manifest.schema.column_count) == (StatementState.SUCCEEDED, 0)
    names = [column.name for column in shown.manifest.schema.columns]
    assert names == ["Principal", "ActionType", "ObjectType", "ObjectKey"]
    assert rows(shown) == [[guest.name, "SELECT", "TABLE", "spark_catalog.asked.lent"]]
    answer = guest.client.statement_execution.execute_statement(seen, "default", wait_timeout="50s")
    assert rows(answer) == [["0"]]
    assert "PERMISSION_DENIED" in failure(refused)
    assert "MANAGE" in failure(refused)
    tag = people.admin.entity_tag_assignments.get("tables", "spark_catalog.asked.lent", "team")
    assert tag.tag_value == "ml"
    rows(ask("DROP TABLE spark_catalog.asked.lent"))


def rows(answer: StatementResponse) -> list[list[str]]:
    assert answer.status.state == StatementState.SUCCEEDED, answer.status
    return answer.result.data_array or []


def failure(answer: StatementResponse) -> str:
    assert answer.status.state == StatementState.FAILED, answer
    assert answer.status.error.error_code.value == "BAD_REQUEST"
    return answer.status.error.message


def test_values_come_as_texts_with_their_types(ask):
    answer = ask("""
        SELECT 9007199254740993 AS big, 1.5D AS real, CAST(2 AS DECIMAL(10, 2)) AS money, 'é' AS text,
          true AS yes, DATE'2026-11-30' AS day, TIMESTAMP'2026-11-30 10:20:30.5' AS moment,
          TIMESTAMP_NTZ'2026-11-30 10:20:30.123456' AS wall, X'0102' AS bytes, array(1, NULL) AS many,
          named_struct('a', 1, 'b', CAST(NULL AS INT)) AS one, map('k', 1L) AS pairs, NULL AS nothing,
          CAST('NaN' AS DOUBLE) AS nan, CAST(1 AS TINYINT) AS tiny, 1 AS big
    """)

    (row,) = rows(answer)
    columns = answer.manifest.schema.columns
    assert row == [
        "9007199254740993", "1.5", "2.00", "é", "true", "2026-11-30", "2026-11-30T10:20:30.500Z",
        "2026-11-30T10:20:30.123456", "AQI=", "[1,null]", '{"a":1,"b":null}', '{"k":1}', None, "NaN",
        "1", "1",
    ]  # fmt: skip
    assert [column.name for column in columns][:3] == ["big", "real", "money"]
    assert [column.position for column in columns] == list(range(16))
    assert {column.name: column.type_text for column in columns} == {
        "big": "INT", "real": "DOUBLE", "money": "DECIMAL(10,2)", "text": "STRING", "yes": "BOOLEAN",
        "day": "DATE", "moment": "TIMESTAMP", "wall": "TIMESTAMP_NTZ", "bytes": "BINARY",
        "many": "ARRAY<INT>", "one": "STRUCT<a: INT, b: INT>", "pairs": "MAP<STRING, BIGINT>",
        "nothing": "VOID", "nan": "DOUBLE", "tiny": "TINYINT",
    }  # fmt: skip
    assert [column.type_name.value for column in columns if column.name in ("tiny", "nothing")] == [
        "NULL",
        "BYTE",
    ]
    assert columns[0].type_name.value == "LONG"
    assert (columns[2].type_precision, columns[2].type_scale) == (10, 2)


@pytest.mark.parametrize(
    ("kind", "value", "seen"),
    [
        (None, "it's", "it's"),
        ("STRING", " x ", " x "),
        ("INT", "7", "7"),
        ("BIGINT", "9007199254740993", "9007199254740993"),
        ("TINYINT", "7", "7"),
        ("DOUBLE", "1.5", "1.5"),
        ("BOOLEAN", "True", "true"),
        ("DECIMAL(10,2)", "2.5", "2.50"),
        ("DATE", "2026-11-30", "2026-11-30"),
        ("TIMESTAMP", "2026-11-30 10:20:30", "2026-11-30T10:20:30.000Z"),
        ("INT", None, None),
    ],
)
def test_parameters_have_the_type_that_they_name(ask, kind, value, seen):
    given = StatementParameterListItem(name="given", value=value, type=kind)
    answer = ask("SELECT :given AS given, typeof(:given) AS kind", parameters=[given])

    ((shown, type_name),) = rows(answer)
    assert shown == seen
    assert type_name == (kind or "STRING").lower()


@pytest.mark.parametrize(
    ("kind", "value", "said"),
    [
        ("INT", "many", "'many' is not a value of the type INT"),
        ("TINYINT", "1000", "'1000' is not a value of the type TINYINT"),
        ("DECIMAL(3,1)", "1234", "'1234' is not a value of the type"),
        ("DATE", "tomorrow", "'tomorrow' is not a value of the type DATE"),
        ("BOOLEAN", "perhaps", "'perhaps' is not a value"),
        ("SHAPE", "round", "its type 'SHAPE' is not one of"),
    ],
)
def test_a_parameter_that_does_not_fit_its_type_fails_the_statement(ask, kind, value, said):
    given = StatementParameterListItem(name="n", value=value, type=kind)

    told = failure(ask("SELECT :n", parameters=[given]))
    assert told.startswith("parameter 'n': ")
    assert said in told


def test_statements_make_and_read_tables(ask, people):
    made = ask("CREATE TABLE asked.shelf (id BIGINT, name STRING) COMMENT 'of books'")
    inserted = ask("INSERT INTO shelf VALUES (1, 'a'), (2, 'b')", catalog="spark_catalog", schema="asked")
    read = ask("SELECT name FROM shelf ORDER BY id DESC", schema="asked")
    shown = ask("SHOW TABLES IN asked")

    assert (rows(made), made.manifest.schema.column_count, made.manifest.total_row_count) == ([], 0, 0)
    assert inserted.status.state == StatementState.SUCCEEDED
    assert rows(read) == [["b"], ["a"]]
    assert rows(shown) == [["asked", "shelf", "false"]]
    assert people.admin.tables.get("spark_catalog.asked.shelf").comment == "of books"


def test_a_statement_that_fails_says_why(ask):
    wrong, missing = ask("SELEC 1"), ask("SELECT * FROM asked.nothing_here")

    assert "PARSE_SYNTAX_ERROR" in failure(wrong)
    assert wrong.status.sql_state == "42601"
    assert "nothing_here" in failure(missing)
    assert missing.status.sql_state == "42P01"
    assert "nowhere" in failure(ask("SELECT 1", schema="nowhere"))


def test_one_waits_for_a_statement_or_asks_again(ask, people):
    begun = ask("SELECT count(*) FROM range(10)", wait_timeout="0s")
    assert begun.status.state in (StatementState.PENDING, StatementState.RUNNING)
    assert begun.manifest is None

    deadline = time.monotonic() + 60
    while (answer := people.admin.statement_execution.get_statement(begun.statement_id)).status.state in (
        StatementState.PENDING,
        StatementState.RUNNING,
    ):
        assert time.monotonic() < deadline
        time.sleep(0.1)
    assert rows(answer) == [["10"]]


def test_large_results_come_in_chunks(ask, people):
    answer = ask("SELECT id, repeat('x', 1000) AS text FROM range(5000) ORDER BY id")
    manifest, api = answer.manifest, people.admin.statement_execution

    read, part = rows(answer), answer.result
    while part.next_chunk_index is not None:
        assert part.next_chunk_internal_link.startswith("/api/2.0/sql/statements/")
        part = api.get_statement_result_chunk_n(answer.statement_id, part.next_chunk_index)
        assert part.row_offset == len(read)
        read += part.data_array
    assert [row[0] for row in read] == [str(number) for number in range(5000)]
    assert manifest.total_chunk_count == len(manifest.chunks) > 2
    assert (manifest.total_row_count, manifest.truncated) == (5000, False)
    assert max(chunk.byte_count for chunk in manifest.chunks) <= CHUNK_BYTES
    with pytest.raises(NotFound, match="none with the index 99"):
        api.get_statement_result_chunk_n(answer.statement_id, 99)


def test_limits_cut_a_result(ask):
    by_rows = ask("SELECT id FROM range(10) ORDER BY id", row_limit=3)
    fitting = ask("SELECT id FROM range(3)", row_limit=3)
    by_bytes = ask("SELECT repeat('x', 100) FROM range(10)", byte_limit=350)

    assert (rows(by_rows), by_rows.manifest.truncated) == ([["0"], ["1"], ["2"]], True)
    assert (len(rows(fitting)), fitting.manifest.truncated) == (3, False)
    assert (len(rows(by_bytes)), by_bytes.manifest.truncated) == (3, True)
    too_large = ask("SELECT repeat('x', 1000000) FROM range(30)")
    assert "Inline byte limit exceeded" in failure(too_large)


def test_a_statement_is_cancelled(ask, people):
    api = people.admin.statement_execution
    begun = ask(LONG, wait_timeout="0s")
    time.sleep(2)
    api.cancel_execution(begun.statement_id)
    cancelled = api.get_statement(begun.statement_id)
    by_time = ask(LONG, wait_timeout="5s", on_wait_timeout=ExecuteStatementRequestOnWaitTimeout.CANCEL)

    assert cancelled.status.state == by_time.status.state == StatementState.CANCELED
    assert cancelled.result is None
    # Spark is free again: two that go on would leave it no core.
    assert rows(ask("SELECT sum(id) FROM range(1000000)")) == [["499999500000"]]


def test_a_statement_has_the_rights_of_who_sends_it(ask, people):
    reader = people.user("asking@example.com")
    ask("CREATE OR REPLACE TABLE asked.guarded AS SELECT 1 AS x")
    api = reader.client.statement_execution

    def read() -> StatementResponse:
        return api.execute_statement("SELECT * FROM asked.guarded", "default", wait_timeout="50s")

    refused = failure(read())
    people.grant(reader.name, "catalog", "spark_catalog", "USE_CATALOG")
    people.grant(reader.name, "schema", "spark_catalog.asked", "USE_SCHEMA", "SELECT")
    allowed = read()

    assert "User does not have" in refused
    assert "The user is asking@example.com." in refused
    assert rows(allowed) == [["1"]]
    with pytest.raises(NotFound, match="was not found"):
        people.admin.statement_execution.get_statement(allowed.statement_id)


def test_what_is_no_statement_is_refused_at_once(ask, people):
    for options, said in [
        ({"wait_timeout": "3s"}, "wait_timeout '3s'"),
        ({"format": Format.ARROW_STREAM}, "JSON_ARRAY"),
        ({"row_limit": -1}, "row_limit must not be negative"),
    ]:
        with pytest.raises(InvalidParameterValue, match=said):
            ask("SELECT 1", **options)
    with pytest.raises(NotImplementedHere, match="EXTERNAL_LINKS"):
        ask("SELECT 1", disposition=Disposition.EXTERNAL_LINKS)
    with pytest.raises(NotFound, match="SQL warehouse 'none' does not exist"):
        people.admin.statement_execution.execute_statement("SELECT 1", "none")


def test_the_history_has_what_was_asked(ask, people):
    answer = ask("SELECT 'in the history'")
    failed = ask("SELECT * FROM asked.not_in_the_history")
    first = people.admin.warehouses.get("default").id

    def asked(**chosen: Any) -> list[str]:
        return [
            each.query_id for each in people.admin.query_history.list(filter_by=QueryFilter(**chosen)).res
        ]

    newest, older, *_ = people.admin.query_history.list(max_results=2).res
    assert (newest.query_id, older.query_id) == (failed.statement_id, answer.statement_id)
    assert (older.query_text, older.status.value, older.rows_produced) == (
        "SELECT 'in the history'",
        "FINISHED",
        1,
    )
    assert "not_in_the_history" in newest.error_message
    assert older.warehouse_id == first
    assert failed.statement_id in asked(statuses=[QueryStatus.FAILED], warehouse_ids=[first])
    assert answer.statement_id not in asked(statuses=[QueryStatus.FAILED])
    assert asked(query_start_time_range=TimeRange(start_time_ms=1, end_time_ms=2)) == []


def test_one_warehouse_is_there_and_a_statement_starts_it(ask, people):
    api = people.admin.warehouses
    (first,) = [each for each in api.list() if each.name == "Serverless Starter Warehouse"]
    assert api.get("default").id == first.id
    assert first.odbc_params.path == f"/sql/1.0/warehouses/{first.id}"

    stopped = api.stop_and_wait(first.id, timeout=timedelta(seconds=20))
    assert stopped.state == State.STOPPED
    assert "goes on when the warehouse is stopped" in stopped.health.message
    assert rows(ask("SELECT 1")) == [["1"]]
    assert api.get(first.id).state == State.RUNNING
    assert api.start_and_wait(first.id, timeout=timedelta(seconds=20)).state == State.RUNNING
    with pytest.raises(BadRequest, match="stays"):
        api.delete(first.id)


def test_warehouses_are_names_for_the_same_spark(people):
    api = people.admin.warehouses
    made = api.create_and_wait(name="of the tests", cluster_size="Small", timeout=timedelta(seconds=20))
    with pytest.raises(ResourceAlreadyExists, match="of the tests"):
        api.create(name="of the tests")
    api.edit(made.id, name="renamed", max_num_clusters=3)
    answer = people.admin.statement_execution.execute_statement("SELECT 2", made.id, wait_timeout="50s")
    changed = api.get(made.id)
    sources = {source.warehouse_id: source.name for source in people.admin.data_sources.list()}
    api.delete(made.id)

    assert (made.cluster_size, changed.name, changed.max_num_clusters) == ("Small", "renamed", 3)
    assert rows(answer) == [["2"]]
    assert sources[made.id] == "renamed"
    with pytest.raises(NotFound):
        api.get(made.id)


def test_chunks_hold_every_row_once():
    texts = ["x" * (CHUNK_BYTES // 3)] * 8
    found = Answer([{"name": "a"}], iter([[text] for text in texts]))

    result = collect(found, Statement("", ""))
    assert [(chunk.offset, len(chunk.rows)) for chunk in result.chunks] == [(0, 3), (3, 3), (6, 2)]
    assert (result.row_count, result.size) == (8, 8 * len(texts[0]))


@pytest.mark.parametrize(
    ("statement", "written"),
    [
        ("SELECT :n", "SELECT 'it\\'s'"),
        ("SELECT ':n', \":n\", `:n`, r':n' -- :n", "SELECT ':n', \":n\", `:n`, r':n' -- :n"),
        ("SELECT 'a\\':n', :n /* :n */", "SELECT 'a\\':n', 'it\\'s' /* :n */"),
        ("SELECT x::n, y::INT, :n", "SELECT x::n, y::INT, 'it\\'s'"),
        ("SELECT :name, :N", "SELECT :name, :N"),
    ],
)
def test_a_parameter_is_not_looked_for_in_texts_and_comments(statement: str, written: str):
    assert bound(statement, [{"name": "n", "value": "it's"}]) == written


def test_a_parameter_stays_a_value_whatever_is_in_it():
    for value in ("'; DROP TABLE x --", "\\", "\\'", ":n", "\n"):
        inner = bound("SELECT :n", [{"name": "n", "value": value}]).removeprefix("SELECT '").removesuffix("'")
        assert re.sub(r"\\(.)", r"\1", inner) == value
        assert not re.search(r"(?<!\\)(\\\\)*'", inner)
