"""Monitoring tells from the scored history how a model does, and fails the job when it is told to."""

import json
import re
from collections.abc import Callable
from dataclasses import dataclass
from datetime import UTC, datetime
from html import escape
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import DriftThresholds, Profile, to_arrays
from diabetes.tabular.measuring import evaluate
from diabetes.tabular.scoring import predict
from diabetes_mlops import monitor
from diabetes_mlops.batch_score import TooManyRejectedError
from diabetes_mlops.data.places import SourceNotFoundError
from diabetes_mlops.monitor import MonitoringAlert
from diabetes_mlops.monitoring import drift
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.monitoring.history import LabelsError, NoHistoryError
from diabetes_mlops.runs.settings import MonitoringSettings
from diabetes_mlops.runs.telemetry import Target
from mlflow.entities import Run
from problems import PATIENTS, make_patients, make_patients_batch
from pyspark.sql import functions as F

SCHEMA = PATIENTS.schema
ROWS_A_BATCH = 100
FIRST = datetime(2026, 3, 1, 2, tzinfo=UTC)


@dataclass(frozen=True)
class History:
    """Batches of the repository's labelled rows as version 1 scored them, and one by a version that is gone.

    Batch b0 is like the training rows, b1 was scored by the other version, and b2 holds heavier patients.
    """

    spark: Any
    table: str
    experiment: str
    batches: dict[str, pd.DataFrame]
    model: Any
    folder: Path
    target: Target

    def monitor(self, **widgets: str) -> dict[str, Any]:
        settings = {"output_table": self.table, "experiment_name": self.experiment, "max_error_ratio": "1.5"}
        settings |= {"lookback_days": "7", "rejected_share_warn": "0.05"}
        given = MonitoringSettings.from_widgets(settings | widgets, PATIENTS)
        return monitor.run(self.spark, given, PATIENTS, self.target)

    def write_labels(self, labels: pd.DataFrame, name: str = "labels.csv") -> str:
        labels.to_csv(self.folder / name, index=False)
        return str(self.folder / name)

    def last_run(self) -> Run:
        experiment = mlflow.get_experiment_by_name(self.experiment).experiment_id
        query = f"attributes.run_name = '{monitor.JOB}'"
        return mlflow.MlflowClient().search_runs([experiment], query)[0]

    def labels(self, *names: str) -> pd.DataFrame:
        return pd.concat([self.batches[name] for name in names])[["ID", "Y"]]


@pytest.fixture(scope="module")
def history(spark, trained, tracking, ingestion, tmp_path_factory) -> History:
    jobs, _ = trained
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    raw = make_patients()
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, raw), predict(SCHEMA, model, raw))
    batches = {f"b{i}": raw.iloc[i * ROWS_A_BATCH : (i + 1) * ROWS_A_BATCH] for i in range(3)}
    batches["b2"] = batches["b2"].assign(BMI=batches["b2"]["BMI"] + 10)
    spark.sql("CREATE SCHEMA IF NOT EXISTS tests")
    mlflow.create_experiment("/tests/monitored", artifact_location=(tracking / "monitored").as_uri())
    mlflow.set_experiment("/tests/monitored")
    for i, (name, rows) in enumerate(batches.items()):
        run_id = log_scoring(name, profile, rows, predict(SCHEMA, model, rows))
        scored = pd.DataFrame({"ID": rows["ID"], "prediction": predict(SCHEMA, model, rows)}).assign(
            model_name=jobs.model_name,
            model_version="99" if name == "b1" else "1",
            batch_id=name,
            run_id=run_id,
        )
        scored_at = F.timestamp_seconds(F.lit(FIRST.timestamp() + 86_400 * i))
        table = spark.createDataFrame(scored).withColumn("scored_at", scored_at)
        table.write.format("delta").mode("append").saveAsTable("spark_catalog.tests.monitored")
    folder = tmp_path_factory.mktemp("labels")
    table, target = "spark_catalog.tests.monitored", ingestion.target()
    return History(spark, table, "/tests/monitored", batches, model, folder, target)


def log_scoring(batch_id: str, profile: Profile, rows: pd.DataFrame, predictions: np.ndarray) -> str:
    with mlflow.start_run(run_name="diabetes_batch_scoring", tags={"batch_id": batch_id}) as active:
        mlflow.log_metrics({"rows_rejected": 1.0, "rejected_share": 1 / (len(rows) + 1)})
        counts = profile.count(SCHEMA, *to_arrays(SCHEMA, rows), predictions)
        drift.log(Drift.of(profile, counts, DriftThresholds(psi_warn=0.2)))
    return str(active.info.run_id)


