"""A label of many classes lives a whole life: trained, gated, scored, watched, rolled back."""

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import flowers
import mlflow
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes.tabular import Column, Problem
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features
from diabetes_mlops import monitor
from diabetes_mlops.models import model_files, registry
from diabetes_mlops.models.contract import Contract
from diabetes_mlops.models.model_files import SignatureError
from diabetes_mlops.monitoring.history import LabelsError
from diabetes_mlops.reports import plots
from diabetes_mlops.runs.settings import MonitoringSettings
from job_runs import Jobs
from mlflow import MlflowClient
from sklearn.base import BaseEstimator

FLOWERS, CLASSES = flowers.FLOWERS, flowers.CLASSES
SCHEMA = FLOWERS.schema
TEN = tuple(f"a rather long name of the class ${number} in $" for number in range(10))


@pytest.fixture(scope="module")
def flower_jobs(make_jobs: Callable[[str], Jobs]) -> Jobs:
    return replace(make_jobs("flowers"), problem=FLOWERS)


@pytest.fixture(scope="module")
def data(flower_jobs: Jobs) -> str:
    return flower_jobs.write(flowers.make_flowers(), "flowers.csv")


@pytest.fixture(scope="module")
def life(flower_jobs: Jobs, data: str) -> tuple[dict[str, Any], dict[str, Any]]:
    """What two trainings report: the first without a champion, after a search."""
    return (
        flower_jobs.train(training_data=data, search_trials="3"),
        flower_jobs.train(training_data=data, model_params="alpha=0.02"),
    )


@pytest.fixture(scope="module")
def batches(flower_jobs: Jobs, life: Any) -> tuple[dict[str, Any], dict[str, Any]]:
    """What the scoring of two batches reports: one with rows that cannot be read, one of large flowers."""
    usual = flowers.make_flowers_batch()
    usual = usual.assign(PLACE=usual["PLACE"].where(usual["NO"] != 1003, "moon"))
    large = flowers.make_flowers_batch(PETAL_LENGTH=6.5, PETAL_WIDTH=2.4).assign(NO=np.arange(60) + 5001)
    return (
        flower_jobs.score(input_data=flower_jobs.write(usual, "usual.csv")),
        flower_jobs.score(input_data=flower_jobs.write(large, "large.parquet")),
    )


@pytest.fixture
def watch(flower_jobs: Jobs, batches: Any) -> Callable[..., dict[str, Any]]:
    def run(problem: Problem = FLOWERS, **widgets: str) -> dict[str, Any]:
        given = {
            "data_root": str(flower_jobs.folder),
            "experiment_name": f"/tests/{flower_jobs.name}",
            "output_table": flower_jobs.table,
        }
        settings = MonitoringSettings.from_widgets(given | widgets, problem)
        return monitor.run(flower_jobs.spark, settings, problem)

    return run


def artifact(run_id: str, name: str) -> str:
    return mlflow.artifacts.load_text(f"runs:/{run_id}/{name}")


def names_of(run_id: str, folder: str = "") -> list[str]:
    return [file.path for file in MlflowClient().list_artifacts(run_id, folder)]


def load_pipeline(jobs: Jobs, version: str) -> Any:
    return mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{version}")


def test_training_searches_and_the_first_version_passes_the_gate(life: tuple[dict[str, Any], dict[str, Any]]):
    first, _ = life

    assert first["alias"] == "champion"
    assert first["metrics"]["accuracy"] > 0.9
    assert first["metrics"]["log_loss"] < 0.4
    run = MlflowClient().get_run(first["run_id"])
    assert run.data.metrics["cv_log_loss"] < 0.4 < 1 < run.data.metrics["baseline_log_loss"]
    assert run.data.metrics["log_loss_low"] < first["metrics"]["log_loss"] < run.data.metrics["log_loss_high"]


def test_the_second_version_meets_the_champion(life: tuple[dict[str, Any], dict[str, Any]]):
    _, second = life

    assert second["decision"]["champion"] == "1"
    assert second["decision"]["numbers"]["champion_log_loss"] == pytest.approx(life[0]["metrics"]["log_loss"])
    assert second["decision"]["numbers"]["difference_low"] <= second["decision"]["numbers"]["difference"]


def test_the_report_shows_classes_and_no_residuals(life: tuple[dict[str, Any], dict[str, Any]]):
    run_id = life[0]["run_id"]

    page = artifact(run_id, "report.html")
    figures = {Path(name).stem for name in names_of(run_id, "plots")}
    assert figures == {"features", "confusion", "importance", "calibration_by_class", "roc_by_class"}
    for name in figures - {"features"}:
        assert f'alt="{name.replace("_", " ")}"' in page


