"""Reads an Arrow batch into NumPy arrays, and tells the rows that cannot be scored and why."""

from collections import defaultdict
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc

from diabetes.columns import Column, check_columns
from diabetes.schema import CATEGORY_NAMES, COLUMNS, FEATURE_NAMES, FEATURES, ID, NUMERIC_NAMES

# What a text may look like to be read as a number; an infinite one is read, and is then out of range.
_NUMBER = r"(?i)^([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?|nan)$"

# One thing wrong with a column: where (a mask of shape (n,)), and the text that says so of a value.
_Problem = tuple[np.ndarray, str]


@dataclass(frozen=True)
class ScreenedBatch:
    """The rows of a batch as arrays, in their order.

    `ids` is int64 of shape (n,), 0 where there is none to read; `numbers` float64 of shape
    (n, len(NUMERIC_NAMES)), NaN where missing; `codes` int64 of shape (n, len(CATEGORY_NAMES)), the index
    into the column's categories, -1 where missing. `reasons` has, by the number of the row, why a row cannot
    be scored; what is in the arrays for such a row means nothing.
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


def screen(batch: pa.RecordBatch) -> ScreenedBatch:
    """Read the ID and the features of each row; a missing feature is not wrong, the pipeline fills it.

    Numbers may come as numbers or, out of a CSV, as text. Other columns are not looked at. Raises
    SchemaError when a column is missing.
    """
    check_columns(batch.schema.names, [ID, *FEATURE_NAMES])
    reasons: defaultdict[int, list[str]] = defaultdict(list)
    ids = _read_ids(batch.column(ID), reasons)
    numbers = np.empty((batch.num_rows, len(NUMERIC_NAMES)), order="F")
    codes = np.empty((batch.num_rows, len(CATEGORY_NAMES)), dtype=np.int64, order="F")
    for column in FEATURES:
        values = batch.column(column.name)
        if column.kind == "category":
            codes[:, CATEGORY_NAMES.index(column.name)] = _read_codes(column, values, reasons)
        else:
            numbers[:, NUMERIC_NAMES.index(column.name)] = _read_numbers(column, values, reasons)
    return ScreenedBatch(ids, numbers, codes, dict(reasons))


def _read_ids(values: pa.Array, reasons: defaultdict[int, list[str]]) -> np.ndarray:
    numbers = _read_numbers(COLUMNS[ID], values, reasons)
    for row in np.flatnonzero(np.isnan(numbers)).tolist():
        reasons[row] = reasons[row] or [f"{ID} is missing"]
    # What is left is whole and in range, and so exact as a float64.
    ids = numbers.copy()
    ids[list(reasons)] = 0
    return ids.astype(np.int64)


def _read_numbers(column: Column, values: pa.Array, reasons: defaultdict[int, list[str]]) -> np.ndarray:
    numbers, unreadable = _to_numbers(values)
    _collect(column, values, _find_problems(column, numbers, unreadable), reasons)
    return numbers


def _read_codes(column: Column, values: pa.Array, reasons: defaultdict[int, list[str]]) -> np.ndarray:
    """Give the index of each value among the column's categories, -1 where it is missing or unknown."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type):  # a column without any value may come without a type
        values = values.cast(pa.string())
    known = pa.array(column.categories, type=values.type)
    codes = pc.fill_null(pc.index_in(values, value_set=known, skip_nulls=True), -1)
    codes = np.asarray(codes.to_numpy(zero_copy_only=False), dtype=np.int64)
    if len(absent := np.flatnonzero(codes < 0)):
        found = values.take(pa.array(absent))
        missing = pc.fill_null(pc.equal(found, ""), True).to_numpy(zero_copy_only=False)
        unknown = np.zeros(len(codes), dtype=bool)
        unknown[absent[~missing]] = True
        _collect(column, values, iter([(unknown, "is unknown")]), reasons)
    return codes


def _to_numbers(values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the values as float64, NaN where missing, and a mask of texts that are no numbers, if any."""
    if not (pa.types.is_string(values.type) or pa.types.is_large_string(values.type)):
        return _as_float64(values), None
    try:
        return _as_float64(values), None
    except pa.ArrowInvalid:  # at least one text is empty or no number; that costs a look at each
        filled = pc.not_equal(values, "")
        is_number = pc.match_substring_regex(values, _NUMBER)
        readable = pc.if_else(is_number, pc.utf8_ltrim(values, "+"), pa.scalar(None, values.type))
        unreadable = pc.fill_null(pc.and_not(filled, is_number), False)
        return _as_float64(readable), unreadable.to_numpy(zero_copy_only=False)


def _as_float64(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _find_problems(column: Column, numbers: np.ndarray, unreadable: np.ndarray | None) -> Iterator[_Problem]:
    if unreadable is not None:
        yield unreadable, "is not a number"
    outside = (numbers < column.low) | (numbers > column.high)  # both are False for NaN
    yield outside, f"is outside {column.low} to {column.high}"
    if column.kind == "integer":
        yield (np.floor(numbers) != numbers) & ~np.isnan(numbers), "is not a whole number"


def _collect(
    column: Column, values: pa.Array, problems: Iterator[_Problem], reasons: defaultdict[int, list[str]]
) -> None:
    for wrong, text in problems:
        if wrong.any():
            rows = np.flatnonzero(wrong)
            for row, value in zip(rows.tolist(), values.take(pa.array(rows)).to_pylist(), strict=True):
                reasons[row].append(f"{column.name} {text}: {value}")
