"""Takes out of a compiled requirements.txt what is no longer wanted, without the package index."""

import re
from collections.abc import Iterator

DIRECT = "-r requirements.in"
NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._-]*")


def prune(compiled: str, wanted: str) -> str:
    """The pinned packages that `wanted`, the text of a requirements.in, still leads to; the pins stay.

    `compiled` is what `uv pip compile` writes: a line a package, then, in comments, what it is there for. A
    package may have several lines, for different versions of Python.
    """
    direct = {_normal(line) for line in wanted.splitlines() if NAME.match(line)}
    entries = list(_entries(compiled))
    reached: set[str] = set()
    while new := {name for name, _, why in entries if _leads(name, why, direct, reached)} - reached:
        reached |= new
    return "".join(
        _entry(line, [each for each in why if _leads(name, [each], direct, reached)])
        for name, line, why in entries
        if name in reached
    )


def _leads(name: str, why: list[str], direct: set[str], reached: set[str]) -> bool:
    return any(name in direct if each == DIRECT else each in reached for each in why)


def _entries(compiled: str) -> Iterator[tuple[str, str, list[str]]]:
    """Name, line and reasons of each package."""
    for found in re.finditer(r"^(\S.*)\n((?: +#.*\n)*)", compiled, re.MULTILINE):
        said = re.sub(r"^ +# *(?:via)? *", "", found[2], flags=re.MULTILINE)
        yield _normal(found[1]), found[1], said.split("\n")


def _entry(line: str, reasons: list[str]) -> str:
    if len(reasons) == 1:
        return f"{line}\n    # via {reasons[0]}\n"
    return "".join([f"{line}\n    # via\n", *(f"    #   {reason}\n" for reason in reasons)])


def _normal(line: str) -> str:
    found = NAME.match(line)
    return re.sub(r"[-_.]+", "-", found[0]).lower() if found else ""
