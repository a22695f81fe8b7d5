"""What a pipeline cannot be written as is told by name; what is written can be kept and read again."""

from dataclasses import replace
from typing import Any

import flowers
import numpy as np
import pandas as pd
import problems
import pytest
from diabetes.tabular import sql
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.sql import NoSqlError, SqlModel, write_sql
from sklearn.compose import ColumnTransformer, make_column_selector
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingClassifier, RandomForestRegressor
from sklearn.impute import KNNImputer, SimpleImputer
from sklearn.linear_model import LinearRegression, LogisticRegression, Ridge
from sklearn.pipeline import FeatureUnion, Pipeline, make_pipeline
from sklearn.preprocessing import (
    FunctionTransformer,
    MaxAbsScaler,
    MinMaxScaler,
    OneHotEncoder,
    OrdinalEncoder,
    PolynomialFeatures,
    StandardScaler,
)

SCHEMA = problems.PATIENTS.schema
NUMBERS = ["AGE", "BMI", "S5"]


class OwnRidge(Ridge):
    """A model that is one of scikit-learn's in all but what it may have changed."""


def fitted(first: Any, *rest: Any) -> Pipeline:
    table = problems.make_patients().dropna()
    model = Pipeline([("first", first), *((str(place), step) for place, step in enumerate(rest))])
    return model.fit(select_features(SCHEMA, table), select_label(SCHEMA, table))


def of(step: Any, columns: Any = tuple(NUMBERS), **options: Any) -> ColumnTransformer:
    chosen = list(columns) if isinstance(columns, tuple) else columns
    return ColumnTransformer([("part", step, chosen)], **options)


def encode(**options: Any) -> Any:
    return of(OneHotEncoder(sparse_output=False, **options), ("SEX",))


NO_NUMBERS = OneHotEncoder(handle_unknown="ignore")
LAST = make_pipeline(StandardScaler(), Ridge())
REFUSED = {
    "a model of trees": (of("passthrough"), RandomForestRegressor(2), "RandomForestRegressor is not written"),
    "a model of nothing": (of("passthrough"), DummyRegressor(), "DummyRegressor is not written"),
    "a model of one's own": (of("passthrough"), OwnRidge(), "OwnRidge is not written"),
    "a function": (of(FunctionTransformer(np.abs)), Ridge(), "a FunctionTransformer with a function"),
    "a union": (of(FeatureUnion([("a", StandardScaler())])), Ridge(), "FeatureUnion is not written"),
    "neighbours": (of(KNNImputer()), Ridge(), "KNNImputer is not written"),
    "products": (of(PolynomialFeatures()), Ridge(), "PolynomialFeatures is not written"),
    "ordinals": (of(OrdinalEncoder(), ("SEX",)), Ridge(), "OrdinalEncoder is not written"),
    "weights": (of(StandardScaler(), transformer_weights={"part": 2}), Ridge(), "transformer_weights"),
    "a slice": (of(StandardScaler(), slice(2, 5)), Ridge(), "by a slice or a function"),
    "a mask": (of(StandardScaler(), [False, False, *[True] * 8]), Ridge(), "by a mask"),
    "an indicator": (of(SimpleImputer(add_indicator=True)), Ridge(), "a SimpleImputer that adds columns"),
    "other gaps": (of(SimpleImputer(missing_values=-1)), Ridge(), "fills other values than NaN"),
    "clipped, by range": (of(MinMaxScaler(clip=True)), Ridge(), "MinMaxScaler with clip"),
    "clipped, by largest": (of(MaxAbsScaler(clip=True)), Ridge(), "MaxAbsScaler with clip"),
    "rare categories": (encode(min_frequency=2), Ridge(), "puts rare categories together"),
    "few categories": (encode(max_categories=2), Ridge(), "puts rare categories together"),
    "numbers as categories": (of(NO_NUMBERS, ("AGE",)), Ridge(), "anything but texts"),
    "a pipeline last": (of("passthrough"), LAST, "last step is a pipeline"),
}  # fmt: skip


@pytest.mark.parametrize("what", REFUSED)
def test_what_is_not_written_as_sql_is_told_by_name(what: str):
    first, last, told = REFUSED[what]

    with pytest.raises(NoSqlError, match=told):
        write_sql(SCHEMA, fitted(first, last))


