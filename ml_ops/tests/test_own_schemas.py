"""A version is scored and judged by the columns that it was trained on, whatever the code has."""

import json
from dataclasses import replace

import mlflow
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes.tabular import Column, Problem, Schema
from diabetes.tabular.drift import Profile, to_arrays
from diabetes.tabular.features import select_features
from diabetes.tabular.fitting import fit
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.models import model_files, registry
from diabetes_mlops.models.contract import CONTRACT, Contract
from job_runs import Jobs
from mlflow import MlflowClient

PATIENTS = problems.PATIENTS


def with_schema(schema: Schema) -> Problem:
    """The patients' problem on another schema."""
    evaluation = replace(PATIENTS.evaluation, slice_rows=lambda features: {})
    make = replace(
        problems.make_problem(
            schema, problems.make_ridge, metrics={**evaluation.metrics}, primary="rmse", margin=2.0
        )
    )
    return replace(make, evaluation=replace(evaluation, max_slice_ratio=5.0))


def without(*names: str) -> Problem:
    kept = tuple(column for column in PATIENTS.schema.features if column.name not in names)
    return with_schema(replace(PATIENTS.schema, features=kept))


def with_categories(*categories: str) -> Problem:
    features = tuple(
        replace(column, categories=categories) if column.name == "SEX" else column
        for column in PATIENTS.schema.features
    )
    return with_schema(replace(PATIENTS.schema, features=features))


def predict_by_itself(jobs: Jobs, version: str, problem: Problem, table: pd.DataFrame) -> list[float]:
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{version}")
    return predict(problem.schema, model, table).tolist()


@pytest.mark.parametrize("code", ["knows more", "knows less"])
def test_code_of_other_columns_scores_with_the_champion_by_its_own(make_jobs, code: str):
    jobs, fewer = make_jobs(f"code_{code.replace(' ', '_')}"), without("S6", "SEX")
    trained_by, scored_by = (fewer, PATIENTS) if code == "knows more" else (PATIENTS, fewer)
    replace(jobs, problem=trained_by).train()

    scored = replace(jobs, problem=scored_by).score()

    rows = jobs.rows(scored["batch_id"]).toPandas().sort_values("ID")
    expected = predict_by_itself(jobs, "1", trained_by, problems.make_patients_batch())
    assert scored["rows_scored"] == problems.BATCH_ROWS
    assert rows["prediction"].tolist() == pytest.approx(expected, rel=1e-9)


def test_a_category_that_the_champion_does_not_know_is_rejected_and_the_others_are_scored(jobs: Jobs):
    jobs.train()
    batch = problems.make_patients_batch()
    batch.loc[:2, "SEX"] = "Other"

    wider = replace(jobs, problem=with_categories("Female", "Male", "Other"))
    scored = wider.score(input_data=jobs.write(batch, "others.csv"))

    assert (scored["rows_scored"], scored["rows_rejected"]) == (problems.BATCH_ROWS - 3, 3)
    reasons = jobs.rows(scored["batch_id"], f"{jobs.table}_rejected").toPandas()["reasons"]
    assert {reason for found in reasons for reason in found} == {"SEX is unknown: Other"}


def test_the_gate_compares_a_version_of_more_columns_with_the_champion(make_jobs):
    jobs = make_jobs("more_columns_at_the_gate")
    replace(jobs, problem=without("S5")).train()

    decision = replace(jobs, problem=with_schema(PATIENTS.schema)).train()["decision"]

    compared = {check["name"]: check["finding"] for check in decision["checks"]}[
        "not worse than the champion"
    ]
    assert "against champion version 1; its interval" in compared
    assert (decision["alias"], decision["champion"]) == ("champion", "1")
    assert decision["numbers"]["difference"] < 0


@pytest.mark.parametrize("form", ["csv", "parquet"])
def test_the_gate_compares_a_version_of_fewer_columns_with_the_champion(make_jobs, form: str):
    jobs, table = make_jobs(f"fewer_columns_at_the_gate_{form}"), problems.make_patients()
    jobs.train()
    data = jobs.write(table.assign(NOTE="seen"), f"table.{form}")

    fewer = replace(jobs, problem=without("S6", "SEX")).train(training_data=data)

    compared = {check["name"]: check["finding"] for check in fewer["decision"]["checks"]}[
        "not worse than the champion"
    ]
    assert "against champion version 1; its interval" in compared
    (model,) = (
        mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{number}")
        for number in (fewer["model_version"],)
    )
    assert {"S6", "SEX"}.isdisjoint(model.feature_names_in_)
    run = mlflow.get_run(fewer["run_id"])
    assert [each.dataset.profile.count("S6") for each in run.inputs.dataset_inputs] == [0, 0]


def test_a_champion_of_a_column_that_the_data_lost_is_told(make_jobs):
    jobs, table = make_jobs("a_lost_column"), problems.make_patients()
    jobs.train()

    fewer = replace(jobs, problem=without("S6"))
    decision = fewer.train(training_data=jobs.write(table.drop(columns="S6"), "lost.csv"))["decision"]

    (reason,) = decision["reasons"]
    assert reason.startswith("champion version 1 cannot be scored on this holdout: ") and "S6" in reason


