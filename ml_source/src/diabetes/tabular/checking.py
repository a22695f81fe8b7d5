"""Checks a table against the schema."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diabetes.tabular.columns import Column, Schema, SchemaError, check_columns
from diabetes.tabular.reading import Problem, ReadValues, read_series


def check_table(schema: Schema, table: pd.DataFrame, *, labelled: bool) -> None:
    """Raise one SchemaError that lists everything wrong with the table's columns and values.

    Feature values may be missing. IDs may not, nor appear twice, and labels may not when `labelled`. What is
    refused of a value is what scoring rejects a row for.
    """
    key, label = schema.key, [schema.label] if labelled else []
    never_missing, required = [key, *label], [key, *schema.features, *label]
    check_columns(table.columns, [column.name for column in required])
    read = {column: read_series(column, table[column.name]) for column in required}
    problems = [
        text for column in required for text in _find_value_problems(column, table[column.name], read[column])
    ]
    problems += [text for column in never_missing for text in _find_missing(column.name, read[column])]
    problems += _find_repeated(table[key.name], read[key].numbers)
    if problems:
        raise SchemaError(f"the table of {len(table)} rows breaks the schema: {'; '.join(problems)}")


def _find_value_problems(column: Column, values: pd.Series, read: ReadValues) -> Iterator[str]:
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
    yield from _describe(
        str(ids.name), ids[~np.isnan(numbers) & pd.Series(numbers).duplicated().to_numpy()], "repeated"
    )


def _describe(name: str, wrong: pd.Series, what: str) -> Iterator[str]:
    if len(wrong):
        yield f"{name}: {len(wrong)} {what}, such as {wrong.head(3).tolist()}"
