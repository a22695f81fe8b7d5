"""Splits a table into training and holdout rows, or into folds, by a stable hash of each row's key."""

from hashlib import sha256

import numpy as np
import pandas as pd

from diabetes.tabular.columns import Schema, SchemaError
from diabetes.tabular.features import select_ids


def split_by_key(
    schema: Schema, table: pd.DataFrame, holdout_share: float = 0.2
) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout), two copies whose rows keep their order and index.

    A row's side depends on its key alone: other rows, their order and the machine do not matter, and a
    larger share keeps every holdout row of a smaller one. Raises ValueError for a share outside 0 to 1.
    """
    if not 0 < holdout_share < 1:
        raise ValueError(f"holdout_share must be between 0 and 1; got {holdout_share}")
    held_out = np.array(
        [_hash(str(number)) / 2**64 < holdout_share for number in select_ids(schema, table).tolist()],
        dtype=bool,
    )
    return table[~held_out].copy(), table[held_out].copy()


def assign_folds(schema: Schema, table: pd.DataFrame, *, folds: int, seed: int) -> np.ndarray:
    """Return the fold of each row, integers from 0 to folds - 1 of shape (n,).

    A row's fold depends on its key and the seed alone, so rows that repeat a key share a fold. Raises
    ValueError for fewer than two folds, SchemaError when the table is so small that a fold has no row.
    """
    if folds < 2:
        raise ValueError(f"folds must be at least 2; got {folds}")
    assigned = np.array(
        [_hash(f"{seed}:{number}") % folds for number in select_ids(schema, table).tolist()], dtype=np.int64
    )
    sizes = np.bincount(assigned, minlength=folds)
    if not sizes.all():
        raise SchemaError(f"{len(table)} rows do not fill {folds} folds; they have {sizes.tolist()} rows")
    return assigned


def _hash(text: str) -> int:
    """Return the first 8 bytes of the text's SHA-256, big-endian: from 0 to 2**64 - 1."""
    return int.from_bytes(sha256(text.encode()).digest()[:8], "big")
