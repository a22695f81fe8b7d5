"""Whatever a pipeline is made of, scoring from arrays predicts what the pipeline does by itself."""

from dataclasses import replace
from typing import Any

import flowers
import numpy as np
import pandas as pd
import problems
import pyarrow as pa
import pytest
from diabetes.tabular import Column, Schema
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.measuring import average_folds
from diabetes.tabular.reading import read_texts
from diabetes.tabular.scoring import predict, predict_arrays
from diabetes.tabular.screening import screen
from diabetes.tabular.splitting import Split, split_table
from sklearn.base import BaseEstimator
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression, Ridge
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import FunctionTransformer, OneHotEncoder, StandardScaler

SCHEMA = problems.PATIENTS.schema


def divide(table: pd.DataFrame) -> pd.DataFrame:
    return pd.DataFrame({"ratio": (table["BMI"] / table["BP"]).fillna(0)})


def scaled() -> Pipeline:
    return make_pipeline(SimpleImputer(), StandardScaler())


def of(*parts: Any, **options: Any) -> ColumnTransformer:
    return ColumnTransformer(list(parts), **options)


PIPELINES = {
    "weights": of(
        ("a", scaled(), ["AGE"]), ("b", scaled(), ["BMI", "S5"]), transformer_weights={"a": 9, "b": 1}
    ),
    "names": of(("ratio", FunctionTransformer(divide), ["BMI", "BP"]), ("b", scaled(), ["S5"])),
    "tables": of(("a", scaled(), ["AGE"]), ("b", scaled(), ["BMI"])).set_output(transform="pandas"),
    "a part in a part": of(
        ("a", make_pipeline(of(("b", scaled(), ["BMI"])), StandardScaler()), ["BMI", "BP"])
    ),
    "the usual": of(("a", scaled(), ["AGE", "BMI"]), ("b", OneHotEncoder(), ["SEX"])),
}


def read(schema: Schema, table: pd.DataFrame) -> tuple[np.ndarray, np.ndarray]:
    batch = pa.RecordBatch.from_pandas(table.drop(columns=schema.label.name), preserve_index=False)
    screened = screen(schema, batch)
    return screened.numbers, screened.codes


@pytest.mark.parametrize("name", PIPELINES)
def test_arrays_are_predicted_as_a_table_is(name: str):
    table = problems.make_patients()
    model = make_pipeline(PIPELINES[name], Ridge())
    model.fit(select_features(SCHEMA, table), select_label(SCHEMA, table))

    given = predict_arrays(SCHEMA, model, *read(SCHEMA, table))

    assert given == pytest.approx(predict(SCHEMA, model, table), rel=1e-12)


@pytest.mark.parametrize("classifier", [LogisticRegression(max_iter=500)], ids=["logistic"])
def test_classes_need_no_column_transformer(classifier: BaseEstimator):
    problem, table = flowers.FLOWERS, flowers.make_flowers()
    numbers = tuple(column for column in problem.schema.features if column.kind != "category")
    schema = replace(problem.schema, features=numbers)
    model = make_pipeline(SimpleImputer(), StandardScaler(), classifier)
    model.fit(select_features(schema, table), select_label(schema, table).astype(int))

    given = predict_arrays(schema, model, *read(schema, table[list(schema.columns)]))

    assert given.shape == (len(table), len(schema.classes))
    assert given == pytest.approx(predict(schema, model, table))


def test_large_whole_numbers_of_a_column_with_a_gap_are_keys_without_an_exponent():
    texts = read_texts(pa.array([49151234567.0, 1e10, None, 12.5, float(2**53 - 1), -3.0]))

    assert texts.tolist() == ["49151234567", "10000000000", None, "12.5", "9007199254740991", "-3"]


@pytest.mark.parametrize("kind", [pa.date32(), pa.timestamp("us")], ids=str)
def test_a_date_that_python_does_not_have_is_a_reason_and_no_crash(kind: pa.DataType):
    day = Column("DAY", "date", "", first="2020-01-01", last="2030-12-31")
    schema = replace(SCHEMA, features=(day,))
    far = pa.array([20_000_000 if kind == pa.date32() else 20_000_000 * 86_400_000_000], kind)

    screened = screen(schema, pa.RecordBatch.from_pydict({"ID": pa.array([1]), "DAY": far}))

    assert screened.reasons[0][0].startswith("DAY is outside 2020-01-01 to 2030-12-31")


def test_a_group_stays_on_its_side_when_another_category_comes():
    names = tuple(f"r{place}" for place in range(10))
    table = problems.make_patients().assign(REGION=[names[place % 10] for place in range(442)])
    held_out = []
    for categories in (names, ("new", *names)):
        region = Column("REGION", "category", "", categories=categories)
        schema = replace(SCHEMA, others=(region,))
        split = replace(problems.PATIENTS, schema=schema, split=Split(column="REGION", holdout_share=0.3))
        held_out.append(set(split_table(split, table)[1]["REGION"]))

    assert held_out[0] == held_out[1] and 0 < len(held_out[0]) < 10


def test_folds_without_a_defined_error_are_left_out_and_none_at_all_is_said():
    assert average_folds([1.0, np.nan, 3.0]) == 2.0
    with pytest.raises(SchemaError, match="not defined on any of 2 folds"):
        average_folds([np.nan, np.nan])
