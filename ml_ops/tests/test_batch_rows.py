"""No row of a batch is lost, whatever is in it: rows in = rows scored + rows rejected."""

import csv
import json
import shutil
from itertools import chain

import mlflow
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes_mlops.batch_score import TooManyRejectedError
from diabetes_mlops.data.reading import read_as_found
from diabetes_mlops.data.scored_tables import find_output
from diabetes_mlops.data.staged_batch import staging
from diabetes_mlops.models import model_files
from hypothesis import HealthCheck, Phase, assume, given, settings
from hypothesis import strategies as st
from problems import PATIENTS
from test_batch_score import BATCH, GOOD, HEADER, expected, found

pytestmark = pytest.mark.usefixtures("each_way")

# What Java takes for white space at the ends of a line; a line of nothing else is no row.
BLANK = bytes(range(33))


def score_bytes(jobs, name: str, content: bytes, **widgets: str):
    """Score a file of these bytes as batch `name`; the result, and the rows that were rejected."""
    (jobs.folder / f"{name}.csv").write_bytes(content)
    return score_into(jobs, name, f"{name}.csv", **widgets)


def score_into(jobs, name: str, source: str, **widgets: str):
    """Score what is there as batch `name`; the result, and the rows that were rejected."""
    result = jobs.score(input_data=source, batch_id=name, **widgets)
    if not jobs.spark.catalog.tableExists(f"{jobs.table}_rejected"):
        return result, []
    return result, jobs.rows(name, f"{jobs.table}_rejected").collect()


GOOD_CELLS = GOOD.split(",")
CELL = st.sampled_from(
    ["", "x", "-1", "1e400", "NaN", "30d", '"', '"a', "\\", "Male", " 61 ", "\u00e9", "9" * 30]
)
LINES = st.one_of(
    st.builds(lambda number: f"{number},{GOOD}".encode(), st.integers(1, 60)),
    st.builds(
        lambda number, place, cell: ",".join(
            [str(number), *GOOD_CELLS[:place], cell, *GOOD_CELLS[place + 1 :]]
        ).encode(),
        st.integers(-1, 60),
        st.integers(0, 9),
        CELL,
    ),
    st.builds(lambda cells: ",".join(cells).encode(), st.lists(CELL, max_size=14)),
    st.binary(max_size=60).map(lambda line: line.replace(b"\n", b"").replace(b"\r", b"")),
    # A value in quotes with line breaks; IDs from 100 on are those of rows that are inside it alone.
    st.builds(
        lambda number, inner, end: f'{number},{GOOD},"a\n{inner},{GOOD}\n{end}'.encode(),
        st.integers(1, 60),
        st.integers(100, 160),
        st.sampled_from(['b"', 'b"" ""c"', "", f'b",100,{GOOD}', f'"\n\n"b\n",{GOOD}']),
    ),
)


def read_whole_ids(body: list[str]) -> set[str]:
    """The first values of the records that are on one line, as Python's own reader tells them."""
    plain = ["".join(" " if char in "\0\t\r" else char for char in line) + "\n" for line in body]
    reader, ids, before = csv.reader(plain, skipinitialspace=True), set(), 0
    for record in reader:
        if reader.line_num == before + 1 and record:
            ids.add(record[0].strip())
        before = reader.line_num
    return ids


# Beside what is made up: a file of a header alone, one of what is no text and no row, and one of quotes.
FILES = [
    [],
    [b",".join([b"1"] * 30_000), b"\xff\xfe", b"7," + GOOD.encode(), b"7," + GOOD.encode(), b'"'],
    [f'1,{GOOD},"a\n100,{GOOD}\n"'.encode(), f"2,{GOOD}".encode(), b'"\xff', f"3,{GOOD}".encode()],
]


