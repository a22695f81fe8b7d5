"""A scoring run shows how far its batch has moved, and a model keeps what it is held against."""

import json
import re

import mlflow
import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.drift import PREDICTION, DriftThresholds, Profile, to_arrays
from diabetes.tabular.features import select_features
from diabetes.tabular.fitting import fit
from diabetes_mlops.models import model_files, registry
from diabetes_mlops.monitoring import drift
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.reports import plots
from mlflow import MlflowClient
from mlflow.entities import Run
from problems import PATIENTS, make_patients

SCHEMA = PATIENTS.schema
COLUMNS = [*SCHEMA.feature_names, PREDICTION]


@pytest.fixture(scope="module")
def rows() -> pd.DataFrame:
    return make_patients()


@pytest.fixture(scope="module")
def profile(rows) -> Profile:
    return Profile.describe(SCHEMA, *to_arrays(SCHEMA, rows), rows["Y"].to_numpy())


@pytest.fixture
def experiment(tracking, request):
    """A fresh experiment for runs of this test."""
    name = f"/tests/{request.node.name}"
    mlflow.create_experiment(name, artifact_location=(tracking / request.node.name).as_uri())
    mlflow.set_experiment(name)


def log_batch(profile: Profile, batch: pd.DataFrame, **thresholds: float) -> tuple[Run, dict]:
    counts = profile.count(SCHEMA, *to_arrays(SCHEMA, batch), batch["Y"].to_numpy())
    with mlflow.start_run() as active:
        reported = drift.log(Drift.of(profile, counts, DriftThresholds(**thresholds)))
    return mlflow.get_run(active.info.run_id), reported


def test_a_batch_that_moved_is_tagged_and_measured_column_by_column(experiment, profile, rows):
    run, reported = log_batch(profile, rows.assign(BMI=rows["BMI"] + 8))

    assert run.data.tags["drift"] == reported["status"] == "alert"
    assert reported["drifted"] == {"BMI": "alert"}
    assert run.data.metrics["psi_BMI"] == reported["psi"]["BMI"] > 0.25
    every = {name: run.data.metrics[f"psi_{name}"] for name in COLUMNS}
    assert list(reported["psi"].values()) == sorted(every.values(), reverse=True)[:3]
    assert reported["every_psi"] == "in drift.json of the MLflow run"
    assert run.data.metrics["drift_p_BMI"] < 0.001
    assert run.data.metrics["missing_share_BMI"] == rows["BMI"].isna().mean()
    for prefix in ("psi_", "drift_p_", "missing_share_"):
        assert {f"{prefix}{name}" for name in COLUMNS} <= run.data.metrics.keys()
    assert json.loads(json.dumps(reported)) == reported


def test_the_same_rows_again_are_ok(experiment, profile, rows):
    run, reported = log_batch(profile, rows)

    assert (run.data.tags["drift"], reported["drifted"]) == ("ok", {})


def test_thresholds_move_the_verdict_and_are_kept_with_it(experiment, profile, rows):
    run, reported = log_batch(profile, rows.assign(BMI=rows["BMI"] + 8), psi_warn=0.2, psi_alert=9.0)

    assert reported["status"] == "warn"
    assert (run.data.params["psi_warn"], run.data.params["psi_alert"]) == ("0.2", "9.0")


def test_a_sentence_names_the_columns_that_moved_with_psi_and_threshold(experiment, profile, rows):
    moved = rows.assign(BMI=rows["BMI"] + 8, AGE=np.nan)
    run, _ = log_batch(profile, moved, psi_warn=0.2, psi_alert=4.0)

    told = drift.tell_drifted(run.data)

    index = run.data.metrics
    assert 0.2 < index["psi_BMI"] < 4 < index["psi_AGE"]
    assert told == (
        f"AGE psi {index['psi_AGE']:.3g} (alert from 4), BMI psi {index['psi_BMI']:.3g} (warn from 0.2)"
    )


def test_a_sentence_about_many_columns_stops_after_five(experiment, profile, rows):
    run, reported = log_batch(
        profile, rows.assign(**dict.fromkeys(["AGE", "BMI", "BP", "S1", "S2", "S3"], np.nan))
    )

    assert len(reported["drifted"]) == 6
    assert drift.tell_drifted(run.data).count("psi") == 5
    assert drift.tell_drifted(run.data).endswith(") and 1 more")


def test_an_empty_batch_is_logged_as_ok(experiment, profile, rows):
    run, reported = log_batch(profile, rows.head(0))

    assert reported["status"] == "ok"
    assert {run.data.metrics[f"psi_{name}"] for name in COLUMNS} == {0.0}


def test_a_table_and_a_picture_show_every_column(experiment, profile, rows):
    batch = rows.assign(AGE=np.nan)
    run, _ = log_batch(profile, batch)
    counts = profile.count(SCHEMA, *to_arrays(SCHEMA, batch), batch["Y"].to_numpy())
    moved = Drift.of(profile, counts, DriftThresholds())

    table = mlflow.artifacts.load_dict(f"{run.info.artifact_uri}/drift.json")
    panels = plots.draw_drift(profile, counts, moved).axes

    found = pd.DataFrame(table["data"], columns=table["columns"]).set_index("column")
    assert found.index.tolist() == COLUMNS
    assert found.loc["AGE", ["missing_batch", "status"]].tolist() == [1.0, "alert"]
    assert [axes.get_title().partition(":")[0] for axes in panels[: len(COLUMNS)]] == COLUMNS
    assert panels[COLUMNS.index("AGE")].get_title().endswith(", alert")


def test_a_model_without_a_profile_loads_without_one(experiment, rows):
    with mlflow.start_run():
        logged = model_files.log_model(
            PATIENTS, fit(PATIENTS, rows, {}), select_features(SCHEMA, rows).head(2)
        )
    version = registry.register(MlflowClient(), logged, "spark_catalog.tests.old_model", {})

    assert model_files.load(version, SCHEMA).profile is None


def test_a_profile_of_other_categories_is_refused_like_other_columns(experiment, profile, rows):
    other = Profile(profile.edges, {"SEX": ("F", "M")}, profile.baseline)
    with mlflow.start_run():
        logged = model_files.log_model(
            PATIENTS, fit(PATIENTS, rows, {}), select_features(SCHEMA, rows).head(2), other
        )
    version = registry.register(MlflowClient(), logged, "spark_catalog.tests.other_sexes", {})

    with pytest.raises(model_files.SignatureError, match=re.escape("('SEX', ('F', 'M'))]; the schema has")):
        model_files.load(version, SCHEMA)
