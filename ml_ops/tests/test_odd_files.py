"""What nothing needs in a file never stops a job; what stops one is told so that the file can be mended."""

import bz2
import gzip
import io
import os
import re
import subprocess
import sys
import zipfile
from pathlib import Path

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes_mlops.data import staged_batch
from diabetes_mlops.data.csv_files import EmptyFileError, OtherKindError
from diabetes_mlops.data.places import SourceNotFoundError, UnreadableFileError
from diabetes_mlops.data.reading import read_as_found, read_table
from diabetes_mlops.runs.spark_errors import reason_of
from diabetes_mlops.runs.tracking import SparkFailedError
from problems import PATIENTS
from test_batch_score import BATCH, GOOD, HEADER

SCHEMA = PATIENTS.schema
NEEDED = [SCHEMA.key.name, *SCHEMA.feature_names]
PLAIN = "\n".join([HEADER, f"1,{GOOD}", f"2,{GOOD}", f"3,{GOOD}", ""])


def read_needed(spark, source: str):
    return read_table(spark, source, [SCHEMA.key, *SCHEMA.features])


def read_needed_as_found(spark, source: str):
    return read_as_found(spark, source, required=NEEDED)


READ = pytest.mark.parametrize("read", [read_needed_as_found, read_needed])


# A header, and what is before and after the values of a good row.
ODD_HEADERS = {
    "an index without a name": (f",{HEADER}", "0,", ""),
    "two without a name": (f"{HEADER},,", "", ",x,y"),
    "one that is there twice": (f"{HEADER},N,N,n", "", ",x,y,z"),
    "one like another but for its case": (f"age,{HEADER},Bmi", "7,", ",x"),
    "dots, spaces, quotes": (f'{HEADER},a.b,c d,`t`,"e""f",g\'h', "", ",1,2,3,4,5"),
    "what Delta takes in no name": (f'{HEADER},"a,b",c;d,e=f,g{{h}},i(j),"k\tl"', "", ",1,2,3,4,5,6"),
    "names of the job's own": (f"{HEADER},_broken_line,_DIGEST,row,prediction", "", ",1,2,3,4"),
    "a name that is made up for another": (f"{HEADER},column 13,,N,N (column 16),N", "", ",1,2,3,4,5"),
    "a byte order mark": (f"\ufeff{HEADER}", "", ""),
    "spaces around names": (HEADER.replace(",", " , ").replace("AGE", '" AGE "'), "", ""),
}


def write_odd(path: Path, kind: str, more: str = "") -> str:
    header, before, after = ODD_HEADERS[kind]
    lines = [header, *(f"{before}{number},{GOOD}{after}" for number in (1, 2, 3)), more]
    path.write_text("\n".join(lines))
    return str(path)


@READ
@pytest.mark.parametrize("kind", ODD_HEADERS)
def test_columns_that_nothing_needs_may_be_called_anything(spark, tmp_path, read, kind: str):
    found = read(spark, write_odd(tmp_path / "odd.csv", kind))

    rows = found.select(*NEEDED).collect()
    assert [",".join(row) for row in rows] == [f"{number},{GOOD}" for number in (1, 2, 3)]


@pytest.mark.parametrize("kind", ODD_HEADERS)
def test_odd_columns_are_read_too_where_a_line_is_inside_quotes(spark, tmp_path, kind: str):
    path = write_odd(tmp_path / "odd.csv", kind, more='"')

    found = read_as_found(spark, path, required=NEEDED)

    whole = found.where("_unclosed_line is null and _broken_line is null").select(*NEEDED).collect()
    assert [",".join(row) for row in whole] == [f"{number},{GOOD}" for number in (1, 2, 3)]
    assert found.count() == 4


def test_files_with_other_odd_columns_are_read_together(spark, tmp_path):
    for number, kind in enumerate(ODD_HEADERS):
        write_odd(tmp_path / f"{number}.csv", kind)

    found = read_as_found(spark, str(tmp_path), required=NEEDED)

    assert found.where("_broken_line is null and ID in (1, 2, 3) and S6 = '77.0'").count() == 3 * len(
        ODD_HEADERS
    )