def test_a_selector_is_written_by_the_columns_that_it_chose():
    chosen = fitted(of(StandardScaler(), make_column_selector(pattern="^S[12]$")), Ridge())
    named = fitted(of(StandardScaler(), ("S1", "S2")), Ridge())

    assert write_sql(SCHEMA, chosen) == write_sql(SCHEMA, named)


def test_a_category_that_may_be_missing_is_not_written():
    table = problems.make_patients().dropna(subset=NUMBERS)
    model = make_pipeline(of(OneHotEncoder(), ("SEX",)), Ridge())
    model.fit(select_features(SCHEMA, table), select_label(SCHEMA, table))

    with pytest.raises(NoSqlError, match="none of them missing"):
        write_sql(SCHEMA, model)


@pytest.mark.filterwarnings("ignore:Skipping features")
def test_a_column_that_is_dropped_for_its_gaps_is_not_written():
    table = problems.make_patients().assign(AGE=np.nan)
    model = make_pipeline(of(SimpleImputer()), Ridge())
    model.fit(select_features(SCHEMA, table), select_label(SCHEMA, table))

    with pytest.raises(NoSqlError, match="drops some"):
        write_sql(SCHEMA, model)


def test_texts_go_into_no_scaler_and_no_model():
    model, texts = fitted(of("passthrough"), Ridge()), of("passthrough", ("SEX",))
    texts.fit(pd.DataFrame({"SEX": ["Male"]}).reindex(columns=SCHEMA.feature_names))
    model.steps[0], model.steps[-1][1].coef_ = ("first", texts), np.ones(1)
    scaled = Pipeline([("texts", texts), ("scale", StandardScaler().fit([[1.0]])), model.steps[-1]])

    with pytest.raises(NoSqlError, match="a scaler of texts"):
        write_sql(SCHEMA, scaled)
    with pytest.raises(NoSqlError, match="a model of texts"):
        write_sql(SCHEMA, model)


def test_a_column_that_is_called_like_a_variable_is_not_written():
    features = (replace(SCHEMA.features[0], name="${env:HOME}"), *SCHEMA.features[1:])

    with pytest.raises(NoSqlError, match=r"columns \['\$\{env:HOME\}'\] are not written"):
        write_sql(replace(SCHEMA, features=features), fitted(of("passthrough"), Ridge()))


@pytest.mark.parametrize("value", [np.nan, np.inf, -np.inf])
def test_a_coefficient_that_is_not_finite_is_not_written(value: float):
    model = fitted(of("passthrough"), Ridge())
    model.steps[-1][1].coef_[1] = value

    with pytest.raises(NoSqlError, match=f"{value} is no number that SQL can write"):
        write_sql(SCHEMA, model)


def test_a_statement_that_is_too_long_is_not_written(monkeypatch):
    monkeypatch.setattr(sql, "_MOST_TERMS", 2)

    with pytest.raises(NoSqlError, match="3 columns are too many for SQL, which takes up to 2"):
        write_sql(SCHEMA, fitted(of("passthrough"), Ridge()))


@pytest.mark.parametrize("last", [HistGradientBoostingClassifier(max_iter=2), LinearRegression()])
def test_a_label_of_classes_takes_a_logistic_regression_alone(last: Any):
    table, schema = flowers.make_flowers().dropna(), flowers.FLOWERS.schema
    model = make_pipeline(of("passthrough", ("PETAL_LENGTH", "PETAL_WIDTH")), last)
    model.fit(select_features(schema, table), select_label(schema, table))

    with pytest.raises(NoSqlError, match=f"{type(last).__name__} is not written"):
        write_sql(schema, model)


def test_what_is_written_can_be_kept():
    written = write_sql(SCHEMA, fitted(of(StandardScaler()), Ridge()))

    assert SqlModel.from_json(written.as_json()) == written
    assert written.is_total is False, "a number that is missing gives nothing"


def test_a_statement_names_the_probability_of_each_class():
    table, schema = flowers.make_flowers().dropna(), flowers.FLOWERS.schema
    model = make_pipeline(of("passthrough", ("PETAL_LENGTH",)), LogisticRegression())
    model.fit(select_features(schema, table), select_label(schema, table))

    statement = write_sql(schema, model).select(schema, "my_table")

    assert all(f"AS `probability of {name}`" in statement for name in flowers.CLASSES)
    assert "FROM my_table" in statement and "`NO`" in statement
