"""Says in one sentence why Spark, or Java below it, has failed."""

import re
from itertools import takewhile

# What begins a cause, the stack of Java and that of a worker's Python.
_CAUSED_BY, _STACK, _TRACEBACK = "Caused by: ", "JVM stacktrace:", "Traceback (most recent call last):"
_PACKAGE = re.compile(r"^(?:[a-z]\w*\.)+(?=[A-Z]\w*(:|$))")


def is_of_spark(error: BaseException) -> bool:
    """Whether Spark raised it, or the bridge to Java."""
    return type(error).__module__.startswith(("pyspark.", "py4j."))


def reason_of(error: BaseException) -> str:
    """Give the last cause of an error of Java's, else the line of its text that tells most."""
    lines = lines_of_java(error) or str(error).splitlines()
    causes = [place for place, line in enumerate(lines) if line.startswith(_CAUSED_BY)]
    if causes:
        reason = lines[causes[-1]].removeprefix(_CAUSED_BY)
        return _last_of_traceback(lines[causes[-1] :]) if reason.endswith(_TRACEBACK) else _shorten(reason)
    if any(line.endswith(_TRACEBACK) for line in lines):
        return _last_of_traceback(lines)
    told = [line.strip(" :") for line in takewhile(lambda line: line != _STACK, lines) if line.strip(" :")]
    return _shorten(next((line for line in told if "Exception" in line), (told or [type(error).__name__])[0]))


def lines_of_java(error: BaseException) -> list[str]:
    """Give the lines of an error of Spark's, with its causes; none of an error of another kind."""
    if not is_of_spark(error):
        return []
    # Whether the text has the stack too, is a setting. Spark Connect and Spark Classic keep it apart.
    stack = getattr(error, "_stacktrace", None) or getattr(error, "_stackTrace", None) or ""
    return [*str(error).splitlines(), *str(stack).splitlines()]


def _last_of_traceback(lines: list[str]) -> str:
    """Give the line that says what was raised in a worker's Python; the stack of Java comes after it."""
    ends = [line for line in lines[1:] if line[:1].isalpha() and not line.endswith(_TRACEBACK)]
    told = [line for line in ends if re.match(r"[\w.]+(Error|Exception|Interrupt)\b", line)]
    return (told or ends or lines)[-1]


def _shorten(reason: str) -> str:
    """Leave the package out of the name of Java's class."""
    return _PACKAGE.sub("", reason.strip()).rstrip(". ")
