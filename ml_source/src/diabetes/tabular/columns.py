"""Says what a column is, and what the columns of a table are."""

from collections.abc import Iterable
from dataclasses import dataclass
from functools import cached_property
from math import inf
from typing import Literal


class SchemaError(ValueError):
    """A table does not have the columns or the values that the schema asks for."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and the values that can be real.

    A number outside `low` to `high` (both allowed), or an infinite one, is an error of the data, not a rare
    value. A text is any that is not empty, as it stands: `12`, `012` and ` 12` are three of them.
    """

    name: str
    kind: Literal["integer", "number", "category", "text"]
    description: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    categories: tuple[str, ...] = ()

    @property
    def limits(self) -> str:
        """What a number is within, in words."""
        return "the finite numbers" if (self.low, self.high) == (-inf, inf) else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Schema:
    """The columns of a table: the key of a row, the features in the order that a model takes, and the label.

    The key is a whole number or a text. Raises SchemaError where two columns have one name, or where a column
    is of a kind that cannot be what it is to be.
    """

    key: Column
    features: tuple[Column, ...]
    label: Column

    def __post_init__(self) -> None:
        names = [column.name for column in (self.key, *self.features, self.label)]
        if repeated := sorted({name for name in names if names.count(name) > 1}):
            raise SchemaError(f"each column needs a name of its own; {repeated} are there more than once")
        if self.key.kind not in ("integer", "text"):
            raise SchemaError(
                f"the key {self.key.name} must be of kind integer or text; its kind is {self.key.kind}"
            )
        if texts := [column.name for column in (*self.features, self.label) if column.kind == "text"]:
            raise SchemaError(
                f"columns {texts} are of kind text, which the key alone can be: a model reads numbers and "
                "categories; name the known texts of a column as its categories"
            )

    @cached_property
    def columns(self) -> dict[str, Column]:
        """All columns by name: key, features, label."""
        return {column.name: column for column in (self.key, *self.features, self.label)}

    @cached_property
    def feature_names(self) -> list[str]:
        """The names of the features, in their order."""
        return [column.name for column in self.features]

    @cached_property
    def numeric_names(self) -> list[str]:
        """The names of the features that are numbers, in their order."""
        return [column.name for column in self.features if column.kind != "category"]

    @cached_property
    def category_names(self) -> list[str]:
        """The names of the features that are categories, in their order."""
        return [column.name for column in self.features if column.kind == "category"]


def check_columns(names: Iterable[str], required: Iterable[str]) -> None:
    """Raise SchemaError when a required column is not among `names`."""
    present = list(names)
    missing = [name for name in required if name not in present]
    if missing:
        raise SchemaError(f"missing columns {missing}; the table has {present}")
