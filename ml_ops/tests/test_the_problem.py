"""The science of this wheel keeps its promises to the machinery, and one that does not is told which."""

from collections.abc import Callable
from dataclasses import replace
from functools import partial
from pathlib import Path
from uuid import uuid4

import flowers
import mlflow
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes import PROBLEM
from diabetes.tabular import Column, Metric, Parameter, Problem
from job_runs import needs_skops
from promises import BrokenPromise, check
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer

DATA = Path(__file__).parents[2] / "ml_data" / "data_raw.csv"
PATIENTS = problems.PATIENTS


@pytest.fixture
def store(tmp_path: Path, tracking: Path) -> None:
    """An experiment of the tests' store, whose models go into a folder of the test."""
    name = f"/tests/promises-{uuid4().hex}"
    mlflow.create_experiment(name, artifact_location=tmp_path.as_uri())
    mlflow.set_experiment(name)


@pytest.mark.skipif(
    not DATA.exists(), reason=f"there is no table {DATA.name} in ml_data to try the science on"
)
def test_the_problem_keeps_its_promises(store: None):
    check(PROBLEM, pd.read_csv(DATA))


@pytest.mark.parametrize(
    ("problem", "table"),
    [
        (PATIENTS, problems.make_patients),
        (problems.TUMOURS, problems.make_tumours),
        (flowers.FLOWERS, flowers.make_flowers),
    ],
    ids=["a regression", "two classes", "many classes"],
)
def test_other_problems_keep_theirs(store: None, problem: Problem, table: Callable[[], pd.DataFrame]):
    check(problem, table())


def break_table(rows: pd.DataFrame) -> pd.DataFrame:
    rows["BMI"] = 0.0
    return rows


def make_changing(**params: float) -> Pipeline:
    return Pipeline([("break", FunctionTransformer(break_table)), *PATIENTS.make_pipeline(**params).steps])


def make_of_one_pipeline() -> Callable[..., Pipeline]:
    kept = PATIENTS.make_pipeline(alpha=1.0)
    return lambda *, alpha: kept


def make_that_fills_nothing(*, alpha: float) -> Pipeline:
    numbers = FunctionTransformer(partial(pd.DataFrame.reindex, columns=["BMI"]))
    return make_pipeline(numbers, Ridge(alpha=alpha))


def centre(rows: np.ndarray) -> np.ndarray:
    return rows - rows.mean(axis=0)


def make_of_the_batch(*, alpha: float) -> Pipeline:
    usual = PATIENTS.make_pipeline(alpha=alpha)
    return Pipeline([usual.steps[0], ("centre", FunctionTransformer(centre)), usual.steps[1]])


def with_metric(metric: Metric, name: str = "rmse") -> Problem:
    evaluation = PATIENTS.evaluation
    return replace(PATIENTS, evaluation=replace(evaluation, metrics={**evaluation.metrics, name: metric}))


def with_slices(slice_rows: Callable[[pd.DataFrame], dict[str, np.ndarray]]) -> Problem:
    return replace(PATIENTS, evaluation=replace(PATIENTS.evaluation, slice_rows=slice_rows))


def with_columns(**changes: Column) -> Problem:
    features = tuple(changes.get(column.name, column) for column in PATIENTS.schema.features)
    return replace(PATIENTS, schema=replace(PATIENTS.schema, features=features))


OUGHT = {
    r"schema\.py: its own table does not pass: SchemaError: .*BMI: \d+ outside 50 to 60": with_columns(
        BMI=Column("BMI", "number", "", low=50, high=60)
    ),
    r"make_pipeline does not take the parameters as they are declared.*beta": replace(
        PATIENTS, parameters=(*PATIENTS.parameters, Parameter("beta", 1.0))
    ),
    r"make_pipeline gives the same pipeline twice": replace(PATIENTS, make_pipeline=make_of_one_pipeline()),
    r"predicting changes the table": replace(
        PATIENTS, make_pipeline=make_changing, trusted=("test_the_problem",)
    ),
    r"a prediction depends on which rows are predicted together": replace(
        PATIENTS, make_pipeline=make_of_the_batch, trusted=("test_the_problem",)
    ),
    r"the metric rmse is nan on 103 holdout rows": with_metric(Metric(lambda a, p: np.nan, "lower")),
    r"the metric odd cannot be measured on one row": with_metric(
        Metric(lambda a, p: float(a[1] - p[1]), "lower"), "odd"
    ),
    r"rmse is 1\.0 where each label is predicted, more than": with_metric(
        Metric(lambda a, p: 1 / (1 + np.mean(np.abs(a - p))), "lower")
    ),
    r"slice_rows does not take the features.*NAME": with_slices(lambda rows: {"x": rows["NAME"] == 1}),
    r"the slice old is not a boolean NumPy array": with_slices(lambda rows: {"old": rows["AGE"] > 50}),
}


@pytest.mark.parametrize("broken", OUGHT)
def test_a_broken_promise_is_a_sentence(store: None, broken: str):
    with pytest.raises(BrokenPromise, match=broken):
        check(OUGHT[broken], problems.make_patients())


@needs_skops
def test_a_pipeline_that_cannot_be_saved_is_a_broken_promise(store: None):
    told = r"what make_pipeline gives cannot be saved: UntrustedTypeError: .*TRUSTED"
    with pytest.raises(BrokenPromise, match=told):
        check(replace(PATIENTS, make_pipeline=make_that_fills_nothing), problems.make_patients())
