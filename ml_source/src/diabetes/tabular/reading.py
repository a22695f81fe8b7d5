"""Reads the values of a column: training, scoring and labels take the same value, or the same problem."""

from dataclasses import dataclass
from datetime import date
from typing import Any, Literal

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.compute as pc

from diabetes.tabular.columns import Column

# What a text may look like to be read as a number; an infinite one is read, and is then out of range.
_NUMBER = r"(?i)^([+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?|[+-]?inf(inity)?|nan)$"

# A day as ISO 8601 has it, with or without a time of day and a zone.
_MOMENT = (
    "^(?P<year>[0-9]{4})-(?P<month>[0-9]{2})-(?P<day>[0-9]{2})"
    "(?:[T ](?P<hour>[0-9]{2}):(?P<minute>[0-9]{2})(?::(?P<second>[0-9]{2})(?:[.](?P<part>[0-9]{1,9}))?)?"
    "(?:Z|(?P<sign>[+-])(?P<zone_hour>[0-9]{2}):?(?P<zone_minute>[0-9]{2}))?)?$"
)
# How many there are of each unit in a second.
_UNITS = {"s": 1, "ms": 10**3, "us": 10**6, "ns": 10**9}
_SECONDS, _MICROSECONDS = 86_400, 86_400 * 10**6  # of a day

Problem = Literal["text", "range", "fraction", "category", "date"]


@dataclass(frozen=True)
class ReadValues:
    """The values of a column, in their order.

    `numbers` is float64 of shape (n,): the values, of a category the index among its categories, of a date
    the days since its first one; NaN where a value is missing or cannot be read. `problems` has, by its kind,
    a mask of shape (n,) of the values that have it. Of a column of texts see `read_texts`: it has no numbers.
    """

    numbers: np.ndarray
    problems: dict[Problem, np.ndarray]

    @property
    def is_missing(self) -> np.ndarray:
        """Which values are not there: a mask of shape (n,)."""
        mask: np.ndarray = np.isnan(self.numbers)
        for wrong in self.problems.values():
            mask &= ~wrong
        return mask


def read_values(column: Column, values: pa.Array) -> ReadValues:
    """Read the values of a column, which may be text; empty texts, nulls and NaN are missing."""
    if pa.types.is_dictionary(values.type):
        values = values.dictionary_decode()
    if pa.types.is_null(values.type):  # a column without any value may come without a type
        values = values.cast(pa.string())
    if column.kind == "category":
        codes, unknown = _read_codes(column, values)
        return ReadValues(codes, _drop_empty({"category": unknown}))
    if column.kind == "date":
        days, unreadable = _read_days(column.first, values)
        return ReadValues(days, _drop_empty({"date": unreadable, **_find_problems(column, days)}))
    numbers, unreadable = _read_numbers(values)
    return ReadValues(numbers, _drop_empty({"text": unreadable, **_find_problems(column, numbers)}))


def read_texts(values: pa.Array) -> np.ndarray:
    """Return texts as they stand, and numbers as their texts: objects of shape (n,), None where missing.

    Empty texts, nulls and NaN are missing. A whole number is written without a fraction, also where its
    column has fractions: pandas makes one of such a column that has a gap.
    """
    texts = _write_floats(values) if pa.types.is_floating(values.type) else values.cast(pa.string())
    texts = pc.if_else(pc.equal(texts, ""), pa.scalar(None, pa.string()), texts)
    return np.asarray(texts.to_numpy(zero_copy_only=False), dtype=object)


def _write_floats(values: pa.Array) -> pa.Array:
    values = pc.if_else(pc.is_nan(values), pa.scalar(None, values.type), values)
    # Beyond, a float64 is not exact, and is written as it is.
    is_whole = pc.and_(pc.equal(pc.floor(values), values), pc.less(pc.abs(values), 2.0**53))
    whole = pc.if_else(is_whole, values, 0.0).cast(pa.int64(), safe=False).cast(pa.string())
    return pc.if_else(is_whole, whole, values.cast(pa.string()))


