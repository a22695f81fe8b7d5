"""A problem says how its table is split: by the key, by groups that stay together, or by the newest rows."""

from dataclasses import replace

import houses
import numpy as np
import pandas as pd
import pytest
from diabetes.tabular import Column, Problem, Schema, Split
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features, select_labelled
from diabetes.tabular.measuring import cross_validate
from diabetes.tabular.splitting import assign_folds, split_by_key, split_table

HOUSES, SCHEMA = houses.HOUSES, houses.SCHEMA
BY_DAY, BY_HOUSEHOLD = Split(column="SOLD", newest=True), Split(column="HOUSEHOLD")


def split(table: pd.DataFrame, by: Split, problem: Problem = HOUSES) -> tuple[pd.DataFrame, pd.DataFrame]:
    return split_table(replace(problem, split=by), table)


def sold_on(*days: str | None) -> pd.DataFrame:
    return houses.make_houses(len(days)).assign(SOLD=days)


def test_a_problem_is_split_by_the_hash_of_its_key_if_it_does_not_say_otherwise():
    table = houses.make_houses()

    parts, by_key = split_table(HOUSES, table), split_by_key(SCHEMA, table)

    for part, other in zip(parts, by_key, strict=True):
        pd.testing.assert_frame_equal(part, other)
    larger = split(table, Split(holdout_share=0.4))[1]
    assert set(parts[1].index) < set(larger.index) and 0.3 < len(larger) / len(table) < 0.5


def test_the_newest_rows_are_held_out():
    table = houses.make_houses()

    train, holdout = split(table, BY_DAY)

    assert train["SOLD"].max() < holdout["SOLD"].min()
    assert len(holdout) == pytest.approx(0.2 * len(table), abs=2)
    assert sorted([*train.index, *holdout.index]) == table.index.tolist()
    shuffled = split(table.sample(frac=1, random_state=0), BY_DAY)[1]
    assert sorted(shuffled.index) == holdout.index.tolist()
    texts = table.assign(SOLD=table["SOLD"].dt.strftime("%Y-%m-%d"))
    assert split(texts, BY_DAY)[1].index.tolist() == holdout.index.tolist()


@pytest.mark.parametrize(
    ("days", "share", "held_out"),
    [
        ("1 2 3 4 5", 0.2, [4]),
        ("1 2 3 4 4", 0.2, [3, 4]),
        ("1 1 1 1 1 1 2 2 2 3", 0.2, [9]),
        ("1 1 1 1 1 1 2 2 2 3", 0.35, [6, 7, 8, 9]),
        ("3 1 2 9", 0.01, [3]),
        ("1 2 2 2 2", 0.2, [1, 2, 3, 4]),
        ("1 2", 0.9, [1]),
        ("- 5 - 4 -", 0.2, [1]),
        ("- 5 - 5 -", 0.2, [1, 3]),
    ],
)
def test_days_stay_together_and_a_missing_one_is_trained_on(days: str, share: float, held_out: list[int]):
    table = sold_on(*[None if day == "-" else f"2020-01-0{day}" for day in days.split()])

    found = split(table, Split("SOLD", newest=True, holdout_share=share))[1]

    assert found.index.tolist() == held_out


def test_the_largest_numbers_are_held_out_too():
    table = houses.make_houses()

    train, holdout = split(table, Split("AREA", newest=True))

    assert train["AREA"].max() < holdout["AREA"].min()
    whole = replace(SCHEMA, key=Column("HOUSE", "integer", "", low=1, high=10**9))
    numbered = table.assign(HOUSE=range(1, len(table) + 1))
    problem = replace(HOUSES, schema=whole)
    assert split(numbered, Split("HOUSE", newest=True), problem)[1]["HOUSE"].tolist() == list(range(241, 301))