def read_table(run: Run, name: str) -> pd.DataFrame:
    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/{name}")
    return pd.DataFrame(table["data"], columns=table["columns"])


def read_page(run: Run) -> str:
    return mlflow.artifacts.load_text(f"{run.info.artifact_uri}/monitoring.html")


@pytest.fixture(scope="module")
def monitored(history) -> tuple[dict[str, Any], Run]:
    """What a run with labels of every batch reported, and its MLflow run."""
    result = history.monitor(labels_data=history.write_labels(history.labels("b0", "b1", "b2"), "all.csv"))
    return result, history.last_run()


def test_batches_are_summarized_in_the_order_of_their_scoring(history, monitored):
    _, run = monitored

    batches = read_table(run, "batches.json")

    assert batches["batch_id"].tolist() == ["b0", "b1", "b2"]
    assert batches["rows"].tolist() == [ROWS_A_BATCH] * 3
    assert batches["scored_at"].str.startswith("2026-03-0").all()
    for name, mean, median in zip(batches["batch_id"], batches["mean"], batches["p50"], strict=True):
        predictions = predict(SCHEMA, history.model, history.batches[name])
        assert mean == pytest.approx(predictions.mean())
        assert median == pytest.approx(np.median(predictions), abs=5)


def test_a_monitoring_run_tells_its_steps_and_the_model_in_use(monitored, ingestion):
    result, run = monitored

    steps = ingestion.of("RemoteDependency", run_id=run.info.run_id)

    assert [step["name"] for step in steps] == ["read", "judge", "report"]
    (job,) = ingestion.of("Request", run_id=run.info.run_id, model_version=result["model_version"])
    assert job["name"] == "diabetes_monitoring"


def test_the_drift_that_scoring_logged_stands_beside_its_batch(monitored):
    result, run = monitored

    batches = read_table(run, "batches.json")

    assert batches["drift"].tolist() == ["ok", "ok", "alert"]
    assert "BMI" in batches["drifted"].iloc[2]
    assert batches["psi_BMI"].idxmax() == 2
    told = f"BMI psi {batches['psi_BMI'].iloc[2]:.3g} (alert from 0.25)"
    found = f"drift in 1 of 3 batches of the last 7 days: batch b2 (100 rows): {told}"
    assert result["findings"]["drift"].startswith(found)


def test_the_true_error_is_that_of_the_labelled_rows(history, monitored):
    result, run = monitored

    batches, versions = read_table(run, "batches.json"), read_table(run, "versions.json")

    for i, rows in enumerate(history.batches.values()):
        found = batches.loc[i, ["rmse", "mae", "r2"]].to_dict()
        assert found == pytest.approx(evaluate(PATIENTS, history.model, rows))
    both = pd.concat([history.batches["b0"], history.batches["b2"]])
    of_both = versions.loc[0, ["rmse", "mae", "r2"]].to_dict()
    assert of_both == pytest.approx(evaluate(PATIENTS, history.model, both))
    assert result["true_rmse"] == run.data.metrics["true_rmse"] == pytest.approx(versions.loc[0, "rmse"])
    assert versions[["model_version", "labelled"]].to_numpy().tolist() == [["1", 200], ["99", 100]]


def test_a_version_is_held_against_its_own_holdout(trained, monitored):
    result, run = monitored

    versions = read_table(run, "versions.json")

    holdout = trained[1]["metrics"]["rmse"]
    assert versions.loc[0, "holdout_rmse"] == pytest.approx(holdout)
    assert result["rmse_ratio"] == pytest.approx(result["true_rmse"] / holdout)
    assert versions.loc[1, ["holdout_rmse", "ratio"]].isna().all()


def test_the_run_and_the_report_tell_the_same(monitored):
    result, run = monitored

    assert run.data.tags["monitoring"] == result["status"] == "alert"
    assert run.info.status == "FINISHED"
    assert json.loads(json.dumps(result, allow_nan=False)) == result
    counts = {"batches": 3, "rows_scored": 300, "rows_rejected": 3, "rows_labelled": 300, "failed_runs": 0}
    for name, count in counts.items():
        assert run.data.metrics[name] == result[name] == count


def test_the_page_opens_by_itself_and_starts_with_the_status(monitored):
    page = read_page(monitored[1])

    assert page.index("Status: alert") < page.index("<table>")
    assert page.count('<img src="data:image/png;base64,') == 1
    assert re.findall(r"<(?:link|script)|(?:src|href)=\"(?!data:)|url\(", page) == []
    assert all(text in page for text in ("b0", "b2", "2026-03-03 02:00", "labels have arrived", "0.99%"))


