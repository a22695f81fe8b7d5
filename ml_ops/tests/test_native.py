"""What scores rows by expressions of Spark gives what the workers give, and leaves the rest to them."""

from collections.abc import Iterator
from dataclasses import replace

import flowers
import houses
import numpy as np
import problems
import pytest
from both_ways import Case, differ, make_dirty, score_both, train, write
from diabetes.tabular import Column
from diabetes_mlops.data.native import find_scorer
from pyspark.sql import SparkSession

NAMES = ("patients", "flowers", "houses")
FORMS = ("csv", "parquet", "delta")


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


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", NAMES)
def test_dirty_rows_come_to_the_same_both_ways(cases, spark, tmp_path, capsys, name: str, form: str):
    case, random = cases[name], np.random.default_rng([NAMES.index(name), FORMS.index(form)])
    rows = make_dirty(case, form, random, 500, 0.06)
    read = write(case, rows, form, tmp_path, spark)

    native, python = score_both(spark, read, case.model, case.carried)

    assert differ(native, python) == []
    assert "once more in Python" not in capsys.readouterr().out
    assert find_scorer(read(), case.model, case.carried) is not None
    assert 0 < python.rejected < python.rows_in == 500
