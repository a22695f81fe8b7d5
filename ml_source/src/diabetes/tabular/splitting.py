"""Splits a table into training and holdout rows, or into folds, by what is in the rows, as a problem says."""

from collections.abc import Sequence
from dataclasses import dataclass
from hashlib import sha256
from typing import Protocol

import numpy as np
import pandas as pd

from diabetes.tabular.columns import Column, Schema, SchemaError, check_columns
from diabetes.tabular.features import select_ids, to_dates
from diabetes.tabular.reading import read_series, read_texts, to_array


def _check_share(holdout_share: float) -> None:
    if not 0 < holdout_share < 1:
        raise ValueError(f"holdout_share must be between 0 and 1; got {holdout_share}")


@dataclass(frozen=True)
class Split:
    """Says which rows are held out: about `holdout_share` of them.

    Without a `column` by a hash of each row's key. With one, rows of the same value are on one side: by a
    hash of the value, also in the folds of a cross-validation, or with `newest` those of the newest dates or
    the largest numbers. A row without a value is trained on. Raises ValueError for a share outside 0 to 1,
    and for `newest` without a column.
    """

    column: str = ""
    newest: bool = False
    holdout_share: float = 0.2

    def __post_init__(self) -> None:
        _check_share(self.holdout_share)
        if self.newest and not self.column:
            raise ValueError("a split by the newest rows needs a column, such as one of dates")

    def check(self, schema: Schema) -> None:
        """Raise SchemaError for a column that the schema does not have, or that cannot split its rows."""
        if not self.column:
            return
        known = [name for name in schema.columns if name != schema.label.name]
        if self.column not in known:
            raise SchemaError(
                f"the split is by {self.column!r}, which is not a column to split by; these are {known}. One "
                "that no model reads belongs in the others of the schema"
            )
        kind = schema.columns[self.column].kind
        if self.newest and kind not in ("date", "integer", "number"):
            raise SchemaError(f"{self.column} is of kind {kind}, which has no newest value; split by a date")

    def describe(self, schema: Schema) -> str:
        """Say in a few words what decides on a row's side."""
        name = self.column or schema.key.name
        return f"newest {name}" if self.newest else f"hash of {name}"


BY_KEY = Split()


class Splittable(Protocol):
    """What says how its table is split: a problem, which this module cannot import."""

    @property
    def schema(self) -> Schema: ...

    @property
    def split(self) -> Split: ...


def split_table(problem: Splittable, table: pd.DataFrame) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout) as the problem splits them, two copies whose rows keep their order and index.

    By a hash, a row's side depends on its key or group alone: other rows, their order and the machine do not
    matter, and a larger share keeps every holdout row of a smaller one. Raises SchemaError where a side has
    no row.
    """
    split, schema = problem.split, problem.schema
    if split.newest:
        held_out = _find_newest(_read_numbers(schema, split.column, table), split.holdout_share)
    else:
        held_out = _hash_out(_read_groups(schema, split, table), split.holdout_share)
    for side, what in ((~held_out, "train on"), (held_out, "hold out")):
        if not side.any():
            raise SchemaError(
                f"the split by the {split.describe(schema)} leaves no row of {len(table)} to {what}; it "
                f"takes more rows with other values, or another holdout_share than {split.holdout_share:g}"
            )
    return table[~held_out].copy(), table[held_out].copy()


def split_by_key(
    schema: Schema, table: pd.DataFrame, holdout_share: float = 0.2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout) by a hash of the key, as `split_table` does; a side may be without rows.

    Raises ValueError for a share outside 0 to 1.
    """
    _check_share(holdout_share)
    held_out = _hash_out(_read_groups(schema, BY_KEY, table), holdout_share)
    return table[~held_out].copy(), table[held_out].copy()


def assign_folds(
    schema: Schema, table: pd.DataFrame, *, folds: int, seed: int, split: Split = BY_KEY
) -> np.ndarray:
    """Return the fold of each row, integers from 0 to folds - 1 of shape (n,).

    A row's fold depends on its key and the seed alone, so rows that repeat a key share a fold; where the
    split is by groups, so do the rows of a group. Raises ValueError for fewer than two folds, SchemaError
    when the table is so small that a fold has no row.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2; got {folds}")
    groups = _read_groups(schema, BY_KEY if split.newest else split, table)
    if None in groups:
        alone = _read_groups(schema, BY_KEY, table)
        groups = [own if group is None else group for group, own in zip(groups, alone, strict=True)]
    assigned = np.array([_hash(f"{seed}:{group}") % folds for group in groups], dtype=np.int64)
    sizes = np.bincount(assigned, minlength=folds)
    if not sizes.all():
        raise SchemaError(f"{len(table)} rows do not fill {folds} folds; they have {sizes.tolist()} rows")
    return assigned


def _read_groups(schema: Schema, split: Split, table: pd.DataFrame) -> Sequence[str | None]:
    """Give what decides on each row's side, as a text: its key or its group, None where there is none."""
    name = split.column or schema.key.name
    if name == schema.key.name:
        return [str(key) for key in select_ids(schema, table).tolist()]
    column = _find(schema, name, table)
    if column.kind == "text":
        return list(read_texts(to_array(table[name])))
    numbers = read_series(column, table[name]).numbers
    if column.kind == "date":
        days = to_dates(column.first, pd.Series(numbers)).to_numpy()
        return [None if np.isnat(day) else str(day) for day in days]
    return [None if number != number else _as_text(column, number) for number in numbers.tolist()]


def _read_numbers(schema: Schema, name: str, table: pd.DataFrame) -> np.ndarray:
    return read_series(_find(schema, name, table), table[name]).numbers


def _find(schema: Schema, name: str, table: pd.DataFrame) -> Column:
    check_columns(table.columns, [name])
    return schema.columns[name]


def _as_text(column: Column, number: float) -> str:
    """Write a group as what it is, whatever other categories its column has."""
    if column.kind == "category":
        return column.categories[int(number)]
    return str(int(number)) if number.is_integer() else str(number)


def _hash_out(groups: Sequence[str | None], share: float) -> np.ndarray:
    return np.array([group is not None and _hash(group) / 2**64 < share for group in groups], dtype=bool)


def _find_newest(values: np.ndarray, share: float) -> np.ndarray:
    """Tell the rows from that value on which comes closest to the share of all rows; none before it is one.

    Where it can, it leaves a row to train on.
    """
    distinct, rows = np.unique(values[~np.isnan(values)], return_counts=True)
    if not len(distinct):
        return np.zeros(len(values), dtype=bool)
    since = np.cumsum(rows[::-1])[::-1]
    distance = np.abs(since - share * len(values))
    distance[since == len(values)] = np.inf
    return np.asarray(values >= distinct[np.argmin(distance)])


def _hash(text: str) -> int:
    """Return the first 8 bytes of the text's SHA-256, big-endian: from 0 to 2**64 - 1."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