def test_the_page_tells_each_finding_once(monitored):
    result, run = monitored

    page = read_page(run)

    assert {finding: page.count(escape(finding)) for finding in result["findings"].values()} == dict.fromkeys(
        result["findings"].values(), 1
    )


def test_without_labels_the_error_is_said_to_be_unknown(history):
    result = history.monitor(labels_data="")

    assert "No labels_data is given" in result["labels"]
    assert result["labels"] in read_page(history.last_run())
    assert "true_rmse" not in result
    assert result["rows_labelled"] == 0


@pytest.mark.parametrize("labels_data", ["/nowhere/labels.csv", "tests.no_labels", "nowhere.labels", "a.b.c"])
def test_labels_that_are_named_and_not_there_end_the_job(history, labels_data: str):
    message = (
        f"labels_data: there is no file or table '{labels_data}'; leave it empty as long as there are no"
    )
    with pytest.raises(SourceNotFoundError, match=re.escape(message)):
        history.monitor(labels_data=labels_data)

    assert history.last_run().info.status == "FAILED"


def test_an_experiment_that_is_not_there_ends_the_job_and_is_not_made(history):
    with pytest.raises(
        NoHistoryError, match="no experiment /tests/mistyped; experiment_name must be that of"
    ):
        history.monitor(experiment_name="/tests/mistyped")

    assert mlflow.get_experiment_by_name("/tests/mistyped") is None


def test_a_bad_batch_before_a_good_one_is_told_as_long_as_the_window_reaches(history):
    shifted = F.when(F.col("batch_id") == "b2", F.expr("scored_at - INTERVAL 5 DAYS"))
    table = history.spark.table(history.table)
    table = table.withColumn("scored_at", F.coalesce(shifted, F.col("scored_at")))
    table.write.format("delta").saveAsTable("tests.good_after_bad")

    with pytest.raises(MonitoringAlert, match=r"drift in 1 of 3 batches of the last 7 days: batch b2 .* BMI"):
        history.monitor(output_table="tests.good_after_bad", fail_on="alert")
    result = history.monitor(output_table="tests.good_after_bad", fail_on="alert", lookback_days="2")

    assert (result["latest_batch"], result["status"]) == ("b1", "ok")
    assert result["findings"]["drift"] == "none in 2 batches of the last 2 days"


def test_an_id_counts_once_a_version_with_its_last_prediction(history):
    again = history.spark.table(history.table).where("batch_id = 'b0'")
    again = again.withColumns(
        {
            "batch_id": F.lit("b0 again"),
            "prediction": F.col("prediction") + 50,
            "scored_at": F.expr("scored_at + INTERVAL 9 DAYS"),
        }
    )
    history.spark.table(history.table).union(again).write.format("delta").saveAsTable("tests.scored_again")
    labels = history.labels("b0").head(20)

    result = history.monitor(output_table="tests.scored_again", labels_data=history.write_labels(labels))

    errors = labels["Y"] - predict(SCHEMA, history.model, history.batches["b0"].head(20)) - 50
    assert result["rows_labelled"] == 20
    assert result["true_rmse"] == pytest.approx(np.sqrt((errors**2).mean()))
    assert "not judged: version 1 on 20 rows" in result["findings"]["true error"]
    batches = read_table(history.last_run(), "batches.json").set_index("batch_id")
    assert batches.loc[["b0", "b0 again"], "labelled"].tolist() == [20, 20]
    assert batches.loc["b0 again", "rmse"] == pytest.approx(result["true_rmse"])


def test_rows_and_runs_that_scoring_refused_are_history_and_findings(jobs, trained):
    batch, model = make_patients_batch(), {"model_name": trained[0].model_name}
    broken = jobs.write(batch.assign(BMI=batch["BMI"].where(batch.index >= 40, -1.0)), "broken.csv")
    jobs.score(input_data=broken, batch_id="day", max_rejected_share="1", **model)
    with pytest.raises(TooManyRejectedError):
        jobs.score(input_data=broken, batch_id="night", max_rejected_share="0.1", **model)
    with pytest.raises(SchemaError):
        jobs.score(input_data=jobs.write(batch.drop(columns="BMI"), "no_bmi.csv"), batch_id="noon", **model)

    settings = MonitoringSettings(
        jobs.table, f"/tests/{jobs.name}", max_error_ratio=1.5, lookback_days=1, fail_on="alert"
    )
    with pytest.raises(MonitoringAlert) as alert:
        monitor.run(jobs.spark, settings, PATIENTS)

    assert "40 of 100 rows in 1 batch of the last day, above 5.00%: batch day 40.00%" in str(alert.value)
    assert "2 scoring runs of the last day failed, the newest of" in str(alert.value)
    assert "SchemaError: missing columns ['BMI']" in str(alert.value)
    assert str(alert.value).endswith("; no batch was published since")
    run = jobs.last_run()
    assert (run.data.metrics["rows_rejected"], run.data.metrics["failed_runs"]) == (40, 2)
    failed = read_table(run, "failed_runs.json")
    assert failed["batch_id"].tolist() == ["night", "noon"]
    assert failed["rejected_share"].iloc[0] == 0.4
    assert failed["error"].str.extract(r"(\w+)")[0].tolist() == ["TooManyRejectedError", "SchemaError"]
    shown = ("40.00%", "missing columns [&#39;BMI&#39;]", "no_bmi.csv", "broken.csv")
    assert [text for text in shown if text not in read_page(run)] == []


