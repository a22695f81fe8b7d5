"""Takes the columns that a model reads out of a table, always in the same order and types."""

import numpy as np
import pandas as pd

from diabetes.columns import Column, SchemaError, check_columns
from diabetes.reading import read_series
from diabetes.schema import COLUMNS, FEATURE_NAMES, ID, TARGET


def select_features(table: pd.DataFrame) -> pd.DataFrame:
    """Return a new frame of the features: numbers as float64, categories as objects, NaN where missing.

    Raises SchemaError when a column is missing, or holds a text that is no number or an unknown category.
    """
    check_columns(table.columns, FEATURE_NAMES)
    return pd.DataFrame({name: _to_values(table[name]) for name in FEATURE_NAMES})


def select_label(table: pd.DataFrame) -> np.ndarray:
    """Return the label as float64, shape (n,).

    Raises SchemaError when the column is missing or has a row without a number.
    """
    check_columns(table.columns, [TARGET])
    values = read_series(COLUMNS[TARGET], table[TARGET]).numbers
    if count := int(np.isnan(values).sum()):
        raise SchemaError(f"{TARGET}: {count} of {len(values)} rows have no label")
    return values


def select_ids(table: pd.DataFrame) -> np.ndarray:
    """Return the IDs as int64, shape (n,).

    Raises SchemaError when the column is missing or has a row without a whole number.
    """
    check_columns(table.columns, [ID])
    read = read_series(COLUMNS[ID], table[ID])
    wrong = np.isnan(read.numbers) | read.problems.get("fraction", False)
    if wrong.any():
        raise SchemaError(f"{ID}: {int(wrong.sum())} of {len(wrong)} rows have no whole number")
    return read.numbers.astype(np.int64)


def select_labelled(table: pd.DataFrame) -> pd.DataFrame:
    """Return a new frame of ID, features and label, as `select_ids`, `select_features` and `select_label`."""
    return select_features(table).assign(**{ID: select_ids(table), TARGET: select_label(table)})[
        [ID, *FEATURE_NAMES, TARGET]
    ]


def _to_values(values: pd.Series) -> pd.Series:
    column = COLUMNS[str(values.name)]
    read = read_series(column, values)
    if column.kind == "category":
        _refuse(values, read.problems.get("category"), f"not one of {list(column.categories)}")
        return _to_categories(column, read.numbers)
    _refuse(values, read.problems.get("text"), "not a number")
    return pd.Series(read.numbers)


def _to_categories(column: Column, codes: np.ndarray) -> pd.Series:
    # scikit-learn knows NaN as missing among objects, but neither None nor pandas.NA.
    known = np.array([*column.categories, np.nan], dtype=object)
    return pd.Series(known[np.nan_to_num(codes, nan=-1).astype(np.int64)], dtype="object")


def _refuse(values: pd.Series, wrong: np.ndarray | None, what: str) -> None:
    if wrong is not None:
        refused = values[wrong]
        raise SchemaError(f"{values.name}: {len(refused)} {what}, such as {refused.head(3).tolist()}")
