"""A search is a run with its trials below it, and gives the same digits again."""

import sys
from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from diabetes.tabular import Parameter, Problem
from diabetes.tabular.fitting import fit
from diabetes.tabular.measuring import cross_validate
from diabetes.tabular.parameters import ParameterError
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.models import search as search_module
from diabetes_mlops.models.search import Evaluate, Params, find_params, on_driver, on_workers
from mlflow.entities import Run
from problems import PATIENTS, make_patients
from pyspark.errors import PythonException
from pyspark.sql import SparkSession
from sklearn.compose import make_column_transformer
from sklearn.impute import SimpleImputer
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.tree import DecisionTreeRegressor

SCHEMA = PATIENTS.schema
TRIALS = 4


def make_trees() -> Problem:
    """The patients again, by a tree that has a parameter of each type to search, and one that has none."""
    numbers = SCHEMA.numeric_names

    # In here, because Spark's workers do not have this module.
    def make_tree(pruning: float, depth: int, mark_gaps: bool, fill: str, rows: int) -> Pipeline:
        filled = SimpleImputer(strategy=fill, add_indicator=mark_gaps)
        tree = DecisionTreeRegressor(
            max_depth=depth, min_samples_leaf=rows, ccp_alpha=pruning, random_state=0
        )
        return make_pipeline(make_column_transformer((filled, numbers)), tree)

    fills = ("mean", "median", "most_frequent")
    parameters = (
        Parameter("pruning", 1.0, low=0.0, search=(0.01, 100.0), scale="log"),
        Parameter("depth", 3, low=1, high=30, search=(1, 8)),
        Parameter("mark_gaps", False, search=(False, True)),
        Parameter("fill", "median", choices=fills, search=("mean", "median")),
        Parameter("rows", 5, low=1),
    )
    return replace(PATIENTS, parameters=parameters, make_pipeline=make_tree)


TREES = make_trees()
GIVEN: Params = {"pruning": 1.0, "depth": 3, "mark_gaps": False, "fill": "median", "rows": 7}


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return split_by_key(SCHEMA, make_patients())[0]


@pytest.fixture
def experiment(tracking: Path, request) -> str:
    name = f"/tests/{request.node.name}"
    experiment = mlflow.create_experiment(name, artifact_location=(tracking / "search").as_uri())
    mlflow.set_experiment(name)
    return experiment


def run_search(
    problem: Problem, evaluate: Evaluate, first: Params, seed: int = 7, trials: int = TRIALS
) -> tuple[Params, Run, list[Run]]:
    """What a search found, its run, and those of its trials in their order."""
    with mlflow.start_run() as parent:
        found = find_params(problem, evaluate, first=first, trials=trials, seed=seed)
    query = f"tags.mlflow.parentRunId = '{parent.info.run_id}'"
    runs = mlflow.MlflowClient().search_runs([parent.info.experiment_id], query, order_by=["start_time"])
    return found, mlflow.get_run(parent.info.run_id), runs


def search(
    train: pd.DataFrame, seed: int, spark: SparkSession | None = None, **options: Any
) -> tuple[float, Run, list[Run]]:
    """The alpha that a search found, and the runs."""
    workers = on_workers(spark, PATIENTS, train, seed=seed) if spark else None
    evaluate = workers or on_driver(PATIENTS, train, seed=seed)
    found, parent, trials = run_search(PATIENTS, evaluate, {"alpha": 300.0}, seed, **options)
    return found["alpha"], parent, trials


def params_of(trials: list[Run]) -> list[dict[str, str]]:
    return [{name: value for name, value in run.data.params.items() if name != "seed"} for run in trials]


def as_texts(params: Mapping[str, Any]) -> dict[str, str]:
    """Parameters as MLflow keeps them."""
    return {name: str(value) for name, value in params.items()}


def alphas(trials: list[Run]) -> list[str]:
    return [run.data.params["alpha"] for run in trials]


def errors(trials: list[Run]) -> list[float]:
    return [run.data.metrics["cv_rmse"] for run in trials]


def test_the_same_rows_and_seed_give_the_same_model_digits(train: pd.DataFrame, experiment: str):
    first, again, other = (search(train, seed)[0] for seed in (7, 7, 8))

    assert first == again != other
    model, twin = fit(PATIENTS, train, {"alpha": first}), fit(PATIENTS, train, {"alpha": again})
    assert model["predict"].coef_.tolist() == twin["predict"].coef_.tolist()


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
    best = cross_validate(PATIENTS, train, {"alpha": alpha}, seed=7)
    assert parent.data.metrics["cv_rmse"] == min(errors.values()) == best
    assert lines[0].startswith("trial 1 of 4: alpha 300, cross-validated rmse ")
    assert [line.partition(":")[0] for line in lines[:TRIALS]] == [f"trial {n} of 4" for n in range(1, 5)]


