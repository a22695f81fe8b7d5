"""A batch is published whole or not at all, whoever else writes, and whenever a run is killed."""

import threading
import time
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path

import pandas as pd
import pytest
from diabetes_mlops import batch_score
from diabetes_mlops.data import delta_tables, scored_tables
from pyspark.errors import PySparkException
from pyspark.sql.types import StructType
from sparks import cancel_all
from test_batch_score import BATCH, expected, found

pytestmark = pytest.mark.usefixtures("each_way")


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(BATCH)


def test_runs_at_once_make_a_new_table_and_end_with_one_complete_copy_of_each_batch(trained, table, output):
    jobs, _ = trained
    parts = [table.head(40), table.tail(60)]
    paths = [jobs.write(part, f"part{number}.parquet") for number, part in enumerate(parts)]

    def score(number: int):
        return jobs.score(input_data=paths[number], batch_id=f"part{number}", output_table=output)

    with ThreadPoolExecutor(3) as pool:
        results = list(pool.map(score, (0, 1, 1)))

    assert [result["rows_scored"] for result in results] == [40, 60, 60]
    for number, part in enumerate(parts):
        rows = jobs.rows(f"part{number}", output).toPandas()
        found = dict(zip(rows["ID"].tolist(), rows["prediction"].tolist(), strict=True))
        assert len(rows) == len(part)
        assert found == expected(jobs, "1", part)
        owners = set(rows["run_id"])
        assert len(owners) == 1
        assert owners <= {result["run_id"] for result in results if result["batch_id"] == f"part{number}"}


@pytest.fixture
def victim(trained, own_session):
    """The same jobs in a Spark session of their own."""
    return replace(trained[0], spark=own_session, target=None)


def stall(rows, folder: Path):
    """The same rows, but the last of them do not come before a file `go on` is there; `stalled` tells so."""

    def hold_back(batches):
        for batch in batches:
            yield batch.slice(0, batch.num_rows - 1)
            (folder / "stalled").touch()
            while not (folder / "go on").exists():
                time.sleep(0.05)
            yield batch.slice(batch.num_rows - 1)

    return rows.mapInArrow(hold_back, rows.schema)


@pytest.fixture
def stalling(monkeypatch, tmp_path):
    """Lets the next run stop in the middle of writing; a file in this folder tells when it has.

    It stops where its rows are written for good: those that are shown later, or those of a table.
    """
    replace_batch, write = delta_tables.replace_batch, scored_tables.Stage.write

    def write_and_stall(rows, *rest, **named):
        return replace_batch(stall(rows, tmp_path), *rest, **named)

    def stage_and_stall(stage, rows):
        write(stage, rows if stage.output.is_table else stall(rows, tmp_path))

    monkeypatch.setattr(delta_tables, "replace_batch", write_and_stall)
    monkeypatch.setattr(scored_tables.Stage, "write", stage_and_stall)
    yield tmp_path
    (tmp_path / "go on").touch()


@pytest.fixture(params=["views", "table"])
def output(trained, request) -> str:
    """An output table that is made as views, and one that has been a Delta table before."""
    name = f"{trained[0].table}_of_{request.param}"
    if request.param == "table":
        make_table_of_before(trained[0].spark, name)
    return name


def make_table_of_before(spark, name: str) -> None:
    """A table as scoring made it before there were views."""
    spark.sql(
        f"CREATE TABLE IF NOT EXISTS {name} (ID BIGINT, prediction DOUBLE, model_name STRING, "
        "model_version STRING, batch_id STRING, scored_at TIMESTAMP, run_id STRING) "
        "USING DELTA PARTITIONED BY (batch_id) TBLPROPERTIES ('delta.dataSkippingNumIndexedCols' = '1')"
    )


def test_a_run_that_is_killed_while_it_writes_changes_nothing(trained, victim, table, stalling, output):
    jobs, _ = trained
    (stalling / "go on").touch()
    path = jobs.write(table.head(50), "killed.parquet")
    before = jobs.score(input_data=path, batch_id="killed", output_table=output)
    versions = count_versions(jobs, output)
    (stalling / "go on").unlink()
    (stalling / "stalled").unlink()

    path = jobs.write(table, "killed.parquet")
    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(victim.score, input_data=path, batch_id="killed", output_table=output)
        try:
            wait_for(lambda: (stalling / "stalled").exists() or run.done())
            cancel_all(victim.spark)
            with pytest.raises(Exception, match=r"OPERATION_CANCELED|SPARK_JOB_CANCELLED"):
                run.result(timeout=60)
        finally:
            (stalling / "go on").touch()

    assert jobs.last_run().info.status == "FAILED"
    assert count_versions(jobs, output) == versions
    assert {row.run_id for row in jobs.rows("killed", output).collect()} == {before["run_id"]}
    assert found(jobs, before) == expected(jobs, "1", table.head(50))
    again = jobs.score(input_data=path, batch_id="killed", output_table=output)
    assert found(jobs, again) == expected(jobs, "1", table)
    assert staged_tables(jobs) == []


def test_a_column_that_another_run_adds_in_the_middle_of_writing_does_not_stop_a_run(
    trained, victim, table, stalling, each_way
):
    jobs, _ = trained
    path, output = jobs.write(table, "grows.parquet"), f"{jobs.table}_that_grows_{each_way}"

    with ThreadPoolExecutor(1) as pool:
        run = pool.submit(victim.score, input_data=path, batch_id="grows", output_table=output)
        try:
            wait_for(lambda: (stalling / "stalled").exists() or run.done())
            jobs.spark.sql(f"ALTER TABLE {output}_rows ADD COLUMNS (WARD STRING)")
        finally:
            (stalling / "go on").touch()
        result = run.result(timeout=120)

    rows = jobs.rows("grows", output)
    assert {row.ID: row.prediction for row in rows.collect()} == expected(jobs, "1", table)
    assert rows.count() == result["rows_scored"] == len(table)


