"""Training leaves a run that explains itself and a version that stands on its own."""

import json
import os
import platform
import re
import subprocess
import sys

import mlflow
import pandas as pd
import pytest
from diabetes.columns import SchemaError
from diabetes.drift import Profile, arrays
from diabetes.features import select_features
from diabetes.measuring import cross_validate, evaluate
from diabetes.schema import FEATURE_NAMES
from diabetes.scoring import predict
from diabetes.splitting import split_by_id
from diabetes.training import fit
from diabetes_mlops import models
from diabetes_mlops.sources import SourceNotFoundError
from mlflow import MlflowClient
from science import DATA


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return split_by_id(pd.read_csv(DATA / "data_raw.csv"))[0]


@pytest.fixture(scope="module")
def holdout() -> pd.DataFrame:
    return split_by_id(pd.read_csv(DATA / "data_raw.csv"))[1]


def test_the_first_version_is_the_champion_and_its_metrics_are_those_of_the_holdout(trained, holdout):
    jobs, result = trained

    champion = MlflowClient().get_model_version_by_alias(jobs.model_name, "champion")
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{champion.version}")

    assert (result["model_version"], result["alias"]) == (str(champion.version), "champion")
    assert result["metrics"] == pytest.approx(evaluate(model, holdout))
    assert result["rows_train"] + result["rows_holdout"] == 442


def test_the_version_has_learned_from_the_training_rows_and_no_others(trained, train, holdout):
    jobs, _ = trained

    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")

    expected = predict(fit(train, alpha=0.5), holdout)
    assert predict(model, holdout) == pytest.approx(expected, rel=1e-12)
    assert predict(fit(pd.concat([train, holdout]), alpha=0.5), holdout) != pytest.approx(expected, rel=1e-6)


def test_the_report_is_plain_json(trained):
    _, result = trained

    assert json.loads(json.dumps(result)) == result


def test_the_run_explains_itself(trained):
    _, result = trained
    client = MlflowClient()

    run = client.get_run(result["run_id"])
    artifacts = {item.path for item in client.list_artifacts(result["run_id"])}
    plots = {item.path for item in client.list_artifacts(result["run_id"], "plots")}

    assert run.info.status == "FINISHED"
    assert run.data.params["alpha"] == "0.5"
    assert run.data.metrics["rmse"] == result["metrics"]["rmse"]
    assert run.data.tags["git_commit"] == "0123abc"
    assert run.data.tags["diabetes_version"] and run.data.tags["diabetes_mlops_version"]
    assert {
        "feature_statistics.json",
        "gate.json",
        "importance.json",
        "profile.json",
        "report.html",
        "slices.json",
    } <= artifacts
    names = ("features", "importance", "predicted_vs_actual", "residuals")
    assert plots == {f"plots/{name}.png" for name in names}


def test_the_run_names_the_data_that_it_read(trained):
    _, result = trained

    inputs = MlflowClient().get_run(result["run_id"]).inputs.dataset_inputs

    contexts = {tag.value for item in inputs for tag in item.tags if tag.key == "mlflow.data.context"}
    assert contexts == {"training", "holdout"}
    assert all(json.loads(item.dataset.source)["path"] == str(DATA / "data_raw.csv") for item in inputs)
    assert len({item.dataset.digest for item in inputs}) == 2


def test_the_version_has_a_signature_and_an_example_that_it_can_predict(trained):
    jobs, _ = trained
    uri = f"models:/{jobs.model_name}/1"

    info = mlflow.models.get_model_info(uri)
    predictions = mlflow.pyfunc.load_model(uri).predict(mlflow.pyfunc.load_model(uri).input_example)

    assert info.signature.inputs.input_names() == FEATURE_NAMES
    assert info.signature.inputs.required_input_names() == FEATURE_NAMES
    assert len(predictions) == 5


def test_the_version_predicts_where_the_wheels_are_not_installed(trained, holdout, tmp_path):
    jobs, _ = trained
    select_features(holdout).to_csv(tmp_path / "features.csv", index=False)
    script = """
import sys
class Block:
    def find_spec(self, name, path=None, target=None):
        if name.split(".")[0] in ("diabetes", "diabetes_mlops"):
            raise ModuleNotFoundError(name)
sys.meta_path.insert(0, Block())
import mlflow.sklearn, pandas
model = mlflow.sklearn.load_model(sys.argv[1])
print(model.predict(pandas.read_csv(sys.argv[2])).tolist())
"""

    command = [sys.executable, "-c", script, f"models:/{jobs.model_name}/1", f"{tmp_path}/features.csv"]
    environment = os.environ | {"MLFLOW_TRACKING_URI": mlflow.get_tracking_uri()}
    done = subprocess.run(command, env=environment, capture_output=True, text=True)

    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    assert done.returncode == 0, done.stderr
    assert json.loads(done.stdout.splitlines()[-1]) == predict(model, holdout).tolist()


def test_data_without_bmi_stops_the_training_and_leaves_a_failed_run(jobs):
    table = pd.read_csv(DATA / "data_raw.csv").drop(columns="BMI")
    path = jobs.write(table, "no_bmi.csv")

    with pytest.raises(SchemaError, match=r"missing columns \['BMI'\]; the table has \['ID', 'AGE'"):
        jobs.train(training_data=path)

    assert jobs.last_run().info.status == "FAILED"


