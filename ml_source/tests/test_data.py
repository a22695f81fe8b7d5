"""The tables in ml_data are what their README says."""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from diabetes.checking import check_table
from diabetes.schema import FEATURE_NAMES, ID, NUMERIC_NAMES, TARGET
from sklearn.datasets import load_diabetes

DATA = Path(__file__).parents[2] / "ml_data"


def read_source() -> pd.DataFrame:
    return load_diabetes(scaled=False, as_frame=True).frame.rename(columns=str.upper)


def make_data(folder: Path, *options: str) -> subprocess.CompletedProcess[str]:
    command = [sys.executable, str(folder / "make_data.py"), *options]
    return subprocess.run(command, capture_output=True, text=True, check=False)


def test_the_committed_tables_are_reproduced_to_the_byte() -> None:
    checked = make_data(DATA, "--check")

    assert (checked.returncode, checked.stderr) == (0, "")


def test_edited_and_lost_tables_fail_the_check_and_are_made_again(tmp_path: Path) -> None:
    folder = Path(shutil.copytree(DATA, tmp_path / "ml_data"))
    raw, batch = folder / "data_raw.csv", folder / "data_batch_input.csv"
    raw.write_text(raw.read_text().replace("\n1,59,Male,", "\n1,95,Male,"))
    batch.unlink()

    checked = make_data(folder, "--check")
    made = make_data(folder)

    assert checked.returncode == 1
    assert "data_raw.csv differs in line 2: expected '1,59,Male," in checked.stderr
    assert "found '1,95,Male," in checked.stderr
    assert "data_batch_input.csv does not exist" in checked.stderr
    assert made.returncode == 0
    assert [table.read_bytes() for table in (raw, batch)] == [
        (DATA / table.name).read_bytes() for table in (raw, batch)
    ]


def test_training_table_keeps_the_values_of_the_source(raw: pd.DataFrame) -> None:
    source = read_source()

    assert list(raw.columns) == [ID, *FEATURE_NAMES, TARGET]
    assert raw[ID].tolist() == list(range(1, 443))
    assert raw[TARGET].tolist() == source["TARGET"].tolist()
    for name in NUMERIC_NAMES:
        known = raw[name].notna()
        assert raw.loc[known, name].to_numpy() == pytest.approx(source.loc[known, name], rel=1e-12)
    expected = source["SEX"].map({1.0: "Female", 2.0: "Male"})[raw["SEX"].notna()]
    assert raw["SEX"].dropna().tolist() == expected.tolist()


@pytest.mark.parametrize("table", ["raw", "batch"])
def test_about_two_in_a_hundred_feature_values_are_missing(
    table: str, request: pytest.FixtureRequest
) -> None:
    share = request.getfixturevalue(table)[FEATURE_NAMES].isna().to_numpy().mean()

    assert 0.01 < share < 0.04


def test_both_tables_pass_the_schema(raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    check_table(raw, labelled=True)
    check_table(batch, labelled=False)


def test_rows_to_score_are_new_and_unlabelled(raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    source = read_source()[NUMERIC_NAMES]

    assert list(batch.columns) == [ID, *FEATURE_NAMES]
    assert len(batch) == 100
    assert set(batch[ID]).isdisjoint(raw[ID])
    assert (batch[NUMERIC_NAMES].max() <= source.max()).all()
    assert (batch[NUMERIC_NAMES].min() >= source.min()).all()