def test_a_name_in_another_case_is_another_column_where_one_is_carried(spark, tmp_path):
    for name, note in (("a.csv", "NOTE"), ("b.csv", "note"), ("c.csv", "Note")):
        (tmp_path / name).write_text(f"{HEADER},{note}\n1,{GOOD},{name}\n")

    plain = read_as_found(spark, str(tmp_path), required=NEEDED)
    found = read_as_found(spark, str(tmp_path), required=NEEDED, carried=["NOTE"])

    assert len(plain.columns) == len(NEEDED) + 2 and staged_batch._prepare(plain).count() == 3
    assert sorted(row["NOTE"] or "" for row in staged_batch._prepare(found).collect()) == ["", "", "a.csv"]


def test_a_batch_with_odd_columns_is_scored_and_its_rejected_rows_keep_every_value(trained):
    jobs, _ = trained
    path = write_odd(jobs.folder / "odd.csv", "one that is there twice", more=f"x,{GOOD},p,q,r")

    result = jobs.score(input_data=path, batch_id="odd")

    assert (result["rows_in"], result["rows_scored"], result["rows_rejected"]) == (4, 3, 1)
    row = pd.read_json(io.StringIO(f"[{jobs.rows('odd', f'{jobs.table}_rejected').first().row}]"))
    assert row.columns[-3:].tolist() == ["N", "N (column 13)", "n (column 14)"]
    assert row.iloc[0, -3:].tolist() == ["p", "q", "r"]


def test_training_goes_by_the_columns_that_it_needs(jobs):
    raw = pd.read_csv(BATCH.with_name("data_raw.csv"))
    raw.assign(age="old", Bmi="x").to_csv(jobs.folder / "odd.csv")

    odd, plain = jobs.train(training_data="odd.csv"), jobs.train()

    assert odd["metrics"] == plain["metrics"]


@READ
def test_a_needed_column_that_is_there_twice_is_told_with_its_places(spark, tmp_path, read):
    (tmp_path / "a.csv").write_text(PLAIN)
    write_twice = PLAIN.replace(HEADER, f"{HEADER},AGE").replace("77.0", "77.0,61")
    (tmp_path / "b.csv").write_text(write_twice)

    for source in (tmp_path / "b.csv", tmp_path):
        with pytest.raises(SchemaError, match=r"b.csv has the column 'AGE' 2 times, as columns 2 and 12"):
            read(spark, str(source))


def packed_in_zip() -> bytes:
    content = io.BytesIO()
    with zipfile.ZipFile(content, "w") as packed:
        packed.writestr("sheet1.xml", PLAIN)
    return content.getvalue()


def as_parquet() -> bytes:
    content = io.BytesIO()
    pd.DataFrame({"ID": [1]}).to_parquet(content)
    return content.getvalue()


OTHER_KINDS = {
    "gzip; name it .csv.gz": gzip.compress(PLAIN.encode()),
    "bzip2; unpack it": bz2.compress(PLAIN.encode()),
    "zip, as .xlsx is too; unpack it, or save the sheet as CSV": packed_in_zip(),
    "Parquet; name it .parquet": as_parquet(),
}


@READ
@pytest.mark.parametrize("told", OTHER_KINDS)
def test_a_file_of_another_kind_that_is_named_csv_is_told(spark, tmp_path, read, told: str):
    (tmp_path / "a.csv").write_bytes(OTHER_KINDS[told])

    with pytest.raises(OtherKindError, match=f"a.csv is not CSV: it is {told}"):
        read(spark, f"{tmp_path}/a.csv")