@settings(max_examples=1, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(st.lists(LINES, max_size=60), min_size=1, max_size=3))
def test_the_count_identity_holds_for_whatever_lines_files_have(trained, made_up: list[list[bytes]]):
    assume(any(made_up))  # Hypothesis begins with the least.
    files = FILES + made_up
    jobs, _ = trained
    bodies = [b"\n".join(lines).split(b"\n") for lines in files]
    rows_in = sum(1 for line in chain(*bodies) if line.strip(BLANK))
    folder = jobs.folder / "anything"
    shutil.rmtree(folder, ignore_errors=True)
    folder.mkdir()
    for number, body in enumerate(bodies):
        (folder / f"{number}.csv").write_bytes(b"\n".join([HEADER.encode(), *body]))

    result, rejected = score_into(jobs, "anything", "anything")

    assert result["rows_in"] == rows_in
    assert result["rows_scored"] + result["rows_rejected"] == rows_in
    assert jobs.rows("anything").count() == result["rows_scored"]
    assert len(rejected) == result["rows_rejected"]
    assert all(row.reasons and json.loads(row.row) for row in rejected)
    assert result["drift"]["status"] != "unknown" or not result["rows_scored"]
    ids = [row.ID for row in jobs.rows("anything").collect()]
    assert len(set(ids)) == len(ids)
    whole = [read_whole_ids([line.decode(errors="replace") for line in body]) for body in bodies]
    assert {str(number) for number in ids} <= set().union(*whole)


# Three lines, of which the one in the middle looks like a row and is inside a value.
QUOTED = [f'2,{GOOD},"begins', f"3,{GOOD},looks like a row", f'",4,{GOOD}']


@pytest.fixture(scope="module")
def carried(trained) -> str:
    """A table in which a batch has a column more, and another batch four others."""
    jobs, _ = trained
    when = pd.Timestamp("2026-11-24 03:00", tz="UTC")
    batch = pd.read_csv(BATCH).head(3).assign(WARD=["a", None, "c"], SEEN=when, COST=[1.5, 2.5, None])
    batch["LOCAL"] = when.tz_localize(None)
    lines = [f"{HEADER},NOTE", f'1,{GOOD},"on one line, ""here"""', *QUOTED, f'5,{GOOD},5" tall']
    table = f"{jobs.table}_carried"

    score_bytes(jobs, "quotes", "\n".join(lines).encode(), carry_columns="NOTE", output_table=table)
    jobs.score(
        input_data=jobs.write(batch, "carried.parquet"),
        batch_id="carried",
        output_table=table,
        carry_columns="WARD, SEEN,COST, LOCAL",
    )
    return table


def test_lines_that_begin_or_end_inside_quotes_are_set_aside_whole(trained, carried):
    jobs, _ = trained

    rows = jobs.rows("quotes", carried).collect()
    rejected = jobs.rows("quotes", f"{carried}_rejected").collect()

    assert sorted((row.ID, row.NOTE) for row in rows) == [(1, 'on one line, "here"'), (5, '5" tall')]
    assert sorted(json.loads(row.row)["_unclosed_line"] for row in rejected) == sorted(QUOTED)
    assert {text for row in rejected for text in row.reasons} == {"the line begins or ends inside quotes"}


def test_a_batch_of_one_row_is_scored_and_one_that_is_all_set_aside_takes_its_place(trained):
    jobs, _ = trained

    single, _ = score_bytes(jobs, "single", f"{HEADER}\n1,{GOOD}\n".encode())

    assert (single["rows_in"], single["rows_scored"], single["rows_rejected"]) == (1, 1, 0)
    assert single["drift"]["status"] == "ok"
    assert jobs.rows("single").count() == 1

    result, rejected = score_bytes(jobs, "single", f"{HEADER}\n,{GOOD}\nx,{GOOD}\n".encode())

    assert (result["rows_in"], result["rows_scored"], result["rows_rejected"]) == (2, 0, 2)
    assert jobs.rows("single").isEmpty()
    assert sorted(row.reasons for row in rejected) == [["ID is missing"], ["ID is not a number: x"]]


