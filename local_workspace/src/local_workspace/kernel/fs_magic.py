"""Reads a line of `%fs` as the call of `dbutils.fs` that it means; anything else is an error."""

import inspect
import shlex
from typing import Any

from local_workspace.kernel.file_system import FileSystem

_SHORT = {"-r": "recurse", "-R": "recurse"}
_FLAGS = {"true": True, "false": False}


def call(file_system: FileSystem, text: str) -> Any:
    """Calls a function of `dbutils.fs`: `ls /path`, `rm -r /path`, `cp --recurse=true "/a b" /c`."""
    name, *words = shlex.split(text) or ["help"]
    offered = [each for each, _ in inspect.getmembers(file_system, inspect.ismethod) if each[0] != "_"]
    if name not in offered:
        raise ValueError(f"%fs has no command {name!r}; there are {offered}")
    function = getattr(file_system, name)
    signature = inspect.signature(function)
    options = dict(_option(name, word, signature) for word in words if word.startswith("-"))
    try:
        bound = signature.bind(*(word for word in words if not word.startswith("-")), **options)
    except TypeError as error:
        raise ValueError(f"%fs {text.strip()}: {error}; {name} takes {signature}") from error
    for parameter, word in bound.arguments.items():
        bound.arguments[parameter] = _read(name, signature.parameters[parameter], word)
    return function(*bound.args, **bound.kwargs)


def _option(command: str, word: str, signature: inspect.Signature) -> tuple[str, str]:
    """The parameter that an option names, and its value: `-r`, `--recurse`, `--recurse=true`."""
    given, equals, value = word.partition("=")
    plain = _SHORT.get(given, given.strip("-")).replace("-", "").lower()
    known = {name.lower().strip("_"): name for name in signature.parameters}
    if plain not in known or (given not in _SHORT and not given.startswith("--")):
        raise ValueError(f"%fs {command} has no option {given}; it takes {signature}")
    return known[plain], value if equals else "true"


def _read(command: str, parameter: inspect.Parameter, word: str) -> Any:
    if parameter.annotation is bool:
        if word.lower() not in _FLAGS:
            raise ValueError(f"%fs {command}: {parameter.name} is true or false; got {word!r}")
        return _FLAGS[word.lower()]
    if parameter.annotation is int:
        if not word.isascii() or not word.isdigit():
            raise ValueError(f"%fs {command}: {parameter.name} is a whole number; got {word!r}")
        return int(word)
    if parameter.annotation in (str, str | None):
        return word
    raise ValueError(f"%fs {command}: {parameter.name} cannot be given here; call dbutils.fs.{command}")
