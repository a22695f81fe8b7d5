"""A row's side of the split depends on its ID alone, and its fold on its ID and the seed."""

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.splitting import assign_folds, split_by_key
from problems import PATIENTS

SCHEMA = PATIENTS.schema


def ids(table: pd.DataFrame) -> set[int]:
    return set(table["ID"])


def test_each_row_is_on_exactly_one_side(patients: pd.DataFrame) -> None:
    train, holdout = split_by_key(SCHEMA, patients)

    assert ids(train).isdisjoint(ids(holdout))
    pd.testing.assert_frame_equal(pd.concat([train, holdout]).sort_index(), patients)


def test_known_ids_keep_their_side_forever() -> None:
    # `printf 8 | sha256sum` begins with 2c, below a fifth of the way from 00 to ff; so does 9 with 19.
    _, holdout = split_by_key(SCHEMA, pd.DataFrame({"ID": range(1, 31)}))

    assert holdout["ID"].tolist() == [8, 9]


def test_shuffling_moves_no_row(patients: pd.DataFrame) -> None:
    _, holdout = split_by_key(SCHEMA, patients)
    _, shuffled = split_by_key(SCHEMA, patients.sample(frac=1, random_state=7))

    assert ids(shuffled) == ids(holdout)


def test_more_rows_move_no_row(patients: pd.DataFrame) -> None:
    _, holdout = split_by_key(SCHEMA, patients)
    _, larger = split_by_key(SCHEMA, pd.concat([pd.DataFrame({"ID": range(5000, 6000)}), patients]))

    assert {number for number in ids(larger) if number < 5000} == ids(holdout)


def test_the_type_of_the_id_moves_no_row(patients: pd.DataFrame) -> None:
    _, holdout = split_by_key(SCHEMA, patients)

    for kind in ("float64", "str", "Int64"):
        _, retyped = split_by_key(SCHEMA, patients.astype({"ID": kind}))
        assert retyped.index.equals(holdout.index)


def test_the_share_is_kept_and_a_larger_holdout_holds_the_smaller() -> None:
    table = pd.DataFrame({"ID": range(20_000)})

    _, small = split_by_key(SCHEMA, table, holdout_share=0.2)
    _, large = split_by_key(SCHEMA, table, holdout_share=0.3)

    assert len(small) / len(table) == pytest.approx(0.2, abs=0.01)
    assert len(large) / len(table) == pytest.approx(0.3, abs=0.01)
    assert ids(small) < ids(large)


def test_a_filtered_table_is_split_by_id_and_not_by_position(patients: pd.DataFrame) -> None:
    _, holdout = split_by_key(SCHEMA, patients)
    older = patients[patients["AGE"] > 50]

    _, older_holdout = split_by_key(SCHEMA, older)

    assert ids(older_holdout) == ids(older) & ids(holdout)


def test_changing_a_side_leaves_the_table_as_it_was(patients: pd.DataFrame) -> None:
    before = patients.copy(deep=True)

    train, holdout = split_by_key(SCHEMA, patients)
    train["BMI"] = 0.0
    holdout["BMI"] = 0.0

    pd.testing.assert_frame_equal(patients, before)


@pytest.mark.parametrize("share", [0.0, 1.0, -0.1, float("nan")])
def test_a_share_outside_zero_to_one_is_refused(patients: pd.DataFrame, share: float) -> None:
    with pytest.raises(ValueError, match=f"holdout_share must be between 0 and 1; got {share}"):
        split_by_key(SCHEMA, patients, holdout_share=share)


def test_a_table_without_id_is_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(SchemaError, match=r"missing columns \['ID'\]"):
        split_by_key(SCHEMA, patients.drop(columns="ID"))


def test_known_ids_keep_their_fold_forever() -> None:
    # The sixteenth digit of `printf 7:1 | sha256sum` is 3, that of 7:2 is c, that is 12; and so on.
    assigned = assign_folds(SCHEMA, pd.DataFrame({"ID": range(1, 301)}), folds=16, seed=7)

    assert assigned[:6].tolist() == [3, 12, 7, 11, 3, 2]


def test_training_rows_fill_the_folds_evenly() -> None:
    train, _ = split_by_key(SCHEMA, pd.DataFrame({"ID": range(20_000)}))

    sizes = np.bincount(assign_folds(SCHEMA, train, folds=5, seed=0))

    assert sizes / len(train) == pytest.approx([0.2] * 5, abs=0.01)


def test_neither_order_nor_other_rows_nor_the_type_of_the_id_change_a_fold(patients: pd.DataFrame) -> None:
    folds = pd.Series(assign_folds(SCHEMA, patients, folds=5, seed=3), index=patients.index)
    part = patients.sample(frac=0.5, random_state=7)

    assigned = [
        assign_folds(SCHEMA, part.astype({"ID": kind}), folds=5, seed=3)
        for kind in ("int64", "float64", "str")
    ]

    for again in assigned:
        assert again.tolist() == folds[part.index].tolist()


def test_another_seed_gives_other_folds(patients: pd.DataFrame) -> None:
    same = assign_folds(SCHEMA, patients, folds=5, seed=0) == assign_folds(SCHEMA, patients, folds=5, seed=1)

    assert same.mean() == pytest.approx(0.2, abs=0.05)


def test_folds_that_cannot_be_made_are_refused(patients: pd.DataFrame) -> None:
    with pytest.raises(ValueError, match="folds must be at least 2; got 1"):
        assign_folds(SCHEMA, patients, folds=1, seed=0)
    with pytest.raises(
        SchemaError, match=r"2 rows do not fill 3 folds; they have \[[012], [012], [012]\] rows"
    ):
        assign_folds(SCHEMA, patients.head(2), folds=3, seed=0)
    with pytest.raises(SchemaError, match=r"missing columns \['ID'\]"):
        assign_folds(SCHEMA, patients.drop(columns="ID"), folds=5, seed=0)
