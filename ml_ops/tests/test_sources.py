"""A batch is read from whatever it is kept in, and its columns are checked before a row is scored."""

from concurrent.futures import ThreadPoolExecutor
from datetime import date
from pathlib import Path

import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes_mlops.data import reading, staged_batch
from diabetes_mlops.data.csv_files import EmptyFileError, EncodingError
from diabetes_mlops.data.places import SourceNotFoundError
from diabetes_mlops.data.reading import LeftOutError, UnknownFormatError, read_as_found, read_table
from diabetes_mlops.data.worker import BROKEN_LINE, UNCLOSED_LINE
from problems import PATIENTS, data_folder

BATCH = data_folder() / "data_batch_input.csv"
SCHEMA = PATIENTS.schema
NEEDED = [SCHEMA.key.name, *SCHEMA.feature_names]


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
    return pandas[pandas.columns.intersection(NEEDED)].astype(float).sort_values("ID")


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
    found = read_as_found(spark, f"{folder}/csv files").select("ID", "NOTE", BROKEN_LINE)

    assert {tuple(row)[1:] for row in found.collect()} == {(None, None), ('say "hi", ok', None)}


def test_a_folder_of_two_formats_has_to_be_told_apart(spark, folder, table):
    mixed = folder / "mixed"
    mixed.mkdir()
    table.head(3).to_csv(mixed / "a.csv", index=False)
    table.head(5).to_parquet(mixed / "b.parquet")

    with pytest.raises(UnknownFormatError, match="has 2 files of the formats: csv, parquet; name"):
        read_as_found(spark, str(mixed))
    assert read_as_found(spark, f"{mixed}/*.csv").count() == 3


def test_the_format_can_be_named(spark, folder, table):
    (folder / "extract").mkdir()
    table.head(4).to_csv(folder / "extract" / "batch.txt", index=False)

    with pytest.raises(UnknownFormatError, match="has 1 files of the formats: one that is not known"):
        read_as_found(spark, f"{folder}/extract")
    assert read_as_found(spark, f"{folder}/extract", "csv").count() == 4


def write_two(folder: Path, first: str, second: str) -> str:
    for name, text in (("a.csv", first), ("b.csv", second)):
        (folder / name).write_text(text)
    return str(folder)


@pytest.mark.parametrize("without", ["absent", "other separator"])
def test_a_csv_file_without_a_column_that_others_have_is_named(spark, table, tmp_path, without: str):
    lines = table.head(3).to_csv(index=False)
    wrong = {
        "absent": table.head(3).drop(columns="BMI").to_csv(index=False),
        "other separator": lines.replace(",", ";"),
    }

    with pytest.raises(
        SchemaError, match=r"missing columns \[.*'BMI'.*\] in .*b.csv, which other files have"
    ):
        read_as_found(spark, write_two(tmp_path, lines, wrong[without]), required=NEEDED)


@pytest.mark.parametrize("limit", [{}, {"_FOOTER": 16}, {"_SMALL_FILE": 0}], ids=str)
def test_a_parquet_file_without_a_column_that_others_have_is_named(
    spark, table, tmp_path, monkeypatch, limit: dict[str, int]
):
    for name, value in limit.items():
        monkeypatch.setattr(reading, name, value)
    table.head(3).to_parquet(tmp_path / "a.parquet")
    table.head(3).drop(columns="BMI").to_parquet(tmp_path / "b.parquet")

    with pytest.raises(SchemaError, match=r"missing columns \['BMI'\] in .*b.parquet"):
        read_as_found(spark, str(tmp_path), required=NEEDED)


def test_blank_lines_before_the_header_do_not_hide_another_order_of_columns(spark, table, tmp_path):
    first, second = table.head(3), table.iloc[3:6].rename(columns={"S1": "S2", "S2": "S1"})
    texts = ["\n" + rows.to_csv(index=False) for rows in (first, second)]

    found = read_as_found(spark, write_two(tmp_path, *texts), required=NEEDED).toPandas().astype({"ID": int})

    expected = pd.concat([first, second]).sort_values("ID")
    assert found.sort_values("ID")["S1"].astype(float).tolist() == expected["S1"].tolist()


