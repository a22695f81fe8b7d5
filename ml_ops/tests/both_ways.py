"""Scores one source in each way that there is, and makes rows for that."""

import csv
import io
import math
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from decimal import Decimal
from pathlib import Path
from typing import Any
from unittest.mock import patch
from uuid import uuid4

import numpy as np
import pandas as pd
import pyarrow as pa
import pyarrow.parquet as pq
from diabetes.tabular import Column, Problem, Schema
from diabetes.tabular.drift import Counts, Profile, to_arrays
from diabetes.tabular.fitting import fit
from diabetes.tabular.scoring import predict
from diabetes.tabular.sql import write_sql
from diabetes_mlops.data import small_batch
from diabetes_mlops.data.reading import read_as_found
from diabetes_mlops.data.scored_tables import RUN, find_output
from diabetes_mlops.data.staged_batch import StagedBatch, check_columns, predicted_columns, staging
from diabetes_mlops.data.worker import PROBABILITIES, PROBABILITY, REASONS, ROW, LoadedModel
from houses import ODD_KEYS
from pyspark.sql import DataFrame, Row, SparkSession

ODD_NUMBERS = [
    "007",
    " 7 ",
    "+5",
    "1e3",
    "1d",
    "5f",
    "NaN",
    "nan",
    "-nan",
    "inf",
    "-inf",
    "Infinity",
    "0x1p3",
]
ODD_NUMBERS += ["", "\uff11\uff12", "5.", ".5", "1e400", "-1e400", "1e-400", "-0", "-0.0", "0", "\ufffd"]
ODD_NUMBERS += ["9007199254740993", "-9007199254740993", "9007199254740992.9", "7\ufffd", "true", "1_000"]
ODD_NUMBERS += [
    "59,0",
    "1e",
    "e5",
    ".",
    "+",
    "-",
    "++5",
    "+-5",
    "1e5e5",
    "1E2",
    "1.2.3",
    "9" * 40,
    "4.9e-324",
]
ODD_NUMBERS += ["null", "NULL", "NA", "5 9", "\t7", "7\u00a0", "59L", "3.0", "2.5", "1e+2", "1E-1", "\u0665"]
ODD_NUMBERS += ["2.2250738585072011e-308", "0.1000000000000000055511151231257827", "1" + "0" * 400, "5\x009"]
ODD_DAYS = [
    "2015-6-1",
    " 2015-06-01",
    "2015-06-01 ",
    "2024-02-30",
    "2024-02-29",
    "2023-02-29",
    "2015-06-01T12:30",
]
ODD_DAYS += [
    "2015-06-01 00:00:00",
    "2015-06-01T00:00:00Z",
    "2015-06-01 23:00:00+05:00",
    "1999-12-31",
    "2000-01-01",
]
ODD_DAYS += [
    "2030-12-31",
    "2031-01-01",
    "2030-12-31T23:59:59",
    "0000-01-01",
    "0001-01-01",
    "9999-12-31",
    "NaT",
]
ODD_DAYS += ["12024-01-01", "+2015-06-01", "-2015-06-01", "2015", "2015-06", "20150601", "now", "epoch", ""]
ODD_DAYS += [
    "2015-06-01T",
    "2015-06-01 24:00",
    "\uff12015-06-01",
    "2015-06-\ufffd",
    "2015-00-01",
    "2015-13-01",
]
ODD_TEXTS = [
    "",
    " ",
    "x",
    "a,b",
    'the "old" mill',
    "it's",
    "\ufffd",
    "Ж中🏠",
    "\\",
    "\\N",
    "null",
    "\t",
    "a\x00b",
]
# What the number columns of a table with types are, one after the other.
TYPES = [
    pa.float64(),
    pa.float32(),
    pa.decimal128(20, 4),
    pa.int64(),
    pa.float64(),
    pa.int32(),
    pa.decimal128(38, 9),
]


@dataclass(frozen=True)
class Outcome:
    """All that is known of a batch once it is staged; the rows by a text of all that has to be the same."""

    rows_in: int
    rejected: int
    digest: str
    counts: Counts | None
    predictions: dict[str, list[float]]
    others: list[str]
    way: str


