"""What scores rows by expressions of Spark gives what the workers give, and leaves the rest to them."""

import re
from collections.abc import Callable, Iterator
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import Any, cast

import flowers
import houses
import numpy as np
import pandas as pd
import problems
import pytest
from both_ways import Case, differ, make_dirty, score_each_way, score_once, staged, to_csv, train, write
from diabetes.tabular import Column, Schema
from diabetes.tabular.scoring import predict
from diabetes_mlops.data import staged_batch
from diabetes_mlops.data.native import Counted, NativeScorer, find_scorer
from diabetes_mlops.data.reading import read_as_found
from pyspark.errors import PySparkException
from pyspark.sql import Column as SparkColumn
from pyspark.sql import DataFrame, Row, SparkSession
from sparks import CLASSIC

NAMES = ("patients", "flowers", "houses")
FORMS = ("csv", "parquet", "delta")
# What is told of a batch whose rows were not the same each time.
IN_PYTHON = "once more in Python"


@pytest.fixture(scope="module")
def compiled(sessions) -> Iterator[SparkSession]:
    """A session whose Spark compiles the expressions, as it does everywhere but in these tests."""
    with sessions() as session:
        session.conf.set("spark.sql.codegen.wholeStage", "true")
        session.conf.set("spark.sql.codegen.factoryMode", "FALLBACK")
        session.sql("CREATE SCHEMA IF NOT EXISTS spark_catalog.tests")
        yield session


def make_flowers() -> Case:
    """Three classes, and keys below zero."""
    key = replace(flowers.FLOWERS.schema.key, low=-(2**53 - 1))
    schema = replace(flowers.FLOWERS.schema, key=key)
    return train(replace(flowers.FLOWERS, schema=schema), flowers.make_flowers())


def make_houses() -> Case:
    """Texts for keys, a date, and a number that may be any finite one."""
    value = Column("VALUE", "number", "what was said of it")
    schema = replace(houses.SCHEMA, features=(*houses.SCHEMA.features, value))
    table = houses.make_houses()
    table["VALUE"] = table["AREA"] * np.random.default_rng(1).normal(1, 0.1, len(table))
    return train(houses.make_houses_problem(schema), table)


@pytest.fixture(scope="module")
def cases() -> dict[str, Case]:
    return {
        "patients": train(problems.PATIENTS, problems.make_patients()),
        "flowers": make_flowers(),
        "houses": make_houses(),
    }


def read_bytes(case: Case, spark: SparkSession, folder: Path, **files: bytes) -> Callable[[], DataFrame]:
    """Write CSV files; gives what reads all of them."""
    for name, content in files.items():
        path = folder / "files" / f"{name}.csv"
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_bytes(content)
    needed = [case.schema.key.name, *case.schema.feature_names]
    return lambda: read_as_found(spark, f"{folder}/files", "csv", needed, case.carried)


def clean_rows(case: Case, rows: int = 40) -> pd.DataFrame:
    """Rows that the expressions are sure of, as texts."""
    return make_dirty(case, "csv", np.random.default_rng(0), rows, 0).assign(
        **{case.schema.key.name: [str(number + 1) for number in range(rows)]}
    )


# Each problem as texts, and each typed form with the problem that has the most types left for it.
@pytest.mark.parametrize(
    ("name", "form"), [*((name, "csv") for name in NAMES), ("flowers", "parquet"), ("houses", "delta")]
)
def test_dirty_rows_come_to_the_same_both_ways(cases, spark, tmp_path, capsys, name: str, form: str):
    case, random = cases[name], np.random.default_rng([NAMES.index(name), FORMS.index(form)])
    rows = make_dirty(case, form, random, 400, 0.06)
    read = write(case, rows, form, tmp_path, spark)

    native, python, driver = score_each_way(spark, read, case.model, case.carried)

    assert differ(native, python) == differ(driver, python) == []
    assert IN_PYTHON not in capsys.readouterr().out
    assert find_scorer(read(), case.model, case.carried) is not None
    assert 0 < python.rejected < python.rows_in == 400


def test_compiled_expressions_come_to_the_same(cases, compiled, tmp_path, capsys):
    case = cases["patients"]
    read = write(
        case, make_dirty(case, "csv", np.random.default_rng(9), 400, 0.06), "csv", tmp_path, compiled
    )

    native, python, driver = score_each_way(compiled, read, case.model, case.carried)

    assert differ(native, python) == differ(driver, python) == []
    assert IN_PYTHON not in capsys.readouterr().out
    assert 0 < python.rejected < python.rows_in == 400


