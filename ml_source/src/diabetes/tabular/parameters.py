"""Says what a parameter of a model is, and reads values for it."""

import math
import re
from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from typing import Literal

Value = bool | int | float | str

_WHOLE = re.compile(r"[+-]?[0-9]+")
_BOOLEANS = {"true": True, "false": False}


class ParameterError(ValueError):
    """A parameter is not known, is declared wrongly, or has a value that it cannot take."""


@dataclass(frozen=True)
class Parameter:
    """One parameter of a model, of the type of its default: a whole number, a number, a boolean or a text.

    A number is from `low` to `high`, both allowed; a text is one of the `choices`. A search draws a number
    from the lowest to the highest of `search`, on the `scale`; of booleans and texts it tries each. Without
    `search` the parameter stays what it is told.
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
        for value in (self.default, *self.search):
            self.check(value)
        if self.is_number and len(self.search) not in (0, 2):
            raise ParameterError(f"{self.name}: search must be the lowest and the highest; got {self.search}")
        if self.search and self.scale == "log" and not float(self.search[0]) > 0:
            raise ParameterError(f"{self.name}: a search on a log scale begins above 0; got {self.search[0]}")

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
        low, high = (None if math.isinf(end) else f"{end:g}" for end in (self.low, self.high))
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
        fits = self._fits(value)
        if not fits:
            raise ParameterError(f"{self.name} must be {self.form}; got {value!r}")
        return float(value) if isinstance(self.default, float) else value

    def read(self, text: str) -> Value:
        """Read a value from a text; raises ParameterError where it is not one that the parameter can take."""
        match self.default:
            case bool():
                return self.check(_BOOLEANS.get(text.lower(), text))
            case str():
                return self.check(text)
            case int():
                return self.check(int(text) if _WHOLE.fullmatch(text) else text)
        try:
            return self.check(float(text))
        except ValueError:
            return self.check(text)

    def _fits(self, value: Value) -> bool:
        if isinstance(self.default, bool) or isinstance(value, bool):
            return isinstance(self.default, bool) and isinstance(value, bool)
        if isinstance(self.default, str) or isinstance(value, str):
            return value in self.choices
        is_typed = isinstance(self.default, float) or isinstance(value, int)
        return is_typed and math.isfinite(value) and self.low <= value <= self.high


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
    pairs = [part.partition("=") for part in text.split(",") if part.strip()]
    texts = {name.strip(): value.strip() for name, _, value in pairs}
    if len(texts) < len(pairs):
        raise ParameterError(f"a parameter is there twice in {text!r}")
    _refuse_unknown(texts, known)
    return {name: known[name].read(value) for name, value in texts.items()}


def _refuse_unknown(names: Iterable[str], known: Mapping[str, Parameter]) -> None:
    if unknown := [name for name in names if name not in known]:
        told = "; ".join(f"{each.name}: {each.form}, {each.default} if not given" for each in known.values())
        raise ParameterError(f"there is no parameter {', '.join(unknown)}; there is {told or 'no parameter'}")