def test_the_model_knows_its_classes(flower_jobs: Jobs, life: tuple[dict[str, Any], dict[str, Any]]):
    version = MlflowClient().get_model_version(flower_jobs.model_name, "1")
    uri = f"models:/{flower_jobs.model_name}/1"
    rows = select_features(SCHEMA, flowers.make_flowers_batch(5))

    probabilities = mlflow.pyfunc.load_model(uri).predict(rows)

    np.testing.assert_allclose(probabilities, load_pipeline(flower_jobs, "1").predict_proba(rows))
    output = mlflow.models.get_model_info(uri).signature.outputs.inputs[0]
    assert output.shape == (-1, 3)
    assert json.loads(version.tags["contract"])["classes"] == list(CLASSES)
    asked = model_files.contract_of(mlflow.models.Model.load(uri), version.tags)
    untagged = model_files.contract_of(mlflow.models.Model.load(uri), {})
    assert asked == Contract.of(SCHEMA)
    assert untagged.classes == CLASSES  # its profile knows them


def test_scored_rows_have_the_class_and_the_probabilities_of_scikit_learn(
    flower_jobs: Jobs, batches: tuple[dict[str, Any], dict[str, Any]]
):
    report = batches[0]
    assert (report["rows_in"], report["rows_scored"], report["rows_rejected"]) == (60, 59, 1)

    rows = flower_jobs.rows(report["batch_id"])
    assert dict(rows.dtypes) | {} == dict(rows.dtypes) | {
        "prediction": "string",
        "probability": "double",
        "probabilities": "map<string,double>",
    }
    scored = rows.toPandas().set_index("NO").sort_index()
    batch = flowers.make_flowers_batch().set_index("NO").drop(index=1003)
    model = load_pipeline(flower_jobs, report["model_version"])
    expected = model.predict_proba(select_features(SCHEMA, batch))
    found = np.array([[row[name] for name in CLASSES] for row in scored["probabilities"]])
    np.testing.assert_allclose(found, expected, rtol=1e-9)
    assert scored["prediction"].tolist() == [CLASSES[place] for place in expected.argmax(axis=1)]
    np.testing.assert_allclose(scored["probability"], expected.max(axis=1), rtol=1e-9)
    assert set(scored["prediction"]) == set(CLASSES)
    assert report["sample"][0]["prediction"] in CLASSES
    assert 0 < report["sample"][0]["probability"] <= 1


def test_rejected_rows_have_their_reason(flower_jobs: Jobs, batches: tuple[dict[str, Any], dict[str, Any]]):
    rejected = flower_jobs.rows(batches[0]["batch_id"], f"{flower_jobs.table}_rejected").collect()

    assert [row["reasons"] for row in rejected] == [["PLACE is unknown: moon"]]


def test_rows_that_repeat_a_key_are_rejected_too(flower_jobs: Jobs, life: Any):
    rows = flowers.make_flowers_batch(10)
    rows.loc[4, "NO"] = rows.loc[3, "NO"]

    report = flower_jobs.score(
        input_data=flower_jobs.write(rows, "repeated.csv"), output_table=f"{flower_jobs.table}_repeated"
    )

    assert (report["rows_scored"], report["rows_rejected"]) == (8, 2)


def test_a_batch_without_a_readable_row_has_no_class(flower_jobs: Jobs, life: Any):
    rows = flowers.make_flowers_batch(3).assign(PLACE="moon")

    report = flower_jobs.score(
        input_data=flower_jobs.write(rows, "moon.csv"), output_table=f"{flower_jobs.table}_moon"
    )

    assert (report["rows_scored"], report["rows_rejected"]) == (0, 3)
    assert report["drift"]["status"] == "unknown"


def test_drift_tells_the_predicted_classes(batches: tuple[dict[str, Any], dict[str, Any]]):
    usual, large = (report["drift"] for report in batches)

    assert "prediction" not in usual["drifted"]
    assert large["drifted"]["prediction"] == "alert"
    assert "plots/drift.png" in names_of(batches[1]["run_id"], "plots")


def test_the_same_batch_again_changes_nothing(
    flower_jobs: Jobs, batches: tuple[dict[str, Any], dict[str, Any]]
):
    again = flower_jobs.score(input_data=str(flower_jobs.folder / "large.parquet"))

    assert again["batch_id"] == batches[1]["batch_id"]
    assert flower_jobs.rows(again["batch_id"]).count() == 60


