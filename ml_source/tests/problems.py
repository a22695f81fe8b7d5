"""The problems that the tests of the machinery are about, and their tables: not the science beside them."""

import atexit
import shutil
import tempfile
from collections.abc import Callable
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
from diabetes.tabular import Column, Evaluation, Metric, Parameter, Problem, Schema
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.datasets import load_breast_cancer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

# The share of the features' values that the tables lack.
MISSING_SHARE = 0.02
BATCH_ROWS, FIRST_BATCH_ID = 100, 1001
ALPHA = Parameter(
    "alpha", 0.5, "strength of the penalty", low=1e-6, high=1e9, search=(0.01, 1000.0), scale="log"
)


def make_linear(schema: Schema, make: Callable[[float], BaseEstimator], *, alpha: float) -> Pipeline:
    """A linear model behind the usual steps: gaps filled, numbers scaled, categories one-hot."""
    known = [list(column.categories) for column in schema.features if column.kind == "category"]
    numbers = make_pipeline(SimpleImputer(strategy="median"), StandardScaler())
    encode = OneHotEncoder(categories=known, sparse_output=False)
    categories = make_pipeline(SimpleImputer(strategy="most_frequent"), encode)
    parts = [("numbers", numbers, schema.numeric_names), ("categories", categories, schema.category_names)]
    used = [part for part in parts if part[2]]
    return Pipeline([("preprocess", ColumnTransformer(used)), ("predict", make(alpha))])


def make_ridge(alpha: float) -> Ridge:
    return Ridge(alpha=alpha)


def make_logistic(alpha: float) -> LogisticRegression:
    return LogisticRegression(C=1 / alpha, max_iter=1000)


def rmse(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.sqrt(np.mean((actual - predicted) ** 2)))


def mae(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean(np.abs(actual - predicted)))


def r2(actual: np.ndarray, predicted: np.ndarray) -> float:
    """NaN where all labels are equal."""
    if np.ptp(actual) == 0:
        return np.nan
    return float(1 - np.sum((actual - predicted) ** 2) / np.sum((actual - np.mean(actual)) ** 2))


def brier(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean((actual - predicted) ** 2))


def accuracy(actual: np.ndarray, predicted: np.ndarray) -> float:
    return float(np.mean((predicted > 0.5) == (actual == 1)))