def test_a_missing_file_stops_the_training_and_leaves_a_failed_run(jobs):
    with pytest.raises(SourceNotFoundError, match=f"there is no file or table '{jobs.folder}/absent.csv'"):
        jobs.train(training_data="absent.csv")

    assert jobs.last_run().info.status == "FAILED"
    assert jobs.last_run().data.params["training_data"] == f"{jobs.folder}/absent.csv"


def test_metrics_come_with_their_intervals_and_the_baseline(trained):
    metrics = mlflow.get_run(trained[1]["run_id"]).data.metrics

    for name in ("rmse", "mae", "r2"):
        assert metrics[f"{name}_low"] < metrics[name] < metrics[f"{name}_high"]
    assert metrics["rmse"] < metrics["baseline_rmse"] == metrics["gate_baseline_rmse"]
    assert metrics["baseline_r2"] <= 0


def test_run_and_version_tell_code_data_and_environment(trained):
    jobs, result = trained

    run, version = mlflow.get_run(result["run_id"]), MlflowClient().get_model_version(jobs.model_name, "1")

    names = ["git_commit", "diabetes_version", "diabetes_mlops_version", "data_source", "data_digest"]
    names += ["holdout_digest", "python_version", "mlflow_version", "sklearn_version"]
    assert [version.tags[name] for name in names] == [run.data.tags[name] for name in names]
    digests = {item.dataset.digest for item in run.inputs.dataset_inputs}
    assert digests == {version.tags["data_digest"], version.tags["holdout_digest"]}
    assert version.tags["data_source"] == str(DATA / "data_raw.csv")
    assert version.tags["python_version"] == platform.python_version()


def test_the_report_opens_by_itself_and_starts_with_the_verdict(trained):
    _, result = trained
    artifacts = mlflow.get_run(result["run_id"]).info.artifact_uri

    page = mlflow.artifacts.load_text(f"{artifacts}/report.html")

    assert page.index("Gate: passed, champion") < page.index("<table>")
    assert page.count('<img src="data:image/png;base64,') == 3
    assert re.findall(r"<(?:link|script)|(?:src|href)=\"(?!data:)|url\(", page) == []
    assert f"<strong>{result['metrics']['rmse']:.3f}</strong>" in page
    assert all(text in page for text in ("AGE 40-59", "SEX=Male", "0123abc", "baseline"))


def test_the_decision_is_part_of_what_the_job_reports(trained):
    _, result = trained

    assert (result["decision"]["promote"], result["decision"]["reasons"]) == (True, [])
    assert result["decision"]["numbers"]["rmse"] == result["metrics"]["rmse"]


def test_a_refused_version_has_no_alias_and_the_champion_stays(jobs):
    results = [jobs.train(alpha=alpha) for alpha in ("0.5", "100000")]

    assert [result["alias"] for result in results] == ["champion", ""]
    assert results[1]["decision"]["reasons"]
    champion_rmse = results[1]["decision"]["numbers"]["champion_rmse"]
    assert champion_rmse == pytest.approx(results[0]["metrics"]["rmse"])  # Measured on the same rows.
    model = MlflowClient().get_registered_model(jobs.model_name)
    assert {alias: str(version) for alias, version in model.aliases.items()} == {"champion": "1"}


def test_a_search_on_the_workers_finds_the_alpha_that_is_trained_with(jobs, train, capsys):
    result = jobs.train(search_trials="2", search_on="workers")

    run = mlflow.get_run(result["run_id"])
    best = re.search(r"best of 2 trials: alpha (\S+)", printed := capsys.readouterr().out)
    assert "fitting 2 trials, 5 folds each, in the Spark workers" in printed
    assert f"{result['alpha']:.4g}" == best[1]
    assert run.data.params["search_on"] == "workers"
    assert run.data.params["alpha"] == str(result["alpha"])
    # Of the training rows alone: had it seen the holdout, the metrics would flatter the search.
    on_train = cross_validate(train, alpha=result["alpha"], seed=0)
    assert run.data.metrics["cv_rmse"] == pytest.approx(on_train, rel=1e-12)


def test_training_reads_a_table_by_its_name(jobs):
    jobs.spark.sql("CREATE SCHEMA IF NOT EXISTS tests")
    raw = jobs.spark.createDataFrame(pd.read_csv(DATA / "data_raw.csv"))
    raw.write.format("parquet").mode("overwrite").saveAsTable("tests.labelled")

    result = jobs.train(training_data="spark_catalog.tests.labelled")

    assert result["rows_train"] + result["rows_holdout"] == 442


def test_the_version_carries_the_profile_of_its_training_rows(trained):
    jobs, result = trained
    train, _ = split_by_id(pd.read_csv(DATA / "data_raw.csv"))

    loaded = models.load(MlflowClient().get_model_version(jobs.model_name, "1"))

    assert loaded.profile == Profile.describe(*arrays(train), predict(loaded.pipeline, train))
    artifacts = mlflow.get_run(result["run_id"]).info.artifact_uri
    assert Profile.from_json(mlflow.artifacts.load_dict(f"{artifacts}/profile.json")) == loaded.profile