@pytest.mark.parametrize("what", ["nothing", "one good", "all wrong"])
def test_a_batch_of_few_rows_or_of_none_comes_to_the_same_both_ways(
    cases, spark, tmp_path, capsys, what: str
):
    case, random = cases["patients"], np.random.default_rng(3)
    good = clean_rows(case, 2)
    rows = {
        "nothing": good.head(0),
        "one good": good.head(1),
        "all wrong": make_dirty(case, "csv", random, 50, 0.3).assign(S1="1e3"),
    }[what]
    read = write(case, rows, "csv", tmp_path, spark)

    native, python, driver = score_each_way(spark, read, case.model, case.carried)

    assert differ(native, python) == differ(driver, python) == []
    assert IN_PYTHON not in capsys.readouterr().out
    assert python.rows_in == len(rows)
    assert python.rejected == (len(rows) if "wrong" in what else 0)


@pytest.mark.parametrize("is_open", [False, True], ids=["each on a line", "some inside quotes"])
def test_lines_that_are_no_rows_come_to_the_same_both_ways(cases, spark, tmp_path, capsys, is_open: bool):
    case = cases["houses"]
    rows = clean_rows(case, 60)
    columns = len(rows.columns)
    line = to_csv(rows.iloc[[7]]).splitlines()[1]
    odd = [
        b"1,2",
        b",".join([b"1"] * (columns + 1)),
        line + b",",
        line[:-3] + b"\xff\xfe",
        line + b"\xff",
        b"  ",
        b"",
    ]
    odd += [
        b'"a ""b"" c",' + line.partition(b",")[2],
        line.replace(b",", b", "),
        line + b"\r",
        b"\x00" + line,
    ]
    odd += [b'"a', line, line + b'"', b'","', line] if is_open else []
    head = to_csv(rows.head(0))
    files = {"a": to_csv(rows, odd), "b": head, "c": head + line + b"\n"}

    native, python, driver = score_each_way(
        spark, read_bytes(case, spark, tmp_path, **files), case.model, case.carried
    )

    assert differ(native, python) == differ(driver, python) == []
    assert IN_PYTHON not in capsys.readouterr().out
    assert python.rows_in > 60 and 0 < python.rejected < 20


def test_files_of_several_headers_and_folders_come_to_the_same_both_ways(cases, spark, tmp_path, capsys):
    case = cases["flowers"]
    random = np.random.default_rng(4)
    tables = [make_dirty(case, "csv", random, 30, 0.05) for _ in range(3)]
    for place, table in enumerate(tables):
        folder = tmp_path / "rows" / f"DAY=2024-01-0{place + 1}"
        folder.mkdir(parents=True)
        (folder / "rows.csv").write_bytes(to_csv(table.assign(MORE="\ufffd" if place == 1 else "x")))
    carried = (*case.carried, "DAY")
    needed = [case.schema.key.name, *case.schema.feature_names]

    native, python, driver = score_each_way(
        spark, lambda: read_as_found(spark, f"{tmp_path}/rows", "csv", needed, carried), case.model, carried
    )

    assert differ(native, python) == differ(driver, python) == []
    assert IN_PYTHON not in capsys.readouterr().out
    assert python.rows_in == 90 and python.rejected >= 30, "one file is not in UTF-8 anywhere"


def test_a_category_with_the_mark_of_what_is_no_text_comes_to_the_same_both_ways(spark, tmp_path):
    features = tuple(
        replace(column, categories=("house\ufffd", "flat")) if column.kind == "category" else column
        for column in houses.SCHEMA.features
    )
    table = houses.make_houses()
    table["KIND"] = table["KIND"].replace("house", "house\ufffd")
    case = train(houses.make_houses_problem(replace(houses.SCHEMA, features=features)), table)
    read = write(case, clean_rows(case), "csv", tmp_path, spark)

    native, python, driver = score_each_way(spark, read, case.model, case.carried)

    assert differ(native, python) == differ(driver, python) == []
    assert 0 < python.rejected < python.rows_in