@pytest.mark.parametrize("column", ["HOUSEHOLD", "SOLD", "AREA"])
def test_all_rows_of_a_group_are_on_one_side(column: str):
    table = houses.make_houses(1000).assign(AREA=lambda table: (table["AREA"] / 2).round())

    train, holdout = split(table, Split(column))

    assert not set(train[column]) & set(holdout[column])
    assert 0.1 < len(holdout) / len(table) < 0.3
    alone = split(pd.concat([holdout.head(1), train.head(20)]), Split(column))[1]
    assert alone.index.tolist() == holdout.head(1).index.tolist()


def test_a_group_is_one_whatever_type_its_values_have():
    table, number = houses.make_houses().assign(HOUSEHOLD=lambda table: table.index // 4), "HOUSEHOLD"
    whole = replace(SCHEMA, others=(Column(number, "integer", "number of the family"),))
    problem = replace(HOUSES, schema=whole)

    held_out = split(table, BY_HOUSEHOLD)[1].index.tolist()

    for each, used in ((str, HOUSES), (float, HOUSES), (int, problem), (float, problem), (str, problem)):
        assert split(table.astype({number: each}), BY_HOUSEHOLD, used)[1].index.tolist() == held_out


def test_a_row_without_a_group_is_trained_on():
    table = houses.make_houses().assign(HOUSEHOLD=lambda table: table["HOUSEHOLD"].where(table.index >= 100))

    train, holdout = split(table, BY_HOUSEHOLD)

    assert set(range(100)) <= set(train.index) and len(holdout)


def test_a_group_shares_a_fold():
    table = houses.make_houses()

    folds = assign_folds(SCHEMA, table, folds=5, seed=1, split=BY_HOUSEHOLD)

    assert (pd.Series(folds).groupby(table["HOUSEHOLD"].to_numpy()).nunique() == 1).all()
    assert set(folds) == set(range(5))
    assert folds.tolist() != assign_folds(SCHEMA, table, folds=5, seed=1).tolist()
    missing = table.assign(HOUSEHOLD=None)
    by_key = assign_folds(SCHEMA, table, folds=5, seed=1).tolist()
    assert assign_folds(SCHEMA, missing, folds=5, seed=1, split=BY_HOUSEHOLD).tolist() == by_key
    assert assign_folds(SCHEMA, table, folds=5, seed=1, split=BY_DAY).tolist() == by_key


def test_a_cross_validation_keeps_groups_together():
    table = houses.make_houses().assign(HOUSEHOLD=lambda table: table.index % 7)

    by_groups = cross_validate(replace(HOUSES, split=BY_HOUSEHOLD), table, {}, seed=0, folds=3)

    assert by_groups != cross_validate(HOUSES, table, {}, seed=0, folds=3)
    with pytest.raises(SchemaError, match="do not fill 20 folds"):
        cross_validate(replace(HOUSES, split=BY_HOUSEHOLD), table, {}, seed=0, folds=20)


def test_training_reads_and_checks_the_others_and_a_model_does_not():
    table = houses.make_houses()
    counted = replace(SCHEMA, others=(Column("YEARS", "integer", "years", low=0, high=200),))

    with pytest.raises(SchemaError, match=r"missing columns \['HOUSEHOLD'\]"):
        check_table(SCHEMA, table.drop(columns="HOUSEHOLD"), labelled=True)
    with pytest.raises(SchemaError, match=r"missing columns \['HOUSEHOLD'\]"):
        select_labelled(SCHEMA, table.drop(columns="HOUSEHOLD"))
    check_table(SCHEMA, table.drop(columns=["HOUSEHOLD", "PRICE"]), labelled=False)
    with pytest.raises(SchemaError, match=r"YEARS: 300 outside 0 to 200"):
        check_table(counted, table.assign(YEARS=300), labelled=True)
    assert "HOUSEHOLD" not in select_features(SCHEMA, table)


@pytest.mark.parametrize(
    ("column", "values", "kept"),
    [
        (Column("OTHER", "text", ""), ["a", "", None, "b"], ["a", None, None, "b"]),
        (Column("OTHER", "integer", ""), ["1", "", None, "2"], [1.0, None, None, 2.0]),
        (
            Column("OTHER", "category", "", categories=("x", "y")),
            ["x", None, "", "y"],
            ["x", None, None, "y"],
        ),
        (
            Column("OTHER", "date", "", first="2000-01-01"),
            ["2000-01-02", None, "", "2000-01-03"],
            [pd.Timestamp("2000-01-02"), None, None, pd.Timestamp("2000-01-03")],
        ),
    ],
    ids=lambda value: value.kind if isinstance(value, Column) else "",
)
def test_an_other_column_of_every_kind_is_read_again_alike(column: Column, values: list, kept: list):
    schema = replace(SCHEMA, others=(column,))
    table = houses.make_houses(4).assign(OTHER=values)

    once = select_labelled(schema, table)

    assert [None if pd.isna(value) else value for value in once["OTHER"]] == kept
    pd.testing.assert_frame_equal(select_labelled(schema, once), once)


def test_a_split_says_what_it_is_by():
    told = [each.describe(SCHEMA) for each in (Split(), BY_HOUSEHOLD, BY_DAY)]

    assert told == ["hash of HOUSE", "hash of HOUSEHOLD", "newest SOLD"]


@pytest.mark.parametrize(
    ("by", "told"),
    [
        (Split("STREET"), "the split is by 'STREET', which is not a column to split by; these are"),
        (Split("PRICE"), "the split is by 'PRICE', which is not a column to split by"),
        (Split("household"), "the split is by 'household'"),
        (Split("HOUSEHOLD", newest=True), "HOUSEHOLD is of kind text, which has no newest value"),
        (Split("KIND", newest=True), "KIND is of kind category, which has no newest value"),
        (Split("HOUSE", newest=True), "HOUSE is of kind text, which has no newest value"),
    ],
)
def test_a_problem_with_a_split_that_cannot_be_is_refused(by: Split, told: str):
    with pytest.raises(SchemaError, match=told):
        replace(HOUSES, split=by)


def test_a_split_that_cannot_be_at_all_is_refused():
    with pytest.raises(ValueError, match="a split by the newest rows needs a column"):
        Split(newest=True)
    for share in (0, 1, -0.1, 20, float("nan")):
        with pytest.raises(ValueError, match=f"holdout_share must be between 0 and 1; got {share}"):
            Split(holdout_share=share)
    with pytest.raises(SchemaError, match=r"a name of its own, whatever its case; got \['AREA', 'AREA'\]"):
        Schema(SCHEMA.key, SCHEMA.features, SCHEMA.label, others=(SCHEMA.columns["AREA"],))


@pytest.mark.parametrize(
    ("by", "table", "told"),
    [
        (BY_DAY, sold_on("2020-01-01", "2020-01-01"), "newest SOLD leaves no row of 2 to train on"),
        (BY_DAY, sold_on(None, None), "newest SOLD leaves no row of 2 to hold out"),
        (
            BY_HOUSEHOLD,
            houses.make_houses(9).assign(HOUSEHOLD="a"),
            "HOUSEHOLD leaves no row of 9 to hold out",
        ),
        (
            Split(holdout_share=0.999999),
            houses.make_houses(3),
            "hash of HOUSE leaves no row of 3 to train on",
        ),
        (Split(), houses.make_houses(0), "leaves no row of 0 to train on"),
    ],
)
def test_a_split_that_leaves_a_side_without_rows_is_refused(by: Split, table: pd.DataFrame, told: str):
    with pytest.raises(SchemaError, match=told):
        split(table, by)


def test_the_rows_of_a_split_are_copies_in_their_order():
    table = houses.make_houses(100).set_index(np.arange(100, 200))
    before = table.copy()

    for by in (Split(), BY_DAY, BY_HOUSEHOLD):
        train, holdout = split(table, by)
        train["AREA"] = holdout["AREA"] = 0.0
        assert train.index.is_monotonic_increasing and holdout.index.is_monotonic_increasing

    pd.testing.assert_frame_equal(table, before)
