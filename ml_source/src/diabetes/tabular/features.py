"""Takes the columns that a model reads out of a table, always in the same order and types."""

import numpy as np
import pandas as pd

from diabetes.tabular.columns import Column, Schema, SchemaError, check_columns
from diabetes.tabular.reading import read_series, read_texts, to_array


def select_features(schema: Schema, table: pd.DataFrame) -> pd.DataFrame:
    """Return a new frame of the features: numbers as float64, categories as objects, NaN where missing.

    A date is a number, the days since its first one. Raises SchemaError when a column is missing, or holds a
    text that is no number, what is not a date, or an unknown category.
    """
    check_columns(table.columns, schema.feature_names)
    return pd.DataFrame({column.name: _to_values(column, table[column.name]) for column in schema.features})


def select_label(schema: Schema, table: pd.DataFrame) -> np.ndarray:
    """Return the label as float64, shape (n,): of one that has classes, the place of each among them.

    Raises SchemaError when the column is missing, or has a row without a number or with an unknown class.
    """
    label = schema.label
    check_columns(table.columns, [label.name])
    read = read_series(label, table[label.name])
    _refuse(table[label.name], read.problems.get("category"), f"not one of {list(label.categories)}")
    values = read.numbers
    if count := int(np.isnan(values).sum()):
        raise SchemaError(f"{label.name}: {count} of {len(values)} rows have no label")
    return values


def select_ids(schema: Schema, table: pd.DataFrame) -> np.ndarray:
    """Return the IDs as int64, or as objects where they are texts, shape (n,).

    Raises SchemaError when the column is missing or has a row without one.
    """
    key = schema.key
    check_columns(table.columns, [key.name])
    if key.kind == "text":
        texts = read_texts(to_array(table[key.name]))
        if count := sum(text is None for text in texts):
            raise SchemaError(f"{key.name}: {count} of {len(texts)} rows have no text")
        return texts
    read = read_series(key, table[key.name])
    wrong = np.isnan(read.numbers) | read.problems.get("fraction", False)
    if wrong.any():
        raise SchemaError(f"{key.name}: {int(wrong.sum())} of {len(wrong)} rows have no whole number")
    return read.numbers.astype(np.int64)


def select_labelled(schema: Schema, table: pd.DataFrame) -> pd.DataFrame:
    """Return a new frame of all columns of the schema; raises what the functions for each of them raise.

    Dates stay dates, and a label that has classes a text, so that the frame can be read again.
    """
    check_columns(table.columns, [column.name for column in schema.others])
    label = select_label(schema, table)
    named = _to_categories(schema.label, label).to_numpy() if schema.classes else label
    own = {schema.key.name: select_ids(schema, table), schema.label.name: named}
    features = select_features(schema, table)
    dates = {name: to_dates(first, features[name]) for name, first in schema.first_days.items()}
    others = {column.name: _to_readable(column, table[column.name]) for column in schema.others}
    return features.assign(**dates, **own, **others)[list(schema.columns)]


def _to_readable(column: Column, values: pd.Series) -> pd.Series:
    if column.kind == "text":
        return pd.Series(read_texts(to_array(values)), dtype=object)
    read = _to_values(column, values)
    return to_dates(column.first, read) if column.kind == "date" else read


def to_dates(first: str, days: pd.Series) -> pd.Series:
    """Return the days as dates, to the microsecond; NaT where one is missing."""
    microseconds = (days * 86_400_000_000).round()
    return np.datetime64(first, "us") + microseconds.astype("timedelta64[us]")


def _to_values(column: Column, values: pd.Series) -> pd.Series:
    read = read_series(column, values)
    if column.kind == "category":
        _refuse(values, read.problems.get("category"), f"not one of {list(column.categories)}")
        return _to_categories(column, read.numbers)
    _refuse(values, read.problems.get("text"), "not a number")
    _refuse(values, read.problems.get("date"), "not a date")
    return pd.Series(read.numbers)


def _to_categories(column: Column, codes: np.ndarray) -> pd.Series:
    # scikit-learn knows NaN as missing among objects, but neither None nor pandas.NA.
    known = np.array([*column.categories, np.nan], dtype=object)
    return pd.Series(known[np.nan_to_num(codes, nan=-1).astype(np.int64)], dtype="object")


def _refuse(values: pd.Series, wrong: np.ndarray | None, what: str) -> None:
    if wrong is not None:
        refused = values[wrong]
        raise SchemaError(f"{values.name}: {len(refused)} {what}, such as {refused.head(3).tolist()}")
