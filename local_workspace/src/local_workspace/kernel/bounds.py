"""What is kept at most of what a notebook puts out; whatever is cut is said to be cut."""

import re
from typing import Any

LONGEST_STREAM = 1_000_000
LONGEST_ERROR = 20_000
LARGEST_OUTPUT = 8 << 20
MOST_OUTPUTS = 1000
_NOTE = re.compile(r"\[(\d[\d,]*) characters before this are not kept\.\]\n")


def append(text: str, more: str) -> str:
    """A stream's text after more has arrived: what a carriage return goes back over is gone."""
    text += more
    if "\r" not in more:
        return text
    return "\n".join(line[:-1].rpartition("\r")[2] + line[-1:] for line in text.split("\n"))


def end_of(text: str) -> str:
    """The end of a stream's text, where most is told, after a note of how much is not kept of it."""
    note = _NOTE.match(text)
    kept = text[note.end() :] if note else text
    if len(kept) <= LONGEST_STREAM:
        return text
    dropped = (int(note[1].replace(",", "")) if note else 0) + len(kept) - LONGEST_STREAM
    return f"[{dropped:,} characters before this are not kept.]\n{kept[-LONGEST_STREAM:]}"


def both_ends_of(text: str) -> str:
    """A text of an error without its middle where it is very long."""
    dropped, half = len(text) - LONGEST_ERROR, LONGEST_ERROR // 2
    return f"{text[:half]} [{dropped:,} characters are not kept.] {text[-half:]}" if dropped > 0 else text


def small_enough(data: dict[str, Any]) -> dict[str, Any]:
    """What an output shows by its types, or a sentence in its place where that is very large.

    A notebook keeps texts, and what is of JSON as it is: another value is kept as the text that it has.
    """
    data = {kind: value if kind.endswith("json") else _as_text(value) for kind, value in data.items()}
    size = sum(len(value) if isinstance(value, str) else len(str(value)) for value in data.values())
    if size <= LARGEST_OUTPUT:
        return data
    largest = LARGEST_OUTPUT >> 20
    return {
        "text/plain": f"[An output of {size / (1 << 20):,.1f} MiB is not kept; the largest is {largest} MiB.]"
    }


def _as_text(value: Any) -> str:
    if isinstance(value, list) and all(isinstance(line, str) for line in value):
        return "".join(value)
    return value if isinstance(value, str) else str(value)