@READ
@pytest.mark.parametrize(("separator", "word"), [(";", "semicolons"), ("\t", "tabs"), ("|", "bars")])
def test_another_separator_is_told_in_one_sentence(spark, tmp_path, read, separator: str, word: str):
    (tmp_path / "a.csv").write_text(PLAIN.replace(",", separator))

    with pytest.raises(SchemaError, match=rf"a.csv has {word} between its columns: .*; save it with commas"):
        read(spark, f"{tmp_path}/a.csv")


BROKEN_FILES = {
    "a.csv.gz": (PLAIN.encode(), "IOException: not a gzip file: a name that ends in .gz is that of a gzip"),
    "b.csv.gz": (gzip.compress((PLAIN * 50).encode())[:100], "EOFException: Unexpected end .*too early"),
    "c.parquet": (PLAIN.encode(), "is not a Parquet file.*: it is another kind of file than its name says"),
}


@READ
@pytest.mark.parametrize("name", BROKEN_FILES)
def test_a_file_that_is_not_what_its_name_says_is_told_with_the_cause(spark, tmp_path, read, name: str):
    content, told = BROKEN_FILES[name]
    (tmp_path / name).write_bytes(content)

    with pytest.raises(UnreadableFileError, match=f"{name} cannot be read: .*{told}") as error:
        read(spark, f"{tmp_path}/{name}")
    assert "\n" not in str(error.value)


def test_a_hidden_file_is_said_to_be_one(spark, tmp_path):
    (tmp_path / "_a.csv").write_text(PLAIN)

    with pytest.raises(
        EmptyFileError, match=r"_a\.csv has no file that Spark reads: it leaves out names that"
    ):
        read_as_found(spark, f"{tmp_path}/_a.csv")


def test_a_line_that_does_not_fit_the_header_stops_training_and_is_shown(spark, tmp_path):
    (tmp_path / "a.csv").write_text(f"{PLAIN}4,{GOOD},one more\n5,61\n")

    with pytest.raises(SchemaError, match=r"a.csv has lines with more or fewer values .*'4,61.*'5,61'"):
        read_needed(spark, f"{tmp_path}/a.csv")
    assert read_as_found(spark, f"{tmp_path}/a.csv", required=NEEDED).count() == 5


TEXT = pa.array(["x"] * 3)
ODD_PARQUET = {
    "names": [(name, TEXT) for name in ("a.b", "c d", "`t`", "", "a,b;{}()=\n\t")],
    "twice": [("N", TEXT), ("N", TEXT)],
    "case": [("note", TEXT), ("NOTE", TEXT)],
    "nested": [
        ("m", pa.array([[("a", 1)]] * 3, pa.map_(pa.string(), pa.int64()))),
        ("s", pa.array([{"a.b": {"c": 1}}] * 3)),
    ],
    "nanoseconds": [("t", pa.array([1, 2, 3], pa.timestamp("ns")))],
    "half": [("h", pa.array(np.array([1, 2, 3], np.float16)))],
}


def write_parquet(path: Path, more: list[tuple[str, pa.Array]]) -> str:
    table = pa.Table.from_pandas(pd.read_csv(io.StringIO(PLAIN)), preserve_index=False)
    for name, values in more:
        table = table.append_column(name, values)
    pq.write_table(table, path)
    return str(path)


@pytest.mark.parametrize("kind", ODD_PARQUET)
def test_columns_of_parquet_that_nothing_needs_may_be_anything(trained, kind: str):
    jobs, _ = trained
    path = write_parquet(jobs.folder / f"{kind}.parquet", ODD_PARQUET[kind])

    result = jobs.score(input_data=path, batch_id=f"odd-{kind}")

    assert (result["rows_in"], result["rows_scored"]) == (3, 3)
    assert read_needed(jobs.spark, path).toPandas()["AGE"].tolist() == [61, 61, 61]


