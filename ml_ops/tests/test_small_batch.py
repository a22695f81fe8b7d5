"""A batch of few rows is scored on the driver, and Spark starts no Python for it."""

from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path

import numpy as np
import problems
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from both_ways import Case, make_dirty, score_once, staged, train, write
from diabetes_mlops.data import small_batch, staged_batch
from diabetes_mlops.data.small_batch import read_small
from diabetes_mlops.data.staged_batch import RowCountError
from pyspark.errors import PySparkException
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

ROWS = 60


@pytest.fixture(scope="module")
def case() -> Case:
    return train(problems.PATIENTS, problems.make_patients())


@pytest.fixture(autouse=True)
def limits(monkeypatch: pytest.MonkeyPatch) -> None:
    """What is small here."""
    monkeypatch.setattr(small_batch, "MOST_BYTES", 64 * 1024)
    monkeypatch.setattr(small_batch, "MOST_ROWS", ROWS)


def read(case: Case, spark: SparkSession, folder: Path, rows: int, share: float = 0.0):
    made = make_dirty(case, "parquet", np.random.default_rng(1), rows, share)
    return write(case, made, "parquet", folder, spark)()


def test_dirty_rows_and_repeated_ids_start_no_python_either(case, sessions, tmp_path):
    with sessions() as session:
        session.conf.set("spark.sql.execution.pyspark.python", "/there/is/no/python")
        found = read(case, session, tmp_path, ROWS, 0.06)

        outcome = score_once(session, found, replace(case.model, sql=None), case.carried)

    assert (outcome.way, outcome.rows_in) == ("driver", ROWS)
    assert 0 < outcome.rejected < ROWS
    assert any("is repeated" in row for row in outcome.others)


@pytest.mark.parametrize("rows", [ROWS, ROWS + 1])
def test_one_row_more_than_the_driver_takes_is_scored_by_spark(case, spark, tmp_path, rows: int):
    outcome = score_once(spark, read(case, spark, tmp_path, rows), case.model, case.carried)

    assert (outcome.way == "driver") == (rows == ROWS)
    assert outcome.rows_in == rows


def test_rows_that_spark_takes_for_large_are_not_read_to_the_driver(spark, monkeypatch):
    many = spark.range(10_000_000).withColumn("more", F.lit("x"))
    monkeypatch.setattr(type(many), "toArrow", lambda _: pytest.fail("they were read"))

    assert read_small(many) is None
    assert read_small(spark.range(5).crossJoin(many)) is None


def test_rows_that_are_larger_than_their_files_are_left_to_spark(spark, tmp_path):
    spark.range(ROWS).withColumn("text", F.repeat(F.lit("x"), 10_000)).coalesce(1).write.parquet(
        f"{tmp_path}/r"
    )
    found = spark.read.parquet(f"{tmp_path}/r")

    assert read_small(found.select("id")) is not None
    assert read_small(found) is None


def test_values_of_every_type_are_what_spark_makes_of_them(case, spark, tmp_path, monkeypatch):
    spark.conf.set("spark.sql.session.timeZone", "Asia/Tokyo")
    moment = datetime(2026, 3, 1, 12, 30, tzinfo=UTC)
    table = pa.table(
        {
            "MOMENT": pa.array([moment, None, moment], pa.timestamp("us", tz="UTC")),
            "LOCAL": pa.array([datetime(2026, 3, 1), None, datetime(2026, 3, 2)], pa.timestamp("us")),
            "BYTES": pa.array([b"a", None, b"b"]),
            "LIST": pa.array([[1, 2], None, []]),
            "GOOD": pa.array([True, None, False]),
            "SMALL": pa.array([1, None, 3], pa.int8()),
            "SINGLE": pa.array([0.1, None, float("nan")], pa.float32()),
        }
    )
    rows = make_dirty(case, "parquet", np.random.default_rng(1), 3, 0).assign(BMI=[25.0, 25.0, 1e9])
    needed = [case.schema.key.name, *case.schema.feature_names]
    for name in needed:
        table = table.append_column(name, pa.array(rows[name].tolist()))
    pq.write_table(table, tmp_path / "types.parquet")
    found, carried = spark.read.parquet(f"{tmp_path}/types.parquet"), tuple(table.column_names[:7])
    try:
        driver = score_once(spark, found, case.model, carried)
        monkeypatch.setattr(small_batch, "MOST_BYTES", -1)
        workers = score_once(spark, found, replace(case.model, sql=None), carried)
    finally:
        spark.conf.unset("spark.sql.session.timeZone")

    assert (driver.way, workers.way) == ("driver", "python")
    assert replace(driver, way="python") == workers
    assert (driver.rows_in, driver.rejected) == (3, 1)


def test_a_row_that_is_not_there_when_it_is_read_back_ends_the_run(case, spark, tmp_path, monkeypatch):
    to_frame = staged_batch._to_frame
    monkeypatch.setattr(staged_batch, "_to_frame", lambda *given: to_frame(*given).limit(ROWS - 1))

    with (
        pytest.raises(RowCountError, match=f"{ROWS} rows read, but {ROWS - 1} staged"),
        staged(spark, read(case, spark, tmp_path, ROWS), case.model, case.carried),
    ):
        pytest.fail("it was staged")


def test_a_model_that_fails_says_why(case, spark, tmp_path):
    found = read(case, spark, tmp_path, ROWS)
    broken = replace(case.model, pipeline=case.model.pipeline[:-1], sql=None)

    with pytest.raises((AttributeError, PySparkException), match="predict"):
        score_once(spark, found, broken, case.carried)