def test_rows_that_the_champion_cannot_read_are_left_out_for_both(make_jobs):
    jobs, table = make_jobs("rows_of_both"), problems.make_patients()
    jobs.train()
    table.loc[table["ID"] % 4 == 0, "SEX"] = "Other"

    both = split_by_key(PATIENTS.schema, table)[1]["ID"] % 4 != 0

    wider = replace(jobs, problem=with_categories("Female", "Male", "Other"))
    decision = wider.train(training_data=jobs.write(table, "wider.csv"))["decision"]

    compared = {check["name"]: check["finding"] for check in decision["checks"]}[
        "not worse than the champion"
    ]
    assert (
        f"against champion version 1 on the {both.sum()}" in compared
        and "of 103 holdout rows that both can read" in compared
    )


def log_as_before(jobs: Jobs, problem: Problem) -> None:
    """Registers a champion as the code before did: without its schema, and with the contract of before."""
    table, schema = problems.make_patients(), problem.schema
    model = fit(problem, table, {})
    profile = Profile.describe(schema, *to_arrays(schema, table), predict(schema, model, table))
    mlflow.set_experiment(f"/tests/{jobs.name}")
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            model,
            name="model",
            signature=model_files.signature(schema, model),
            input_example=select_features(schema, table).head(2),
            serialization_format="cloudpickle",
            metadata={model_files.PROFILE: json.dumps(profile.as_json())},
        )
    contract = replace(Contract.of(schema), has_schema=False).as_text()
    client = MlflowClient()
    version = registry.register(
        client, logged, jobs.model_name, {CONTRACT: contract, "diabetes_version": "0.1.0+g0"}
    )
    registry.promote(client, version, by="a test", expected_champion=None)


def test_a_model_of_before_is_scored_with_and_judged_while_the_columns_are_its_own(jobs: Jobs):
    log_as_before(jobs, PATIENTS)

    scored = jobs.score()
    decision = jobs.train()["decision"]

    assert scored["rows_scored"] == problems.BATCH_ROWS and scored["drift"]["status"] != "unknown"
    assert decision["champion"] == "1" and np.isfinite(decision["numbers"]["difference"])


def test_a_model_of_before_is_refused_by_code_of_other_columns_with_what_to_do(jobs: Jobs):
    log_as_before(jobs, PATIENTS)

    with pytest.raises(
        model_files.SignatureError,
        match=r"the code lacks columns \['S6'\].*make rollback-code VERSION=0\.1\.0\+g0",
    ):
        replace(jobs, problem=without("S6")).score()


def test_a_version_of_another_label_is_not_scored_with(jobs: Jobs):
    jobs.train()
    label = replace(PATIENTS.schema.label, name="Z")

    with pytest.raises(model_files.SignatureError, match=r"the model predicts Y, the label of the code is Z"):
        replace(jobs, problem=with_schema(replace(PATIENTS.schema, label=label))).score()


def test_a_contract_speaks_for_versions_that_carry_their_schema():
    own, other = Contract.of(PATIENTS.schema), Contract.of(without("S6").schema)
    before = replace(own, has_schema=False)

    assert own.differences(other) == [] and other.differences(own) == []
    assert (
        before.differences(other)
        == own.differences(replace(other, has_schema=False))
        == ["the code lacks columns ['S6']"]
    )
    assert Contract.from_text(own.as_text()) == own and Contract.from_text(before.as_text()) == before
    label = replace(PATIENTS.schema, label=replace(PATIENTS.schema.label, name="Z"))
    assert own.differences(Contract.of(label)) == ["the model predicts Y, the label of the code is Z"]


def test_an_id_of_zero_or_below_is_an_id_where_the_schema_has_it(jobs: Jobs):
    key = replace(PATIENTS.schema.key, low=-100)
    counted = replace(jobs, problem=with_schema(replace(PATIENTS.schema, key=key)))
    batch = problems.make_patients_batch()
    batch["ID"] = np.arange(len(batch)) - 50
    batch.loc[99, "ID"] = 0
    counted.train()

    scored = counted.score(input_data=jobs.write(batch, "from_below.csv"))

    keys = sorted(row["ID"] for row in jobs.rows(scored["batch_id"]).collect())
    assert keys == [number for number in range(-50, 49) if number]
    assert scored["rows_rejected"] == 2, "0 is there twice"


def test_a_version_of_very_many_columns_is_told_by_its_label_too(jobs: Jobs):
    table = problems.make_patients()
    names = [f"measurement_number_{place}" for place in range(60)]
    wide = table[["ID", "Y"]].assign(**{name: table["BMI"] + place for place, name in enumerate(names)})
    features = tuple(Column(name, "number", "", low=0, high=500) for name in names)
    problem = with_schema(replace(PATIENTS.schema, features=features))
    path = jobs.write(wide, "wide.csv")
    trained = replace(jobs, problem=problem).train(training_data=path, thresholds="rmse<=1000")
    tag = Contract.from_text(MlflowClient().get_model_version(jobs.model_name, "1").tags[CONTRACT])
    label = replace(PATIENTS.schema.label, name="Z")

    assert trained["alias"] == "champion"
    assert (tag.label, tag.has_schema, tag.features) == ("Y", True, {})
    with pytest.raises(model_files.SignatureError, match="the model predicts Y, the label of the code is Z"):
        replace(jobs, problem=with_schema(replace(problem.schema, label=label))).score(input_data=path)


def test_a_small_holdout_that_both_read_whole_is_compared_on(jobs: Jobs):
    few = jobs.write(problems.make_patients().head(40), "few.csv")
    easy = replace(jobs, problem=with_schema(PATIENTS.schema))
    easy.train(training_data=few, thresholds="rmse<=1000", max_slice_ratio="100")

    decision = easy.train(training_data=few, thresholds="rmse<=1000", max_slice_ratio="100")["decision"]

    assert np.isfinite(decision["numbers"]["difference"]), decision
