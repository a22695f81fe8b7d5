"""Checks a table against the schema."""

from collections.abc import Iterator

import numpy as np
import pandas as pd

from diabetes.tabular.columns import Column, Schema, SchemaError, check_columns
from diabetes.tabular.reading import Problem, ReadValues, read_series, read_texts, to_array


def check_table(schema: Schema, table: pd.DataFrame, *, labelled: bool) -> None:
    """Raise one SchemaError that lists everything wrong with the table's columns and values.

    Feature values may be missing. IDs may not, nor appear twice, and labels may not when `labelled`; then the
    schema's others are looked at too. What is refused of a value is what scoring rejects a row for.
    """
    required = [schema.key, *schema.features, *([schema.label, *schema.others] if labelled else [])]
    check_columns(table.columns, [column.name for column in required])
    known = {column.name: table[column.name] for column in required}
    read = {column: read_series(column, known[column.name]) for column in required if column.kind != "text"}
    problems = [
        text for column in read for text in _find_value_problems(column, known[column.name], read[column])
    ]
    if labelled:
        problems += _find_missing(schema.label.name, read[schema.label].is_missing)
    problems += _find_key_problems(known[schema.key.name], read.get(schema.key))
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
        "date": "not a date",
        "category": f"not one of {list(column.categories)}",
    }[problem]


def _find_key_problems(ids: pd.Series, read: ReadValues | None) -> Iterator[str]:
    """Tell of missing and repeated IDs; a text is not `read` as a number."""
    values = pd.Series(read.numbers if read else read_texts(to_array(ids)))
    yield from _find_missing(str(ids.name), read.is_missing if read else values.isna().to_numpy())
    repeated = values.notna() & values.duplicated()
    yield from _describe(str(ids.name), ids[repeated.to_numpy()], "repeated")


def _find_missing(name: str, missing: np.ndarray) -> Iterator[str]:
    if count := int(missing.sum()):
        yield f"{name}: {count} missing"


def _describe(name: str, wrong: pd.Series, what: str) -> Iterator[str]:
    if len(wrong):
        yield f"{name}: {len(wrong)} {what}, such as {wrong.head(3).tolist()}"
