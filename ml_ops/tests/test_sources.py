"""A batch is read from whatever it is kept in, and its columns are checked before a row is scored."""

from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from diabetes.schema import FEATURE_NAMES, ID, SchemaError
from diabetes_mlops import sources, staging
from diabetes_mlops.sources import SourceNotFoundError, UnknownFormatError, read_as_found, read_table
from diabetes_mlops.worker import BROKEN_LINE

BATCH = Path(__file__).parents[2] / "ml_data" / "data_batch_input.csv"


@pytest.fixture(scope="module")
def table() -> pd.DataFrame:
    return pd.read_csv(BATCH)


@pytest.fixture(scope="module")
def folder(spark, table, tmp_path_factory) -> Path:
    """The batch in every form: single files, folders of files, a Delta folder and a Delta table."""
    folder = tmp_path_factory.mktemp("sources")
    table.to_csv(folder / "one.csv.gz", index=False)
    table.to_parquet(folder / "one.parquet")
    for name in ("csv files", "parquet files"):
        (folder / name).mkdir()
    table.iloc[:30].to_csv(folder / "csv files" / "a b.csv", index=False)
    table.iloc[30:, ::-1].assign(NOTE='say "hi", ok').to_csv(folder / "csv files" / "b.csv", index=False)
    (folder / "csv files" / "c.csv").touch()
    table.iloc[:30].to_parquet(folder / "parquet files" / "a.parquet")
    table.iloc[30:].to_parquet(folder / "parquet files" / "b.parquet")
    written = spark.read.parquet(str(folder / "one.parquet"))
    written.write.format("delta").save(str(folder / "delta folder"))
    spark.sql("CREATE SCHEMA IF NOT EXISTS spark_catalog.tests")
    written.write.format("delta").mode("overwrite").saveAsTable("spark_catalog.tests.batch_table")
    return folder


def as_numbers(found) -> pd.DataFrame:
    """The ID and the numbers of a table, whatever their types, in the order of the IDs."""
    pandas = found.toPandas().drop(columns="SEX")
    return pandas[pandas.columns.intersection([ID, *FEATURE_NAMES])].astype(float).sort_values(ID)


@pytest.mark.parametrize(
    "source",
    ["one.csv.gz", "one.parquet", "csv files", "csv files/*.csv", "parquet files", "delta folder", "a table"],
)
def test_every_form_of_a_batch_has_the_same_rows(spark, folder, table, source: str):
    name = "spark_catalog.tests.batch_table" if source == "a table" else f"{folder}/{source}"

    found = as_numbers(read_as_found(spark, name))

    expected = table.drop(columns="SEX").astype(float)
    pd.testing.assert_frame_equal(found[expected.columns].reset_index(drop=True), expected)


def test_quotes_inside_quotes_are_read_as_pandas_writes_them(spark, folder):
    found = read_as_found(spark, f"{folder}/csv files").select(ID, "NOTE", BROKEN_LINE)

    assert {tuple(row)[1:] for row in found.collect()} == {(None, None), ('say "hi", ok', None)}


def test_a_folder_of_two_formats_has_to_be_told_apart(spark, folder, table):
    mixed = folder / "mixed"
    mixed.mkdir()
    table.head(3).to_csv(mixed / "a.csv", index=False)
    table.head(5).to_parquet(mixed / "b.parquet")

    with pytest.raises(UnknownFormatError, match=r"has 2 files of the formats \['csv', 'parquet'\]"):
        read_as_found(spark, str(mixed))
    assert read_as_found(spark, f"{mixed}/*.csv").count() == 3


def test_the_format_can_be_named(spark, folder, table):
    (folder / "extract").mkdir()
    table.head(4).to_csv(folder / "extract" / "batch.txt", index=False)

    with pytest.raises(UnknownFormatError, match="has 1 files of no format that is known"):
        read_as_found(spark, f"{folder}/extract")
    assert read_as_found(spark, f"{folder}/extract", "csv").count() == 4


@pytest.mark.parametrize("read", [read_as_found, read_table])
@pytest.mark.parametrize("source", ["absent.csv", "absent folder", "absent/*.parquet", "a_schema.absent"])
def test_what_is_not_there_is_named(spark, tmp_path, read, source: str):
    name = source if "_schema" in source else f"{tmp_path}/{source}"

    with pytest.raises(SourceNotFoundError, match="there is no file or table"):
        read(spark, name)


def test_every_wrong_column_is_told_at_once(spark, table, tmp_path):
    wrong = table.drop(columns=["S6", "BP"]).assign(BMI="21", AGE=[[1]] * len(table), SEX=date(2026, 1, 1))
    wrong.to_parquet(tmp_path / "wrong.parquet")
    found = read_as_found(spark, f"{tmp_path}/wrong.parquet")

    with pytest.raises(SchemaError) as error:
        staging.check_columns(found, FEATURE_NAMES, ("NOTE", "Model_Name"), taken=["model_name"])

    assert str(error.value).startswith(
        "missing columns ['BP', 'S6', 'NOTE', 'Model_Name']; AGE is array<bigint>, not a number; "
        "SEX is date, not a text; BMI is string, not a number; columns ['Model_Name'] cannot be carried"
    )


def test_names_are_quoted():
    assert sources.quote_name("a.b-c.d") == "`a`.`b-c`.`d`"
    assert sources.quote("a`b.c") == "`a``b.c`"
