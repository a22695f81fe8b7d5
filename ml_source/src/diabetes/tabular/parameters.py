"""Says what a parameter of a model is, and reads values for it."""

import math
import re
import sys
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from keyword import iskeyword
from typing import Any, Literal

Value = bool | int | float | str

_WHOLE = re.compile(r"[+-]?[0-9]{1,400}")
# Python's own reading takes more, such as `1_0` and digits of other scripts.
_NUMBER = re.compile(r"[+-]?([0-9]+\.?[0-9]*|\.[0-9]+)(e[+-]?[0-9]+)?", re.IGNORECASE)
_PAIR = re.compile(r"\s*([^\s=]+)\s*=\s*([^=]*?)\s*")
_CHOICE = re.compile(r"[^\s=,]([^=,\r\n]*[^\s=,])?")
_BOOLEANS = {"true": True, "false": False}


class ParameterError(ValueError):
    """A parameter is not known, is declared wrongly, or has a value that it cannot take."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model, of the type of its default: a whole number, a number, a boolean or a text.

    A number is from `low` to `high`, both allowed; a text is one of the `choices`. A search draws a number
    from the lowest to the highest of `search`, on the `scale`; of booleans and texts it tries each. Without
    `search` the parameter stays what it is told. Raises ParameterError for what cannot be meant.
    """

    name: str
    default: Value
    description: str = ""
    low: float = -math.inf
    high: float = math.inf
    choices: tuple[str, ...] = ()
    search: tuple[Value, ...] = ()
    scale: Literal["linear", "log"] = "linear"

    def __post_init__(self) -> None:
        if not self.name.isascii() or not self.name.isidentifier() or iskeyword(self.name):
            example = "the name of a parameter is one of Python's, such as max_depth"
            raise ParameterError(f"{example}; got {self.name!r}")
        if fault := next(self._find_faults(), None):
            raise ParameterError(f"{self.name}: {fault}")

    @property
    def is_number(self) -> bool:
        """Whether it has an order, so that a search draws from a range."""
        return not isinstance(self.default, bool | str)

    @property
    def form(self) -> str:
        """What a value looks like, in words."""
        match self.default:
            case bool():
                return "true or false"
            case str():
                return f"one of {', '.join(self.choices)}"
        kind = "a whole number" if isinstance(self.default, int) else "a number"
        low, high = (None if math.isinf(end) else _show_exactly(end) for end in (self.low, self.high))
        match low, high:
            case None, None:
                return kind
            case low, None:
                return f"{kind} from {low} on"
            case None, high:
                return f"{kind} up to {high}"
        return f"{kind} from {low} to {high}"

    def check(self, value: Value) -> Value:
        """Return a value of the parameter's type; raises ParameterError where it cannot take this one."""
        if not self._fits(value):
            raise ParameterError(f"{self.name} must be {self.form}; got {value!r}")
        return float(value) if isinstance(self.default, float) else value

    def read(self, text: str) -> Value:
        """Read a value from a text; raises ParameterError where it is not one that the parameter can take."""
        value = self._parse(text)
        return self.check(value if self._fits(value) else text)

    def _parse(self, text: str) -> Value:
        match self.default:
            case bool():
                return _BOOLEANS.get(text.lower(), text)
            case int() if _WHOLE.fullmatch(text):
                return int(text)
            case float() if _NUMBER.fullmatch(text):
                return float(text)
        return text

    def _fits(self, value: object) -> bool:
        match self.default:
            case bool():
                return isinstance(value, bool)
            case str():
                return value in self.choices
        kinds = int if isinstance(self.default, int) else int | float
        if isinstance(value, bool) or not isinstance(value, kinds):
            return False
        # A whole number may be too large for a float, which `math.isfinite` and `float` fail at.
        return abs(value) <= sys.float_info.max and self.low <= value <= self.high

    def _find_faults(self) -> Iterator[str]:
        """Say what is wrong with the declaration; what comes later relies on what comes before."""
        sets: dict[str, Any] = {"choices": self.choices, "search": self.search}
        if not isinstance(self.default, bool | int | float | str):
            yield f"default must be a whole number, a number, a boolean or a text; got {self.default!r}"
        for name, values in sets.items():
            if not isinstance(values, tuple):
                yield f"{name} must be a tuple; got {values!r}"
        if self.scale not in ("linear", "log"):
            yield f"scale must be linear or log; got {self.scale!r}"
        if self.low > self.high:
            yield f"low is above high: {self.low} and {self.high}"
        if bool(self.choices) != isinstance(self.default, str):
            yield f"choices must be there for a text, and for nothing else; got {self.choices}"
        for choice in self.choices:
            if not isinstance(choice, str) or not _CHOICE.fullmatch(choice):
                yield f"a choice must be a text that can be written; got {choice!r}"
        for name, value in [("default", self.default), *(("search", value) for value in self.search)]:
            if not self._fits(value):
                yield f"{name} must be {self.form}; got {value!r}"
        if self.is_number:
            yield from self._find_faults_of_range()
        else:
            yield from (
                f"{name} has a value twice: {values}"
                for name, values in sets.items()
                if len({*values}) < len(values)
            )

    def _find_faults_of_range(self) -> Iterator[str]:
        if len(self.search) not in (0, 2) or list(self.search) != sorted({*self.search}):
            yield f"search must be the lowest and the highest; got {self.search}"
        if self.search and self.scale == "log" and not float(self.search[0]) > 0:
            yield f"search on a log scale begins above 0; got {self.search[0]}"


