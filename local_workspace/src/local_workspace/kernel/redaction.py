"""Hides the secret values that a run has read in whatever it shows."""

import base64
import html
import json
import re
from collections.abc import Iterator
from itertools import accumulate
from typing import Any
from urllib.parse import quote, quote_plus

REDACTED = "[REDACTED]"
# The variables of a run's environment that have secrets of its own.
TOKENS = {
    "DATABRICKS_TOKEN",
    "MLFLOW_TRACKING_TOKEN",
    "SPARK_CONNECT_AUTHENTICATE_TOKEN",
    "PYSPARK_GATEWAY_SECRET",
}
# A shorter value is hidden as it is, but not its other forms: they stand in text of quite another meaning.
SHORTEST_TO_ENCODE = 4
# A shorter form is not looked for with white space between its letters.
SHORTEST_TO_SPREAD = 8
# A line of a longer value that is hidden by itself.
SHORTEST_LINE = 16
# What may stand between the letters of a value that is printed one by one, in colours, or as a list of them.
_BETWEEN = r"(?:[\s,'\"]|\x1b\[[0-9;]*m)"
# What stays as it is in an address that was quoted as a whole or in part: by urllib, requests and urllib3.
_SAFE = ("", "/", "!#$%&'()*+,/:;=?@[]~", "!$&'()*+,;=:@/~", "!$&'()*+,;=:@/?~")
_SPACE = re.compile(f"{_BETWEEN}+")


class Redactor:
    """Knows the values and the forms in which code prints them: encoded, reversed, spread over lines."""

    def __init__(self) -> None:
        self._forms: dict[str, str] = {}  # by their letters without white space, a pattern

    def add(self, value: str) -> None:
        """Remembers one more value to hide; one of white space alone hides nothing."""
        for form in forms(value):
            if letters := _SPACE.sub("", form):
                spread = f"{_BETWEEN}*".join(map(re.escape, letters))
                self._forms[letters] = spread if len(letters) >= SHORTEST_TO_SPREAD else re.escape(form)

    def clean(self, content: Any, with_keys: bool = False) -> Any:
        """A copy of `content` (text, lists and dictionaries of text) without the values."""
        if isinstance(content, str):
            pattern = self._pattern(content)
            return pattern.sub(REDACTED, content) if pattern else content
        if isinstance(content, list):
            return [self.clean(item, with_keys) for item in content]
        if isinstance(content, dict):  # the keys are Jupyter's own, but for those of shown JSON
            return {
                self.clean(key) if with_keys else key: self.clean(item, with_keys or key.endswith("json"))
                for key, item in content.items()
            }
        return content

    def clean_seam(self, pieces: list[str], arrived: int) -> list[str]:
        """The pieces of one text without the values that end in its last `arrived` characters."""
        whole = "".join(pieces)
        start = max(0, len(whole) - arrived - 4 * max(map(len, self._forms), default=0))
        pattern = self._pattern(whole[start:])
        for match in reversed(list(pattern.finditer(whole, start)) if pattern else []):
            ends = list(accumulate(map(len, pieces)))
            pieces = [
                _without(piece, match.start() - end + len(piece), match.end() - end + len(piece))
                for piece, end in zip(pieces, ends, strict=True)
            ]
        return pieces

    def _pattern(self, text: str) -> re.Pattern[str] | None:
        """Finds the forms that stand in `text`, longer ones first; None when there are none."""
        letters = _SPACE.sub("", text) if self._forms else ""
        present = [form for form in self._forms if form in letters]  # much faster than the pattern
        longest_first = sorted(present, key=len, reverse=True)
        return re.compile("|".join(self._forms[form] for form in longest_first)) if present else None


def forms(value: str) -> set[str]:
    """How a value looks as it is, in repr, JSON, HTML, addresses, hexadecimal, base64, reversed, by lines."""
    if len(value) < SHORTEST_TO_ENCODE:
        return {value}
    data = value.encode(errors="surrogateescape")
    escaped = {repr(value)[1:-1], ascii(value)[1:-1], repr(data)[2:-1], html.escape(value), *_in_json(value)}
    escaped |= {quote_plus(data), *(quote(data, safe=safe) for safe in _SAFE)}
    escaped |= {re.sub("%..", lambda code: code[0].lower(), quoted) for quoted in escaped if "%" in quoted}
    encoded = {data.hex(), data.hex().upper(), *_in_base64(data)}
    lines = {line for line in value.splitlines() if len(line) >= SHORTEST_LINE}
    return {value, value[::-1], *escaped, *encoded, *lines}


def _in_json(value: str) -> Iterator[str]:
    """The value in JSON, and in JSON that is a text of JSON."""
    for keep in (False, True):
        once = json.dumps(value, ensure_ascii=not keep)[1:-1]
        yield from (once, json.dumps(once, ensure_ascii=not keep)[1:-1])


def _in_base64(data: bytes) -> set[str]:
    """The value in both alphabets, by itself and wherever it may begin within a longer text.

    Of the latter the digits that depend on the value alone are taken, unless they are too few to be a sign.
    """
    found = set()
    for encode in (base64.b64encode, base64.urlsafe_b64encode):
        found.add(encode(data).decode())
        for before in range(3):
            digits = encode(bytes(before) + data).decode()
            inner = digits[(before * 8 + 5) // 6 : (before + len(data)) * 8 // 6]
            found |= {inner} if len(inner) >= 2 * SHORTEST_TO_ENCODE else set()
    return found


def _without(piece: str, start: int, end: int) -> str:
    """A piece without what stands from `start` to `end`; the mark goes where that begins."""
    if end <= 0 or start >= len(piece):
        return piece
    mark = REDACTED if start >= 0 else ""
    return piece[: max(start, 0)] + mark + piece[end:]