def slice_patients(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """By sex, by two bands of age, and the rows that lack the age where there are any."""
    sex, age = features["SEX"], features["AGE"]
    masks = {f"SEX={name}": sex == name for name in ("Female", "Male")}
    masks |= {"AGE<50": age < 50, "AGE>=50": age >= 50}
    masks |= {"AGE missing": age.isna()} if age.isna().any() else {}
    return {name: mask.to_numpy(dtype=bool) for name, mask in masks.items()}


def make_problem(schema: Schema, make: Callable[[float], BaseEstimator], **evaluation: Any) -> Problem:
    """A linear problem with one parameter, `alpha`."""
    return Problem(
        schema=schema,
        parameters=(ALPHA,),
        make_pipeline=partial(make_linear, schema, make),
        evaluation=Evaluation(**evaluation),
    )


# A regression: ten features, one of them a category.
PATIENTS = make_problem(
    Schema(
        key=Column("ID", "integer", "row number", low=1, high=2**53 - 1),
        features=(
            Column("AGE", "integer", "age", "years", 0, 120),
            Column("SEX", "category", "sex", categories=("Female", "Male")),
            Column("BMI", "number", "body mass index", "kg/m²", 10, 80),
            Column("BP", "number", "average blood pressure", "mmHg", 30, 200),
            Column("S1", "number", "total serum cholesterol", "mg/dl", 50, 600),
            Column("S2", "number", "low-density lipoproteins", "mg/dl", 10, 500),
            Column("S3", "number", "high-density lipoproteins", "mg/dl", 5, 200),
            Column("S4", "number", "ratio of two of them", "ratio", 1, 30),
            Column("S5", "number", "log of the triglycerides", "log(mg/dl)", 2, 8),
            Column("S6", "number", "blood sugar", "mg/dl", 20, 600),
        ),
        label=Column("Y", "number", "progression of the disease", "score", 0, 1000),
    ),
    make_ridge,
    metrics={
        "rmse": Metric(rmse, "lower", "score"),
        "mae": Metric(mae, "lower", "score"),
        "r2": Metric(r2, "higher"),
    },
    primary="rmse",
    thresholds={"rmse": 70.0, "r2": 0.2},
    margin=2.0,
    slice_rows=slice_patients,
)

# Two classes, told by numbers alone.
TUMOURS = make_problem(
    Schema(
        key=Column("CASE", "integer", "number of the case", low=1, high=2**53 - 1),
        features=(
            Column("TEXTURE", "number", "deviation of grey values", "", 1, 100),
            Column("SMOOTHNESS", "number", "variation of the radius", "", 0, 1),
            Column("CONCAVITY", "number", "depth of dents in the contour", "", 0, 2),
            Column("SYMMETRY", "number", "difference of the two halves", "", 0, 1),
        ),
        label=Column("MALIGNANT", "integer", "a malignant tumour", low=0, high=1),
    ),
    make_logistic,
    metrics={"brier": Metric(brier, "lower"), "accuracy": Metric(accuracy, "higher")},
    primary="brier",
    thresholds={"brier": 0.2},
    margin=0.02,
)


def make_patients() -> pd.DataFrame:
    """442 labelled rows in the units of the schema, drawn, with gaps; the label depends on five features."""
    random, rows = np.random.default_rng(442), 442
    drawn = {
        "AGE": np.clip(random.normal(48, 13, rows), 19, 79).round(),
        "SEX": random.choice(np.array(["Female", "Male"], dtype=object), rows),
        "BMI": np.clip(random.normal(26.4, 4.4, rows), 18, 42).round(1),
        "BP": np.clip(random.normal(94.6, 13.8, rows), 62, 133).round(1),
        "S1": random.normal(189, 30, rows).round(),
        "S2": random.normal(115, 25, rows).round(1),
        "S3": np.clip(random.normal(50, 12, rows), 22, 99).round(),
        "S4": np.clip(random.normal(4, 1.2, rows), 2, 9).round(2),
        "S5": np.clip(random.normal(4.64, 0.5, rows), 3.3, 6.1).round(4),
        "S6": np.clip(random.normal(91, 11, rows), 58, 124).round(),
    }
    table = pd.DataFrame({"ID": np.arange(1, rows + 1)} | drawn)
    slopes = {"BMI": 6.5, "BP": 1.4, "S3": -0.9, "S5": 80}
    risen = sum(slope * (table[name] - table[name].mean()) for name, slope in slopes.items())
    label = 152 + risen - 10 * (table["SEX"] == "Male") + random.normal(0, 50, rows)
    return _with_gaps(PATIENTS, table.assign(Y=np.clip(label, 25, 346).round()), seed=442)


def make_patients_batch() -> pd.DataFrame:
    """Rows like those of `make_patients`, other IDs, no label."""
    random = np.random.default_rng(1)
    rows = make_patients().drop(columns="Y").iloc[random.integers(442, size=BATCH_ROWS)]
    moved = {
        name: (rows[name] * random.uniform(0.97, 1.03, BATCH_ROWS)).round(2) for name in ("BMI", "BP", "S1")
    }
    return rows.assign(ID=np.arange(BATCH_ROWS) + FIRST_BATCH_ID, **moved).reset_index(drop=True)


def make_tumours() -> pd.DataFrame:
    """569 labelled rows in the units of the schema, with gaps."""
    frame = load_breast_cancer(as_frame=True).frame
    names = [f"mean {name.lower()}" for name in TUMOURS.schema.feature_names]
    table = frame[names].set_axis(TUMOURS.schema.feature_names, axis=1)
    table.insert(0, "CASE", np.arange(1, len(table) + 1))
    return _with_gaps(TUMOURS, table.assign(MALIGNANT=1 - frame["target"]), seed=569)


@cache
def data_folder() -> Path:
    """A folder with `data_raw.csv` and `data_batch_input.csv` of the patients, until the tests end."""
    folder = Path(tempfile.mkdtemp(prefix="patients-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    for name, table in {
        "data_raw.csv": make_patients(),
        "data_batch_input.csv": make_patients_batch(),
    }.items():
        # A gap makes whole numbers floats, which they are not in a CSV that people have.
        table.astype({"AGE": "Int64"}).to_csv(folder / name, index=False)
    return folder


def _with_gaps(problem: Problem, table: pd.DataFrame, *, seed: int) -> pd.DataFrame:
    names = problem.schema.feature_names
    gaps = np.random.default_rng(seed).random((len(table), len(names))) < MISSING_SHARE
    return table.assign(**{name: table[name].mask(gap) for name, gap in zip(names, gaps.T, strict=True)})