def show_values(values: pa.Array) -> list[Any]:
    """Give the values as Python has them; dates that it has not, of the year 56000, as their numbers."""
    try:
        return list(values.to_pylist())
    except OverflowError:
        size = pa.int32() if values.type.bit_width == 32 else pa.int64()
        return list(values.cast(size).to_pylist())


def read_series(column: Column, values: pd.Series) -> ReadValues:
    """Read the values of a column of a table; values of several types are read by their texts."""
    return read_values(column, to_array(values))


def to_array(values: pd.Series) -> pa.Array:
    """Return the values of a column of a table; values of several types become texts."""
    try:
        if values.dtype == object and len({type(value) for value in values if isinstance(value, date)}) > 1:
            raise pa.ArrowTypeError("days and times: Arrow would leave the time of day out")
        array = pa.array(values, from_pandas=True)
    except (pa.ArrowInvalid, pa.ArrowTypeError):
        missing = values.isna()
        array = pa.array([None if gone else str(value) for value, gone in zip(values, missing, strict=True)])
    return array.combine_chunks() if isinstance(array, pa.ChunkedArray) else array


def _read_numbers(values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the values as float64, NaN where missing, and a mask of those that are no numbers, if any."""
    kind = values.type
    if pa.types.is_decimal(kind):
        return _as_float64(values.cast(pa.string())), None
    if pa.types.is_integer(kind) or pa.types.is_floating(kind):
        return _as_float64(values), None
    if not _is_text(kind):
        return np.full(len(values), np.nan), _as_mask(values.is_valid())
    try:
        numbers = _as_float64(values)
        # Arrow takes more for NaN than the pattern, such as `-nan` and `nan(1)`.
        if np.count_nonzero(np.isnan(numbers)) == values.null_count:
            return numbers, None
    except pa.ArrowInvalid:  # at least one text is empty or no number; that costs a look at each
        pass
    is_number = pc.match_substring_regex(values, _NUMBER)
    readable = pc.if_else(is_number, pc.utf8_ltrim(values, "+"), pa.scalar(None, kind))
    unreadable = pc.fill_null(pc.and_not(pc.not_equal(values, ""), is_number), False)
    return _as_float64(readable), _as_mask(unreadable)


def _read_days(first: str, values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Give days since the first one as float64, NaN where missing, and a mask of what is not a date."""
    kind = values.type
    if _is_text(kind):
        # The same few days are there again and again.
        encoded = values.dictionary_encode()
        days, unreadable = _read_day_texts(first, encoded.dictionary)
        places = pc.fill_null(encoded.indices, len(days)).to_numpy(zero_copy_only=False)
        return np.append(days, np.nan)[places], np.append(unreadable, False)[places]
    if pa.types.is_date32(kind):
        whole, rest = _as_int64(values.cast(pa.int32())), np.zeros(len(values), np.int64)
    elif pa.types.is_date64(kind) or pa.types.is_timestamp(kind):
        units = 10**3 if pa.types.is_date64(kind) else _UNITS[kind.unit]
        whole, rest = np.divmod(_as_int64(values.cast(pa.int64())), units * _SECONDS)
        rest = rest // (units // 10**6) if units > 10**6 else rest * (10**6 // units)
    else:
        return np.full(len(values), np.nan), _as_mask(values.is_valid())
    return np.where(_as_mask(values.is_valid()), _count_days(first, whole, rest), np.nan), None


def _read_day_texts(first: str, texts: pa.Array) -> tuple[np.ndarray, np.ndarray]:
    found = pc.extract_regex(texts.cast(pa.string()), _MOMENT)
    parts = {field.name: pc.struct_field(found, field.name) for field in found.type}
    parts["part"] = pc.utf8_slice_codeunits(pc.utf8_rpad(parts["part"], 6, "0"), 0, 6)
    sign = _as_mask(pc.fill_null(pc.equal(parts.pop("sign"), "-"), False))
    number = {
        name: _as_int64(pc.if_else(pc.equal(part, ""), "0", part).cast(pa.int64()))
        for name, part in parts.items()
    }
    months = (number["year"] - 1970) * 12 + number["month"] - 1
    begins, ends = (_days_of(months + later) for later in (0, 1))
    is_day = (number["month"] >= 1) & (number["month"] <= 12)
    is_day &= (number["day"] >= 1) & (number["day"] <= ends - begins)
    for hour, minute in (("hour", "minute"), ("zone_hour", "zone_minute")):
        is_day &= (number[hour] < 24) & (number[minute] < 60)
    is_day &= _as_mask(found.is_valid()) & (number["second"] < 60)
    zone = (number["zone_hour"] * 60 + number["zone_minute"]) * np.where(sign, -1, 1)
    seconds = (number["hour"] * 60 + number["minute"] - zone) * 60 + number["second"]
    whole, rest = np.divmod(seconds * 10**6 + number["part"], _MICROSECONDS)
    days = _count_days(first, begins + number["day"] - 1 + whole, rest)
    return np.where(is_day, days, np.nan), ~is_day & _as_mask(pc.not_equal(texts, ""))


def _count_days(first: str, days: np.ndarray, microseconds: np.ndarray) -> np.ndarray:
    """Give days since the first one, of days since 1970 and what of the last day has gone by."""
    start = np.datetime64(first, "D").astype(np.int64)
    return np.asarray((days - start) + microseconds / _MICROSECONDS)


def _days_of(months: np.ndarray) -> np.ndarray:
    """Give the days from 1970 to where months begin, of the months from there."""
    return months.astype("datetime64[M]").astype("datetime64[D]").astype(np.int64)


def _read_codes(column: Column, values: pa.Array) -> tuple[np.ndarray, np.ndarray | None]:
    """Give the index of each value among the categories, NaN where missing, and a mask of unknown ones."""
    if not _is_text(values.type):
        # What NaN stands for is missing, whichever type a table gave the column.
        missing = pc.is_null(values, nan_is_null=True)
        return np.full(len(values), np.nan), ~_as_mask(missing)
    known = pa.array(column.categories, type=values.type)
    codes = _as_float64(pc.index_in(values, value_set=known, skip_nulls=True))
    if not np.isnan(codes).any():
        return codes, None
    is_missing = _as_mask(pc.fill_null(pc.equal(values, ""), True))
    return codes, np.isnan(codes) & ~is_missing


def _find_problems(column: Column, numbers: np.ndarray) -> dict[Problem, np.ndarray | None]:
    # All three are False for NaN.
    low, high = column.bounds
    # The last day is a whole one.
    whole = np.floor(numbers) if column.kind == "date" else numbers
    outside = (whole < low) | (whole > high) | np.isinf(numbers)
    if column.kind in ("number", "date"):
        return {"range": outside}
    return {"range": outside, "fraction": (np.floor(numbers) != numbers) & ~np.isnan(numbers)}


def _drop_empty(masks: dict[Problem, np.ndarray | None]) -> dict[Problem, np.ndarray]:
    return {kind: mask for kind, mask in masks.items() if mask is not None and mask.any()}


def _is_text(kind: pa.DataType) -> bool:
    return bool(pa.types.is_string(kind) or pa.types.is_large_string(kind))


def _as_float64(values: pa.Array) -> np.ndarray:
    return np.asarray(pc.cast(values, pa.float64(), safe=False).to_numpy(zero_copy_only=False))


def _as_int64(values: pa.Array) -> np.ndarray:
    """Give whole numbers, 0 where one is missing."""
    return np.asarray(pc.fill_null(values, 0).to_numpy(zero_copy_only=False), dtype=np.int64)


def _as_mask(values: pa.Array) -> np.ndarray:
    return np.asarray(values.to_numpy(zero_copy_only=False), dtype=bool)
