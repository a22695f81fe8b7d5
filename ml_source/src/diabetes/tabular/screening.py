"""Reads an Arrow batch into NumPy arrays, and tells the rows that cannot be scored and why."""

from collections import defaultdict
from dataclasses import dataclass

import numpy as np
import pandas as pd
import pyarrow as pa

from diabetes.tabular.columns import Column, Schema, check_columns
from diabetes.tabular.reading import Problem, ReadValues, read_series, read_texts, read_values, show_values

# In place of a whole number that cannot be read; a key is never as low.
NO_ID = int(np.iinfo(np.int64).min)

_Reasons = defaultdict[int, list[str]]


@dataclass(frozen=True)
class ScreenedBatch:
    """The rows of a batch as arrays, in their order.

    `ids` is of shape (n,): int64, NO_ID where there is none to read, or of a key of texts objects, None where
    missing. `numbers` is float64 of shape (n, numeric features), NaN where missing; `codes` int64 of shape
    (n, category features), the index into the column's categories, -1 where missing. `reasons` has, by the
    number of the row, why a row cannot be scored; what is in the arrays for such a row means nothing.
    """

    ids: np.ndarray
    numbers: np.ndarray
    codes: np.ndarray
    reasons: dict[int, list[str]]

    @property
    def is_readable(self) -> np.ndarray:
        """Which rows can be scored: a mask of shape (n,)."""
        mask = np.ones(len(self.ids), dtype=bool)
        mask[list(self.reasons)] = False
        return mask


def screen(schema: Schema, batch: pa.RecordBatch) -> ScreenedBatch:
    """Read the key and the features of each row; a missing feature is not wrong, the pipeline fills it.

    Numbers may come as numbers or, out of a CSV, as text. Other columns are not looked at. Raises
    SchemaError when a column is missing.
    """
    check_columns(batch.schema.names, [schema.key.name, *schema.feature_names])
    reasons: _Reasons = defaultdict(list)
    ids = _read_ids(schema.key, batch, reasons)
    numbers = np.empty((batch.num_rows, len(schema.numeric_names)), order="F")
    codes = np.empty((batch.num_rows, len(schema.category_names)), dtype=np.int64, order="F")
    for column in schema.features:
        read = _read(column, batch, reasons)
        if column.kind == "category":
            codes[:, schema.category_names.index(column.name)] = np.nan_to_num(read.numbers, nan=-1)
        else:
            numbers[:, schema.numeric_names.index(column.name)] = read.numbers
    return ScreenedBatch(ids, numbers, codes, dict(reasons))


def find_readable(schema: Schema, table: pd.DataFrame) -> np.ndarray:
    """Return which rows of a table have features that can be scored: a mask of shape (n,).

    Raises SchemaError when a column is missing.
    """
    check_columns(table.columns, schema.feature_names)
    mask = np.ones(len(table), dtype=bool)
    for column in schema.features:
        for wrong in read_series(column, table[column.name]).problems.values():
            mask &= ~wrong
    return mask


def screen_labels(
    schema: Schema, batch: pa.RecordBatch
) -> tuple[np.ndarray, np.ndarray, dict[int, list[str]]]:
    """Read the key and the label of each row whose label has arrived; a missing one has not.

    Returns the IDs (as `ScreenedBatch` has them), the labels (float64, NaN where missing), and by
    the number of the row why it cannot be read.
    """
    reasons: _Reasons = defaultdict(list)
    ids = _read_ids(schema.key, batch, reasons)
    read = _read(schema.label, batch, reasons)
    missing = read.is_missing
    return ids, read.numbers, {row: texts for row, texts in reasons.items() if not missing[row]}


def _read_ids(key: Column, batch: pa.RecordBatch, reasons: _Reasons) -> np.ndarray:
    if key.kind == "text":
        texts = read_texts(batch.column(key.name))
        for row in (row for row, text in enumerate(texts) if text is None):
            reasons[row].append(f"{key.name} is missing")
        return texts
    read = _read(key, batch, reasons)
    for row in np.flatnonzero(read.is_missing).tolist():
        reasons[row].append(f"{key.name} is missing")
    ids = np.full(batch.num_rows, NO_ID, dtype=np.int64)
    known = np.ones(batch.num_rows, dtype=bool)
    known[list(reasons)] = False
    # What is left is whole and in range, and so exact as a float64.
    ids[known] = read.numbers[known].astype(np.int64)
    return ids


def _read(column: Column, batch: pa.RecordBatch, reasons: _Reasons) -> ReadValues:
    """Read a column, and add a reason to each row whose value has a problem."""
    values = batch.column(column.name)
    read = read_values(column, values)
    for problem, wrong in read.problems.items():
        rows, text = np.flatnonzero(wrong), _describe(column, problem)
        for row, value in zip(rows.tolist(), show_values(values.take(pa.array(rows))), strict=True):
            reasons[row].append(f"{column.name} {text}: {value}")
    return read


def _describe(column: Column, problem: Problem) -> str:
    return {
        "text": "is not a number",
        "range": f"is outside {column.limits}",
        "fraction": "is not a whole number",
        "date": "is not a date",
        "category": "is unknown",
    }[problem]
