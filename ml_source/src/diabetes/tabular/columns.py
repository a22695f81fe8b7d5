"""Says what a column is, and what the columns of a table are."""

from collections.abc import Iterable
from dataclasses import dataclass, fields
from datetime import date, datetime, timedelta
from functools import cached_property
from math import inf
from typing import Any, Literal, Self, get_args

# The name of what a model predicts, beside those of the columns.
PREDICTION = "prediction"

Kind = Literal["integer", "number", "category", "text", "date"]

# The largest whole number that a float64, as which each number is read, holds without doubt.
_EXACT = 2**53 - 1


class SchemaError(ValueError):
    """A table does not have the columns or the values that the schema asks for."""


@dataclass(frozen=True)
class Column:
    """One column: its type, its unit and the values that can be real.

    A number outside `low` to `high` (both allowed), or an infinite one, is an error of the data, not a rare
    value. A text is any that is not empty, as it stands: `12`, `012` and ` 12` are three of them. A date is
    read as the number of days since `first`, and is from `first` to `last`, both allowed; a time of day is
    the part of a day that has gone by, in UTC where it comes with a zone. Raises SchemaError where no value
    could be in the column.
    """

    name: str
    kind: Kind
    description: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    categories: tuple[str, ...] = ()
    first: str = ""
    last: str = ""

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that can be real; of a date, in days since `first`."""
        if self.kind != "date":
            return self.low, self.high
        days = date.fromisoformat(self.last) - date.fromisoformat(self.first) if self.last else None
        return 0, days.days if days else inf

    def __post_init__(self) -> None:
        if not self.name.strip():
            raise SchemaError(f"a column needs a name; got {self.name!r}")
        if self.kind not in get_args(Kind):
            raise SchemaError(
                f"{self.name}: kind must be one of {', '.join(get_args(Kind))}; got {self.kind!r}"
            )
        if not self.low <= self.high:
            raise SchemaError(f"{self.name}: low must not be above high; got {self.low} and {self.high}")
        names = self.categories
        if not isinstance(names, tuple) or bool(names) != (self.kind == "category"):
            wanted = "a category needs a tuple of categories, and nothing else has them"
            raise SchemaError(f"{self.name}: {wanted}; got {names!r}")
        if len({*names}) < len(names) or not all(isinstance(name, str) and name for name in names):
            wanted = "categories must be texts, each there once and not empty"
            raise SchemaError(f"{self.name}: {wanted}; got {names!r}")
        if self.kind == "date":
            self._check_days()
        elif self.first or self.last:
            raise SchemaError(f"{self.name} is of kind {self.kind}; first and last are of kind date alone")

    @property
    def limits(self) -> str:
        """What a number or a date is within, in words."""
        if self.kind == "date":
            return f"{self.first} to {self.last}" if self.last else f"the days from {self.first} on"
        return "the finite numbers" if (self.low, self.high) == (-inf, inf) else f"{self.low} to {self.high}"

    def _check_days(self) -> None:
        if not self.first:
            raise SchemaError(
                f"{self.name} is of kind date and has no first: name the first day that can be real, such as "
                'first="2000-01-01"; its days are counted from there'
            )
        for name in ("first", "last"):
            if (text := getattr(self, name)) and not _is_day(text):
                raise SchemaError(f"{name} of {self.name} must be a day such as 2000-01-01; got {text!r}")
        if self.last and self.last < self.first:
            raise SchemaError(f"last of {self.name} is {self.last}, before its first, {self.first}")
        if (self.low, self.high) != (-inf, inf):
            raise SchemaError(f"{self.name} is of kind date: its limits are first and last, not low and high")


@dataclass(frozen=True)
class Schema:
    """The columns of a table: the key of a row, the features in the order that a model takes, and the label.

    `others` are those that training reads and checks and no model takes, such as one to split by. Scoring
    does not ask for them.

    The key is a whole number or a text. A label that is a category has classes, its categories, and a model
    gives the probability of each; else it is a number. Raises SchemaError where they are not, where a feature
    is a text, where there is one class alone, and where two columns have one name or one has that of the
    prediction.
    """

    key: Column
    features: tuple[Column, ...]
    label: Column
    others: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        if not isinstance(self.features, tuple) or not self.features:
            raise SchemaError(f"a schema needs a tuple of features, one at least; got {self.features}")
        # Spark, which reads the tables, tells no column from another by its case.
        names = [column.name for column in (self.key, *self.features, self.label, *self.others)]
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
        if texts := [column.name for column in (*self.features, self.label) if column.kind == "text"]:
            raise SchemaError(
                f"columns {texts} are of kind text, which the key alone can be: a model reads numbers and "
                "categories; name the known texts of a column as its categories"
            )
        if self.label.kind == "date":
            raise SchemaError(
                f"the label {self.label.name} is of kind date; have a number predicted, such as days"
            )

    def _check_key(self) -> None:
        key = self.key
        if key.kind not in ("integer", "text"):
            raise SchemaError(f"the key {key.name} must be an integer or a text; it is a {key.kind}")
        if key.kind == "integer" and (key.low < -_EXACT or key.high > _EXACT):
            raise SchemaError(
                f"the key {key.name} needs low and high from {-_EXACT} to {_EXACT}, "
                f"where each whole number is read exactly; got {key.low} and {key.high}"
            )

    def as_json(self) -> dict[str, Any]:
        """Give the schema as values that JSON has; what a column leaves at its default is left out."""
        parts = {"key": self.key, "label": self.label}
        features = [_describe(column) for column in self.features]
        others = {"others": [_describe(column) for column in self.others]} if self.others else {}
        return {name: _describe(column) for name, column in parts.items()} | {"features": features} | others

    @classmethod
    def from_json(cls, values: dict[str, Any]) -> Self:
        """Read what `as_json` gave; raises TypeError for what a newer version of this wheel has added."""
        features, others = (tuple(map(_read_column, values.get(name, []))) for name in ("features", "others"))
        key, label = (_read_column(values[name]) for name in ("key", "label"))
        return cls(key, features, label, others)

    @cached_property
    def columns(self) -> dict[str, Column]:
        """All columns by name: key, features, label, others."""
        return {column.name: column for column in (self.key, *self.features, self.label, *self.others)}

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
        """The names of the features that are numbers, dates among them, in their order."""
        return [column.name for column in self.features if column.kind != "category"]

    @cached_property
    def first_days(self) -> dict[str, str]:
        """The day that each feature that is a date is counted from, by its name."""
        return {column.name: column.first for column in self.features if column.kind == "date"}

    @cached_property
    def category_names(self) -> list[str]:
        """The names of the features that are categories, in their order."""
        return [column.name for column in self.features if column.kind == "category"]


def show_day(first: str, days: float) -> str:
    """Return the day that is so many days after the first one, with the minute where it is within a day."""
    try:
        moment = datetime.fromisoformat(first) + timedelta(minutes=round(days * 24 * 60))
    except OverflowError:  # no calendar has it
        return f"{first} {days:+.4g} days"
    is_whole = (moment.hour, moment.minute) == (0, 0)
    return moment.date().isoformat() if is_whole else moment.isoformat(" ", "minutes")


def _is_day(text: str) -> bool:
    try:
        return date.fromisoformat(text).isoformat() == text
    except ValueError:
        return False


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
