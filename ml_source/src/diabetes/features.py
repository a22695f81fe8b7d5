"""Takes the columns that a model reads out of a table, always in the same order and types."""

import numpy as np
import pandas as pd

from diabetes.columns import SchemaError, check_columns, to_numbers
from diabetes.schema import COLUMNS, FEATURE_NAMES, TARGET


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
    values = to_numbers(table[TARGET])
    if count := int(values.isna().sum()):
        raise SchemaError(f"{TARGET}: {count} of {len(values)} rows have no label")
    return values.to_numpy()


def _to_values(values: pd.Series) -> pd.Series:
    column = COLUMNS[str(values.name)]
    if column.kind == "category":
        _refuse(values, ~values.isin(column.categories), f"not one of {list(column.categories)}")
        # scikit-learn knows NaN as missing among objects, but neither None nor pandas.NA.
        objects = values.astype("object").mask(values.isna(), np.nan)
        return pd.Series(objects.to_numpy(), dtype="object")
    numbers = to_numbers(values)
    _refuse(values, numbers.isna(), "not a number")
    return numbers.reset_index(drop=True)


def _refuse(values: pd.Series, wrong: pd.Series, what: str) -> None:
    refused = values[wrong & values.notna()]
    if len(refused):
        raise SchemaError(f"{values.name}: {len(refused)} {what}, such as {refused.head(3).tolist()}")
