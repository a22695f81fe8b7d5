"""Scoring writes what the model predicts, once a batch, and loses no row."""

import json
from typing import Any

import mlflow
import pandas as pd
import problems
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.scoring import predict
from diabetes_mlops.data.places import SourceNotFoundError
from diabetes_mlops.models.registry import ModelNotFoundError

BATCH = problems.data_folder() / "data_batch_input.csv"
HEADER = "ID,AGE,SEX,BMI,BP,S1,S2,S3,S4,S5,S6"
GOOD = "61,Female,21.1,102.0,196.0,75.7,99.0,2.0,4.7868,77.0"


def expected(jobs, version: str, table: pd.DataFrame) -> Any:
    """What the pipeline itself predicts; Spark may add up the same numbers in another order."""
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{version}")
    schema = jobs.problem.schema
    predictions = predict(schema, model, table).tolist()
    return pytest.approx(dict(zip(table[schema.key.name], predictions, strict=True)), rel=1e-9)


def found(jobs, result) -> dict[int, float]:
    rows = jobs.rows(result["batch_id"], result["output_table"]).toPandas()
    return dict(zip(rows[jobs.problem.schema.key.name], rows["prediction"].tolist(), strict=True))


def as_line(row: str) -> str:
    return ",".join(value or "" for value in json.loads(row).values())


def test_the_table_holds_the_predictions_of_the_model(scored):
    jobs, result = scored

    assert found(jobs, result) == expected(jobs, "1", pd.read_csv(BATCH))


def test_each_row_says_where_it_comes_from(scored):
    jobs, result = scored

    rows = jobs.rows(result["batch_id"])

    names = ["ID", "prediction", "model_name", "model_version", "batch_id", "scored_at", "run_id"]
    assert rows.columns == names
    assert rows.select("model_name", "model_version", "run_id").distinct().collect() == [
        (jobs.model_name, "1", result["run_id"])
    ]
    assert rows.where("scored_at IS NULL").isEmpty()


def test_the_report_and_the_run_tell_the_same_counts(scored):
    _, result = scored

    run = mlflow.get_run(result["run_id"])

    counts = {"rows_in": 100, "rows_scored": 100, "rows_rejected": 0}
    assert json.loads(json.dumps(result)) == result
    assert {name: result[name] for name in counts} == counts
    assert {name: run.data.metrics[name] for name in counts} == counts
    assert run.data.tags["model_version"] == "1"
    assert run.data.tags["batch_id"] == result["batch_id"]
    assert json.loads(run.inputs.dataset_inputs[0].dataset.source) == {"path": str(BATCH)}


@pytest.fixture(scope="module")
def women(trained) -> tuple:
    """The report of a batch with one sex, other column order and one column more, and its rows."""
    jobs, _ = trained
    table = pd.read_csv(BATCH)
    women = table[table["SEX"] == "Female"]
    turned = women[women.columns[::-1]].assign(NOTE="extra")
    return jobs.score(input_data=jobs.write(turned, "women.csv"), model_version="1"), women


def test_a_batch_with_one_sex_and_other_column_order_gets_the_same_predictions(trained, women):
    result, rows = women

    assert found(trained[0], result) == expected(trained[0], "1", rows)


def test_scoring_a_batch_again_replaces_that_batch_and_no_other(scored, women):
    jobs, first = scored
    other, rows = women

    again = jobs.score()

    assert again["batch_id"] == first["batch_id"] != other["batch_id"]
    assert {row.run_id for row in jobs.rows(first["batch_id"]).collect()} == {again["run_id"]}
    assert found(jobs, again) == expected(jobs, "1", pd.read_csv(BATCH))
    assert found(jobs, other) == expected(jobs, "1", rows)


@pytest.fixture(scope="module")
def dirty(trained) -> tuple:
    """The report of a batch with wrong rows, what was rejected and why, and the reasons to expect."""
    jobs, _ = trained
    rest = "102.0,196.0,75.7,99.0,2.0,4.7868,77.0"
    wrong = {
        f",{GOOD},": ["ID is missing"],
        f"x1,{GOOD},": ["ID is not a number: x1"],
        f"2.5,{GOOD},": ["ID is not a whole number: 2.5"],
        f"2,61,Female,fat,{rest},": ["BMI is not a number: fat"],
        f"3,61,other,900,{rest},": ["SEX is unknown: other", "BMI is outside 10 to 80: 900"],
        f"5,61,Female,21.1,{rest},": ["ID is repeated: 5 is there 2 times"],
        f"5,61,Female,22.2,{rest},": ["ID is repeated: 5 is there 2 times"],
        f"6,{GOOD},9,9": ["the line does not fit the header"],
        "7,61,Female": ["the line does not fit the header"],
        f"8,{GOOD},caf\ufffd": ["the line is not valid UTF-8"],
    }
    lines = [f"{HEADER},NOTE", f"1,{GOOD},caf\u00e9", *wrong, f"4,,,,{rest},"]
    content = "\n".join(lines).encode().replace("\ufffd".encode(), "\u00e9".encode("latin-1"))
    (jobs.folder / "dirty.csv").write_bytes(content)

    result = jobs.score(input_data="dirty.csv", batch_id="dirty")

    rejected = jobs.rows("dirty", f"{jobs.table}_rejected").collect()
    return result, rejected, wrong


def test_rows_that_cannot_be_scored_are_set_aside_with_their_reasons(dirty):
    result, rejected, wrong = dirty

    assert (result["rows_in"], result["rows_scored"], result["rows_rejected"]) == (12, 2, 10)
    assert {as_line(row.row): row.reasons for row in rejected} == wrong
    assert {row.run_id for row in rejected} == {result["run_id"]}


def test_a_repaired_batch_replaces_the_wrong_one_and_leaves_nothing_set_aside(trained, dirty):
    jobs, _ = trained
    repaired = pd.read_csv(BATCH).head(3)

    result = jobs.score(input_data=jobs.write(repaired, "dirty.csv"), batch_id="dirty")

    assert (result["rows_in"], result["rows_scored"], result["rows_rejected"]) == (3, 3, 0)
    assert found(jobs, result) == expected(jobs, "1", repaired)
    assert jobs.rows("dirty", f"{jobs.table}_rejected").isEmpty()


def test_a_batch_without_bmi_stops_before_a_row_is_written_and_leaves_a_failed_run(trained):
    jobs, _ = trained
    path = jobs.write(pd.read_csv(BATCH).drop(columns="BMI"), "no_bmi.csv")

    with pytest.raises(SchemaError, match=r"missing columns \['BMI'\]; the table has \['ID', 'AGE'"):
        jobs.score(input_data=path, batch_id="no_bmi")

    assert jobs.last_run().info.status == "FAILED"
    assert jobs.rows("no_bmi").isEmpty()


def test_a_missing_batch_stops_the_scoring_and_leaves_a_failed_run(trained):
    jobs, _ = trained

    with pytest.raises(
        SourceNotFoundError, match=f"there is no file or table '{jobs.folder}/absent.parquet'"
    ):
        jobs.score(input_data="absent.parquet")

    assert jobs.last_run().info.status == "FAILED"


def test_scoring_without_a_model_says_so_and_leaves_a_failed_run(jobs):
    with pytest.raises(ModelNotFoundError, match="train one first"):
        jobs.score()

    assert jobs.last_run().info.status == "FAILED"
