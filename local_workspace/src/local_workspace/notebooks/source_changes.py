"""Writes a changed notebook back into its source, of which what was not changed stays as it is."""

import json
import re
from dataclasses import dataclass

from nbformat import NotebookNode, v4

from local_workspace.notebooks.languages import PYTHON
from local_workspace.notebooks.notebook_formats import NotebookSource
from local_workspace.notebooks.source import read_notebook

_SEPARATOR = re.compile(rf"(\n*{PYTHON.marks.separator.pattern}\n*)", re.MULTILINE)
# The header, and what serverless compute reads below it.
_HEAD = re.compile(
    r"\A\ufeff?# Databricks notebook source[ \t]*(\n|\Z)"
    r"(# /// script[ \t]*\n(#.*\n)*?# ///[ \t]*(\n|\Z))?\n*"
)
_LINE_MAGIC = re.compile(r"^(?=[%!])", re.MULTILINE)


@dataclass(frozen=True)
class _Spelled:
    """How a cell, known by its `key`, stands in the source, and what stands between it and the one before."""

    key: tuple[str, str, str]
    separator: str
    text: str


def changed_source(before: str, notebook: NotebookNode) -> str:
    """The source of a Python notebook as it is after a change; a cell that is as before keeps its spelling.

    Cells without a word in them are left out, as they are when a source is read.
    """
    cells = [cell for cell in notebook.cells if cell.source.strip()]
    text = before.replace("\r\n", "\n")
    if [_key(cell) for cell in read_notebook(text, "SOURCE").cells] == [_key(cell) for cell in cells]:
        return before
    head, body = _HEAD.match(text), text.rstrip("\n")
    assert head is not None  # whoever calls this has seen that it is a notebook
    spelled = _read(body[head.end() :])
    parts = [_take(spelled, cell) or _written(cell) for cell in cells]
    after = "".join(f"{part.separator if place else ''}{part.text}" for place, part in enumerate(parts))
    whole = head[0] + after + (text[len(body) :] or "\n")
    return whole.replace("\n", "\r\n") if "\r\n" in before else whole


def _read(body: str) -> list[_Spelled]:
    """The cells of a source and how each is spelled."""
    separators_and_parts = ["", *_SEPARATOR.split(body)]
    found = []
    for separator, part in zip(separators_and_parts[::2], separators_and_parts[1::2], strict=True):
        for cell in read_notebook(f"{PYTHON.header}\n{part}", "SOURCE").cells:
            found.append(_Spelled(_key(cell), _whole(separator), part))
    return found


def _whole(separator: str) -> str:
    """A separator with lines around it: of two in a row the second has given its own to the first."""
    if not separator:
        return PYTHON.separator
    above, below = ("" if separator.startswith("\n") else "\n\n", "" if separator.endswith("\n") else "\n\n")
    return above + separator + below


def _take(spelled: list[_Spelled], cell: NotebookNode) -> _Spelled | None:
    """How a cell that was there before is spelled; it is used up by this."""
    found = next((each for each in spelled if each.key == _key(cell)), None)
    if found is not None:
        spelled.remove(found)
    return found


def _key(cell: NotebookNode) -> tuple[str, str, str]:
    """What makes two cells the same; text that is neither code nor Markdown is taken for Markdown."""
    kind = "code" if cell.cell_type == "code" else "markdown"
    return kind, cell.source, cell.metadata.get("title", "")


def _written(cell: NotebookNode) -> _Spelled:
    """A cell in Databricks' format."""
    kind, source, title = _key(cell)
    if kind == "code" and not source.startswith("%"):
        text = _LINE_MAGIC.sub(f"{PYTHON.comment} MAGIC ", source)
    else:
        make = v4.new_code_cell if kind == "code" else v4.new_markdown_cell
        alone = json.dumps(v4.new_notebook(cells=[make(source)])).encode()
        exported, _ = NotebookSource(alone, PYTHON.name, "JUPYTER").exported("SOURCE")
        text = exported.decode().removeprefix(PYTHON.header).strip("\n")
    above = f"{PYTHON.comment} DBTITLE 1,{title}\n" if title else ""
    return _Spelled(_key(cell), PYTHON.separator, above + text)