def test_a_few_labels_are_shown_and_not_judged(history):
    labels = history.labels("b0").head(5).assign(Y=0.0)

    result = history.monitor(labels_data=history.write_labels(labels))

    assert result["rows_labelled"] == 5
    assert result["rmse_ratio"] > 1.5
    assert "not judged: version 1 on 5 rows" in result["findings"]["true error"]


def test_an_error_far_above_the_holdouts_is_an_alert(history):
    labels = history.labels("b0").assign(Y=lambda table: 346 - table["Y"])

    result = history.monitor(labels_data=history.write_labels(labels), max_error_ratio="1.2")

    finding = result["findings"]["true error"]
    assert "version 1 on 100 rows with a label is" in finding
    assert finding.endswith("of its holdout, above 1.2")


def test_labels_that_have_not_arrived_are_waited_for(history):
    labels = history.labels("b0", "b2")
    labels.iloc[::2, labels.columns.get_loc("Y")] = np.nan

    assert history.monitor(labels_data=history.write_labels(labels))["rows_labelled"] == 100


BROKEN_LABELS: dict[str, tuple[Callable[[pd.DataFrame], pd.DataFrame], type[Exception], str]] = {
    "twice": (lambda labels: pd.concat([labels, labels.head(2)]), LabelsError, "2 .* more than one label"),
    "text": (lambda labels: labels.assign(Y="high"), LabelsError, "100 .* are no numbers, such as .*high"),
    "infinite": (lambda labels: labels.assign(Y=np.inf), LabelsError, "100 .* are no numbers"),
    "half IDs": (lambda labels: labels.assign(ID=labels["ID"] + 0.5), LabelsError, "100 .* are no numbers"),
    "no Y": (lambda labels: labels.rename(columns={"Y": "label"}), SchemaError, r"missing columns \['Y'\]"),
}


@pytest.mark.parametrize("kind", BROKEN_LABELS)
def test_labels_that_cannot_be_told_apart_or_read_stop_the_job(history, kind: str):
    change, error, message = BROKEN_LABELS[kind]
    labels_data = history.write_labels(change(history.labels("b0")))

    with pytest.raises(error, match=message):
        history.monitor(labels_data=labels_data)

    assert history.last_run().info.status == "FAILED"


@pytest.mark.parametrize("fail_on", ["warn", "alert"])
def test_the_job_fails_after_everything_was_logged_when_told_to(history, fail_on: str):
    with pytest.raises(
        MonitoringAlert, match=r"^alert: drift in .* batch b2 .*: BMI psi [\d.]+ \(alert from 0"
    ):
        history.monitor(fail_on=fail_on)

    run = history.last_run()
    assert (run.info.status, run.data.tags["monitoring"]) == ("FAILED", "alert")
    assert "Status: alert" in read_page(run)


def test_a_batch_whose_run_was_deleted_has_no_known_drift(history):
    table = history.spark.table(history.table).withColumn("run_id", F.concat("run_id", F.lit("-gone")))
    table.write.format("delta").saveAsTable("tests.runs_are_gone")

    result = history.monitor(output_table="tests.runs_are_gone")

    assert result["status"] == "ok"
    assert result["findings"]["drift"] == "not measured in 3 batches of the last 7 days"
    assert result["findings"]["rejected rows"] == "not known of 3 batches of the last 7 days"


def test_nothing_scored_yet_is_one_clear_message(history):
    empty = history.spark.table(history.table).limit(0)
    empty.write.format("delta").saveAsTable("tests.nothing_scored")

    with pytest.raises(NoHistoryError, match="is empty; nothing to monitor yet"):
        history.monitor(output_table="tests.nothing_scored")
    with pytest.raises(NoHistoryError, match=r"no table tests\.absent yet; batch scoring makes it"):
        history.monitor(output_table="tests.absent")