def test_a_collated_text_is_what_it_is_to_python(cases, spark, tmp_path):
    case = cases["houses"]
    rows = clean_rows(case).assign(
        KIND=["FLAT", "flat ", "flat", "house"] * 10,
        HOUSE=[f"{'hH'[place % 2]}-{place // 2}" for place in range(40)],
    )
    write(case, rows, "csv", tmp_path, spark)().createOrReplaceTempView("houses_found")
    texts = "HOUSE COLLATE UTF8_LCASE AS HOUSE, KIND COLLATE UTF8_LCASE_RTRIM AS KIND"
    numbers = "double(AREA) AS AREA, date(SOLD) AS SOLD, double(VALUE) AS VALUE"

    native, python, driver = score_each_way(
        spark, lambda: spark.sql(f"SELECT {texts}, {numbers} FROM houses_found"), case.model
    )

    assert differ(native, python) == differ(driver, python) == []
    assert (python.rows_in, python.rejected) == (40, 10)


def test_a_number_that_goes_beyond_all_numbers_is_left_to_scikit_learn(cases, spark, tmp_path):
    case = cases["houses"]
    small = train(case.problem, houses.make_houses().assign(VALUE=np.arange(300) / 1e9))
    rows = clean_rows(small).assign(VALUE="1.5")
    rows.loc[3, "VALUE"] = "1.7e308"
    read = write(small, rows, "csv", tmp_path, spark)

    for model in (small.model, replace(small.model, sql=None)):
        with pytest.raises(PySparkException, match="infinity"):
            score_once(spark, read(), model, ())


def test_a_clean_batch_starts_no_python(cases, sessions, tmp_path, capsys):
    case = cases["patients"]
    with sessions() as session:
        session.conf.set("spark.sql.execution.pyspark.python", "/there/is/no/python")
        read = write(case, clean_rows(case), "csv", tmp_path, session)

        outcome = score_once(session, read(), case.model, case.carried)

        assert (outcome.rows_in, outcome.rejected) == (40, 0)
        assert IN_PYTHON not in capsys.readouterr().out
        with pytest.raises(PySparkException, match="/there/is/no/python"):
            score_once(session, read(), replace(case.model, sql=None), case.carried)


def predict_carried(case: Case, rows: list[Row]) -> list[float]:
    table = pd.DataFrame([row.asDict() for row in rows])
    return predict(case.schema, case.model.pipeline, table).tolist()


@pytest.mark.parametrize("share", [0.0, 0.5], ids=["the sure ones", "also the others"])
def test_a_view_that_gives_other_rows_each_time_is_read_once_by_python(
    cases, spark, tmp_path, capsys, share: float
):
    case = cases["patients"]
    rows = clean_rows(case, 60)
    write(case, rows, "csv", tmp_path, spark)().createOrReplaceTempView("patients_found")
    names = [name for name in case.schema.feature_names if name not in ("SEX", "BMI")]
    numbers = ", ".join(f"double({name}) AS {name}" for name in names)
    spark.sql(
        "CREATE OR REPLACE TEMPORARY VIEW drawn AS SELECT bigint(ID) AS ID, SEX, "
        f"IF(rand() < {share}, 1, 20 + 10 * rand()) AS BMI, {numbers} FROM patients_found"
    )
    carried = tuple(case.schema.feature_names)

    with staged(spark, spark.table("drawn"), case.model, carried) as batch:
        scored = batch.scored_rows.collect()
        counted = batch.rows_in, batch.rejected, batch.counts.rows

    # Spark Classic draws once, when it looks at the view.
    assert CLASSIC or IN_PYTHON in capsys.readouterr().out
    assert counted == (60, 60 - len(scored), len(scored))
    assert [row["prediction"] for row in scored] == pytest.approx(predict_carried(case, scored), rel=1e-9)
    assert (len(scored) == 60) == (share == 0)


