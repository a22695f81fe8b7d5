"""The named parameters of a SQL statement, written into its text as literals of their types.

`spark.sql(args=)` takes values too; those of a statement over REST come as texts, which are checked here.
"""

import re
from collections.abc import Callable, Iterable, Mapping
from datetime import date, datetime
from decimal import Decimal, InvalidOperation
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.spark import sql_text

# What a colon in it does not count: texts, quoted names, comments, and the `::` of a cast.
_TOKEN = re.compile(
    r"""\br'[^']*' | \br"[^"]*" | '(?:\\.|[^'\\])*' | "(?:\\.|[^"\\])*" | `(?:``|[^`])*`
    | --[^\n]* | /\*.*?\*/ | :: | :(?P<name>[A-Za-z_]\w*)""",
    re.VERBOSE | re.DOTALL | re.IGNORECASE,
)
_DECIMAL = re.compile(r"(?:DECIMAL|NUMERIC|DEC)(?:\(\s*(\d+)\s*(?:,\s*(\d+)\s*)?\))?")
_BITS = {
    "TINYINT": 8,
    "BYTE": 8,
    "SMALLINT": 16,
    "SHORT": 16,
    "INT": 32,
    "INTEGER": 32,
    "BIGINT": 64,
    "LONG": 64,
}
_OTHERS: dict[str, Callable[[str], Any]] = {
    "BOOLEAN": lambda text: {"true": True, "false": False}[text.lower()],
    "DATE": date.fromisoformat,
    "DOUBLE": float,
    "FLOAT": float,
    "REAL": float,
    "TIMESTAMP": datetime.fromisoformat,
    "TIMESTAMP_NTZ": datetime.fromisoformat,
}


def bound(statement: str, parameters: Iterable[Mapping[str, Any]]) -> str:
    """The statement with each `:name` that is given replaced by its literal; of others Spark tells."""
    literals = {str(each["name"]): literal(each) for each in parameters}

    def write(token: re.Match[str]) -> str:
        return literals.get(token["name"] or "", token[0])

    return _TOKEN.sub(write, statement) if literals else statement


def literal(parameter: Mapping[str, Any]) -> str:
    """The value of a parameter as SQL writes it; one without a type is a text."""
    kind = str(parameter.get("type") or "STRING").strip().upper()
    value = parameter.get("value")
    check = _checker(kind, str(parameter["name"]))
    if value is None:
        return f"CAST(NULL AS {kind})"
    text = str(value)
    if kind == "STRING":
        return sql_text.literal(text)
    try:
        check(text.strip())
    except (KeyError, ValueError, InvalidOperation) as error:
        raise InvalidParameter(
            f"parameter {parameter['name']!r}: {text!r:.100} is not a value of the type {kind}"
        ) from error
    return f"CAST({sql_text.literal(text.strip())} AS {kind})"


def _checker(kind: str, name: str) -> Callable[[str], Any]:
    """What fails on a text that is no value of a type."""
    if kind == "STRING":
        return str
    if bits := _BITS.get(kind):
        return lambda text: _whole(text, bits)
    if found := _DECIMAL.fullmatch(kind):
        precision, scale = int(found[1] or 10), int(found[2] or 0)
        return lambda text: _decimal(text, precision, scale)
    if kind in _OTHERS:
        return _OTHERS[kind]
    known = sorted(["STRING", "DECIMAL(p,s)", *_BITS, *_OTHERS])
    raise InvalidParameter(f"parameter {name!r}: its type {kind!r:.100} is not one of {known}")


def _whole(text: str, bits: int) -> None:
    if not -(2 ** (bits - 1)) <= int(text) < 2 ** (bits - 1):
        raise ValueError(f"{text} has more than {bits} bits")


def _decimal(text: str, precision: int, scale: int) -> None:
    value = Decimal(text).quantize(Decimal(1).scaleb(-scale))
    if len(value.as_tuple().digits) > precision:
        raise ValueError(f"{text} has more than {precision} digits")
