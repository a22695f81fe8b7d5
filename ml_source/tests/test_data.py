"""The tables in ml_data are what their README says.

About the science of this wheel, and replaced together with it.
"""

import shutil
import subprocess
import sys
from pathlib import Path

import pandas as pd
import pytest
from diabetes.schema import SCHEMA
from diabetes.tabular.checking import check_table
from sklearn.datasets import load_diabetes

DATA = Path(__file__).parents[2] / "ml_data"


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_raw.csv")


@pytest.fixture
def batch() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_batch_input.csv")


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

    assert list(raw.columns) == list(SCHEMA.columns)
    assert raw["ID"].tolist() == list(range(1, 443))
    assert raw["Y"].tolist() == source["TARGET"].tolist()
    for name in SCHEMA.numeric_names:
        known = raw[name].notna()
        assert raw.loc[known, name].to_numpy() == pytest.approx(source.loc[known, name], rel=1e-12)
    expected = source["SEX"].map({1.0: "Female", 2.0: "Male"})[raw["SEX"].notna()]
    assert raw["SEX"].dropna().tolist() == expected.tolist()


@pytest.mark.parametrize("table", ["raw", "batch"])
def test_about_two_in_a_hundred_feature_values_are_missing(
    table: str, request: pytest.FixtureRequest
) -> None:
    share = request.getfixturevalue(table)[SCHEMA.feature_names].isna().to_numpy().mean()

    assert 0.01 < share < 0.04


def test_both_tables_pass_the_schema(raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    check_table(SCHEMA, raw, labelled=True)
    check_table(SCHEMA, batch, labelled=False)


def test_rows_to_score_are_new_and_unlabelled(raw: pd.DataFrame, batch: pd.DataFrame) -> None:
    source = read_source()[SCHEMA.numeric_names]

    assert list(batch.columns) == ["ID", *SCHEMA.feature_names]
    assert len(batch) == 100
    assert set(batch["ID"]).isdisjoint(raw["ID"])
    assert (batch[SCHEMA.numeric_names].max() <= source.max()).all()
    assert (batch[SCHEMA.numeric_names].min() >= source.min()).all()