def test_parameters_of_every_type_are_searched_together(train: pd.DataFrame, experiment: str, capsys):
    found, parent, trials = run_search(TREES, on_driver(TREES, train, seed=7), GIVEN, trials=12)

    tried = params_of(trials)
    best = cross_validate(TREES, train, found, seed=7)
    assert tried[0] == as_texts(GIVEN)
    assert parent.data.metrics["cv_rmse"] == min(errors(trials)) == best
    assert as_texts(found) == tried[errors(trials).index(best)]
    assert list(map(type, found.values())) == [float, int, bool, str, int]
    for name in ("pruning", "depth", "mark_gaps", "fill"):
        assert len({params[name] for params in tried}) > 1
    told = (f"depth {found['depth']}", f"mark_gaps {found['mark_gaps']}", f"fill {found['fill']}")
    last = capsys.readouterr().out.splitlines()[-1]
    assert last == f"best of 12 trials: pruning {found['pruning']:.4g}, {', '.join(told)}"


def test_a_search_of_several_parameters_has_the_same_digits_on_the_workers(train, experiment, spark):
    on_the_driver, _, tried = run_search(TREES, on_driver(TREES, train, seed=7), GIVEN)

    on_the_workers, _, there = run_search(TREES, on_workers(spark, TREES, train, seed=7), GIVEN)

    assert on_the_workers == on_the_driver
    assert params_of(there) == params_of(tried)
    assert errors(there) == pytest.approx(errors(tried), rel=1e-12)


def collect(tried: list[Params]) -> Evaluate:
    """Notes what is tried, and finds all of it equally good."""

    def evaluate(asked: list[Params]) -> list[float]:
        tried.extend(asked)
        return [1.0] * len(asked)

    return evaluate


def test_a_search_stays_within_what_each_parameter_says_and_keeps_the_others(experiment: str):
    tried: list[Params] = []

    run_search(TREES, collect(tried), GIVEN, trials=24)

    assert len(tried) == 24
    assert {params["rows"] for params in tried} == {7}
    assert {params["fill"] for params in tried} == {"mean", "median"}
    assert {params["mark_gaps"] for params in tried} == {False, True}
    assert {params["depth"] for params in tried} <= set(range(1, 9))
    prunings = [params["pruning"] for params in tried]
    assert all(0.01 <= pruning <= 100 for pruning in prunings)
    # Half of a log scale lies below 1; of a linear one, a hundredth.
    assert 6 < sum(pruning < 1 for pruning in prunings) < 18


@pytest.mark.parametrize(
    "outside",
    [{"pruning": 1000.0}, {"depth": 9}, {"fill": "most_frequent"}, {"depth": 9, "fill": "most_frequent"}],
    ids=str,
)
def test_a_first_set_with_a_value_outside_the_search_is_not_tried(experiment: str, outside: Params):
    tried: list[Params] = []

    found, _, _ = run_search(TREES, collect(tried), GIVEN | outside)

    for name, value in outside.items():
        assert value not in [params[name] for params in (*tried, found)]
    assert tried[0] != GIVEN


@pytest.mark.parametrize("edge", [{"pruning": 0.01}, {"pruning": 100.0, "depth": 8, "mark_gaps": True}])
def test_a_first_set_at_the_edge_of_the_search_is_tried_first_to_the_digit(experiment: str, edge: Params):
    tried: list[Params] = []

    run_search(TREES, collect(tried), GIVEN | edge, trials=1)

    assert tried == [GIVEN | edge]


def test_a_search_where_nothing_is_to_be_searched_is_refused_before_any_fit(experiment: str):
    (alpha,) = PATIENTS.parameters
    fixed, tried = replace(PATIENTS, parameters=(replace(alpha, search=()),)), []

    with pytest.raises(ParameterError) as error:
        run_search(fixed, collect(tried), {"alpha": 0.5})

    assert str(error.value) == (
        "search_trials is 4, but no parameter has values to search: "
        "give one its `search` in training.py, or set search_trials to 0"
    )
    assert tried == []


def test_all_parameters_that_a_search_chose_are_in_the_run_and_in_its_report(jobs):
    result = replace(jobs, problem=TREES).train(
        model_params="rows=7, depth=4", search_trials="3", search_on="workers"
    )

    run = mlflow.get_run(result["run_id"])
    page = mlflow.artifacts.load_text(f"{run.info.artifact_uri}/report.html")
    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/1")
    params = result["model_params"]
    assert list(params) == list(GIVEN)
    assert params["rows"] == model[-1].min_samples_leaf == 7
    assert params["depth"] == model[-1].max_depth
    assert as_texts(params).items() <= run.data.params.items()
    shown = as_texts(params) | {"pruning": f"{params['pruning']:.4g}"}
    for name, value in shown.items():
        assert f'{name.replace("_", " ")}</td><td class="long"><code>{value}</code>' in page


def test_a_search_where_there_is_no_optuna_says_where_there_is(monkeypatch):
    monkeypatch.setitem(sys.modules, "optuna", None)

    with pytest.raises(
        search_module.NoOptunaError, match="search_trials takes Optuna, which is not installed here"
    ):
        search_module._make_study(0)
