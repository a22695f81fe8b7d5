"""The problem may be any other one: numbers alone, categories alone, no slices; what cannot be is refused."""

from dataclasses import replace
from functools import partial
from io import BytesIO

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular import Evaluation, Problem
from diabetes.tabular.drift import DriftThresholds, Profile, to_arrays
from diabetes.tabular.fitting import fit
from diabetes.tabular.measuring import describe_features, evaluate
from diabetes.tabular.metrics import no_slices
from diabetes.tabular.scoring import predict, predict_arrays
from diabetes.tabular.screening import screen
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops import monitor
from diabetes_mlops.models import assessment
from diabetes_mlops.monitoring.drift import Drift
from diabetes_mlops.reports import plots
from diabetes_mlops.runs.settings import MonitoringSettings
from matplotlib.figure import Figure
from problems import PATIENTS, TUMOURS, make_linear, make_patients, make_ridge, make_tumours


def of_patients(*kinds: str) -> Problem:
    """The patients, told by their columns of these kinds alone, and in no slices."""
    features = tuple(column for column in PATIENTS.schema.features if column.kind in kinds)
    schema = replace(PATIENTS.schema, features=features)
    return replace(
        PATIENTS,
        schema=schema,
        make_pipeline=partial(make_linear, schema, make_ridge),
        evaluation=replace(PATIENTS.evaluation, slice_rows=no_slices),
    )


NUMBERS = ["AGE", "BMI", "BP", "S1", "S2", "S3", "S4", "S5", "S6"]
REGRESSION = ["predicted_vs_actual", "importance", "residuals"]
CLASSES = ["calibration", "roc", "importance"]


@pytest.mark.parametrize(
    ("problem", "table", "columns", "figures"),
    [
        (of_patients("integer", "number"), make_patients(), NUMBERS, REGRESSION),
        (of_patients("category"), make_patients(), ["SEX"], REGRESSION),
        (TUMOURS, make_tumours(), TUMOURS.schema.numeric_names, CLASSES),
    ],
    ids=["numbers alone", "categories alone", "two classes"],
)
def test_training_scoring_and_drawing_work_with(
    problem: Problem, table: pd.DataFrame, columns: list[str], figures: list[str]
):
    schema, (train, holdout) = problem.schema, split_by_key(problem.schema, table)

    model = fit(problem, train, {})
    measured = assessment.assess(problem, model, train, holdout, seed=0)
    profile = Profile.describe(schema, *to_arrays(schema, train), predict(schema, model, train))
    screened = screen(schema, pa.RecordBatch.from_pandas(holdout, preserve_index=False))
    predicted = predict_arrays(schema, model, screened.numbers, screened.codes)
    counts = profile.count(schema, screened.numbers, screened.codes, predicted)
    found = Drift.of(profile, counts, DriftThresholds())

    assert np.abs(predicted - measured.predicted).max() < 1e-9
    assert measured.metrics == evaluate(problem, model, holdout)
    assert describe_features(schema, train).index.tolist() == columns
    assert found.comparison.index.tolist() == [*columns, "prediction"]
    assert measured.slices.empty
    assert measured.slices.columns.tolist() == ["rows", *problem.evaluation.metrics]
    drawn = plots.draw_assessment(problem, measured)
    assert list(drawn) == figures
    moved, features = plots.draw_drift(profile, counts, found), plots.draw_features(schema, train)
    assert [axes.get_title() for axes in features.axes] == columns
    for figure in (*drawn.values(), moved, features):
        assert is_drawn(figure)


def is_drawn(figure: Figure) -> bool:
    """Whether a figure can be saved, which draws it."""
    image = BytesIO()
    figure.savefig(image, format="png")
    return image.tell() > 0


def test_tumours_go_through_every_job_by_their_own_names(jobs):
    tumours = replace(jobs, problem=TUMOURS)
    table = make_tumours()
    data = tumours.write(table, "tumours.csv")

    trained = tumours.train(training_data=data)
    scored = tumours.score(input_data=data, batch_id="all")
    widgets = {"output_table": jobs.table, "experiment_name": f"/tests/{jobs.name}", "labels_data": data}
    settings = MonitoringSettings.from_widgets(widgets, TUMOURS)
    monitored = monitor.run(jobs.spark, settings, TUMOURS)

    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    rows = jobs.rows("all").toPandas().set_index("CASE").loc[table["CASE"]]
    measured = evaluate(TUMOURS, model, table)
    assert rows["prediction"].to_numpy() == pytest.approx(predict(TUMOURS.schema, model, table))
    assert (trained["alias"], scored["rows_scored"]) == ("champion", len(table))
    assert monitored["rows_labelled"] == len(table)
    assert monitored["true_brier"] == pytest.approx(measured["brier"])
    assert monitored["true_accuracy"] == pytest.approx(measured["accuracy"])
    assert monitored["brier_ratio"] == pytest.approx(measured["brier"] / trained["metrics"]["brier"])
    page = mlflow.artifacts.load_text(f"{jobs.last_run().info.artifact_uri}/monitoring.html")
    assert "True brier, version 1" in page
    assert "rmse" not in page


@pytest.mark.parametrize("primary", ["r2", "rmsle"])
def test_a_primary_metric_that_is_no_error_is_refused(primary: str):
    with pytest.raises(ValueError, match="must be one of the metrics that are better when lower") as error:
        Evaluation(PATIENTS.evaluation.metrics, primary, margin=2.0)

    assert str(error.value).endswith(f"['rmse', 'mae']; got {primary!r}")