@pytest.mark.parametrize("moment", ["before the sure rows", "before the others"])
def test_a_file_that_is_replaced_meanwhile_is_scored_as_it_is_then(
    cases, spark, tmp_path, monkeypatch, capsys, moment: str
):
    case = cases["patients"]
    rows = make_dirty(case, "csv", np.random.default_rng(6), 60, 0.02).assign(NOTE="note-a")
    before = to_csv(rows)
    after = before.replace(b"note-a", b"note-b")
    read = read_bytes(case, spark, tmp_path, rows=before)
    model, in_python = case.model, replace(case.model, sql=None)
    as_it_was = score_once(spark, read(), in_python, case.carried)
    found, replaced = read(), []
    count, look_at = NativeScorer.count, staged_batch._look_at

    def replace_file() -> None:
        read_bytes(case, spark, tmp_path, rows=after)
        replaced.append(moment)

    def count_and_replace(native: NativeScorer, marked: DataFrame) -> Counted:
        counted = count(native, marked)
        replace_file()
        return counted

    def look_and_replace(*given: Any) -> Any:
        looked = look_at(*given)
        replace_file()
        return looked

    if moment == "before the sure rows":
        monkeypatch.setattr(NativeScorer, "count", count_and_replace)
    else:
        monkeypatch.setattr(staged_batch, "_look_at", look_and_replace)
    outcome = score_once(spark, found, model, case.carried)

    assert replaced == [moment]
    assert IN_PYTHON in capsys.readouterr().out
    assert differ(outcome, score_once(spark, read(), in_python, case.carried)) == []
    assert outcome.digest != as_it_was.digest
    assert 0 < outcome.rejected < outcome.rows_in == 60


def make_wide(features: int) -> Case:
    """A linear model of so many numbers, with gaps filled and all scaled."""
    random, rows = np.random.default_rng(features), 300
    names = [f"MEASUREMENT_{place}" for place in range(features)]
    table = pd.DataFrame({name: random.normal(100, 20, rows).round(3) for name in names})
    table = table.assign(ID=np.arange(rows) + 1, Y=table.sum(axis=1) + random.normal(0, 5, rows))
    schema = Schema(
        key=problems.PATIENTS.schema.key,
        features=tuple(Column(name, "number", "", low=0, high=500) for name in names),
        label=Column("Y", "number", ""),
    )
    make = partial(problems.make_linear, schema, problems.make_ridge)
    return train(replace(problems.PATIENTS, schema=schema, make_pipeline=make), table)


class Explained:
    """Rows whose sums are kept, so that it can be told how they are compiled."""

    def __init__(self, rows: DataFrame) -> None:
        self.rows = rows
        self.sums: list[DataFrame] = []

    def agg(self, *sums: SparkColumn) -> DataFrame:
        self.sums.append(self.rows.agg(*sums))
        return self.sums[-1]


# A text takes more to be read than a number does.
@pytest.mark.parametrize(("form", "features"), [("csv", 14), ("parquet", 14)])
def test_so_many_features_are_compiled_by_java(compiled, tmp_path, capsys, form: str, features: int):
    sizes = measure_sizes(make_wide(features), form, compiled, tmp_path, capsys)

    assert all(0 < size < 8_000 for size in sizes.values()), (form, features, sizes)


def measure_sizes(
    case: Case, form: str, spark: SparkSession, folder: Path, capsys: pytest.CaptureFixture[str]
) -> dict[str, int]:
    """Give the sizes of what writes the sure rows, and of what counts all of them."""
    path = f"{folder}/rows.{form}"
    case.rows.to_csv(path, index=False) if form == "csv" else case.rows.to_parquet(path)
    found = read_as_found(spark, path, form, [case.schema.key.name, *case.schema.feature_names])
    native = find_scorer(found, case.model, ())
    assert native is not None
    marked = native.mark(staged_batch._prepare(found))
    explained = Explained(marked)
    native.count(cast(DataFrame, explained))
    counted = {f"count {place}": measure_methods(sums, capsys) for place, sums in enumerate(explained.sums)}
    return {"stage": measure_methods(native.stage(marked), capsys)} | counted


def measure_methods(rows: DataFrame, capsys: pytest.CaptureFixture[str]) -> int:
    """Give the size of the largest method that Spark makes, in bytes: Java compiles none above 8,000."""
    capsys.readouterr()
    rows.explain("codegen")
    return max(map(int, re.findall(r"maxMethodCodeSize:(\d+)", capsys.readouterr().out)))


def test_a_model_of_more_features_is_scored_in_python(spark, tmp_path):
    case = make_wide(15)
    read = write(
        case, make_dirty(case, "parquet", np.random.default_rng(1), 20, 0), "parquet", tmp_path, spark
    )

    assert case.model.sql is not None
    assert find_scorer(read(), case.model, ()) is None
    assert score_once(spark, read(), case.model, ()).rows_in == 20
