"""The forms in which a notebook travels: source with a header line, or Jupyter's JSON."""

import json
import re
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.notebook import source


@dataclass(frozen=True)
class Language:
    """A notebook language: its official name, its file suffix and how its comments start."""

    name: str
    suffix: str
    comment: str

    @property
    def header(self) -> str:
        """The first line that makes a source file a notebook."""
        return f"{self.comment} Databricks notebook source"

    def begins(self, content: bytes) -> bool:
        """Whether the first line of `content` is the header; blanks behind it do not count."""
        return re.match(re.escape(self.header.encode()) + rb"[ \t]*(\r|\n|$)", content) is not None

    @property
    def separator(self) -> str:
        """What stands between two cells."""
        return f"\n\n{self.comment} COMMAND ----------\n\n"


LANGUAGES = {
    language.name: language
    for language in (
        Language("PYTHON", ".py", "#"),
        Language("SQL", ".sql", "--"),
        Language("SCALA", ".scala", "//"),
        Language("R", ".r", "#"),
    )
}


@dataclass(frozen=True)
class NotebookSource:
    """A notebook's content and how to read it: `format` is SOURCE or JUPYTER."""

    content: bytes
    language: str
    format: str

    def exported(self, wanted: str) -> tuple[bytes, str]:
        """The content in the wanted format (SOURCE, JUPYTER or AUTO) and its file type."""
        if wanted not in ("SOURCE", "AUTO", "JUPYTER"):
            raise NotSupported(f"export format {wanted!r} of a notebook; there are SOURCE, JUPYTER and AUTO")
        if wanted == "JUPYTER":
            return self._as_jupyter(), "ipynb"
        language = LANGUAGES[self.language]
        content = self.content
        if self.format == "JUPYTER":
            content = _source_of(json.loads(content), language)
        return content, language.suffix.removeprefix(".")

    def _as_jupyter(self) -> bytes:
        if self.format == "JUPYTER":
            return self.content
        if self.language != "PYTHON":
            raise NotSupported(f"a {self.language} notebook is exported as SOURCE only")
        return json.dumps(source.read_notebook(self.content.decode(), "SOURCE"), indent=1).encode()


def imported(path: str, content: bytes, format: str, language: str | None) -> NotebookSource | None:
    """What an import of `content` to `path` makes: a notebook, or None for a plain file.

    AUTO follows Databricks: a notebook is Jupyter's JSON, or source with the header line.
    """
    suffix = "." + path.rpartition(".")[2].lower()
    is_jupyter = format == "JUPYTER" or (format == "AUTO" and suffix == ".ipynb")
    if is_jupyter or format == "SOURCE":
        _check_encoding(path, content)
    content = content.removeprefix(BOM_UTF8)
    if is_jupyter:
        return _jupyter(path, content)
    if format == "SOURCE":
        return _with_header(content, _language(language))
    if format == "AUTO":
        return _source_with_header(content, suffix)
    if format == "RAW":
        return None
    raise NotSupported(f"import format {format!r}; there are SOURCE, JUPYTER, AUTO and RAW")


def _check_encoding(path: str, content: bytes) -> None:
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise InvalidParameter(f"{path} is UTF-16; a notebook is UTF-8: save it so, and import it again")


def recognised(file: Path) -> NotebookSource | None:
    """The notebook in a file of which nothing else is known, told by its name and how it begins."""
    if file.suffix.lower() in {".ipynb", *(language.suffix for language in LANGUAGES.values())}:
        return None  # a notebook is kept without its suffix
    with file.open("rb") as opened:
        start = opened.read(1024).removeprefix(BOM_UTF8)
    if start.lstrip().startswith(b"{"):
        with suppress(InvalidParameter):
            return _jupyter(file.name, file.read_bytes().removeprefix(BOM_UTF8))
    language = next((each for each in LANGUAGES.values() if each.begins(start)), None)
    content = file.read_bytes().removeprefix(BOM_UTF8)
    return NotebookSource(content, language.name, "SOURCE") if language else None


def notebook_path(path: str, notebook: NotebookSource) -> str:
    """The path under which a notebook is kept: without the suffix of its form."""
    suffix = ".ipynb" if notebook.format == "JUPYTER" else LANGUAGES[notebook.language].suffix
    return path[: -len(suffix)] if path.lower().endswith(suffix) else path


def _language(name: str | None) -> Language:
    if name not in LANGUAGES:
        raise InvalidParameter(f"format SOURCE needs a language of {sorted(LANGUAGES)}, not {name!r}")
    return LANGUAGES[name]


def _with_header(content: bytes, language: Language) -> NotebookSource:
    complete = content if language.begins(content) else language.header.encode() + b"\n" + content
    return NotebookSource(complete, language.name, "SOURCE")


def _source_with_header(content: bytes, suffix: str) -> NotebookSource | None:
    for language in LANGUAGES.values():
        if suffix == language.suffix and language.begins(content):
            return NotebookSource(content, language.name, "SOURCE")
    return None


def _jupyter(path: str, content: bytes) -> NotebookSource:
    try:
        document = json.loads(content)
        cells = document["cells"]
    except (ValueError, TypeError, KeyError) as error:
        raise InvalidParameter(f"{path} is not a Jupyter notebook of format 4: {error!r}") from error
    if not isinstance(cells, list):
        raise InvalidParameter(f"{path} is not a Jupyter notebook of format 4: 'cells' is {cells!r}")
    name = str(document.get("metadata", {}).get("language_info", {}).get("name", "python")).upper()
    return NotebookSource(content, _language(name).name, "JUPYTER")


def _source_of(document: dict[str, Any], language: Language) -> bytes:
    cells = [_cell_source(cell, language) for cell in document["cells"]]
    return (language.header + "\n" + language.separator.join(cells) + "\n").encode()


def _cell_source(cell: dict[str, Any], language: Language) -> str:
    text = cell["source"] if isinstance(cell["source"], str) else "".join(cell["source"])
    if cell["cell_type"] == "markdown":
        text = "%md\n" + text
    if not text.startswith("%"):
        return text
    return "\n".join(f"{language.comment} MAGIC {line}".rstrip() for line in text.split("\n"))
