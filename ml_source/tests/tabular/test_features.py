"""What a model reads out of a table is the same whatever else is in the table, and in whatever order."""

from decimal import Decimal

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_features, select_ids, select_label, select_labelled
from problems import PATIENTS, TUMOURS, make_tumours

SCHEMA = PATIENTS.schema


def test_features_come_in_the_order_and_types_of_the_schema(patients: pd.DataFrame) -> None:
    turned = patients[patients.columns[::-1]].assign(NOTE="x").set_index(pd.Index([5] * len(patients)))

    features = select_features(SCHEMA, turned)

    assert features.columns.tolist() == SCHEMA.feature_names
    assert set(features.dtypes[SCHEMA.numeric_names]) == {np.dtype(np.float64)}
    assert features["SEX"].dtype == object
    pd.testing.assert_frame_equal(features, select_features(SCHEMA, patients))


def test_a_missing_category_is_nan_however_it_is_spelled(patients: pd.DataFrame) -> None:
    table = patients.head(4).assign(SEX=pd.Series([None, pd.NA, np.nan, ""], dtype=object))

    features = select_features(SCHEMA, table)

    assert [type(value) for value in features["SEX"]] == [float] * 4
    assert features["SEX"].isna().all()


def test_a_label_of_two_classes_is_read_as_numbers() -> None:
    tumours = make_tumours()

    labels = select_label(TUMOURS.schema, tumours.astype({"MALIGNANT": str}))

    assert (labels.dtype, labels.tolist()) == (np.float64, tumours["MALIGNANT"].tolist())


def test_labelled_rows_hold_the_columns_of_the_schema_and_no_other(patients: pd.DataFrame) -> None:
    rows = select_labelled(SCHEMA, patients.assign(NOTE="x").astype({"ID": str, "Y": str}))

    assert rows.columns.tolist() == list(SCHEMA.columns)
    assert (rows["ID"].dtype, rows["Y"].dtype) == (np.int64, np.float64)
    pd.testing.assert_frame_equal(select_labelled(SCHEMA, rows), rows)


@pytest.mark.parametrize("name", ["ID", "AGE", "Y"])
def test_labelled_rows_need_every_column(patients: pd.DataFrame, name: str) -> None:
    with pytest.raises(SchemaError, match=rf"missing columns \['{name}'\]"):
        select_labelled(SCHEMA, patients.drop(columns=name))


def test_a_table_of_values_of_several_types_is_read_by_their_texts():
    table = pd.DataFrame({"ID": pd.Series([1, "2", Decimal("3"), 4.0], dtype=object)})

    assert select_ids(SCHEMA, table).tolist() == [1, 2, 3, 4]


@pytest.mark.parametrize("wrong", [None, "1.5", "x"])
def test_an_id_that_is_no_whole_number_cannot_be_split_by(wrong: str | None):
    with pytest.raises(SchemaError, match="ID: 1 of 2 rows have no whole number"):
        select_ids(SCHEMA, pd.DataFrame({"ID": ["1", wrong]}))
