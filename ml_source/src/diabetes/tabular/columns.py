"""Says what a column is, and what the columns of a table are."""

from collections.abc import Iterable
from dataclasses import dataclass
from datetime import date, datetime, timedelta
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
    A date is read as the number of days since `first`, and is from `first` to `last`, both allowed; a time of
    day is the part of a day that has gone by, in UTC where it comes with a zone. Raises SchemaError for days
    that no date column can have.
    """

    name: str
    kind: Literal["integer", "number", "category", "text", "date"]
    description: str
    unit: str = ""
    low: float = -inf
    high: float = inf
    categories: tuple[str, ...] = ()
    first: str = ""
    last: str = ""

    def __post_init__(self) -> None:
        if self.kind == "date":
            self._check_days()
        elif self.first or self.last:
            raise SchemaError(f"{self.name} is of kind {self.kind}; first and last are of kind date alone")

    @property
    def bounds(self) -> tuple[float, float]:
        """The lowest and the highest number that can be real; of a date, in days since `first`."""
        if self.kind != "date":
            return self.low, self.high
        days = date.fromisoformat(self.last) - date.fromisoformat(self.first) if self.last else None
        return 0, days.days if days else inf

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

    The key is a whole number or a text. Raises SchemaError where two columns have one name, or where a column
    is of a kind that cannot be what it is to be.
    """

    key: Column
    features: tuple[Column, ...]
    label: Column
    others: tuple[Column, ...] = ()

    def __post_init__(self) -> None:
        names = [column.name for column in (self.key, *self.features, self.label, *self.others)]
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
        if self.label.kind == "date":
            raise SchemaError(
                f"the label {self.label.name} is of kind date; have a number predicted, such as days"
            )

    @cached_property
    def columns(self) -> dict[str, Column]:
        """All columns by name: key, features, label, others."""
        return {column.name: column for column in (self.key, *self.features, self.label, *self.others)}

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


def check_columns(names: Iterable[str], required: Iterable[str]) -> None:
    """Raise SchemaError when a required column is not among `names`."""
    present = list(names)
    missing = [name for name in required if name not in present]
    if missing:
        raise SchemaError(f"missing columns {missing}; the table has {present}")
