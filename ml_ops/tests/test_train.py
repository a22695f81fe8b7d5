"""Training leaves a run that explains itself and a version that stands on its own."""

import json
import os
import platform
import re
import subprocess
import sys
from dataclasses import replace
from html import escape

import mlflow
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import Profile, to_arrays
from diabetes.tabular.features import select_features
from diabetes.tabular.fitting import fit
from diabetes.tabular.measuring import cross_validate, evaluate
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.data.places import SourceNotFoundError
from diabetes_mlops.models import model_files
from mlflow import MlflowClient
from problems import PATIENTS, TUMOURS, data_folder, make_patients, make_tumours

DATA = data_folder() / "data_raw.csv"
SCHEMA = PATIENTS.schema


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return split_by_key(SCHEMA, make_patients())[0]


@pytest.fixture(scope="module")
def holdout() -> pd.DataFrame:
    return split_by_key(SCHEMA, make_patients())[1]


def test_the_first_version_is_the_champion_and_its_metrics_are_those_of_the_holdout(trained, holdout):
    jobs, result = trained

    champion = MlflowClient().get_model_version_by_alias(jobs.model_name, "champion")
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{champion.version}")

    assert (result["model_version"], result["alias"]) == (str(champion.version), "champion")
    assert result["metrics"] == pytest.approx(evaluate(PATIENTS, model, holdout))
    assert result["rows_train"] + result["rows_holdout"] == 442


def test_the_version_has_learned_from_the_training_rows_and_no_others(trained, train, holdout):
    jobs, _ = trained

    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")

    expected = predict(SCHEMA, fit(PATIENTS, train, {}), holdout)
    assert predict(SCHEMA, model, holdout) == pytest.approx(expected, rel=1e-12)
    of_all_rows = fit(PATIENTS, pd.concat([train, holdout]), {})
    assert predict(SCHEMA, of_all_rows, holdout) != pytest.approx(expected, rel=1e-6)


def test_the_report_is_plain_json(trained):
    _, result = trained

    assert result["model_params"] == {"alpha": 0.5}
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
    assert {json.loads(item.dataset.source)["path"] for item in inputs} == {str(DATA)}
    assert len({item.dataset.digest for item in inputs}) == 2


def test_the_version_has_a_signature_and_an_example_that_it_can_predict(trained):
    jobs, _ = trained
    uri = f"models:/{jobs.model_name}/1"

    info = mlflow.models.get_model_info(uri)
    predictions = mlflow.pyfunc.load_model(uri).predict(mlflow.pyfunc.load_model(uri).input_example)

    assert info.signature.inputs.input_names() == SCHEMA.feature_names
    assert info.signature.inputs.required_input_names() == SCHEMA.feature_names
    assert len(predictions) == 5


def test_the_version_predicts_where_the_wheels_are_not_installed(trained, holdout, tmp_path):
    jobs, _ = trained
    select_features(SCHEMA, holdout).to_csv(tmp_path / "features.csv", index=False)
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
    assert json.loads(done.stdout.splitlines()[-1]) == predict(SCHEMA, model, holdout).tolist()


def test_data_without_bmi_stops_the_training_and_leaves_a_failed_run(jobs):
    path = jobs.write(make_patients().drop(columns="BMI"), "no_bmi.csv")

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
    assert version.tags["data_source"] == str(DATA)
    assert version.tags["python_version"] == platform.python_version()


def test_the_report_opens_by_itself_and_starts_with_the_verdict(trained):
    _, result = trained
    artifacts = mlflow.get_run(result["run_id"]).info.artifact_uri

    page = mlflow.artifacts.load_text(f"{artifacts}/report.html")

    assert page.index("Gate: passed, champion") < page.index("<table>")
    assert page.count('<img src="data:image/png;base64,') == 3
    assert re.findall(r"<(?:link|script)|(?:src|href)=\"(?!data:)|url\(", page) == []
    assert f"<strong>{result['metrics']['rmse']:.3f}</strong>" in page
    assert all(text in page for text in (escape("AGE<50"), "SEX=Male", "0123abc", "baseline"))


def test_the_decision_is_part_of_what_the_job_reports(trained):
    _, result = trained

    assert (result["decision"]["promote"], result["decision"]["reasons"]) == (True, [])
    assert result["decision"]["numbers"]["rmse"] == result["metrics"]["rmse"]


def test_a_problem_of_two_classes_is_trained_with_what_it_is_told(jobs):
    tumours = replace(jobs, problem=TUMOURS)
    table = make_tumours()
    _, holdout = split_by_key(TUMOURS.schema, table)

    result = tumours.train(training_data=tumours.write(table, "tumours.csv"), model_params="alpha=0.25")

    run = mlflow.get_run(result["run_id"])
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    page = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    plots = {item.path for item in MlflowClient().list_artifacts(result["run_id"], "plots")}
    assert (result["alias"], result["model_params"]) == ("champion", {"alpha": 0.25})
    assert model["predict"].C == 4
    assert result["metrics"] == pytest.approx(evaluate(TUMOURS, model, holdout))
    assert run.data.params["alpha"] == "0.25"
    assert re.search(r">alpha<.*\s*.*>0\.25<", page)
    assert plots == {f"plots/{name}.png" for name in ("features", "importance", "calibration", "roc")}


def test_a_refused_version_has_no_alias_and_the_champion_stays(jobs):
    results = [jobs.train(model_params=f"alpha={alpha}") for alpha in ("0.5", "100000")]

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
    assert f"{result['model_params']['alpha']:.4g}" == best[1]
    assert run.data.params["search_on"] == "workers"
    assert run.data.params["alpha"] == str(result["model_params"]["alpha"])
    # Of the training rows alone: had it seen the holdout, the metrics would flatter the search.
    on_train = cross_validate(PATIENTS, train, result["model_params"], seed=0)
    assert run.data.metrics["cv_rmse"] == pytest.approx(on_train, rel=1e-12)


def test_training_reads_a_table_by_its_name(jobs):
    jobs.spark.sql("CREATE SCHEMA IF NOT EXISTS tests")
    raw = jobs.spark.createDataFrame(make_patients())
    raw.write.format("parquet").mode("overwrite").saveAsTable("tests.labelled")

    result = jobs.train(training_data="spark_catalog.tests.labelled")

    assert result["rows_train"] + result["rows_holdout"] == 442


def test_the_version_carries_the_profile_of_its_training_rows(trained, train):
    jobs, result = trained

    loaded = model_files.load(MlflowClient().get_model_version(jobs.model_name, "1"), SCHEMA)

    predicted = predict(SCHEMA, loaded.pipeline, train)
    assert loaded.profile == Profile.describe(SCHEMA, *to_arrays(SCHEMA, train), predicted)
    artifacts = mlflow.get_run(result["run_id"]).info.artifact_uri
    assert Profile.from_json(mlflow.artifacts.load_dict(f"{artifacts}/profile.json")) == loaded.profile
