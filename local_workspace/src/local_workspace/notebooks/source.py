"""Reads a notebook in Databricks' source format, or in one of Jupyter's, into Jupyter's format 4."""

import json
import re
from collections.abc import Iterable
from typing import Any

import nbformat
from nbformat import NotebookNode, ValidationError
from nbformat.validator import iter_validate

from local_workspace.notebooks.languages import LANGUAGES, PYTHON, Language

_READ = (3, 4)  # nbformat brings the older of them to the newer
_IDS_CAME_WITH = 5  # the minor version of nbformat 4; a cell without an id is read all the same
_MARKDOWN = re.compile(r"\A%md(-sandbox)?(?:[ \t]+|$)\n?", re.MULTILINE)
_ANY_MAGIC = re.compile(r"\s*%\w")


def read_notebook(text: str, source_format: str, language: str = PYTHON.name) -> NotebookNode:
    """Reads a notebook from `text`, whose format is `SOURCE` or `JUPYTER`; ValueError says what is wrong.

    A cell in another language than Python begins with the magic of that language.
    """
    text, own = text.lstrip("\ufeff"), LANGUAGES[language]
    notebook = _read_jupyter(text) if source_format == "JUPYTER" else _read_source(text, own)
    if own != PYTHON:
        for cell in notebook.cells:
            if cell.cell_type == "code" and not _ANY_MAGIC.match(cell.source):
                cell.source = f"{own.magic}\n{cell.source}"
    return notebook


def _read_source(text: str, language: Language) -> NotebookNode:
    marks = language.marks
    body = marks.header.sub("", re.sub(r"\r\n?", "\n", text)).removeprefix("\n")
    body = marks.environment.sub("", body)
    cells = [_read_cell(part.strip("\n"), language) for part in marks.separator.split(body)]
    return nbformat.v4.new_notebook(cells=[cell for cell in cells if cell.source.strip()])


def _read_cell(text: str, language: Language) -> NotebookNode:
    marks = language.marks
    title = marks.title.match(text)
    source = marks.magic.sub("", marks.title.sub("", text).strip("\n"))
    if _MARKDOWN.match(source):
        cell = nbformat.v4.new_markdown_cell(_MARKDOWN.sub("", source))
    else:
        cell = nbformat.v4.new_code_cell(source)
    if title:
        cell.metadata["title"] = title["title"].strip()
    return cell


def _read_jupyter(text: str) -> NotebookNode:
    try:
        document = _with_what_may_be_absent(json.loads(text))
        if fault := _first_fault(document):
            raise ValueError(fault)
        whole = json.dumps(document, ensure_ascii=False)
        whole.encode()  # JSON can spell half a character, which nobody can write down
        return nbformat.reads(whole, as_version=4)
    except RecursionError as error:
        raise ValueError("its JSON is nested too deeply") from error
    except (ValidationError, AttributeError, KeyError, TypeError) as error:  # what nbformat trips over
        reason, *_ = str(error).split("\n")
        raise ValueError(f"nbformat cannot read it: {reason}") from error


def _with_what_may_be_absent(document: Any) -> Any:
    """A copy with the parts that a reader does without, which some writers leave out."""
    if not isinstance(document, dict):
        return document
    whole: dict[str, Any] = {"metadata": {}, "nbformat_minor": 0} | document
    if isinstance(whole.get("cells"), list):
        whole["cells"] = [_whole_cell(cell) for cell in whole["cells"]]
    return whole


def _whole_cell(cell: Any) -> Any:
    if not isinstance(cell, dict):
        return cell
    whole: dict[str, Any] = {"metadata": {}}
    if cell.get("cell_type") == "code":
        whole |= {"outputs": [], "execution_count": None}
    return whole | cell


def _first_fault(document: Any) -> str | None:
    """Where a document breaks the schema of its format, and how."""
    if not isinstance(document, dict):
        return "its JSON is not an object"
    version, minor = document.get("nbformat"), document["nbformat_minor"]
    if not isinstance(version, int) or version not in _READ or not isinstance(minor, int):
        return f"its nbformat is {version!r} and its nbformat_minor {minor!r}; nbformat 3 and 4 are read"
    schema = min(minor, _IDS_CAME_WITH - 1) if version == nbformat.current_nbformat else 0
    faults = iter_validate(document, version=version, version_minor=schema, relax_add_props=True)
    fault = next(faults, None)
    return fault and f"{_place(fault.relative_path)}{fault.message[:200]}"


def _place(path: Iterable[str | int]) -> str:
    """`in cells[0].source, `; nothing for the document itself."""
    names = "".join(f"[{step}]" if isinstance(step, int) else f".{step}" for step in path)
    return f"in {names.removeprefix('.')}, " if names else ""