def test_too_many_rejected_rows_end_the_run_before_anything_is_published(scored):
    jobs, batch = scored
    before = jobs.rows(batch["batch_id"]).collect()
    wrong = f"{HEADER}\n1,{GOOD}\n2,{GOOD}\nx,{GOOD}\n".encode()

    with pytest.raises(TooManyRejectedError, match=r"1 of 3 rows .* max_rejected_share is 0.3") as error:
        score_bytes(jobs, batch["batch_id"], wrong, max_rejected_share="0.3")

    assert "{'ID is not a number': 1}" in str(error.value)
    assert jobs.rows(batch["batch_id"]).collect() == before != []
    run = jobs.last_run()
    assert run.info.status == "FAILED"
    reasons = mlflow.load_table("rejected_reasons.json", run_ids=[run.info.run_id])
    assert reasons[["reason", "rows"]].values.tolist() == [["ID is not a number", 1]]


def test_repeated_ids_are_found_across_files_and_every_one_is_set_aside(trained, tmp_path):
    jobs, _ = trained
    table = pd.read_csv(BATCH)
    table.head(60).to_parquet(tmp_path / "a.parquet")
    again = table.iloc[58:].astype({"ID": "int32"})
    again.to_parquet(tmp_path / "b.parquet")

    result = jobs.score(input_data=f"{tmp_path}/", batch_id="repeated")

    rejected = jobs.rows("repeated", f"{jobs.table}_rejected").collect()
    repeated = table.iloc[58:60]["ID"].tolist()
    assert (result["rows_in"], result["rows_scored"], result["rows_rejected"]) == (102, 98, 4)
    assert sorted(json.loads(row.row)["ID"] for row in rejected) == sorted(repeated * 2)
    assert {text for row in rejected for text in row.reasons} == {
        f"ID is repeated: {number} is there 2 times" for number in repeated
    }
    assert found(jobs, result) == expected(jobs, "1", table[~table["ID"].isin(repeated)])


def test_carried_columns_go_into_the_output_as_they_are(trained, carried):
    jobs, _ = trained

    rows = jobs.rows("carried", carried).orderBy("ID")
    listed = rows.collect()

    assert rows.columns[-5:] == ["NOTE", "WARD", "SEEN", "COST", "LOCAL"]
    assert [row.WARD for row in listed] == ["a", None, "c"]
    assert {row.LOCAL for row in listed} == {"2026-11-24 03:00:00"}
    assert rows.selectExpr("sum(COST)", "count(distinct SEEN)").collect()[0] == (4.0, 1)
    assert {row.NOTE for row in listed} == {None}
    assert {row.WARD for row in jobs.rows("quotes", carried).collect()} == {None}


def test_wrongly_typed_columns_end_the_run_before_a_row_is_scored(trained):
    jobs, _ = trained
    batch = pd.read_csv(BATCH).assign(BMI="21", BP=True)

    with pytest.raises(SchemaError, match="BMI is string, not a number; BP is boolean, not a number"):
        jobs.score(input_data=jobs.write(batch, "typed.parquet"), batch_id="typed")

    assert jobs.last_run().info.status == "FAILED"
    assert not jobs.spark.catalog.tableExists(jobs.table) or jobs.rows("typed").isEmpty()


def test_the_same_rows_in_any_order_have_the_same_digest_and_changed_ones_another(trained):
    jobs, _ = trained
    model = model_files.load(mlflow.MlflowClient().get_model_version(jobs.model_name, "1"), PATIENTS.schema)
    table = pd.read_csv(BATCH).head(20)[HEADER.split(",")]
    changed = table.copy()
    changed.loc[3, "BMI"] += 0.1
    digests = []

    for rows in (table, table[::-1][table.columns[::-1]], changed):
        source = read_as_found(jobs.spark, jobs.write(rows, "order.parquet"))
        output = find_output(jobs.spark, jobs.table)
        with staging(source, model, (), output=output, run_id=f"digest{len(digests)}") as batch:
            digests.append(batch.digest)

    assert digests[0] == digests[1] != digests[2]
