"""A date is the number of days since the first day that can be real, however it comes."""

from dataclasses import replace
from datetime import UTC, date, datetime, timedelta, timezone
from math import nan

import houses
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular import Column, Schema
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError, show_day
from diabetes.tabular.drift import Profile, to_arrays
from diabetes.tabular.features import select_features, select_labelled
from diabetes.tabular.fitting import fit
from diabetes.tabular.measuring import describe_features
from diabetes.tabular.reading import read_series, read_values
from diabetes.tabular.scoring import predict, predict_arrays
from diabetes.tabular.screening import screen

SCHEMA, PROBLEM = houses.SCHEMA, houses.HOUSES
SOLD = SCHEMA.columns["SOLD"]
# Days from 2000-01-01 to 2024-02-29, and to its noon.
LEAP, NOON = 8825.0, 8825.5
BERLIN = timezone(timedelta(hours=1))


def days_of(values: pa.Array | pd.Series) -> list[float | None]:
    read = read_series(SOLD, values) if isinstance(values, pd.Series) else read_values(SOLD, values)
    assert not read.problems
    return [None if np.isnan(number) else number for number in read.numbers]


@pytest.mark.parametrize(
    ("text", "days"),
    [
        ("2000-01-01", 0),
        ("2000-03-01", 60),
        ("2024-02-29", LEAP),
        ("2024-02-29T12:00", NOON),
        ("2024-02-29 12:00:00", NOON),
        ("2024-02-29T12:00:00.000000000Z", NOON),
        ("2024-02-29T13:00:00+01:00", NOON),
        ("2024-02-29T07:30-0430", NOON),
        ("2024-03-01T00:30:00+12:30", NOON),
        ("2030-12-31", 11322),
        ("2030-12-31T23:59:59", 11322 + 86399 / 86400),
    ],
)
def test_a_text_is_read_as_its_days_with_the_part_of_a_day(text: str, days: float):
    assert days_of(pa.array([text])) == [days]


@pytest.mark.parametrize(
    "text",
    [
        "2023-02-29",
        "2024-04-31",
        "2024-13-01",
        "2024-00-10",
        "2024-01-00",
        "2024-1-1",
        "20240101",
        "24-01-01",
        "01.02.2024",
        "2024-01-01T24:00",
        "2024-01-01T12",
        "2024-01-01T12:00:60",
        "2024-01-01T12:00+24:00",
        "2024-01-01Z",
        "2024-01-01\n",
        " ",
        "٢٠٢٤-٠١-٠١",
        "8825",
        "nan",
    ],
)
def test_a_text_that_is_no_day_is_a_problem_and_not_missing(text: str):
    read = read_values(SOLD, pa.array([text, "2024-02-29"]))

    assert read.problems["date"].tolist() == [True, False]
    assert not read.is_missing.any() and read.numbers[1] == LEAP


@pytest.mark.parametrize(
    "text", ["1999-12-31", "1999-12-31T23:59:59", "2031-01-01", "9999-12-31", "0001-01-01"]
)
def test_a_day_outside_of_the_two_is_a_problem(text: str):
    assert read_values(SOLD, pa.array([text])).problems["range"].tolist() == [True]


MOMENT, DAY = datetime(2024, 2, 29, 12), date(2024, 2, 29)


@pytest.mark.parametrize(
    "values",
    [
        pa.array([DAY, None]),
        pa.array([DAY, None], pa.date64()),
        pa.array(["2024-02-29", ""]),
        pa.array(["2024-02-29", None], pa.large_string()),
        pa.array(["2024-02-29", None]).dictionary_encode(),
        pd.Series([DAY, None], dtype=object),
        pd.Series([DAY, pd.NaT], dtype=object),
        pd.Series(["2024-02-29", nan], dtype=object),
        pd.Series(pd.to_datetime(["2024-02-29", None])),
        pd.Series(pd.to_datetime(["2024-02-29", None])).dt.tz_localize("UTC"),
        pd.Series([DAY, None], dtype=pd.ArrowDtype(pa.date32())),
        pd.Series(pd.Categorical(["2024-02-29", None])),
    ],
)
def test_days_of_every_type_are_the_same(values):
    assert days_of(values) == [LEAP, None]