def show_short(value: Value) -> str:
    """Write a value for people, a number with a fraction by four digits."""
    return f"{value:.4g}" if isinstance(value, float) else str(value)


def list_short(values: Mapping[str, Value]) -> str:
    """Write named values, such as parameters or metrics, on one line."""
    return ", ".join(f"{name} {show_short(value)}" for name, value in values.items())


def fill_in(parameters: Iterable[Parameter], given: Mapping[str, Value]) -> dict[str, Value]:
    """Return the value of each parameter, in their order: the one that is given, else its default.

    Raises ParameterError for one that is not known or has a value that it cannot take.
    """
    known = {parameter.name: parameter for parameter in parameters}
    _refuse_unknown(given, known)
    return {name: each.check(given.get(name, each.default)) for name, each in known.items()}


def read_values(parameters: Iterable[Parameter], text: str) -> dict[str, Value]:
    """Read values such as `alpha=0.3, max_depth=4`; the parameters that are not named are left out.

    Raises ParameterError, which lists the parameters, for anything else.
    """
    known = {parameter.name: parameter for parameter in parameters}
    texts: dict[str, str] = {}
    for part in filter(str.strip, text.split(",")):
        pair = _PAIR.fullmatch(part)
        if not pair:
            written = "is not name=value, with a comma between two of them"
            raise ParameterError(f"{part.strip()!r} {written}; {_tell(known)}")
        if pair[1] in texts:
            raise ParameterError(f"{pair[1]} is there twice in {text!r}")
        texts[pair[1]] = pair[2]
    _refuse_unknown(texts, known)
    return {name: known[name].read(value) for name, value in texts.items()}


def _refuse_unknown(names: Iterable[str], known: Mapping[str, Parameter]) -> None:
    if unknown := [name for name in names if name not in known]:
        raise ParameterError(f"there is no parameter {', '.join(unknown)}; {_tell(known)}")


def _tell(known: Mapping[str, Parameter]) -> str:
    """Name all parameters, each with what it takes."""
    told = [f"{each.name}: {each.form}, {_show(each.default)} if not given" for each in known.values()]
    return f"there is {'; '.join(told)}" if told else "the model takes no parameter"


def _show(value: Value) -> str:
    """Write a value as it is read."""
    return str(value).lower() if isinstance(value, bool) else str(value)


def _show_exactly(number: float) -> str:
    """Write a number short where nothing is lost by it."""
    short = f"{number:g}"
    return short if float(short) == number else str(number)
