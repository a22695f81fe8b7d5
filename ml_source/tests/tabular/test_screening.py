"""Each row of a batch is read as it stands, or rejected with every reason that there is."""

import math

import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.drift import to_arrays
from diabetes.tabular.screening import ScreenedBatch, screen
from hypothesis import HealthCheck, example, given, settings
from hypothesis import strategies as st
from problems import PATIENTS

SCHEMA = PATIENTS.schema
GOOD = {"AGE": "61", "SEX": "Female", "BMI": "21.1", "BP": "102", "S1": "196", "S2": "75.7"}
GOOD |= {"S3": "99", "S4": "2", "S5": "4.7868", "S6": "77"}


def screen_texts(*rows: dict[str, str | None]) -> ScreenedBatch:
    """Screen rows of text, as they come out of a CSV; what a row does not name is as in a good one."""
    filled = [{"ID": str(number)} | GOOD | row for number, row in enumerate(rows, 1)]
    columns = {
        name: pa.array([row[name] for row in filled], pa.string()) for name in ("ID", *SCHEMA.feature_names)
    }
    return screen(SCHEMA, pa.RecordBatch.from_pydict(columns))


def screen_numbers(**columns: list[object]) -> ScreenedBatch:
    """Screen typed rows, as they come out of a Parquet file."""
    rows = len(next(iter(columns.values())))
    numbers = {name: [float(GOOD[name])] * rows for name in SCHEMA.numeric_names}
    typed = {"ID": list(range(1, rows + 1)), "SEX": ["Male"] * rows} | numbers | columns
    return screen(SCHEMA, pa.RecordBatch.from_pydict(typed))


def test_a_batch_is_read_as_training_reads_its_table(batch: pd.DataFrame) -> None:
    numbers, codes = to_arrays(SCHEMA, batch)

    screened = screen(SCHEMA, pa.RecordBatch.from_pandas(batch, preserve_index=False))

    assert screened.reasons == {}
    assert screened.is_readable.all()
    assert screened.ids.tolist() == batch["ID"].tolist()
    np.testing.assert_array_equal(screened.numbers, numbers)
    np.testing.assert_array_equal(screened.codes, codes)


def test_text_is_read_like_numbers(batch: pd.DataFrame) -> None:
    typed = screen(SCHEMA, pa.RecordBatch.from_pandas(batch, preserve_index=False))
    text = batch.map(lambda value: None if pd.isna(value) else str(value))

    screened = screen(SCHEMA, pa.RecordBatch.from_pandas(text, preserve_index=False))

    assert screened.reasons == {}
    assert screened.ids.tolist() == typed.ids.tolist()
    np.testing.assert_array_equal(screened.numbers, typed.numbers)
    np.testing.assert_array_equal(screened.codes, typed.codes)


@pytest.mark.parametrize(
    ("row", "reasons"),
    [
        ({"ID": None}, ["ID is missing"]),
        ({"ID": ""}, ["ID is missing"]),
        ({"ID": "x1"}, ["ID is not a number: x1"]),
        ({"ID": "2.5"}, ["ID is not a whole number: 2.5"]),
        ({"ID": "0"}, ["ID is outside 1 to 9007199254740991: 0"]),
        ({"ID": "9007199254740993"}, ["ID is outside 1 to 9007199254740991: 9007199254740993"]),
        ({"BMI": "30d"}, ["BMI is not a number: 30d"]),
        ({"BMI": "3,5"}, ["BMI is not a number: 3,5"]),
        ({"BMI": "0x1F"}, ["BMI is not a number: 0x1F"]),
        ({"BMI": "1e999"}, ["BMI is outside 10 to 80: 1e999"]),
        ({"BMI": "-inf"}, ["BMI is outside 10 to 80: -inf"]),
        ({"AGE": "61.5"}, ["AGE is not a whole number: 61.5"]),
        ({"SEX": "female"}, ["SEX is unknown: female"]),
        (
            {"AGE": "-1", "SEX": "?", "BMI": "fat"},
            ["AGE is outside 0 to 120: -1", "SEX is unknown: ?", "BMI is not a number: fat"],
        ),
    ],
)
def test_a_row_that_cannot_be_scored_has_every_reason(row: dict[str, str | None], reasons: list[str]) -> None:
    screened = screen_texts({}, row, {})

    assert screened.reasons == {1: reasons}
    assert screened.is_readable.tolist() == [True, False, True]


@pytest.mark.parametrize("text", ["30", "+30", "30.", "3e1", "030", "30.000"])
def test_one_number_may_be_written_in_many_ways(text: str) -> None:
    # The second row sends all of them past the quick way of reading.
    screened = screen_texts({"BMI": text}, {"BMI": ""})

    assert screened.reasons == {}
    assert screened.numbers[0, SCHEMA.numeric_names.index("BMI")] == 30


@pytest.mark.parametrize("missing", [None, "", "nan", "NaN"])
def test_a_missing_feature_is_not_wrong(missing: str | None) -> None:
    screened = screen_texts(
        {name: missing for name in SCHEMA.numeric_names} | {"SEX": None if missing else missing}
    )

    assert screened.reasons == {}
    assert np.isnan(screened.numbers).all()
    assert screened.codes.tolist() == [[-1] * len(SCHEMA.category_names)]


def test_typed_values_out_of_range_are_set_aside() -> None:
    screened = screen_numbers(BMI=[9.99, 10.0, 80.0, math.inf, None], ID=[1, 2, 2**60, 4, 5])

    assert screened.reasons == {
        0: ["BMI is outside 10 to 80: 9.99"],
        2: [f"ID is outside 1 to 9007199254740991: {2**60}"],
        3: ["BMI is outside 10 to 80: inf"],
    }


def test_a_batch_without_columns_that_are_needed_names_them() -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['AGE', 'SEX'"):
        screen(SCHEMA, pa.RecordBatch.from_pydict({"ID": [1], "BMI": [20.0]}))


ANYTHING = st.text(max_size=8) | st.floats().map(str) | st.integers().map(str) | st.none()
ROW = st.dictionaries(st.sampled_from(["ID", *SCHEMA.feature_names]), ANYTHING)


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=1, max_size=20))
@example([{"BMI": "\ud7ff"}, {"SEX": "\x00"}])
def test_whatever_a_row_holds_it_is_readable_or_has_a_reason(rows: list[dict[str, str | None]]) -> None:
    screened = screen_texts(*rows)

    for row in range(len(rows)):
        wrong = [text for text in screened.reasons.get(row, []) if text]
        assert bool(wrong) != screened.is_readable[row]
        if screened.is_readable[row]:
            assert screened.ids[row] >= 1
            for place, name in enumerate(SCHEMA.numeric_names):
                value, column = screened.numbers[row, place], SCHEMA.columns[name]
                assert math.isnan(value) or column.low <= value <= column.high


@settings(deadline=None, suppress_health_check=[HealthCheck.too_slow])
@given(st.lists(ROW, min_size=2, max_size=8))
def test_what_becomes_of_a_row_does_not_depend_on_the_others(rows: list[dict[str, str | None]]) -> None:
    rows = [{"ID": "7"} | row for row in rows]
    together, alone = screen_texts(*rows), [screen_texts(row) for row in rows]

    for row, single in enumerate(alone):
        assert together.reasons.get(row, []) == single.reasons.get(0, [])
        if together.is_readable[row]:
            np.testing.assert_array_equal(together.numbers[row], single.numbers[0])
