"""Splits a table into training and holdout rows by a stable hash of each row's ID."""

from hashlib import sha256

import pandas as pd

from diabetes.schema import ID, check_columns


def split_by_id(table: pd.DataFrame, holdout_share: float = 0.2) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Return (train, holdout), two copies whose rows keep their order and index.

    A row's side depends on its ID alone: other rows, their order and the machine do not matter, and a
    larger share keeps every holdout row of a smaller one. Raises ValueError for a share outside 0 to 1.
    """
    if not 0 < holdout_share < 1:
        raise ValueError(f"holdout_share must be between 0 and 1; got {holdout_share}")
    check_columns(table.columns, [ID])
    ids = pd.to_numeric(table[ID]).astype("int64")
    held_out = pd.Series([_place(number) < holdout_share for number in ids], index=table.index, dtype=bool)
    return table[~held_out.to_numpy()].copy(), table[held_out.to_numpy()].copy()


def _place(number: int) -> float:
    """Return the ID's place from 0 to 1: the SHA-256 of its decimal digits, first 8 bytes, big-endian."""
    return int.from_bytes(sha256(str(number).encode()).digest()[:8], "big") / 2**64
