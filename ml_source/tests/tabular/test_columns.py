"""A schema that no table could fit is refused where it is written."""

import math
from typing import Any

import pytest
from diabetes.tabular import Column, Schema
from diabetes.tabular.columns import SchemaError, check_columns
from problems import PATIENTS, TUMOURS

KEY = Column("ID", "integer", "", low=1, high=2**53 - 1)
LABEL = Column("Y", "number", "")
X = Column("X", "number", "")


def make_schema(**columns: Any) -> Schema:
    return Schema(**{"key": KEY, "features": (X,), "label": LABEL} | columns)


def test_columns_come_in_the_order_of_key_features_and_label() -> None:
    schema = PATIENTS.schema

    assert list(schema.columns) == ["ID", *schema.feature_names, "Y"]
    assert schema.columns["Y"] is schema.label
    assert sorted(schema.numeric_names + schema.category_names) == sorted(schema.feature_names)
    assert (schema.category_names, TUMOURS.schema.category_names) == (["SEX"], [])


def test_missing_columns_are_named_beside_those_that_are_there() -> None:
    with pytest.raises(SchemaError) as error:
        check_columns(["ID", "AGE"], ["ID", "BMI"])

    assert str(error.value) == "missing columns ['BMI']; the table has ['ID', 'AGE']"


def test_a_needed_column_that_is_there_twice_is_named_and_any_other_may_be() -> None:
    check_columns(["ID", "NOTE", "NOTE"], ["ID"])
    with pytest.raises(SchemaError) as error:
        check_columns(["ID", "BMI", "AGE", "BMI"], ["ID", "BMI"])

    assert str(error.value) == "columns ['BMI'] are there twice; the table has ['ID', 'BMI', 'AGE', 'BMI']"


@pytest.mark.parametrize(
    ("columns", "repeated"),
    [
        ({"features": (X, X)}, ["X", "X"]),
        ({"features": (X, KEY)}, ["ID", "ID"]),
        ({"label": X}, ["X", "X"]),
        ({"label": KEY}, ["ID", "ID"]),
        ({"features": (X, Column("x", "number", ""))}, ["X", "x"]),
    ],
)
def test_two_columns_of_one_name_are_refused(columns: dict[str, Any], repeated: list[str]) -> None:
    with pytest.raises(SchemaError) as error:
        make_schema(**columns)

    assert str(error.value) == f"each column needs a name of its own, whatever its case; got {repeated}"


@pytest.mark.parametrize("name", ["prediction", "Prediction"])
def test_a_column_that_is_called_as_the_prediction_is_refused(name: str) -> None:
    for columns in (
        {"features": (X, Column(name, "number", "", ""))},
        {"label": Column(name, "number", "", "")},
        {"key": Column(name, "integer", "", "", low=1, high=10)},
    ):
        with pytest.raises(SchemaError, match=f"'{name}' is the name of what a model predicts: rename"):
            make_schema(**columns)


@pytest.mark.parametrize(
    ("columns", "message"),
    [
        ({"features": ()}, "a schema needs a tuple of features, one at least; got ()"),
        ({"features": X}, "a schema needs a tuple of features, one at least; got Column("),
        ({"key": Column("K", "number", "")}, "the key K must be an integer or a text; it is a number"),
        (
            {"key": Column("K", "category", "", categories=("a",))},
            "the key K must be an integer or a text; it is a category",
        ),
        (
            {"label": Column("L", "category", "", categories=("no",))},
            "the categories of the label L are the classes to tell apart, at least two; got ['no']",
        ),
    ],
)
def test_what_a_key_a_label_and_features_cannot_be_is_refused(columns: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as error:
        make_schema(**columns)

    assert str(error.value).startswith(message)


@pytest.mark.parametrize(("low", "high"), [(1, math.inf), (-math.inf, 10), (0, 2**53), (-(2**53), 0)])
def test_a_key_of_which_two_could_be_read_as_one_is_refused(low: float, high: float) -> None:
    with pytest.raises(SchemaError) as error:
        make_schema(key=Column("K", "integer", "", low=low, high=high))

    assert str(error.value) == (
        "the key K needs low and high from -9007199254740991 to 9007199254740991, "
        f"where each whole number is read exactly; got {low} and {high}"
    )


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"name": "", "kind": "number"}, "a column needs a name; got ''"),
        ({"name": " ", "kind": "number"}, "a column needs a name; got ' '"),
        ({"kind": "int"}, "X: kind must be one of integer, number, category, text, date; got 'int'"),
        ({"kind": "number", "low": 3, "high": 2}, "X: low must not be above high; got 3 and 2"),
        ({"kind": "number", "low": math.nan}, "X: low must not be above high; got nan and inf"),
        (
            {"kind": "category"},
            "X: a category needs a tuple of categories, and nothing else has them; got ()",
        ),
        (
            {"kind": "number", "categories": ("a",)},
            "X: a category needs a tuple of categories, and nothing else has them; got ('a',)",
        ),
        (
            {"kind": "category", "categories": "Female"},
            "X: a category needs a tuple of categories, and nothing else has them; got 'Female'",
        ),
        (
            {"kind": "category", "categories": ("a", "b", "a")},
            "X: categories must be texts, each there once and not empty; got ('a', 'b', 'a')",
        ),
        (
            {"kind": "category", "categories": ("a", "")},
            "X: categories must be texts, each there once and not empty; got ('a', '')",
        ),
        (
            {"kind": "category", "categories": (0, 1)},
            "X: categories must be texts, each there once and not empty; got (0, 1)",
        ),
    ],
)
def test_a_column_that_no_value_could_be_in_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(SchemaError) as error:
        Column(**{"name": "X", "description": ""} | declared)

    assert str(error.value) == message
