"""The key, the features and the label may be called what a table calls them."""

from dataclasses import replace
from functools import partial

import mlflow
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes.tabular import Column, Problem, Schema
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.scoring import predict
from diabetes_mlops import monitor
from diabetes_mlops.data import staged_batch
from diabetes_mlops.monitoring import history
from diabetes_mlops.runs.settings import MonitoringSettings
from problems import TUMOURS, make_tumours

ODD = {
    "TEXTURE": "grey (sd), 1%",
    "SMOOTHNESS": "var. of `radius`",
    "CONCAVITY": "dents;\u00e9=x//y",
    "SYMMETRY": "sym'metry\\",
    "MALIGNANT": 'is "bad".{0}',
}


def rename(problem: Problem, names: dict[str, str]) -> Problem:
    def named(column: Column) -> Column:
        return replace(column, name=names.get(column.name, column.name))

    old = problem.schema
    schema = Schema(named(old.key), tuple(map(named, old.features)), named(old.label))
    make = partial(problems.make_linear, schema, problems.make_logistic)
    return replace(problem, schema=schema, make_pipeline=make)


@pytest.mark.parametrize("key", ["case no.`1`", "case.`no`'%d\\"], ids=["with a blank", "without one"])
def test_a_table_with_odd_names_is_trained_on_scored_and_monitored(make_jobs, key: str):
    names = ODD | {"CASE": key}
    jobs = replace(make_jobs(f"odd_names_{' ' in key}"), problem=rename(TUMOURS, names))
    schema, table = jobs.problem.schema, make_tumours().rename(columns=names)
    path = jobs.write(table, "tumours.csv")
    # Case 1 twice, and a value that cannot be.
    batch = pd.concat([table, table.head(1)], ignore_index=True)
    batch.loc[5, ODD["CONCAVITY"]] = 7.0
    good = table.drop(index=[0, 5])

    jobs.train(training_data=path)
    result = jobs.score(input_data=jobs.write(batch, "batch.parquet"), batch_id="odd")
    widgets = {"output_table": jobs.table, "experiment_name": f"/tests/{jobs.name}", "labels_data": path}
    settings = MonitoringSettings.from_widgets(widgets, jobs.problem)
    monitored = monitor.run(jobs.spark, settings, jobs.problem)

    rows, rejected = (jobs.rows("odd", f"{jobs.table}{end}").toPandas() for end in ("", "_rejected"))
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    predicted = predict(schema, model, good)
    found = dict(zip(rows[key], rows["prediction"], strict=True))
    assert found == pytest.approx(dict(zip(good[key], predicted, strict=True)))
    repeated = f"{key} is repeated: 1 is there 2 times"
    outside = f"{ODD['CONCAVITY']} is outside 0 to 2: 7.0"
    assert sorted(text for texts in rejected["reasons"] for text in texts) == sorted(
        [repeated] * 2 + [outside]
    )
    psi = mlflow.load_table("drift.json", run_ids=[result["run_id"]]).set_index("column")["psi"]
    known = mlflow.load_table("batches.json", run_ids=[monitored["run_id"]]).iloc[0]
    assert {name: known[f"psi_{name}"] for name in psi.index} == psi.to_dict()
    assert set(psi.index) == {*schema.feature_names, "prediction"}
    assert monitored["rows_labelled"] == len(good)
    actual = good[schema.label.name].to_numpy(dtype=float)
    assert monitored["true_brier"] == pytest.approx(np.mean((actual - predicted) ** 2))


def test_a_label_that_is_told_twice_is_named_whatever_its_key_is_called(spark, tmp_path):
    schema = rename(TUMOURS, {"CASE": "case.no", "MALIGNANT": "reasons"}).schema
    pd.DataFrame({"case.no": [1, 1, 2], "reasons": [0, 1, 1]}).to_csv(tmp_path / "labels.csv", index=False)

    with pytest.raises(history.LabelsError, match=r"1 IDs or labels have more than one label.*'case.no': 1"):
        history.read_labels(spark, f"{tmp_path}/labels.csv", schema)


@pytest.mark.parametrize("name", ["Row", "run_id"])
def test_a_key_that_is_called_like_a_column_of_the_output_is_refused(spark, name: str):
    schema = rename(TUMOURS, {"CASE": name}).schema
    found = spark.createDataFrame(make_tumours().rename(columns={"CASE": name}).head(1))

    with pytest.raises(SchemaError, match=f"the key cannot be called '{name}': the output has a column of"):
        staged_batch.check_columns(found, schema, (), taken=["run_id"])
