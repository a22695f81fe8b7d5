"""Training, scoring and monitoring take the same value out of a file, or refuse the same one."""

from decimal import Decimal
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_labelled
from diabetes_mlops.data.reading import read_table
from diabetes_mlops.monitoring import history
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from problems import PATIENTS, make_patients

SCHEMA = PATIENTS.schema
WRITTEN = ["59d", "1f", "0x1p3", "0x10", "NaN", "-nan", "nan(1)", "Infinity", "1e3", "1_000", "59,0", "+59"]
WRITTEN += [".5", "5.", "\uff15\uff19", "\u0665", "true", "1.0", "2.5", "9223372036854775808", "1e400", ""]
WRITTEN += ["-0", "59L", "5 9", "5\x009", "1000.0001", "null", "NA", "2026-11-29", "-1", "0059", "59"]
# Between quotes, so that nothing of it ends the value; white space at its ends is part of a value in quotes.
CELL = st.text(st.characters(exclude_categories=["Cs"], exclude_characters='\r\n"'), max_size=6)
NUMBERS = st.decimals(-(10**3), 10**4, places=4)


def make_rows(column: str, values: list[Any]) -> pd.DataFrame:
    """Good rows with IDs from 1 on, but for this column."""
    good = make_patients().dropna().head(1)
    rows = pd.concat([good] * len(values), ignore_index=True).astype({"AGE": "int64"})
    rows["ID"] = range(1, len(values) + 1)
    return rows.assign(**{column: pd.Series(values, dtype=object)})


def train_on(spark, path: str, column: str) -> dict[int, Any]:
    """What training takes for the value of each row; it stops for those that are not there."""
    table, taken = read_table(spark, path, SCHEMA.columns.values()).toPandas(), {}
    for place in range(len(table)):
        row = table.iloc[[place]]
        try:
            check_table(SCHEMA, row, labelled=True)
        except SchemaError:
            continue
        taken[int(row["ID"].iloc[0])] = select_labelled(SCHEMA, row)[column].item()
    return taken


def read_labels(spark, path: str) -> dict[int, Any]:
    return {row["ID"]: row["Y"] for row in history.read_labels(spark, path, SCHEMA).collect()}


def hold_together(jobs, folder: Path, column: str, table: pd.DataFrame, ending: str) -> None:
    path = str(folder / f"values{ending}")
    table.to_csv(path, index=False, quoting=1) if ending == ".csv" else table.to_parquet(path)

    taken = train_on(jobs.spark, path, column)

    result = jobs.score(input_data=path, batch_id="same")
    scored = {row["ID"]: row["prediction"] for row in jobs.rows("same").collect()}
    assert result["rows_in"] == result["rows_scored"] + result["rows_rejected"] == len(table)
    assert set(scored) == set(taken)
    good = make_rows(column, list(taken.values())).assign(ID=list(taken))
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    expected = model.predict(select_labelled(SCHEMA, good)[SCHEMA.feature_names]) if len(good) else []
    assert list(scored[number] for number in taken) == pytest.approx(list(expected))


@settings(max_examples=2, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(CELL, min_size=20, max_size=60))
def test_a_text_in_a_csv_is_scored_as_it_is_trained_on_or_by_neither(trained, tmp_path_factory, made_up):
    folder = tmp_path_factory.mktemp("same")

    hold_together(trained[0], folder, "AGE", make_rows("AGE", [*WRITTEN, *made_up]), ".csv")


@settings(max_examples=1, deadline=None, phases=[Phase.generate], suppress_health_check=list(HealthCheck))
@given(st.lists(NUMBERS, min_size=20, max_size=60))
def test_a_decimal_of_parquet_is_scored_as_it_is_trained_on_or_by_neither(trained, tmp_path_factory, made_up):
    folder = tmp_path_factory.mktemp("same")
    values = [Decimal("21.1000"), Decimal("80.0001"), None, *made_up]

    hold_together(trained[0], folder, "BMI", make_rows("BMI", values), ".parquet")


def test_a_column_of_text_or_truth_in_parquet_is_refused_by_all(trained, tmp_path):
    jobs, _ = trained
    for value, kind in (("59", "string"), (True, "boolean")):
        path = str(tmp_path / f"{kind}.parquet")
        make_rows("AGE", [value]).assign(Y=[value]).to_parquet(path)

        with pytest.raises(SchemaError, match=f"AGE is {kind}, not a number; Y is {kind}"):
            jobs.train(training_data=path)
        with pytest.raises(SchemaError, match=f"AGE is {kind}, not a number"):
            jobs.score(input_data=path)
        with pytest.raises(SchemaError, match=f"Y is {kind}, not a number"):
            history.read_labels(jobs.spark, path, SCHEMA)


@pytest.mark.parametrize(
    "text", ["59d", "1f", "0x1p3", "1_000", "59,0", "\uff15\uff19", "true", "1e400", "-1"]
)
def test_a_label_that_training_refuses_monitoring_refuses_too(trained, tmp_path, text: str):
    jobs, _ = trained
    path = str(tmp_path / "labels.csv")
    make_rows("Y", ["59", text]).to_csv(path, index=False)

    with pytest.raises(history.LabelsError, match="1 IDs or labels are outside what is possible or are no"):
        history.read_labels(jobs.spark, path, SCHEMA)
    with pytest.raises(SchemaError, match=r"Y: 1 (not a number|outside)"):
        jobs.train(training_data=path)


@pytest.mark.parametrize("text", ["+59", "59.", "5.9e1", "059"])
def test_a_label_is_the_number_that_training_takes(trained, tmp_path, text: str):
    jobs, _ = trained
    path = str(tmp_path / "labels.csv")
    make_rows("Y", ["151", text]).to_csv(path, index=False)

    assert read_labels(jobs.spark, path) == train_on(jobs.spark, path, "Y") == {1: 151, 2: 59}


@pytest.mark.parametrize("text", ["", "NaN", "nan"])
def test_a_label_that_is_missing_has_not_arrived_and_cannot_be_trained_on(trained, tmp_path, text: str):
    jobs, _ = trained
    path = str(tmp_path / "labels.csv")
    make_rows("Y", ["151", text]).to_csv(path, index=False)

    assert read_labels(jobs.spark, path) == train_on(jobs.spark, path, "Y") == {1: 151}


def test_an_id_is_told_alike(trained, tmp_path):
    jobs, _ = trained
    wrong = ["0x10", "9223372036854775808", "0", "1.5"]
    rows = make_rows("AGE", [59] * 7).assign(ID=["1.0", "1e3", "+7", *wrong])
    rows.to_csv(tmp_path / "ids.csv", index=False)
    rows.head(3).to_csv(tmp_path / "good.csv", index=False)

    result = jobs.score(input_data=f"{tmp_path}/ids.csv", batch_id="ids")

    scored = {row["ID"] for row in jobs.rows("ids").collect()}
    assert scored == set(read_labels(jobs.spark, f"{tmp_path}/good.csv")) == {1, 1000, 7}
    assert result["rows_rejected"] == len(wrong)
    with pytest.raises(history.LabelsError, match="4 IDs or labels are outside what is possible"):
        history.read_labels(jobs.spark, f"{tmp_path}/ids.csv", SCHEMA)
    with pytest.raises(SchemaError, match=r"ID: 1 not a number.*ID: 2 outside .*ID: 1 not a whole number"):
        jobs.train(training_data=f"{tmp_path}/ids.csv")