def test_a_column_that_two_runs_add_at_once_is_added_once(spark, monkeypatch):
    table, columns = "spark_catalog.tests.grows", {"ID": "BIGINT"}
    delta_tables.ensure_table(spark, table, columns, by_batch=False)
    define = delta_tables._define

    def define_late(columns):
        monkeypatch.setattr(delta_tables, "_define", define)
        delta_tables.ensure_table(spark, table, columns, by_batch=False)
        return define(columns)

    monkeypatch.setattr(delta_tables, "_define", define_late)
    delta_tables.ensure_table(spark, table, columns | {"WARD": "STRING"}, by_batch=False)

    assert spark.table(table).columns == ["ID", "WARD"]


def test_what_killed_runs_left_behind_is_removed_by_a_later_one_and_what_runs_is_not(trained):
    jobs, _ = trained
    old, new = f"{jobs.table}_staged_20200101_abc", f"{jobs.table}_staged_29990101_abc"
    others = f"{jobs.table}_staged_2020"
    for name in (old, new, others):
        jobs.spark.sql(f"CREATE TABLE {name} (ID BIGINT) USING DELTA")

    own = delta_tables.create_staging_table(jobs.spark, jobs.table, "abc", StructType().add("ID", "long"))

    left = {name.rpartition(".")[2] for name in (new, others, own)}
    assert set(staged_tables(jobs)) == left
    for name in (new, others, own):
        delta_tables.drop_table(jobs.spark, name)


def test_what_a_run_may_not_remove_does_not_stop_it(trained, capsys):
    jobs, _ = trained
    # Spark drops no view as a table, as Unity Catalog drops no table of somebody else.
    output = f"{jobs.table}_with_left_overs"
    make_table_of_before(jobs.spark, output)
    name = f"{output}_staged_20200101_abc"
    jobs.spark.sql(f"CREATE VIEW {name} AS SELECT 1 AS ID")

    scored = jobs.score(batch_id="beside_a_left_over", output_table=output)

    assert scored["rows_scored"] == 100
    assert f"{name}, which a killed run has left, stays: " in capsys.readouterr().out
    jobs.spark.sql(f"DROP VIEW {name}")


def test_a_run_that_lost_rows_on_the_way_fails(trained, monkeypatch):
    jobs, _ = trained
    publish = batch_score.publish
    monkeypatch.setattr(
        batch_score,
        "publish",
        lambda *rest: replace(published := publish(*rest), scored=published.scored - 1),
    )

    with pytest.raises(batch_score.RowCountError, match="100 rows read, but 99 scored and 0 rejected"):
        jobs.score(batch_id="lost")

    assert jobs.last_run().info.status == "FAILED"


def test_the_rows_of_a_commit_are_counted_though_another_run_has_replaced_them_since(spark, monkeypatch):
    table = "spark_catalog.tests.replaced"
    columns = {"ID": "BIGINT", "batch_id": "STRING", "run_id": "STRING"}
    delta_tables.ensure_table(spark, table, columns)
    read_batch = delta_tables.read_batch

    def publish(run_id: str, ids: range) -> int:
        rows = spark.createDataFrame([(number, "b", run_id) for number in ids], list(columns))
        return delta_tables.replace_batch(rows, table, "b", run_id)

    def replace_and_read(*where: str):
        monkeypatch.setattr(delta_tables, "read_batch", read_batch)
        publish("another", range(2))
        return read_batch(*where)

    monkeypatch.setattr(delta_tables, "read_batch", replace_and_read)

    assert publish("first", range(3)) == 3
    assert {row.run_id for row in read_batch(spark, table, "b").collect()} == {"another"}
    assert publish("another", range(2)) == 2
    with pytest.raises(delta_tables.LostCommitError, match="has no commit 'a third' in its history"):
        delta_tables._find_version(spark, table, "a third")


def test_another_writer_at_the_same_moment_is_only_waited_for_so_often(monkeypatch):
    monkeypatch.setattr(time, "sleep", lambda seconds: None)
    conflict, other = PySparkException("[DELTA_CONCURRENT_APPEND] again"), PySparkException("[DISK_FULL] no")
    tries: list[int] = []

    def write(errors: list[PySparkException]) -> None:
        tries.append(1)
        if errors:
            raise errors.pop()

    delta_tables.retry(lambda left=[conflict, conflict]: write(left))
    assert len(tries) == 3
    for error, times in ((other, 1), (conflict, delta_tables.ATTEMPTS)):
        tries.clear()
        with pytest.raises(PySparkException, match=str(error)[1:8]):
            delta_tables.retry(lambda error=error: write([error]))
        assert len(tries) == times


def count_versions(jobs, output: str) -> int:
    """How many commits there are of what an output shows."""
    is_table = jobs.spark.catalog.getTable(output).tableType != "VIEW"
    ends = [""] if is_table else [scored_tables.ROWS, scored_tables.RUNS]
    return sum(jobs.spark.sql(f"DESCRIBE HISTORY {output}{end}").count() for end in ends)


def staged_tables(jobs) -> list[str]:
    tables = jobs.spark.sql("SHOW TABLES IN spark_catalog.tests").collect()
    return [row.tableName for row in tables if row.tableName.startswith(f"scored_{jobs.name}_staged_")]


def wait_for(holds, seconds: float = 60) -> None:
    end = time.monotonic() + seconds
    while not holds():
        assert time.monotonic() < end, "it did not happen in time"
        threading.Event().wait(0.05)
