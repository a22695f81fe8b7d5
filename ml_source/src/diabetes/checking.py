"""Checks a table against the schema."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diabetes.columns import Column, SchemaError, check_columns
from diabetes.reading import Problem, ReadValues, read_series
from diabetes.schema import COLUMNS, FEATURE_NAMES, ID, TARGET


def check_table(table: pd.DataFrame, *, labelled: bool) -> None:
    """Raise one SchemaError that lists everything wrong with the table's columns and values.

    Feature values may be missing. IDs may not, nor appear twice, and labels may not when `labelled`. What is
    refused of a value is what scoring rejects a row for.
    """
    required = [ID, *FEATURE_NAMES, *([TARGET] if labelled else [])]
    check_columns(table.columns, required)
    read = {name: read_series(COLUMNS[name], table[name]) for name in required}
    problems = [text for name in required for text in _find_value_problems(table[name], read[name])]
    problems += [
        text for name in (ID, TARGET) if name in required for text in _find_missing(name, read[name])
    ]
    problems += _find_repeated(table[ID], read[ID].numbers)
    if problems:
        raise SchemaError(f"the table of {len(table)} rows breaks the schema: {'; '.join(problems)}")


def _find_value_problems(values: pd.Series, read: ReadValues) -> Iterator[str]:
    column = COLUMNS[str(values.name)]
    for problem, wrong in read.problems.items():
        yield from _describe(column.name, values[wrong], _name_problem(column, problem))


def _name_problem(column: Column, problem: Problem) -> str:
    return {
        "text": "not a number",
        "range": f"outside {column.limits} {column.unit}".rstrip(),
        "fraction": "not a whole number",
        "category": f"not one of {list(column.categories)}",
    }[problem]


def _find_missing(name: str, read: ReadValues) -> Iterator[str]:
    if count := int(read.is_missing.sum()):
        yield f"{name}: {count} missing"


def _find_repeated(ids: pd.Series, numbers: np.ndarray) -> Iterator[str]:
    yield from _describe(ID, ids[~np.isnan(numbers) & pd.Series(numbers).duplicated().to_numpy()], "repeated")


def _describe(name: str, wrong: pd.Series, what: str) -> Iterator[str]:
    if len(wrong):
        yield f"{name}: {len(wrong)} {what}, such as {wrong.head(3).tolist()}"