def test_monitoring_shows_the_share_of_each_class(
    flower_jobs: Jobs, batches: tuple[dict[str, Any], dict[str, Any]], watch: Callable[..., dict[str, Any]]
):
    report = watch()

    logged = json.loads(artifact(report["run_id"], "batches.json"))
    table = pd.DataFrame(logged["data"], columns=logged["columns"]).set_index("batch_id")
    shares = [f"share_{name}" for name in CLASSES]
    scored = flower_jobs.rows(batches[0]["batch_id"]).toPandas()["prediction"]
    expected = scored.value_counts(normalize=True).reindex(list(CLASSES)).tolist()
    assert table.loc[batches[0]["batch_id"], shares].tolist() == pytest.approx(expected)
    assert "mean" not in table.columns
    page = artifact(report["run_id"], "monitoring.html")
    assert "<th>predicted classes</th>" in page
    assert "mean prediction" not in page
    assert "Iris «schön», &#39;blau&#39; 0.0%" in page


def test_monitoring_measures_the_true_error_of_labels_that_are_texts(
    flower_jobs: Jobs, batches: Any, watch: Callable[..., dict[str, Any]]
):
    scored = flower_jobs.spark.table(flower_jobs.table).toPandas().sort_values("NO")
    labels = pd.DataFrame({"NO": scored["NO"], "KIND": np.resize(CLASSES, len(scored))})
    labels.loc[labels.index[-1], "KIND"] = ""  # has not arrived
    path = flower_jobs.write(labels, "labels.csv")

    report = watch(labels_data=path)

    places = np.resize([0, 1, 2], len(scored))[:-1].astype(float)
    found = np.array([[row[name] for name in CLASSES] for row in scored["probabilities"]])[:-1]
    assert report["rows_labelled"] == len(scored) - 1
    assert report["true_log_loss"] == pytest.approx(flowers.log_loss(places, found))
    assert report["true_accuracy"] == pytest.approx(flowers.accuracy(places, found))
    assert report["status"] == "alert"
    assert "log_loss" in report["findings"]["true error"]


def test_labels_of_no_class_are_refused(flower_jobs: Jobs, watch: Callable[..., dict[str, Any]]):
    path = flower_jobs.write(pd.DataFrame({"NO": [1001, 1002], "KIND": ["rose", CLASSES[0]]}), "rose.csv")

    with pytest.raises(LabelsError, match=r"1 IDs or labels are not one of \[.*KIND is unknown: rose"):
        watch(labels_data=path)


def test_monitoring_of_a_table_of_numbers_says_so(flower_jobs: Jobs, watch: Callable[..., dict[str, Any]]):
    number = flowers.make_flowers_problem(label=Column("KIND", "number", "a size"), make=problems.make_ridge)

    with pytest.raises(SchemaError, match="has predictions as string, and those of KIND are double"):
        watch(number)


def test_a_table_of_numbers_is_refused_before_anything_is_scored(flower_jobs: Jobs, life: Any):
    table = f"{flower_jobs.table}_numbers"
    flower_jobs.spark.sql(f"CREATE TABLE {table} (NO BIGINT, prediction DOUBLE) USING DELTA")

    with pytest.raises(
        SchemaError, match=r"_numbers has predictions as double.*string; name another.*output"
    ):
        flower_jobs.score(input_data="nothing.csv", output_table=table)


def test_a_column_that_scoring_makes_cannot_be_carried(flower_jobs: Jobs, life: Any):
    rows = flower_jobs.write(flowers.make_flowers_batch(3, probabilities="x"), "taken.csv")

    with pytest.raises(SchemaError, match=r"columns \['probabilities'\] cannot be carried"):
        flower_jobs.score(input_data=rows, carry_columns="probabilities")


@pytest.mark.parametrize("other", [CLASSES[::-1], (*CLASSES, "rose")])
def test_a_version_of_other_classes_is_refused(flower_jobs: Jobs, life: Any, other: tuple[str, ...]):
    version = MlflowClient().get_model_version(flower_jobs.model_name, "1")

    with pytest.raises(SignatureError, match=r"the model predicts the classes \[.*the code is the classes"):
        model_files.load(version, flowers.with_classes(FLOWERS, other).schema)


