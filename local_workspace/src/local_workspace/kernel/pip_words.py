"""The words of a `%pip` line, with the paths of the workspace where they lie on this machine."""

import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote

from local_workspace.kernel.file_system import own_state

_ROOTED = re.compile(
    r"(?P<before>(--[\w-]+=|-[a-zA-Z]+)?([\w.-]+(\[[^]]*\])?\s*@\s*)?(?P<address>(\w+\+)?file:(//(localhost)?)?)?)"
    r"(?P<root>dbfs:/+Volumes|dbfs:(?=/)|/dbfs/+Volumes|/dbfs|/Volumes|/Workspace)(?=/|$)"
)
_FILE = re.compile(r"(?P<before>--(requirement|constraint)(=|$)|-[a-zA-Z]*?[rc])(?P<place>.*)")
_FOLDER = re.compile(r"(?P<before>--find-links(=|$)|-[a-zA-Z]*?f)(?P<place>.*)")


def words_for_pip(line: str, copies: Path) -> list[str]:
    """What pip is called with; requirements files, which may name such paths too, are copied to `copies`."""
    return _read(_words(without_comment(line)), Path(), copies)


def _read(words: list[str], folder: Path, copies: Path) -> list[str]:
    """The words of a line in a file of `folder`, with the paths in them and in the files that they name."""
    read: list[str] = []
    for word in map(on_this_machine, words):
        for option, taken in ((_FILE, _copied), (_FOLDER, _absolute)):
            behind, at_once = option.fullmatch(read[-1] if read else ""), option.fullmatch(word)
            if at_once and at_once["place"]:
                word = at_once["before"] + (taken(folder / at_once["place"], copies) or at_once["place"])
            elif behind and not behind["place"]:
                word = taken(folder / word, copies) or word
        read.append(word)
    return read


def _absolute(folder: Path, copies: Path) -> str:
    return str(folder) if folder.exists() else ""


def _copied(file: Path, copies: Path) -> str:
    """A copy of a requirements file with the paths of this machine; each is made once, also in a circle."""
    if not file.is_file():
        return ""
    copy = copies / quote(str(file.absolute()), safe="")[-200:]
    if not copy.exists():
        copy.touch()
        text = file.read_text(errors="surrogateescape")
        lines = [_read_line(line, file.parent, copies) for line in text.splitlines()]
        copy.write_text("\n".join(lines), errors="surrogateescape")
    return str(copy)


def _read_line(line: str, folder: Path, copies: Path) -> str:
    if line.startswith("-") and not line.endswith("\\"):
        return shlex.join(_read(shlex.split(without_comment(line)), folder, copies))
    return "".join(map(on_this_machine, re.split(r"(\s+)", line)))


def without_comment(line: str) -> str:
    """What stands before a `#` that begins a word outside quotes, as in a shell; an address may hold one."""
    for place in _outside_quotes(line, "#"):
        if place == 0 or line[place - 1].isspace():
            return line[:place]
    return line


def _words(line: str) -> list[str]:
    """The words of a line; what follows a `;` outside quotes is the marker of the requirement before it."""
    place = next(_outside_quotes(line, ";"), len(line))
    words = shlex.split(line[:place])
    return [*words[:-1], words[-1] + line[place:].rstrip()] if words else words


def on_this_machine(word: str) -> str:
    """A word for pip with this machine's folder in the place of the root of a path of the workspace.

    The path may stand behind an option, the name of a package or `file:`, and may have extras or a marker
    behind it. Other words stay as they are.
    """
    found = _ROOTED.match(word)
    if found is None:
        return word
    root = str(own_state().local_path(found["root"]))
    return f"{found['before']}{quote(root) if found['address'] else root}{word[found.end() :]}"


def _outside_quotes(line: str, wanted: str) -> Iterator[int]:
    """Where a sign stands outside quotes."""
    opened = ""
    for place, sign in enumerate(line):
        if opened:
            opened = "" if sign == opened else opened
        elif sign in "'\"":
            opened = sign
        elif sign == wanted and line[place - 1 : place] != "\\":
            yield place
