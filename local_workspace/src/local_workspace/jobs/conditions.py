"""What a condition task compares, and how: equality as texts, order as numbers."""

from collections.abc import Callable
from decimal import Decimal, InvalidOperation

from local_workspace.errors import InvalidParameter
from local_workspace.store.database import Document

OPERATORS: dict[str, Callable[[str, str], bool]] = {
    "EQUAL_TO": lambda left, right: left == right,
    "NOT_EQUAL": lambda left, right: left != right,
    "GREATER_THAN": lambda left, right: _number(left) > _number(right),
    "GREATER_THAN_OR_EQUAL": lambda left, right: _number(left) >= _number(right),
    "LESS_THAN": lambda left, right: _number(left) < _number(right),
    "LESS_THAN_OR_EQUAL": lambda left, right: _number(left) <= _number(right),
}
SIGNS = {
    "EQUAL_TO": "==",
    "NOT_EQUAL": "!=",
    "GREATER_THAN": ">",
    "GREATER_THAN_OR_EQUAL": ">=",
    "LESS_THAN": "<",
    "LESS_THAN_OR_EQUAL": "<=",
}


def outcome(condition: Document) -> str:
    """`true` or `false` for a condition whose operands have their values; InvalidParameter for no numbers."""
    return str(OPERATORS[condition["op"]](condition["left"], condition["right"])).lower()


def written(condition: Document) -> str:
    """A condition as people write it: `12 > 3`."""
    return f"{condition['left']} {SIGNS[condition['op']]} {condition['right']}"


def _number(text: str) -> Decimal:
    try:
        number = Decimal(text.strip())
    except InvalidOperation:
        number = Decimal("NaN")
    if not number.is_finite():
        raise InvalidParameter(f"the condition compares numbers, and {text!r} is not a number")
    return number