def test_the_gate_refuses_a_version_whose_champion_has_other_classes(
    make_jobs: Callable[[str], Jobs],
):
    jobs = replace(make_jobs("renamed"), problem=FLOWERS)
    jobs.train(training_data=jobs.write(flowers.make_flowers(), "old.csv"))
    names = ("a", "b", "c")
    renamed = replace(jobs, problem=flowers.make_flowers_problem(names))

    report = renamed.train(training_data=renamed.write(flowers.make_flowers(names), "new.csv"))

    assert report["alias"] == ""
    assert "the model predicts the classes" in "; ".join(report["decision"]["reasons"])


def test_a_version_is_rolled_back_and_scores_as_it_did(flower_jobs: Jobs, batches: Any, life: Any):
    table = f"{flower_jobs.table}_back"
    registry.roll_back(MlflowClient(), flower_jobs.model_name, by="a person")

    report = flower_jobs.score(
        input_data=flower_jobs.write(flowers.make_flowers_batch(20), "back.csv"), output_table=table
    )

    assert report["model_version"] == "1"
    scored = flower_jobs.rows(report["batch_id"], table).toPandas().sort_values("NO")
    own = load_pipeline(flower_jobs, "1").predict_proba(
        select_features(SCHEMA, flowers.make_flowers_batch(20))
    )
    np.testing.assert_allclose(scored["probability"], own.max(axis=1), rtol=1e-9)


def test_a_regressor_of_classes_fails_before_it_searches(make_jobs: Callable[[str], Jobs], data: str):
    jobs = replace(make_jobs("regressor"), problem=flowers.make_flowers_problem(make=problems.make_ridge))

    with pytest.raises(SchemaError, match="which take a classifier"):
        jobs.train(training_data=data, search_trials="2", search_on="workers")


def test_a_search_on_workers_finds_what_the_driver_finds(
    flower_jobs: Jobs, make_jobs: Callable[[str], Jobs], data: str, life: Any
):
    report = replace(make_jobs("flower_workers"), problem=FLOWERS).train(
        training_data=data, search_trials="3", search_on="workers"
    )

    assert report["model_params"] == life[0]["model_params"]


def make_trees(alpha: float) -> BaseEstimator:
    import xgboost

    return xgboost.XGBClassifier(n_estimators=5, n_jobs=1, random_state=0)


def test_xgboost_learns_classes_that_are_texts(make_jobs: Callable[[str], Jobs], data: str):
    problem = replace(flowers.make_flowers_problem(make=make_trees), trusted=("xgboost",))

    report = replace(make_jobs("flower_trees"), problem=problem).train(training_data=data)

    assert report["metrics"]["accuracy"] > 0.9


def test_a_table_may_lack_a_class(make_jobs: Callable[[str], Jobs]):
    jobs = replace(make_jobs("lacking"), problem=flowers.with_classes(FLOWERS, ("rose", *CLASSES)))
    report = jobs.train(training_data=jobs.write(flowers.make_flowers(), "lacking.csv"))

    scored = jobs.score(input_data=jobs.write(flowers.make_flowers_batch(), "batch.csv"))

    assert report["alias"] == "champion"
    assert {row["probabilities"]["rose"] for row in jobs.rows(scored["batch_id"]).collect()} == {0.0}


@pytest.mark.parametrize("classes", [CLASSES, TEN, ("_", "__")], ids=["three", "ten", "two"])
def test_figures_of_few_and_many_classes_are_drawn(classes: tuple[str, ...]):
    random = np.random.default_rng(0)
    actual = random.integers(0, len(classes), 300).astype(float)
    predicted = random.dirichlet(np.ones(len(classes)), 300)

    drawn = [
        draw(actual, predicted, classes)
        for draw in (plots.draw_confusion, plots.draw_calibration_by_class, plots.draw_roc_by_class)
    ]

    panels = [len(figure.axes) for figure in drawn]
    assert panels == [2, len(classes), len(classes)]


@pytest.mark.parametrize(
    ("model", "code", "differences"),
    [
        (("a", "b"), ("a", "b"), 0),
        (("a", "b"), ("b", "a"), 1),
        (("a", "b"), (), 1),
        ((), ("a", "b"), 1),
        ((), (), 0),
    ],
)
def test_contracts_compare_classes(model: tuple[str, ...], code: tuple[str, ...], differences: int):
    features = {"AGE": "number"}
    ours, theirs = (Contract(features, "KIND", classes=each) for each in (model, code))

    assert len(ours.differences(theirs)) == differences
    assert Contract.from_text(ours.as_text()) == ours
    assert Contract(features).differences(theirs) == []