@READ
@pytest.mark.parametrize(
    ("name", "told"),
    [("AGE", "has the column 'AGE' 2 times, as columns 2 and 12"), ("age", r"tell apart.*: AGE .*, age ")],
)
def test_a_needed_column_of_parquet_that_cannot_be_told_is_named(spark, tmp_path, read, name: str, told: str):
    path = write_parquet(tmp_path / "a.parquet", [(name, TEXT)])

    with pytest.raises(ValueError, match=f"a.parquet has .*{told}|a.parquet {told}"):
        read(spark, path)


def test_a_column_with_dots_and_quotes_in_its_name_can_be_carried(trained):
    jobs, _ = trained
    write_odd(jobs.folder / "carry.csv", "dots, spaces, quotes")
    table = f"{jobs.table}_odd"

    jobs.score(input_data="carry.csv", batch_id="carry", carry_columns="a.b,`t`,e\"f,g'h", output_table=table)

    rows = jobs.rows("carry", table).collect()
    assert {(row["a.b"], row["`t`"], row['e"f'], row["g'h"]) for row in rows} == {("1", "3", "4", "5")}


@pytest.mark.parametrize(
    ("carried", "told"),
    [
        (("c d",), r"columns \['c d'\] cannot be carried: a table takes no name with a space"),
        (("a.b", "A.B"), r"columns \['a.b', 'A.B'\] cannot be carried: the output takes a name once"),
    ],
)
def test_a_name_that_the_output_cannot_have_is_refused(spark, tmp_path, carried: tuple[str, ...], told: str):
    found = read_as_found(spark, write_odd(tmp_path / "a.csv", "dots, spaces, quotes"), carried=carried)

    with pytest.raises(SchemaError, match=told):
        staged_batch.check_columns(found, SCHEMA, carried)


def test_the_cause_of_a_write_that_fails_is_in_the_sentence_and_on_the_run(trained):
    jobs, _ = trained
    table = pd.read_csv(BATCH)
    path = jobs.folder / "damaged.parquet"
    pd.concat([table] * 50).to_parquet(path, compression="snappy")
    content = bytearray(path.read_bytes())
    content[4:3000] = bytes(2996)
    path.write_bytes(content)

    with pytest.raises(SparkFailedError) as error:
        jobs.score(input_data="damaged.parquet", batch_id="damaged")

    cause = reason_of(error.value.__cause__)
    assert cause in str(error.value) and cause in jobs.last_run().data.tags["error"]
    assert re.search(r"(Exception|Error): .+", cause) and "TASK_WRITE_FAILED" not in cause


# Each of these paths is there as it stands, and another one is there that it would match as a pattern.
LITERAL = {
    "a[1].csv": "a1.csv",
    "b{x,y}.csv": "bx.csv",
    "c*.csv": "cc.csv",
    "d?.csv": "dd.csv",
    "e\\f.csv": "ef.csv",
    "g[h.csv": "g.csv",
    "i{j.csv": "i.csv",
    "k]l}.csv": "k.csv",
    "m%20n.csv": "m n.csv",
    "o,p #+;&'q.csv": "o",
}


ENDINGS = {"file": ".csv", "folder": "", "parquet": ".parquet"}


@pytest.mark.parametrize("name", LITERAL)
@pytest.mark.parametrize("kind", ENDINGS)
def test_a_path_that_is_there_as_it_stands_is_no_pattern(spark, tmp_path, name: str, kind: str):
    paths = [tmp_path / (path.removesuffix(".csv") + ENDINGS[kind]) for path in (name, LITERAL[name])]
    for number, path in enumerate(paths):
        rows = pd.DataFrame({"ID": [number], "N": "x"})
        if kind == "folder":
            path.mkdir()
        target = path / "x.csv" if kind == "folder" else path
        rows.to_parquet(target) if kind == "parquet" else rows.to_csv(target, index=False)

    found, table = read_as_found(spark, f"file:{paths[0]}"), read_table(spark, str(paths[0]))

    assert [int(row["ID"]) for row in found.collect()] == [int(row["ID"]) for row in table.collect()] == [0]