@dataclass(frozen=True)
class Case:
    """A trained problem whose rows are to be scored in each way."""

    problem: Problem
    model: LoadedModel
    rows: pd.DataFrame

    @property
    def schema(self) -> Schema:
        return self.problem.schema

    @property
    def carried(self) -> tuple[str, ...]:
        """A feature among them."""
        return "NOTE", self.schema.numeric_names[0], "WEIGHT"


def train(problem: Problem, table: pd.DataFrame, **params: Any) -> Case:
    """Fit a problem on a labelled table as training does."""
    schema, pipeline = problem.schema, fit(problem, table, params)
    predicted = predict(schema, pipeline, table)
    profile = Profile.describe(schema, *to_arrays(schema, table), predicted)
    model = LoadedModel(pipeline, schema, profile, write_sql(schema, pipeline))
    return Case(problem, model, table.drop(columns=schema.label.name))


def score_each_way(
    spark: SparkSession, read: Callable[[], DataFrame], model: LoadedModel, carried: tuple[str, ...] = ()
) -> tuple[Outcome, Outcome, Outcome]:
    """Stage what is read by expressions, as far as they are sure, then in Python, and on the driver."""
    native = score_once(spark, read(), model, carried)
    python = score_once(spark, read(), replace(model, sql=None), carried)
    with patch.object(small_batch, "MOST_BYTES", 1024**2):
        driver = score_once(spark, read(), model, carried)
    assert driver.way == "driver"
    return native, python, driver


def score_once(
    spark: SparkSession, found: DataFrame, model: LoadedModel, carried: tuple[str, ...]
) -> Outcome:
    """Stage a batch, and take it away again."""
    with staged(spark, found, model, carried) as batch:
        rows = batch.rows.drop(RUN).collect()
        predictions: dict[str, list[float]] = {}
        for row in (row for row in rows if row[REASONS] is None):
            predictions.setdefault(_tell_scored(row, model.schema), []).extend(
                _list_numbers(row, model.schema)
            )
        others = sorted(repr(_tell(row.asDict())) for row in rows if row[REASONS] is not None)
        outcome = Outcome(
            batch.rows_in, batch.rejected, batch.digest, batch.counts, predictions, others, batch.way
        )
    return outcome


@contextmanager
def staged(
    spark: SparkSession, found: DataFrame, model: LoadedModel, carried: tuple[str, ...]
) -> Iterator[StagedBatch]:
    """Stage a batch in a table of its own, and take it away again."""
    check_columns(found, model.schema, carried)
    name = f"b{uuid4().hex}"
    output = find_output(spark, f"spark_catalog.tests.{name}")
    with staging(found, model, carried, output=output, run_id=name) as batch:
        yield batch
    spark.sql(f"DROP TABLE {output.name}_rows")


def differ(one: Outcome, other: Outcome, tolerance: float = 1e-9) -> list[str]:
    """Say in what two outcomes are not the same."""
    told = [
        f"{name}: {getattr(one, name)!r} and {getattr(other, name)!r}"
        for name in ("rows_in", "rejected", "digest", "counts")
        if getattr(one, name) != getattr(other, name)
    ]
    told += _differ_in("a rejected row", one.others, other.others)
    told += _differ_in("a scored row", one.predictions, other.predictions)
    for row in one.predictions.keys() & other.predictions.keys():
        pair = np.array(sorted(one.predictions[row])), np.array(sorted(other.predictions[row]))
        if not np.allclose(*pair, rtol=tolerance, atol=tolerance, equal_nan=True):
            told.append(f"{row} is predicted {pair[0]} and {pair[1]}")
    return told


