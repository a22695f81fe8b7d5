"""What a widget of a notebook may hold, and how its text is read."""

import math
import re
from collections.abc import Callable, Mapping
from dataclasses import MISSING, Field, dataclass, fields, replace
from typing import Any, Protocol

FILE_FORMATS = ("csv", "parquet", "delta")
_FILE_ENDINGS = (".csv", ".csv.gz", ".parquet")
_TABLE_NAME = re.compile(r"[\w-]+(\.[\w-]+){1,2}")
# NumPy's and Optuna's generators take 32 bits of seed.
_LARGEST = 2**32 - 1
# A hundred years.
_MOST_DAYS = 36_500
# Under which the widgets of a setting stand in its field's metadata.
_DECLARED = "widgets"


class SettingsError(ValueError):
    """A widget holds a value that the job cannot work with."""


class Widgets(Protocol):
    """The part of `dbutils.widgets` that the settings read; a dict of strings has it too."""

    def get(self, name: str, /) -> str | None:
        """Give the value of one widget."""


@dataclass(frozen=True)
class Kind:
    """What a widget may hold: in words, and `parse`, which gives the value of a text, or None for another."""

    form: str
    parse: Callable[[str], Any]
    choices: tuple[str, ...] = ()

    def read(self, widgets: Widgets, name: str) -> Any:
        """Give the value of a widget; raises SettingsError where it holds something else."""
        text = text_of(widgets, name)
        if (value := self.parse(text)) is None:
            raise SettingsError(f"{name} must be {self.form}; got {text!r}")
        return value


@dataclass(frozen=True)
class Widget:
    """What is declared of a widget: its text in the notebook, what it may hold, what it shows at first.

    That is its default, and what it means when it is empty; where the default is empty too, the text says
    what that means.
    """

    text: str
    kind: Kind
    default: str = ""


def widget(text: str, kind: Kind) -> Mapping[str, Any]:
    """Declare, in the metadata of a field of settings, the widget of its name."""
    return {_DECLARED: Widget(text, kind)}


def widgets_of(widgets: Mapping[str, Widget]) -> Mapping[str, Any]:
    """Declare, in the metadata of a field, the widgets that it is read from in a way of its own."""
    return {_DECLARED: widgets}


def declared(settings: type) -> dict[str, Widget]:
    """Give the widgets of settings by their names."""
    found: dict[str, Widget] = {}
    for each in fields(settings):
        widgets = each.metadata[_DECLARED]
        found |= {each.name: _with_default(widgets, each)} if isinstance(widgets, Widget) else widgets
    return found


def read_declared(settings: type, widgets: Widgets) -> dict[str, Any]:
    """Read, by field, the widgets that are filled in, but for those that are read in a way of their own.

    Raises SettingsError for one without a default that is not filled in.
    """
    single = [each for each in fields(settings) if isinstance(each.metadata[_DECLARED], Widget)]
    for needed in single:
        if needed.default is MISSING:
            filled(widgets, needed.name)
    read = {each.name: each.metadata[_DECLARED].kind for each in single if text_of(widgets, each.name)}
    values = {name: kind.read(widgets, name) for name, kind in read.items()}
    return values | {name: _locate(widgets, values[name]) for name, kind in read.items() if kind is DATA}


def text_of(widgets: Widgets, name: str) -> str:
    """Give the text of a widget without the blanks around it; empty where there is no such widget."""
    return (widgets.get(name) or "").strip()


def filled(widgets: Widgets, name: str) -> str:
    """Give the text of a widget; raises SettingsError where it is empty."""
    if not (value := text_of(widgets, name)):
        raise SettingsError(f"{name} must not be empty")
    return value


def is_path(source: str) -> bool:
    """Tell the path of a file or a folder from a table name."""
    return source.lower().endswith(_FILE_ENDINGS) or not _TABLE_NAME.fullmatch(source)


def matching(pattern: re.Pattern[str], form: str) -> Kind:
    """Give the kind of texts that a pattern matches whole."""
    return Kind(form, lambda text: text if pattern.fullmatch(text) else None)


def one_of(*choices: str) -> Kind:
    """Give the kind of some words."""
    return Kind(" or ".join(choices), lambda text: text if text in choices else None, choices)


def number(form: str, *, above: float = -math.inf, least: float = -math.inf, most: float = math.inf) -> Kind:
    """Give the kind of finite numbers within bounds."""

    def parse(text: str) -> float | None:
        try:
            value = float(text)
        except ValueError:
            return None
        return value if math.isfinite(value) and above < value and least <= value <= most else None

    return Kind(form, parse)


def _with_default(shown: Widget, setting: Field[Any]) -> Widget:
    has_none = setting.default is MISSING or setting.default == ()
    return shown if has_none else replace(shown, default=str(setting.default).removesuffix(".0"))


def _parse_whole(text: str) -> int | None:
    return int(text) if re.fullmatch(r"[0-9]{1,10}", text) and int(text) <= _LARGEST else None


def _parse_names(text: str) -> tuple[str, ...]:
    return tuple(filter(None, (part.strip() for part in text.split(","))))


def _locate(widgets: Widgets, source: str) -> str:
    """Give a table name as it is, and a path with `data_root` before it when it is relative."""
    source = source.rstrip("/")
    if not is_path(source) or source.startswith("/") or ":" in source:
        return source
    return f"{filled(widgets, 'data_root').rstrip('/')}/{source}"


TEXT = Kind("any text", str)
DATA = Kind("a path, below data_root where it is relative, or a table's name", str)
TABLE = matching(_TABLE_NAME, "[catalog.]schema.table")
MODEL = matching(re.compile(r"[\w-]+\.[\w-]+\.[\w-]+"), "catalog.schema.model")
VERSION = matching(re.compile(r"\d+|[A-Za-z][\w-]*"), "empty, a version number or an alias")
BATCH_ID = matching(re.compile(r"[\w.:=+-]{0,200}"), "empty, or letters, digits and . _ : = + -")
FORMAT = one_of(*FILE_FORMATS)
NAMES = Kind("names with commas between", _parse_names)
WHOLE_NUMBER = Kind(f"a whole number from 0 to {_LARGEST}", _parse_whole)
NUMBER = number("a number")
POSITIVE = number("a positive number", above=0)
SHARE = number("a share from 0 to 1", least=0, most=1)
DAYS = number(f"days, above 0 and at most {_MOST_DAYS}", above=0, most=_MOST_DAYS)
