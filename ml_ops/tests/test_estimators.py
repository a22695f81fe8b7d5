"""Any estimator that scikit-learn can hold is trained, saved without pickle where it can be, scores alike."""

import json
import re
import subprocess
import sys
from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path

import lightgbm
import mlflow
import numpy as np
import pandas as pd
import problems
import pytest
import xgboost
from diabetes.tabular import Parameter, Problem
from diabetes.tabular.features import select_features
from diabetes.tabular.scoring import predict
from diabetes_mlops.models import made_of
from diabetes_mlops.models.made_of import UntrustedTypeError
from job_runs import MLFLOW_KNOWS_SKOPS, Jobs, needs_skops
from mlflow import MlflowClient
from sklearn.base import BaseEstimator
from sklearn.compose import TransformedTargetRegressor
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer
from uv import find_uv_bin

PATIENTS, TUMOURS = problems.PATIENTS, problems.TUMOURS
TREES = (
    Parameter("trees", 20, "how many", low=1, high=1000, search=(5, 50)),
    Parameter("rate", 0.1, "of learning", low=1e-4, high=1.0, search=(0.02, 0.5), scale="log"),
)
# What a fresh environment does with a model that is alone in the world.
PREDICT = """
import json, sys, mlflow.sklearn, pandas as pd
model = mlflow.sklearn.load_model(sys.argv[1])
print(json.dumps(model.predict(pd.read_json(sys.argv[2], orient="split")).tolist()))
"""


def make_lightgbm(*, trees: int, rate: float) -> BaseEstimator:
    return lightgbm.LGBMRegressor(
        n_estimators=trees, learning_rate=rate, verbose=-1, n_jobs=1, random_state=0
    )


def make_xgboost(*, trees: int, rate: float) -> BaseEstimator:
    return xgboost.XGBClassifier(n_estimators=trees, learning_rate=rate, n_jobs=1, random_state=0)


def make_of_the_logarithm(*, trees: int, rate: float) -> BaseEstimator:
    return TransformedTargetRegressor(Ridge(alpha=rate), func=np.log1p, inverse_func=np.expm1)


def make_with_a_function(*, trees: int, rate: float) -> BaseEstimator:
    return make_pipeline(FunctionTransformer(np.arctan), Ridge(alpha=rate))


def make_behind_the_usual_steps(
    problem: Problem, make: Callable[..., BaseEstimator], **params: float
) -> Pipeline:
    usual = problem.make_pipeline(alpha=1.0)
    return Pipeline([*usual.steps[:-1], ("predict", make(**params))])


def with_estimator(problem: Problem, make: Callable[..., BaseEstimator], *trusted: str) -> Problem:
    pipeline = partial(make_behind_the_usual_steps, problem, make)
    return replace(problem, parameters=TREES, make_pipeline=pipeline, trusted=trusted)


CASES = {
    "lightgbm": (with_estimator(PATIENTS, make_lightgbm, "lightgbm"), "lightgbm"),
    "xgboost": (with_estimator(TUMOURS, make_xgboost, "xgboost"), "xgboost"),
    "logarithm": (with_estimator(PATIENTS, make_of_the_logarithm), ""),
    "function": (with_estimator(PATIENTS, make_with_a_function), ""),
}


@pytest.fixture
def odd_jobs(make_jobs: Callable[[str], Jobs], request: pytest.FixtureRequest) -> Callable[[Problem], Jobs]:
    name = re.sub(r"\W+", "_", request.node.name).strip("_")
    return lambda problem: replace(make_jobs(name), problem=problem)


def tables_of(problem: Problem) -> pd.DataFrame:
    return problems.make_patients() if problem.schema == PATIENTS.schema else problems.make_tumours()