def test_a_delta_folder_may_be_called_like_a_pattern(spark, tmp_path):
    for number, name in enumerate(("day [1]%20{a,b}", "day 1 a")):
        spark.sql(f"SELECT {number} AS ID").write.format("delta").save(f"{tmp_path}/{name}")

    found = read_as_found(spark, f"{tmp_path}/day [1]%20{{a,b}}")

    assert [row["ID"] for row in found.collect()] == [0]


def test_files_of_a_folder_with_a_pattern_for_a_name_are_told_apart(spark, tmp_path):
    folder = tmp_path / "night [1]"
    folder.mkdir()
    (folder / "a.csv").write_text(PLAIN)
    (folder / "b{1}.csv").write_text("\n".join(",".join(reversed(x.split(","))) for x in PLAIN.split("\n")))

    for source in (f"{folder}", f"{tmp_path}/night */*.csv", f"{tmp_path}/night ?1?/{{a,b*}}.csv"):
        found = read_as_found(spark, source, required=NEEDED)
        assert [row["AGE"] for row in found.collect()] == ["61"] * 6


@READ
@pytest.mark.parametrize("source", ["absent[1].csv", "absent[.csv", "absent{.parquet", "absent*"])
def test_a_pattern_that_matches_nothing_is_not_there(spark, tmp_path, read, source: str):
    with pytest.raises(SourceNotFoundError, match="there is no file or table"):
        read(spark, f"{tmp_path}/{source}")


def test_a_batch_in_a_file_with_a_pattern_for_a_name_is_that_file(trained):
    jobs, _ = trained
    for name, number in (("literal[1].csv", 1), ("literal1.csv", 2)):
        (jobs.folder / name).write_text(f"{HEADER}\n{number},{GOOD}\n")

    results = [jobs.score(input_data=name) for name in ("literal[1].csv", "literal1.csv")]

    ids = [[row["ID"] for row in jobs.rows(result["batch_id"]).collect()] for result in results]
    assert ids == [[1], [2]]


CLASSIC = """
import sys
from diabetes.tabular import Column
from diabetes_mlops import sources
from pyspark.sql import SparkSession
spark = SparkSession.builder.master("local[1]").config("spark.sql.shuffle.partitions", 1).getOrCreate()
spark.sparkContext.setLogLevel("OFF")
for path in sys.argv[1:]:
    try:
        print(sources.read_table(spark, path, [Column("AGE", "number", "age")]).toPandas()["AGE"].tolist())
    except Exception as error:
        print(type(error).__name__, str(error).splitlines()[0])
"""


def test_spark_classic_reads_and_tells_the_same(java_home, tmp_path):
    write_odd(tmp_path / "odd[1].csv", "one like another but for its case")
    write_parquet(tmp_path / "case.parquet", ODD_PARQUET["case"])
    for name in ("a.csv.gz", "c.parquet"):
        (tmp_path / name).write_bytes(BROKEN_FILES[name][0])
    names = ["odd[1].csv", "case.parquet", "a.csv.gz", "c.parquet", "absent[1].csv", "absent.parquet"]

    # Without what the session of the other tests has set.
    inherited = {name: value for name, value in os.environ.items() if not name.startswith("SPARK_")}
    environment = inherited | {"JAVA_HOME": java_home}

    done = subprocess.run(
        [sys.executable, "-c", CLASSIC, *(f"{tmp_path}/{name}" for name in names)],
        capture_output=True,
        text=True,
        check=False,
        cwd=tmp_path,
        env=environment,
    )

    assert done.returncode == 0, done.stderr
    told = done.stdout.splitlines()
    assert told[:2] == ["['61', '61', '61']", "[61, 61, 61]"]
    for line, name in zip(told[2:4], names[2:4], strict=True):
        assert re.match(f"UnreadableFileError .*{name} cannot be read: .*{BROKEN_FILES[name][1]}", line)
    absent = [f"SourceNotFoundError there is no file or table '{tmp_path}/{name}'" for name in names[4:]]
    assert told[4:] == absent
