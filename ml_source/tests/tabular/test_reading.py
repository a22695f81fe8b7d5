"""A value is the same, or is refused, whoever reads it: training, scoring or who looks at the labels."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import Column, SchemaError
from diabetes.tabular.features import select_labelled
from diabetes.tabular.reading import read_values
from diabetes.tabular.screening import screen, screen_labels
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from problems import PATIENTS

SCHEMA = PATIENTS.schema
GOOD = {"ID": "7", "AGE": "61", "SEX": "Female", "BMI": "21.1", "BP": "102", "S1": "196", "S2": "75.7"}
GOOD |= {"S3": "99", "S4": "2", "S5": "4.7868", "S6": "77", "Y": "151"}
# Ways in which somebody, or some language, writes what may be a number.
WRITTEN = ["59d", "1f", "0x1p3", "0x10", "NaN", "nan", "-nan", "+nan", "nan(1)", "NA", "Infinity", "-inf"]
WRITTEN += ["1e3", "1E1", "1_000", " 59 ", "59\t", "59,0", "+59", "++59", "-0", ".5", "5.", ".", "1e", "e5"]
WRITTEN += ["\uff11\uff12", "\u0665", "true", "1.0", "2.5", "9007199254740991", "9007199254740992", "1e400"]
WRITTEN += ["9223372036854775808", "1e-400", "", " ", "\x00", "5\x00", "2026-11-29", "Male", "male", "59L"]
TEXTS = st.sampled_from(WRITTEN) | st.text(max_size=6) | st.from_regex(r"[+-]?\d*\.?\d*(e[+-]?\d{1,3})?\s?")
DECIMALS = st.decimals(-(10**6), 10**18, places=4)
VALUES = st.one_of(
    st.lists(st.none() | TEXTS, min_size=1, max_size=8),
    st.lists(st.none() | DECIMALS, min_size=1, max_size=8),
    st.lists(st.none() | st.integers(-(2**63), 2**63 - 1) | st.integers(-5, 150), min_size=1, max_size=8),
    st.lists(st.none() | st.floats(), min_size=1, max_size=8),
    st.lists(st.none() | st.booleans(), min_size=1, max_size=8),
)


def read_by_training(name: str, values: pa.Array) -> list[object]:
    """What training takes for each value of a column in a table that is good else, and "refused"."""
    return [read_one_by_training(name, values.slice(place, 1).to_pandas()) for place in range(len(values))]


def read_one_by_training(name: str, value: pd.Series) -> object:
    table = pd.DataFrame({other: [good] for other, good in GOOD.items()}).assign(**{name: value})
    try:
        check_table(SCHEMA, table, labelled=True)
    except SchemaError:
        return "refused"
    return select_labelled(SCHEMA, table)[name].item()


def read_by_scoring(name: str, values: pa.Array) -> list[object]:
    """What scoring takes for each value, or the monitoring of labels; a missing one of those is refused."""
    columns = {other: pa.array([good] * len(values)) for other, good in GOOD.items()} | {name: values}
    batch = pa.RecordBatch.from_pydict(columns)
    if name == "Y":
        _, read, reasons = screen_labels(SCHEMA, batch)
        return ["refused" if row in reasons or np.isnan(label) else label for row, label in enumerate(read)]
    screened = screen(SCHEMA, batch)
    if name == "ID":
        read = screened.ids
    elif name in SCHEMA.numeric_names:
        read = screened.numbers[:, SCHEMA.numeric_names.index(name)]
    else:
        known = [*SCHEMA.columns[name].categories, np.nan]
        read = [known[code] for code in screened.codes[:, SCHEMA.category_names.index(name)]]
    return ["refused" if row in screened.reasons else value for row, value in enumerate(read)]


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow], max_examples=200)
@given(st.sampled_from(["ID", *SCHEMA.feature_names, "Y"]), VALUES)
@example("AGE", WRITTEN)
@example("BMI", WRITTEN)
@example("BMI", [None, "21.1"])
@example("SEX", WRITTEN)
@example("SEX", [float("nan"), None, 1.0])
@example("ID", WRITTEN)
@example("Y", WRITTEN)
@example("BMI", [Decimal("21.1000"), Decimal("80.0001")])
@example("ID", [2**53 - 1, 2**53, 2**53 + 1])
def test_training_scoring_and_labels_take_the_same_value_or_refuse_it(name: str, values: list[object]):
    array = pa.array(values, pa.decimal128(38, 4) if isinstance(values[0], Decimal) else None)

    by_training, by_scoring = read_by_training(name, array), read_by_scoring(name, array)

    for value, trained, scored in zip(values, by_training, by_scoring, strict=True):
        assert pd.isna(trained) == pd.isna(scored), value
        assert trained == scored or pd.isna(trained), value


@pytest.mark.parametrize("text", ["59d", "0x10", "1_000", " 59 ", "\uff15\uff19", "true", "nan(1)"])
def test_what_only_some_language_takes_for_a_number_is_refused(text: str):
    assert read_by_training("AGE", pa.array([text])) == ["refused"]


def test_a_number_without_limits_is_only_not_infinite():
    column = Column("X", "number", "anything")

    read = read_values(column, pa.array([-1e300, 0.0, None, float("inf"), 1e300]))

    assert {problem: np.flatnonzero(wrong).tolist() for problem, wrong in read.problems.items()} == {
        "range": [3]
    }
    assert read.is_missing.tolist() == [False, False, True, False, False]
    assert (column.limits, Column("Y", "number", "", low=0).limits) == ("the finite numbers", "0 to inf")
