"""Names the columns of a diabetes table and checks a table against them."""

from collections.abc import Iterable, Iterator
from dataclasses import dataclass
from typing import Literal

import numpy as np
import pandas as pd


class SchemaError(ValueError):
    """A table does not have the columns or the values that the schema asks for."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and the values that can be real.

    A number outside `low` to `high` (both allowed) is an error of the data, not a rare patient.
    """

    name: str
    kind: Literal["integer", "number", "category"]
    description: str
    unit: str = ""
    low: float | None = None
    high: float | None = None
    categories: tuple[str, ...] = ()


ID = "ID"
TARGET = "Y"

FEATURES: tuple[Column, ...] = (
    Column("AGE", "integer", "age", "years", 0, 120),
    Column("SEX", "category", "sex", categories=("Female", "Male")),
    Column("BMI", "number", "body mass index", "kg/m²", 10, 80),
    Column("BP", "number", "average blood pressure", "mmHg", 30, 200),
    Column("S1", "number", "total serum cholesterol", "mg/dl", 50, 600),
    Column("S2", "number", "low-density lipoproteins", "mg/dl", 10, 500),
    Column("S3", "number", "high-density lipoproteins", "mg/dl", 5, 200),
    Column("S4", "number", "total cholesterol divided by high-density lipoproteins", "", 1, 30),
    Column("S5", "number", "log of the serum triglycerides level", "log(mg/dl)", 2, 8),
    Column("S6", "number", "blood sugar level", "mg/dl", 20, 600),
)
# The largest ID is the largest whole number that a float64 holds without doubt.
_KEY = Column(ID, "integer", "row number", low=1, high=2**53 - 1)
_LABEL = Column(TARGET, "number", "disease progression one year after baseline", "score", 0, 1000)

COLUMNS: dict[str, Column] = {column.name: column for column in (_KEY, *FEATURES, _LABEL)}
FEATURE_NAMES: list[str] = [column.name for column in FEATURES]
NUMERIC_NAMES: list[str] = [column.name for column in FEATURES if column.kind != "category"]
CATEGORY_NAMES: list[str] = [column.name for column in FEATURES if column.kind == "category"]


def check_columns(names: Iterable[str], required: Iterable[str]) -> None:
    """Raise SchemaError when a required column is not among `names`."""
    present = list(names)
    missing = [name for name in required if name not in present]
    if missing:
        raise SchemaError(f"missing columns {missing}; the table has {present}")


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


def to_numbers(values: pd.Series) -> pd.Series:
    """Return the values as float64, NaN where one is missing or does not read as a number."""
    return pd.to_numeric(values, errors="coerce").astype("float64")


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