@pytest.mark.parametrize("name", CASES)
def test_it_scores_in_the_workers_as_it_does_by_itself(odd_jobs, name: str):
    problem, package = CASES[name]
    jobs, table = odd_jobs(problem), tables_of(problem)
    key, label = problem.schema.key.name, problem.schema.label.name
    training, batch = jobs.write(table, f"{name}.csv"), table.drop(columns=label)

    trained = jobs.train(training_data=training, model_params="trees=30, rate=0.2", promotion="manual")
    version = trained["model_version"]
    scored = jobs.score(input_data=jobs.write(batch, f"{name}-batch.csv"), model_version=version)

    model = mlflow.sklearn.load_model(f"models:/{jobs.model_name}/{version}")
    rows = jobs.rows(scored["batch_id"]).toPandas().set_index(key).loc[table[key], "prediction"]
    assert scored["rows_scored"] == len(table)
    assert rows.tolist() == pytest.approx(predict(problem.schema, model, batch).tolist(), rel=1e-9)
    params = MlflowClient().get_run(trained["run_id"]).data.params
    assert (params["trees"], params["rate"]) == ("30", "0.2")
    needed = Path(mlflow.pyfunc.get_model_dependencies(f"models:/{jobs.model_name}/{version}")).read_text()
    assert package in needed
    files = mlflow.artifacts.download_artifacts(f"models:/{jobs.model_name}/{version}")
    assert (Path(files) / ("model.skops" if MLFLOW_KNOWS_SKOPS else "model.pkl")).exists()


def test_a_search_tries_its_parameters_together(odd_jobs):
    problem, _ = CASES["lightgbm"]

    trained = odd_jobs(problem).train(search_trials="3", model_params="trees=10")

    trials = MlflowClient().search_runs(
        [trained["experiment_id"]], f"tags.mlflow.parentRunId = '{trained['run_id']}'"
    )
    tried = [(int(run.data.params["trees"]), float(run.data.params["rate"])) for run in trials]
    assert (10, 0.1) in tried and len(set(tried)) == 3
    assert all(5 <= trees <= 50 and 0.02 <= rate <= 0.5 for trees, rate in tried)
    assert tuple(trained["model_params"].values()) in tried


@needs_skops
def test_a_package_that_is_not_named_is_refused_before_anything_is_fitted(odd_jobs):
    problem = with_estimator(PATIENTS, make_lightgbm)

    with pytest.raises(
        UntrustedTypeError, match=r"lightgbm\.sklearn\.LGBMRegressor, .* add 'lightgbm' to TRUSTED"
    ):
        odd_jobs(problem).train(search_trials="50")


def make_with_a_lambda(*, trees: int, rate: float) -> BaseEstimator:
    return make_pipeline(FunctionTransformer(lambda rows: rows + 1), Ridge(alpha=rate))


@needs_skops
def test_a_function_without_a_name_is_refused_with_what_to_do(odd_jobs):
    problem = with_estimator(PATIENTS, make_with_a_lambda)

    with pytest.raises(UntrustedTypeError, match=r"make it a function of training\.py"):
        odd_jobs(problem).train()


def test_what_is_of_the_science_s_wheel_goes_with_the_model():
    with_science = made_of.name_requirements({made_of.SCIENCE, "sklearn", "lightgbm"})

    assert made_of.find_code({made_of.SCIENCE}) == [str(Path(made_of.tabular.__path__[0]).parent)]
    assert made_of.find_code({"sklearn"}) == []
    assert {line.partition("==")[0] for line in with_science} >= {"lightgbm", "pyarrow", "scipy", "numpy"}
    assert not [line for line in with_science if line.startswith(made_of.SCIENCE)]


def test_a_fresh_environment_of_its_requirements_loads_it_and_predicts_the_same(odd_jobs, tmp_path: Path):
    problem, _ = CASES["lightgbm"]
    jobs = odd_jobs(problem)
    trained = jobs.train(promotion="manual")
    address = f"models:/{jobs.model_name}/{trained['model_version']}"
    model = mlflow.artifacts.download_artifacts(address)
    rows = select_features(problem.schema, problems.make_patients()).head(20)
    rows.to_json(tmp_path / "rows.json", orient="split", double_precision=15)
    environment, python = tmp_path / "fresh", tmp_path / "fresh" / "bin" / "python"
    uv = [find_uv_bin(), "--quiet"]
    subprocess.run([*uv, "venv", "--python", sys.executable, environment], check=True)
    needed = [*uv, "pip", "install", "--python", python, "-r", Path(model) / "requirements.txt"]
    subprocess.run(needed, check=True)

    told = subprocess.run(
        [python, "-c", PREDICT, model, tmp_path / "rows.json"], capture_output=True, text=True, check=False
    )

    assert told.returncode == 0, told.stderr
    expected = mlflow.sklearn.load_model(address).predict(rows)
    assert json.loads(told.stdout.splitlines()[-1]) == pytest.approx(expected.tolist(), rel=1e-12)
