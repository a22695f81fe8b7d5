"""Checks a table against the schema."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diabetes.columns import Column, SchemaError, check_columns, to_numbers
from diabetes.schema import COLUMNS, FEATURE_NAMES, ID, TARGET


def check_table(table: pd.DataFrame, *, labelled: bool) -> None:
    """Raise one SchemaError that lists everything wrong with the table's columns and values.

    Feature values may be missing. IDs may not, nor appear twice, and labels may not when `labelled`.
    """
    required = [ID, *FEATURE_NAMES, *([TARGET] if labelled else [])]
    check_columns(table.columns, required)
    problems = [text for name in required for text in _find_value_problems(table[name], COLUMNS[name])]
    problems += [text for name in (ID, TARGET) if name in required for text in _find_missing(table[name])]
    problems += _find_repeated(table[ID])
    if problems:
        raise SchemaError(f"the table of {len(table)} rows breaks the schema: {'; '.join(problems)}")


def _find_value_problems(values: pd.Series, column: Column) -> Iterator[str]:
    present = values[values.notna()]
    if column.kind == "category":
        unknown = present[~present.isin(column.categories)]
        yield from _describe(column.name, unknown, f"not one of {list(column.categories)}")
        return
    numbers = to_numbers(present)
    outside = present[(numbers < column.low) | (numbers > column.high)]
    span = f"{column.low} to {column.high} {column.unit}".rstrip()
    yield from _describe(column.name, present[numbers.isna()], "not a number")
    yield from _describe(column.name, outside, f"outside {span}")
    if column.kind == "integer":
        broken = present[numbers.notna() & (numbers != np.floor(numbers))]
        yield from _describe(column.name, broken, "not a whole number")


def _find_missing(values: pd.Series) -> Iterator[str]:
    if count := int(values.isna().sum()):
        yield f"{values.name}: {count} missing"


def _find_repeated(ids: pd.Series) -> Iterator[str]:
    present = ids[ids.notna()]
    numbers = to_numbers(present)
    yield from _describe(ID, present[numbers.notna() & numbers.duplicated()], "repeated")


def _describe(name: str, wrong: pd.Series, what: str) -> Iterator[str]:
    if len(wrong):
        yield f"{name}: {len(wrong)} {what}, such as {wrong.head(3).tolist()}"
