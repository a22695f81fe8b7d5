"""Says what a column is; which ones a table has is in `schema`."""

from collections.abc import Iterable
from dataclasses import dataclass
from math import inf
from typing import Literal


class SchemaError(ValueError):
    """A table does not have the columns or the values that the schema asks for."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and the values that can be real.

    A number outside `low` to `high` (both allowed), or an infinite one, is an error of the data, not a rare
    value.
    """

    name: str
    kind: Literal["integer", "number", "category"]
    description: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    categories: tuple[str, ...] = ()

    @property
    def limits(self) -> str:
        """What a number is within, in words."""
        return "the finite numbers" if (self.low, self.high) == (-inf, inf) else f"{self.low} to {self.high}"


def check_columns(names: Iterable[str], required: Iterable[str]) -> None:
    """Raise SchemaError when a required column is not among `names`."""
    present = list(names)
    missing = [name for name in required if name not in present]
    if missing:
        raise SchemaError(f"missing columns {missing}; the table has {present}")
