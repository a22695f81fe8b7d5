"""A key may be a text, taken as it stands; a feature or a label may not."""

from decimal import Decimal
from hashlib import sha256

import houses
import numpy as np
import pandas as pd
import pyarrow as pa
import pytest
from diabetes.tabular import Column, Schema
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import SchemaError
from diabetes.tabular.features import select_ids, select_labelled
from diabetes.tabular.screening import screen, screen_labels
from diabetes.tabular.splitting import assign_folds, split_by_key

SCHEMA = houses.SCHEMA
KEY = SCHEMA.key.name
ODD = [*houses.ODD_KEYS, " ", " 12", "two\nlines", "\t"]


def keyed(keys: object, *, labelled: bool = True) -> pd.DataFrame:
    table = houses.make_houses(len(list(keys))).assign(**{KEY: keys})
    return table if labelled else table.drop(columns=SCHEMA.label.name)


def screened_ids(values: pa.Array) -> list[str | None]:
    rows = keyed([""] * len(values), labelled=False)
    columns = {name: pa.array(rows[name], from_pandas=True) for name in SCHEMA.feature_names}
    return screen(SCHEMA, pa.record_batch({KEY: values} | columns)).ids.tolist()


def test_any_text_is_an_id_as_it_stands():
    table = keyed(ODD)

    check_table(SCHEMA, table, labelled=True)
    assert select_ids(SCHEMA, table).tolist() == ODD
    assert select_labelled(SCHEMA, table)[KEY].tolist() == ODD
    assert screened_ids(pa.array(ODD)) == ODD


@pytest.mark.parametrize(
    ("values", "texts"),
    [
        (pa.array([12, 0, -5, 2**62 + 1]), ["12", "0", "-5", str(2**62 + 1)]),
        (pa.array([12.0, 1.5, float("nan"), None]), ["12", "1.5", None, None]),
        (pa.array([Decimal("12.50")]), ["12.50"]),
        (pa.array(["a", "", None]), ["a", None, None]),
        (pa.array(["a", "b", None]).dictionary_encode(), ["a", "b", None]),
        (pa.array(["a"], pa.large_string()), ["a"]),
        (pa.array([], pa.string()), []),
        (pa.nulls(2), [None, None]),
    ],
)
def test_a_number_of_a_typed_column_becomes_its_text(values: pa.Array, texts: list[str | None]):
    assert screened_ids(values) == texts


def test_values_of_several_types_are_read_by_their_texts():
    assert select_ids(SCHEMA, keyed(pd.Series([7, "x", 2.5], dtype=object))).tolist() == ["7", "x", "2.5"]


def test_a_missing_id_is_the_reason_why_a_row_is_rejected():
    batch = pa.RecordBatch.from_pandas(keyed(["a", None, "", "d"]), preserve_index=False)

    assert screen(SCHEMA, batch).reasons == {row: ["HOUSE is missing"] for row in (1, 2)}
    assert screen(SCHEMA, batch).is_readable.tolist() == [True, False, False, True]
    ids, labels, reasons = screen_labels(SCHEMA, batch)
    assert ids.tolist() == ["a", None, None, "d"]
    assert reasons == {row: ["HOUSE is missing"] for row in (1, 2)} and not np.isnan(labels).any()


def test_a_table_with_missing_and_repeated_ids_is_refused_with_both():
    with pytest.raises(SchemaError, match=r"HOUSE: 2 missing; HOUSE: 1 repeated, such as \['a'\]"):
        check_table(SCHEMA, keyed(["a", None, "", "a"]), labelled=True)
    with pytest.raises(SchemaError, match="HOUSE: 1 of 2 rows have no text"):
        select_ids(SCHEMA, keyed(["a", ""]))


def test_ids_that_look_like_one_number_are_not_repeated():
    check_table(SCHEMA, keyed(["12", "012", "12.0", "+12", "1.2e1", " 12"]), labelled=False)


def test_a_text_is_split_by_its_hash_and_a_whole_number_as_its_text():
    numbers = pd.DataFrame({KEY: range(1, 1001)})
    whole = Schema(Column(KEY, "integer", "", low=1, high=2**53 - 1), SCHEMA.features, SCHEMA.label)

    _, held_out = split_by_key(SCHEMA, numbers.astype(str))
    _, by_numbers = split_by_key(whole, numbers)

    assert held_out.index.tolist() == by_numbers.index.tolist()
    first = [int.from_bytes(sha256(text.encode()).digest()[:8], "big") for text in numbers[KEY].astype(str)]
    assert held_out.index.tolist() == [row for row, number in enumerate(first) if number / 2**64 < 0.2]
    folds = [assign_folds(schema, numbers, folds=5, seed=1).tolist() for schema in (SCHEMA, whole)]
    assert folds[0] == folds[1]


def test_odd_ids_are_split_too():
    table = keyed(ODD)

    train, held_out = split_by_key(SCHEMA, table, 0.5)

    assert sorted([*train[KEY], *held_out[KEY]]) == sorted(ODD)


@pytest.mark.parametrize("kind", ["number", "category"])
def test_a_key_of_another_kind_is_refused(kind):
    with pytest.raises(SchemaError, match=f"the key A must be an integer or a text; it is a {kind}"):
        Schema(
            Column("A", kind, "", categories=("x",) if kind == "category" else ()),
            SCHEMA.features,
            SCHEMA.label,
        )


def test_a_feature_or_a_label_of_texts_is_refused():
    text = Column("NOTE", "text", "")

    with pytest.raises(SchemaError, match=r"columns \['NOTE'\] are of kind text, which the key alone can be"):
        Schema(SCHEMA.key, (*SCHEMA.features, text), SCHEMA.label)
    with pytest.raises(SchemaError, match=r"columns \['NOTE'\] are of kind text"):
        Schema(SCHEMA.key, SCHEMA.features, text)
