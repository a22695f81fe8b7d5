"""A search is a run with its trials below it, and gives the same digits again."""

from pathlib import Path

import mlflow
import pandas as pd
import pytest
import science
from diabetes.measuring import cross_validate
from diabetes.splitting import split_by_id
from diabetes.training import fit
from diabetes_mlops import search as search_module
from diabetes_mlops.search import find_alpha, on_driver, on_workers
from mlflow.entities import Run
from pyspark.errors import PythonException
from pyspark.sql import SparkSession

TRIALS = 4


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return split_by_id(pd.read_csv(science.DATA / "data_raw.csv"))[0]


@pytest.fixture
def experiment(tracking: Path, request) -> str:
    name = f"/tests/{request.node.name}"
    experiment = mlflow.create_experiment(name, artifact_location=(tracking / "search").as_uri())
    mlflow.set_experiment(name)
    return experiment


def search(
    train: pd.DataFrame,
    seed: int,
    first: float = 300.0,
    trials: int = TRIALS,
    spark: SparkSession | None = None,
) -> tuple[float, Run, list[Run]]:
    evaluate = on_workers(spark, train, seed=seed) if spark else on_driver(train, seed=seed)
    with mlflow.start_run() as parent:
        alpha = find_alpha(evaluate, first=first, trials=trials, seed=seed)
    query = f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    runs = mlflow.MlflowClient().search_runs([parent.info.experiment_id], query, order_by=["start_time"])
    return alpha, mlflow.get_run(parent.info.run_id), runs


def alphas(trials: list[Run]) -> list[str]:
    return [run.data.params["alpha"] for run in trials]


def errors(trials: list[Run]) -> list[float]:
    return [run.data.metrics["cv_rmse"] for run in trials]


def test_the_same_rows_and_seed_give_the_same_model_digits(train: pd.DataFrame, experiment: str):
    first, again, other = (search(train, seed)[0] for seed in (7, 7, 8))

    assert first == again != other
    model, twin = fit(train, alpha=first), fit(train, alpha=again)
    assert model["regress"].coef_.tolist() == twin["regress"].coef_.tolist()


def test_driver_and_workers_come_to_the_same_digits(train, experiment, spark, capsys, monkeypatch):
    monkeypatch.setattr(search_module, "BATCH", 2)
    trials = 3
    on_the_driver, _, tried = search(train, 7, trials=trials)
    said = capsys.readouterr().out

    on_the_workers, parent, tried_there = search(train, 7, trials=trials, spark=spark)

    assert on_the_workers == on_the_driver
    assert alphas(tried_there) == alphas(tried)
    assert errors(tried_there) == pytest.approx(errors(tried), rel=1e-12)
    assert len(tried) == trials == len(set(alphas(tried)))
    assert parent.data.metrics["cv_rmse"] == min(errors(tried_there))
    lines = capsys.readouterr().out.splitlines()
    progress = [line for line in lines if "Spark workers" in line]
    assert progress == [f"fitting {n} trials, 5 folds each, in the Spark workers" for n in (2, 1)]
    assert [line for line in lines if line not in progress] == said.splitlines()


def test_what_a_trial_raises_in_a_worker_ends_the_search_with_its_message(
    train: pd.DataFrame, experiment: str, spark: SparkSession
):
    with pytest.raises(PythonException, match=r"columns \['BMI'\] have no value"):
        search(train.assign(BMI=float("nan")), 7, spark=spark)


def test_each_trial_is_a_nested_run_and_the_best_one_wins(train: pd.DataFrame, experiment: str, capsys):
    alpha, parent, trials = search(train, 7)

    errors = {float(run.data.params["alpha"]): run.data.metrics["cv_rmse"] for run in trials}
    lines = capsys.readouterr().out.splitlines()
    assert len(errors) == len(trials) == TRIALS
    assert alpha == min(errors, key=errors.get) != 300.0
    assert (
        parent.data.metrics["cv_rmse"] == min(errors.values()) == cross_validate(train, alpha=alpha, seed=7)
    )
    assert lines[0].startswith("trial 1 of 4: alpha 300, cross-validated rmse ")
    assert [line.partition(":")[0] for line in lines[:TRIALS]] == [f"trial {n} of 4" for n in range(1, 5)]


def test_a_first_value_outside_the_search_space_is_not_tried(train: pd.DataFrame, experiment: str):
    _, _, trials = search(train, 7, first=1e6)

    assert all(float(run.data.params["alpha"]) <= 1000 for run in trials)