def test_a_file_is_read_whatever_is_in_its_name(spark, table, tmp_path):
    for kind in ("csv", "parquet"):
        (tmp_path / kind).mkdir()
        for number, name in enumerate(("a [1]", "b {x}* 100%25")):
            rows = table.iloc[number : number + 1, :: 1 if number else -1]
            write = rows.to_csv if kind == "csv" else rows.to_parquet
            write(tmp_path / kind / f"{name}.{kind}", index=False)

        found = read_as_found(spark, f"{tmp_path}/{kind}", required=NEEDED)

        assert {int(row.ID) for row in found.collect()} == {1001, 1002}


def test_many_parquet_files_are_looked_into_without_a_question_for_each(spark, table, tmp_path, monkeypatch):
    for number in range(12):
        table.head(2).to_parquet(tmp_path / f"{number}.parquet")
    asked: list[str] = []
    map_over = ThreadPoolExecutor.map
    monkeypatch.setattr(
        ThreadPoolExecutor, "map", lambda self, ask, paths: map_over(self, ask, asked.extend(paths) or asked)
    )

    assert read_as_found(spark, str(tmp_path), required=NEEDED).count() == 24
    assert asked == []


@pytest.mark.parametrize("read", [read_as_found, read_table])
@pytest.mark.parametrize(
    ("encoding", "told"),
    [("utf-16", "the byte order mark FF FE"), ("utf-16-be", "zero bytes")],
)
def test_a_csv_in_utf_16_is_named_with_what_to_do(spark, table, tmp_path, read, encoding: str, told: str):
    folder = write_two(tmp_path, table.head(2).to_csv(index=False), "")
    table.head(2).to_csv(tmp_path / "b.csv", index=False, encoding=encoding)

    with pytest.raises(EncodingError, match=rf"b.csv is not UTF-8: .*{told}.* save it as UTF-8"):
        read(spark, folder)


@pytest.mark.parametrize("read", [read_as_found, read_table])
@pytest.mark.parametrize("content", ["", "\n \t\n"], ids=["no byte", "blank lines"])
def test_a_csv_without_even_a_header_is_named(spark, tmp_path, read, content: str):
    (tmp_path / "none.csv").write_text(content)

    with pytest.raises(EmptyFileError, match=r"none.csv is empty"):
        read(spark, f"{tmp_path}/none.csv")


def test_an_empty_parquet_file_is_named(spark, table, tmp_path):
    table.head(2).to_parquet(tmp_path / "a.parquet")
    (tmp_path / "b.parquet").touch()

    with pytest.raises(EmptyFileError, match=r"b.parquet is empty \(0 bytes\)"):
        read_as_found(spark, str(tmp_path))


def test_a_header_in_another_encoding_does_not_hide_the_columns_that_are_needed(spark, table, tmp_path):
    for name in ("a.csv", "b.csv"):
        table.head(2).assign(**{"caf\u00e9": 1}).to_csv(tmp_path / name, index=False, encoding="latin-1")

    assert read_as_found(spark, str(tmp_path), required=NEEDED).count() == 4


def test_quotes_are_followed_through_the_blocks_of_a_file(spark, table, tmp_path):
    inner = table.iloc[30:60].to_csv(index=False, header=False)
    rows = table.iloc[[*range(30), 0, *range(60, 90)]].assign(NOTE="")
    rows.iloc[30, -1] = f"begins\n{inner}ends"
    rows.iloc[1::2].to_csv(tmp_path / "a.csv", index=False)
    rows.iloc[::2].to_csv(tmp_path / "b.csv", index=False)
    before = spark.conf.get("spark.sql.files.maxPartitionBytes")
    spark.conf.set("spark.sql.files.maxPartitionBytes", "1000b")
    try:
        found = read_as_found(spark, str(tmp_path), required=NEEDED).toPandas()
    finally:
        spark.conf.set("spark.sql.files.maxPartitionBytes", before)

    good = found[found[UNCLOSED_LINE].isna()]
    assert len(found) == 60 + 32
    assert good[BROKEN_LINE].isna().all()
    expected = table.iloc[[*range(30), *range(60, 90)]]
    assert sorted(good["ID"].astype(int)) == sorted(expected["ID"])