@pytest.mark.parametrize(
    "values",
    [
        pa.array([MOMENT, None], pa.timestamp("s")),
        pa.array([MOMENT, None], pa.timestamp("ms")),
        pa.array([MOMENT, None], pa.timestamp("us")),
        pa.array([MOMENT, None], pa.timestamp("ns")),
        pa.array([MOMENT.replace(tzinfo=UTC), None], pa.timestamp("us", "America/New_York")),
        pa.array(["2024-02-29T12:00:00", None]),
        pd.Series([MOMENT, None]),
        pd.Series(pd.to_datetime(["2024-02-29 13:00", None])).dt.tz_localize("Europe/Berlin"),
        pd.Series([MOMENT.replace(hour=13, tzinfo=BERLIN), None], dtype=object),
    ],
)
def test_a_time_of_day_is_the_same_of_every_type(values):
    assert days_of(values) == [NOON, None]


def test_a_time_beside_days_is_not_left_out():
    assert days_of(pd.Series([DAY, MOMENT, "2024-02-29T12:00"], dtype=object)) == [LEAP, NOON, NOON]
    assert days_of(pd.Series([DAY, MOMENT], dtype=object)) == [LEAP, NOON]


@pytest.mark.parametrize("unit", ["s", "ms", "us", "ns"])
def test_any_moment_has_the_days_of_its_text(unit: str):
    random = np.random.default_rng(7)
    moments = np.datetime64("2000-01-01", "s") + random.integers(0, 11323 * 86400, 500).astype("m8[s]")
    typed = pa.array(moments.astype(f"M8[{unit}]"))

    assert days_of(typed) == days_of(pa.array([str(moment) for moment in moments]))


def test_a_number_is_not_a_date():
    assert read_values(SOLD, pa.array([8825, None])).problems["date"].tolist() == [True, False]
    assert read_values(SOLD, pa.array([True])).problems["date"].tolist() == [True]


def test_scoring_rejects_a_row_with_the_reason_in_words():
    table = (
        houses.make_houses(4)
        .drop(columns="PRICE")
        .assign(SOLD=["2023-02-29", "1999-12-31", "", "2024-02-29"])
    )

    screened = screen(SCHEMA, pa.RecordBatch.from_pandas(table, preserve_index=False))

    assert screened.reasons == {
        0: ["SOLD is not a date: 2023-02-29"],
        1: ["SOLD is outside 2000-01-01 to 2030-12-31: 1999-12-31"],
    }
    assert screened.numbers[2:, 1].tolist()[1] == LEAP and np.isnan(screened.numbers[2, 1])


def test_training_refuses_the_same_values_and_takes_gaps():
    table = houses.make_houses(3)

    check_table(SCHEMA, table.assign(SOLD=[None, "", "2024-02-29"]), labelled=True)
    with pytest.raises(
        SchemaError, match=r"SOLD: 1 not a date, such as \['soon'\]; SOLD: 1 outside 2000-01-01 to"
    ):
        check_table(SCHEMA, table.assign(SOLD=["soon", "1999-12-31", "2024-02-29"]), labelled=True)
    with pytest.raises(SchemaError, match=r"SOLD: 3 not a date, such as \[1, 2, 3\]"):
        check_table(SCHEMA, table.assign(SOLD=[1, 2, 3]), labelled=True)
    with pytest.raises(SchemaError, match="SOLD: 3 not a date"):
        select_features(SCHEMA, table.assign(SOLD=[1, 2, 3]))


def test_a_model_reads_days_whatever_the_table_has():
    table = houses.make_houses()
    texts = table.assign(SOLD=table["SOLD"].dt.strftime("%Y-%m-%d"))
    model = fit(PROBLEM, table, {})

    by_arrays = predict_arrays(SCHEMA, model, *to_arrays(SCHEMA, texts))

    assert select_features(SCHEMA, texts)["SOLD"].dtype == np.float64
    assert predict(SCHEMA, model, texts) == pytest.approx(predict(SCHEMA, model, table))
    assert by_arrays == pytest.approx(predict(SCHEMA, model, table))
    alone = replace(PROBLEM, make_pipeline=lambda alpha: _without_parts(PROBLEM.make_pipeline(alpha=alpha)))
    whole = fit(alone, table, {})
    assert predict_arrays(SCHEMA, whole, *to_arrays(SCHEMA, table)) == pytest.approx(by_arrays)


