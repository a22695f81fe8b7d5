"""Says what a column is, and what the columns of a table are."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from functools import cached_property
from math import inf
from typing import Any, Literal, Self, get_args

# The name of what a model predicts, beside those of the columns.
PREDICTION = "prediction"

Kind = Literal["integer", "number", "category"]

# The largest whole number that a float64, as which each number is read, holds without doubt.
_EXACT = 2**53 - 1


class SchemaError(ValueError):
    """A table does not have the columns or the values that the schema asks for."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and the values that can be real.

    A number outside `low` to `high` (both allowed), or an infinite one, is an error of the data, not a rare
    value. Raises SchemaError where no value could be in the column.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    categories: tuple[str, ...] = ()

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise SchemaError(f"a column needs a name; got {self.name!r}")
        if self.kind not in get_args(Kind):
            raise SchemaError(f"{self.name}: kind must be integer, number or category; got {self.kind!r}")
        if not self.low <= self.high:
            raise SchemaError(f"{self.name}: low must not be above high; got {self.low} and {self.high}")
        names = self.categories
        if not isinstance(names, tuple) or bool(names) != (self.kind == "category"):
            wanted = "a category needs a tuple of categories, and nothing else has them"
            raise SchemaError(f"{self.name}: {wanted}; got {names!r}")
        if len({*names}) < len(names) or not all(isinstance(name, str) and name for name in names):
            wanted = "categories must be texts, each there once and not empty"
            raise SchemaError(f"{self.name}: {wanted}; got {names!r}")

    @property
    def limits(self) -> str:
        """What a number is within, in words."""
        return "the finite numbers" if (self.low, self.high) == (-inf, inf) else f"{self.low} to {self.high}"


@dataclass(frozen=True)
class Schema:
    """The columns of a table: the key of a row, the features in the order that a model takes, and the label.

    The key is a whole number. A label that is a category has classes, its categories, and a model gives the
    probability of each; else it is a number. Raises SchemaError where the key is not whole, where there is
    one class alone, and where two columns have one name or one has that of the prediction.
    """

    key: Column
    features: tuple[Column, ...]
    label: Column

    def __post_init__(self) -> None:
        if not isinstance(self.features, tuple) or not self.features:
            raise SchemaError(f"a schema needs a tuple of features, one at least; got {self.features}")
        # Spark, which reads the tables, tells no column from another by its case.
        names = [column.name for column in (self.key, *self.features, self.label)]
        lower = [name.lower() for name in names]
        if repeated := sorted(name for name in names if lower.count(name.lower()) > 1):
            raise SchemaError(f"each column needs a name of its own, whatever its case; got {repeated}")
        if PREDICTION in lower:
            name = names[lower.index(PREDICTION)]
            raise SchemaError(f"{name!r} is the name of what a model predicts: rename the column")
        self._check_key()
        if len(self.classes) == 1:
            raise SchemaError(
                f"the categories of the label {self.label.name} are the classes to tell apart, at least two; "
                f"got {list(self.classes)}"
            )

    def _check_key(self) -> None:
        key = self.key
        if key.kind != "integer":
            raise SchemaError(f"the key {key.name} must be an integer; it is a {key.kind}")
        if key.low < -_EXACT or key.high > _EXACT:
            raise SchemaError(
                f"the key {key.name} needs low and high from {-_EXACT} to {_EXACT}, "
                f"where each whole number is read exactly; got {key.low} and {key.high}"
            )

    def as_json(self) -> dict[str, Any]:
        """Give the schema as values that JSON has; what a column leaves at its default is left out."""
        parts = {"key": self.key, "label": self.label}
        features = [_describe(column) for column in self.features]
        return {name: _describe(column) for name, column in parts.items()} | {"features": features}

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `as_json` gave; raises TypeError for what a newer version of this wheel has added."""
        features = tuple(map(_read_column, values["features"]))
        return cls(key=_read_column(values["key"]), features=features, label=_read_column(values["label"]))

    @cached_property
    def columns(self) -> dict[str, Column]:
        """All columns by name: key, features, label."""
        return {column.name: column for column in (self.key, *self.features, self.label)}

    @cached_property
    def classes(self) -> tuple[str, ...]:
        """The classes of the label in their order, which is that of the probabilities; none of a number."""
        return self.label.categories if self.label.kind == "category" else ()

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


def _describe(column: Column) -> dict[str, Any]:
    values = {field.name: getattr(column, field.name) for field in fields(column)}
    defaults = {field.name: field.default for field in fields(column)}
    return {name: value for name, value in values.items() if value != defaults[name]}


def _read_column(values: dict[str, Any]) -> Column:
    read: dict[str, Any] = {name: tuple(v) if isinstance(v, list) else v for name, v in values.items()}
    return Column(**read)


def check_columns(names: Iterable[str], required: Iterable[str]) -> None:
    """Raise SchemaError when a required column is not among `names`, or is there twice."""
    present, needed = list(names), list(required)
    if missing := [name for name in needed if name not in present]:
        raise SchemaError(f"missing columns {missing}; the table has {present}")
    if repeated := [name for name in needed if present.count(name) > 1]:
        raise SchemaError(f"columns {repeated} are there twice; the table has {present}")
