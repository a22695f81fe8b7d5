"""Lines that belong to a part of the template: kept in a project that has the part, left out of any other.

Three forms, in the comments of any language (here `#`; `<!-- -->` in Markdown, `//` in JSON):

    # only: azure-pipelines
    these lines
    # instead: this line, in a project without the part
    # end only

    this line    # only: azure-pipelines

    Text <!-- only: azure-pipelines -->and these words <!-- end only -->of a paragraph.
"""

import re
from collections.abc import Collection

from template.errors import TemplateError
from template.features import FILES

ONLY = r"(?:#|//|<!--) *only: (?P<part>[a-z-]+)(?: *-->)?"
OPENS = re.compile(rf" *{ONLY} *")
CLOSES = re.compile(r" *(?:#|//|<!--) *end only(?: *-->)? *")
INSTEAD = re.compile(r"(?P<indent> *)(?:#|//|<!--) *instead: (?P<text>.*?)(?: *-->)? *")
WORDS = re.compile(rf"{ONLY}(?P<words>.*?)<!-- *end only *-->")
ONE_LINE = re.compile(rf" *{ONLY}")


def apply_fences(text: str, left_out: Collection[str], path: str) -> str:
    """The text as a project without the parts `left_out` has it; `path` is for the message of an error."""
    kept: list[str] = []
    blocks: list[str] = []
    for number, line in enumerate(text.splitlines(keepends=True), start=1):
        where, bare = f"{path}:{number}", line.rstrip("\r\n")
        if opened := OPENS.fullmatch(bare):
            blocks.append(_part(opened, where))
        elif CLOSES.fullmatch(bare):
            if not blocks:
                raise TemplateError(f"{where}: `end only` where nothing was begun")
            blocks.pop()
        elif blocks and (other := INSTEAD.fullmatch(bare)):
            if blocks[-1] in left_out and not any(part in left_out for part in blocks[:-1]):
                kept.append(f"{other['indent']}{other['text']}\n")
        elif not any(part in left_out for part in blocks):
            kept += _in_line(line, left_out, where)
    if blocks:
        raise TemplateError(f"{path}: `only: {blocks[-1]}` has no `end only`")
    return "".join(kept)


def _in_line(line: str, left_out: Collection[str], where: str) -> list[str]:
    """The line without the words of a part that is left out; none where the whole line is of that part."""
    line = WORDS.sub(lambda found: "" if _part(found, where) in left_out else found["words"], line)
    marked = ONE_LINE.search(line)
    if not marked:
        return [line]
    return [] if _part(marked, where) in left_out else [ONE_LINE.sub("", line)]


def _part(found: re.Match[str], where: str) -> str:
    part = found["part"]
    if part not in FILES:
        raise TemplateError(f"{where}: `only: {part}` names no part; there are {list(FILES)}")
    return part