def write(
    case: Case, rows: pd.DataFrame, form: str, folder: Path, spark: SparkSession
) -> Callable[[], DataFrame]:
    """Write rows as `csv` (texts), `parquet` or `delta`; gives what reads them as scoring does."""
    path = f"{folder}/rows.csv" if form == "csv" else f"{folder}/rows.{form}"
    needed = [case.schema.key.name, *case.schema.feature_names]
    if form == "csv":
        Path(path).write_bytes(to_csv(rows))
    else:
        parquet = f"{folder}/rows.parquet"
        pq.write_table(_to_arrow(case.schema, rows, form), parquet, row_group_size=max(len(rows) // 3, 1))
        if form == "delta":
            spark.read.parquet(parquet).write.format("delta").save(path)
    return lambda: read_as_found(spark, path, form, needed, case.carried)


def to_csv(rows: pd.DataFrame, more: Iterable[bytes] = ()) -> bytes:
    """Write texts as CSV; `more` are lines as they stand."""
    text = io.StringIO()
    writer = csv.writer(text, lineterminator="\n")
    writer.writerows([list(rows.columns), *rows.astype(object).where(rows.notna(), "").to_numpy().tolist()])
    return text.getvalue().encode() + b"".join(line + b"\n" for line in more)


def make_dirty(case: Case, form: str, random: np.random.Generator, rows: int, share: float) -> pd.DataFrame:
    """Make rows of which a share of the values is odd, as texts for a CSV and as Python's own values else."""
    clean = case.rows.iloc[random.integers(len(case.rows), size=rows)].reset_index(drop=True)
    columns: dict[str, list[Any]] = {
        case.schema.key.name: _make_keys(case.schema.key, form, random, rows, share)
    }
    for place, column in enumerate(case.schema.features):
        odd = _list_odd(column, form, place)
        made = [_clean(column, form, place, value) for value in clean[column.name]]
        hits = random.random(rows) < share
        columns[column.name] = [
            odd[random.integers(len(odd))] if hit else value for hit, value in zip(hits, made, strict=True)
        ]
    texts = [*ODD_TEXTS, None]
    weights = [1.5, math.nan, math.inf, None, -0.0]
    columns["NOTE"] = [
        texts[random.integers(len(texts))] if hit else "n" for hit in random.random(rows) < share
    ]
    columns["WEIGHT"] = [weights[each] for each in random.integers(len(weights), size=rows)]
    table = pd.DataFrame({name: pd.Series(values, dtype=object) for name, values in columns.items()})
    return table[random.permutation(table.columns)]


def _type_of(column: Column, form: str, place: int) -> pa.DataType:
    """Give the type that a column of a table has, another one in each form."""
    if column.kind in ("category", "text") or (column.kind == "date" and form != "parquet"):
        return pa.string()
    return pa.date32() if column.kind == "date" else TYPES[(place + (form == "delta") * 3) % len(TYPES)]


def _key_type(key: Column, form: str) -> pa.DataType:
    kinds = {"text": (pa.string(), pa.int64()), "integer": (pa.int64(), pa.float64())}
    return kinds[key.kind][form == "delta"]


def _to_arrow(schema: Schema, rows: pd.DataFrame, form: str) -> pa.Table:
    kinds = {column.name: _type_of(column, form, place) for place, column in enumerate(schema.features)}
    kinds |= {schema.key.name: _key_type(schema.key, form), "NOTE": pa.string(), "WEIGHT": pa.float64()}
    arrays = {}
    for name in rows.columns:
        kind = pa.int32() if pa.types.is_date(kinds[name]) else kinds[name]
        arrays[name] = pa.array(rows[name].tolist(), kind).cast(kinds[name])
    return pa.table(arrays)


def _clean(column: Column, form: str, place: int, value: Any) -> Any:
    if pd.isna(value):
        return None
    if column.kind == "category":
        return value
    if column.kind == "date":
        day = pd.Timestamp(value).date()
        kind = _type_of(column, form, place)
        return (day - pd.Timestamp("1970-01-01").date()).days if pa.types.is_date(kind) else day.isoformat()
    value = float(round(value)) if column.kind == "integer" else float(value)
    return _as_type(value, form, _type_of(column, form, place))


def _as_type(value: float, form: str, kind: pa.DataType) -> Any:
    if form == "csv":
        return f"{value:g}" if value == round(value) else repr(value)
    if pa.types.is_decimal(kind):
        return Decimal(f"{value:.4f}")
    return int(value) if pa.types.is_integer(kind) else value


def _list_odd(column: Column, form: str, place: int) -> list[Any]:
    if column.kind == "category":
        known = column.categories[0]
        return [
            None,
            "",
            known.upper(),
            f" {known}",
            f"{known} ",
            "Other",
            "\ufffd",
            "null",
            known + "\ufffd",
        ]
    kind = _type_of(column, form, place)
    if column.kind == "date":
        if pa.types.is_date(kind):
            return [None, 0, 10957, 10956, 22279, 22280, -719162, -800000, 20_000_000, 2**31 - 1, -(2**31)]
        return [*ODD_DAYS, None]
    low, high = (max(min(bound, 1e6), -1e6) for bound in column.bounds)
    near = [low, high, low - 1, high + 1, low + 0.5, (low + high) / 2]
    if form == "csv":
        middle = f"{(low + high) / 2:g}"
        alike = [
            f"+{middle}",
            f"00{middle}",
            f" {middle}",
            f"{middle}e0",
            f"{middle}d",
            f"{middle}.",
            middle + "0" * 30,
        ]
        return [*ODD_NUMBERS, *alike, *(f"{value:g}" for value in near), None]
    values: list[Any] = [None, *(_as_type(value, form, kind) for value in near)]
    if pa.types.is_floating(kind):
        return [*values, math.nan, math.inf, -math.inf, -0.0, 1e30, 5e-324, np.nextafter(high, math.inf)]
    if pa.types.is_decimal(kind):
        return [*values, Decimal("99999999999.0001"), Decimal("-0.0001"), Decimal(f"{high:.3f}1")]
    return [*values, *([2**53 + 1, 2**63 - 1, -(2**63)] if kind == pa.int64() else [2**31 - 1, -(2**31)])]


def _make_keys(key: Column, form: str, random: np.random.Generator, rows: int, share: float) -> list[Any]:
    """Make keys that are unsorted and far apart, some of them negative, some there twice, and some odd."""
    if key.kind == "text" and form != "delta":
        made: list[Any] = [f"H-{number:05}" for number in random.permutation(rows)]
        odd = [*ODD_KEYS, *ODD_TEXTS, None]
    else:
        near = random.permutation(rows) - rows // 10
        far = np.where(random.random(rows) < 0.5, near, near * 1_000_003)
        made = [int(number) for number in np.where(far == 0, 7, far)]
        odd = [None, 0, -3, 2**53 - 1, 2**53, 2**53 + 1, 2**63 - 1, -(2**53), -(2**63), 64, 128, -64]
        if form == "csv":
            made, odd = [str(number) for number in made], [*ODD_NUMBERS, *map(str, filter(None, odd)), None]
        elif form == "delta" and key.kind == "integer":
            made, odd = (
                [float(number) for number in made],
                [None, math.nan, math.inf, 1.5, -0.0, 2.0**53, 3.0],
            )
    hits = random.random(rows) < share
    made = [odd[random.integers(len(odd))] if hit else value for hit, value in zip(hits, made, strict=True)]
    twice = random.random(rows) < share / 4
    return [made[random.integers(rows)] if hit else value for hit, value in zip(twice, made, strict=True)]


def _tell(values: Any) -> Any:
    """Give values in a form that can be compared: of NaN there are many, and none is equal to another."""
    if isinstance(values, dict):
        return {name: _tell(value) for name, value in sorted(values.items())}
    return "NaN" if isinstance(values, float) and math.isnan(values) else values


def _tell_scored(row: Row, schema: Schema) -> str:
    """Name a scored row by all that is not a number that was predicted."""
    numbers = (PROBABILITY, PROBABILITIES) if schema.classes else tuple(predicted_columns(schema))
    return repr(_tell({name: value for name, value in row.asDict().items() if name not in (*numbers, ROW)}))


def _list_numbers(row: Row, schema: Schema) -> list[float]:
    if not schema.classes:
        return [row["prediction"]]
    by_class = row[PROBABILITIES]
    return [row[PROBABILITY], *(by_class[name] for name in schema.classes)]


def _differ_in(what: str, one: Iterable[str], other: Iterable[str]) -> list[str]:
    first, second = list(one), list(other)
    return [
        f"{what} of the {way} alone: {row}"
        for way, row in [
            *(("expressions", row) for row in first if row not in second),
            *(("workers", row) for row in second if row not in first),
        ]
    ] + ([f"{what}: {len(first)} and {len(second)}"] if len(first) != len(second) else [])