def _without_parts(pipeline):
    return type(pipeline)([("whole", pipeline)])


def test_selected_rows_keep_their_dates_and_are_read_again_alike():
    table = houses.make_houses(50).assign(SOLD=["2024-02-29T12:34:56.789012", None, *["2001-02-03"] * 48])

    once = select_labelled(SCHEMA, table)

    assert once["SOLD"].tolist()[0] == pd.Timestamp("2024-02-29T12:34:56.789012") and once["SOLD"].isna()[1]
    pd.testing.assert_frame_equal(select_labelled(SCHEMA, once), once)
    pd.testing.assert_frame_equal(select_features(SCHEMA, once), select_features(SCHEMA, table))


def test_people_are_shown_days():
    table = houses.make_houses().assign(SOLD=[f"20{year:02}-01-01" for year in range(30)] * 10)
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, table), np.zeros(len(table)))

    labels = profile.labels("SOLD")
    statistics = describe_features(SCHEMA, table).loc["SOLD"]

    assert labels[0] == "≤ 2002-01-01" and labels[-2:] == ["> 2026-01-01", "missing"]
    assert (statistics["min"], statistics["max"]) == ("2000-01-01", "2029-01-01")
    assert statistics["mean"].startswith("2014-07-0") and 3000 < statistics["std"] < 3300
    assert describe_features(SCHEMA, table).loc["AREA", "mean"] == pytest.approx(table["AREA"].mean())


def test_a_column_of_dates_that_are_all_missing_is_described():
    table = houses.make_houses(5).assign(SOLD=None)

    assert np.isnan(describe_features(SCHEMA, table).loc["SOLD", "min"])


def test_a_profile_comes_back_with_its_dates_and_does_not_fit_others():
    table = houses.make_houses()
    profile = Profile.describe(SCHEMA, *to_arrays(SCHEMA, table), np.zeros(len(table)))
    later = replace(SCHEMA, features=(*SCHEMA.features[:2], replace(SOLD, first="2001-01-01")))
    kept = profile.as_json()

    again = Profile.from_json(kept)

    assert again == profile
    again.check(SCHEMA)
    with pytest.raises(SchemaError, match="the profile has dates counted from"):
        again.check(later)
    del kept["dates"]
    with pytest.raises(SchemaError, match=r"the profile has dates counted from \{\}"):
        Profile.from_json(kept).check(SCHEMA)


@pytest.mark.parametrize(
    ("days", "shown"),
    [
        (0, "2000-01-01"),
        (60, "2000-03-01"),
        (0.5, "2000-01-01 12:00"),
        (-1, "1999-12-31"),
        (1e9, "2000-01-01 +1e+09 days"),
    ],
)
def test_days_are_shown_as_people_write_them(days: float, shown: str):
    assert show_day("2000-01-01", days) == shown


@pytest.mark.parametrize(
    ("given", "told"),
    [
        ({}, "SOLD is of kind date and has no first: name the first day"),
        ({"first": "1.1.2000"}, "first of SOLD must be a day such as 2000-01-01; got '1.1.2000'"),
        ({"first": "20000101"}, "first of SOLD must be a day"),
        ({"first": "2000-01-01", "last": "2000-02-30"}, "last of SOLD must be a day"),
        ({"first": "2000-01-02", "last": "2000-01-01"}, "last of SOLD is 2000-01-01, before its first"),
        ({"first": "2000-01-01", "low": 0}, "its limits are first and last, not low and high"),
    ],
)
def test_a_date_column_that_cannot_be_is_refused(given, told):
    with pytest.raises(SchemaError, match=told):
        Column("SOLD", "date", "day of the sale", **given)


def test_a_first_day_is_of_dates_alone():
    with pytest.raises(SchemaError, match="AREA is of kind number; first and last are of kind date alone"):
        Column("AREA", "number", "", first="2000-01-01")
    with pytest.raises(SchemaError, match="the label SOLD is of kind date"):
        Schema(SCHEMA.key, SCHEMA.features[:2], SOLD)


def test_without_a_last_day_any_later_one_is_read():
    open_end = Column("SOLD", "date", "", first="2000-01-01")

    assert not read_values(open_end, pa.array(["9999-12-31", date(2100, 1, 1).isoformat()])).problems
    assert open_end.limits == "the days from 2000-01-01 on"