def test_training_refuses_a_line_that_ends_inside_quotes(spark, table, tmp_path):
    table.head(2).assign(NOTE=["a\nb", ""]).to_csv(tmp_path / "a.csv", index=False)

    with pytest.raises(SchemaError, match=r"a.csv has a line that ends inside quotes"):
        read_table(spark, f"{tmp_path}/a.csv")


def test_a_header_that_ends_inside_quotes_is_refused(spark, table, tmp_path):
    table.head(2).assign(**{"a\nb": 1}).to_csv(tmp_path / "a.csv", index=False)

    with pytest.raises(SchemaError, match=r"the header of .*a.csv ends inside quotes"):
        read_as_found(spark, f"{tmp_path}/a.csv")


def test_files_in_folders_of_a_folder_are_not_left_out_silently(spark, table, tmp_path):
    (tmp_path / "more").mkdir()
    for name in ("a.csv", "more/b.csv"):
        table.head(3).to_csv(tmp_path / name, index=False)

    with pytest.raises(LeftOutError, match=r"has 1 files that would not be read, such as .*/more/b.csv"):
        read_as_found(spark, str(tmp_path))


def test_partitions_of_a_folder_are_read_with_their_column(spark, table, tmp_path):
    for day in (1, 2):
        (tmp_path / f"DAY={day}").mkdir()
        rows = table.iloc[day : day + 1, :: 1 if day == 1 else -1]
        rows.to_csv(tmp_path / f"DAY={day}" / "a.csv", index=False)

    found = read_as_found(spark, str(tmp_path), "csv", required=NEEDED)

    assert {(int(row.ID), str(row.DAY)) for row in found.collect()} == {(1002, "1"), (1003, "2")}


def test_a_column_of_any_name_may_be_in_one_file_alone(spark, table, tmp_path):
    texts = (table.head(2).to_csv(index=False), table.head(2).assign(**{"Note 1.": "x"}).to_csv(index=False))

    found = read_as_found(spark, write_two(tmp_path, *texts), required=NEEDED)

    assert sorted(row["Note 1."] or "" for row in found.collect()) == ["", "", "x", "x"]


def test_a_stray_file_is_not_taken_for_data(spark, table, tmp_path):
    folder = write_two(tmp_path, table.head(2).to_csv(index=False), table.tail(2).to_csv(index=False))
    (tmp_path / "README.txt").write_text("about these files")

    with pytest.raises(UnknownFormatError, match="has 3 files of the formats: csv, one that is not known"):
        read_as_found(spark, folder)


def test_the_case_of_an_ending_does_not_matter(spark, table, tmp_path):
    table.head(4).to_csv(tmp_path / "UP.CSV", index=False)

    assert read_as_found(spark, f"{tmp_path}/UP.CSV").count() == 4


def test_names_that_the_job_uses_itself_are_refused(spark, table, tmp_path):
    table.assign(_broken_line="x").to_parquet(tmp_path / "ours.parquet")

    with pytest.raises(SchemaError, match=r"has columns \['_broken_line'\], names that the job uses itself"):
        read_as_found(spark, f"{tmp_path}/ours.parquet")


def test_a_carried_column_has_to_keep_its_type(spark, table, tmp_path):
    spark.sql("CREATE TABLE spark_catalog.tests.carried (WARD STRING) USING DELTA")
    table.assign(WARD=7).to_parquet(tmp_path / "ward.parquet")
    found = read_as_found(spark, f"{tmp_path}/ward.parquet")

    with pytest.raises(SchemaError, match="WARD is bigint, and string in the table"):
        staged_batch.check_carried(found, ("WARD",), spark.table("tests.carried").schema, "tests.carried")


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
        staged_batch.check_columns(found, SCHEMA, ("NOTE", "Model_Name"), taken=["model_name"])

    assert str(error.value).startswith(
        "missing columns ['BP', 'S6', 'NOTE', 'Model_Name']; AGE is array<bigint>, not a number; "
        "SEX is date, not a text; BMI is string, not a number; columns ['Model_Name'] cannot be carried"
    )


def test_names_are_quoted():
    assert reading.quote_name("a.b-c.d") == "`a`.`b-c`.`d`"
    assert reading.quote("a`b.c") == "`a``b.c`"
