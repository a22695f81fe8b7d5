"""The forms in which a notebook travels: source with a header line, or Jupyter's JSON."""

import json
from codecs import BOM_UTF8, BOM_UTF16_BE, BOM_UTF16_LE
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

from nbformat import NotebookNode

from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.notebooks import source
from local_workspace.notebooks.languages import LANGUAGES, Language

OF_DATABRICKS = "application/vnd.databricks.v1+notebook"  # among what a Jupyter notebook tells of itself
_START = 1024  # bytes, in which a header with blanks behind it has room


@dataclass(frozen=True)
class NotebookSource:
    """A notebook's content and how to read it: `format` is SOURCE or JUPYTER."""

    content: bytes
    language: str
    format: str

    def exported(self, wanted: str) -> tuple[bytes, str]:
        """The content in the wanted format (RAW: as it is kept), and its file type."""
        if wanted not in ("SOURCE", "AUTO", "JUPYTER", "RAW"):
            raise NotSupported(
                f"export format {wanted!r:.100} of a notebook; there are SOURCE, AUTO, JUPYTER and RAW"
            )
        if "JUPYTER" in (wanted, self.format if wanted == "RAW" else ""):
            return self._as_jupyter(), "ipynb"
        language = LANGUAGES[self.language]
        content = self.content
        if self.format == "JUPYTER":
            content = _source_of(source.read_notebook(content.decode(), "JUPYTER"), language)
        return content, language.suffix.removeprefix(".")

    def _as_jupyter(self) -> bytes:
        if self.format == "JUPYTER":
            return self.content
        if self.language != "PYTHON":
            raise NotSupported(f"a {self.language} notebook is exported as SOURCE only")
        return _written(source.read_notebook(self.content.decode(), "SOURCE"))


def imported(path: str, content: bytes, format: str, language: str | None) -> NotebookSource | None:
    """What an import of `content` to `path` makes: a notebook, or None for a plain file.

    AUTO follows Databricks: a notebook is Jupyter's JSON, or source with the header line.
    """
    suffix = "." + path.rpartition(".")[2].lower()
    if format == "JUPYTER" or (format == "AUTO" and suffix == ".ipynb"):
        return _jupyter(path, _utf_8(path, content))
    if format == "SOURCE":
        return _with_header(_utf_8(path, content), _language(language))
    if format == "AUTO":
        return _source_with_header(path, content, suffix)
    if format == "RAW":
        return None
    raise NotSupported(f"import format {format!r}; there are SOURCE, JUPYTER, AUTO and RAW")


def _utf_8(path: str, content: bytes) -> bytes:
    """The content without its byte order mark; what is not UTF-8 is refused, with where."""
    content = content.removeprefix(BOM_UTF8)
    if content.startswith((BOM_UTF16_LE, BOM_UTF16_BE)):
        raise InvalidParameter(f"{path} is UTF-16; a notebook is UTF-8: save it so, and import it again")
    text, *_ = content.partition(b"\0")
    try:
        text.decode()
        place = len(text)
    except UnicodeDecodeError as error:
        place = error.start
    if place < len(content):
        line, column = content.count(b"\n", 0, place) + 1, place - content.rfind(b"\n", 0, place)
        raise InvalidParameter(
            f"{path} is not text in UTF-8: byte {column} of line {line} is 0x{content[place]:02x}; "
            "save it as UTF-8, and import it again"
        )
    return content


def recognised(file: Path) -> NotebookSource | None:
    """The notebook in a file of which nothing else is known, told by its name and how it begins."""
    if file.suffix.lower() in {".ipynb", *(language.suffix for language in LANGUAGES.values())}:
        return None  # a notebook is kept without its suffix
    with file.open("rb") as opened:
        start = opened.read(_START).removeprefix(BOM_UTF8)
    language = next((each for each in LANGUAGES.values() if each.begins(start)), None)
    with suppress(InvalidParameter):
        if language:
            return NotebookSource(_utf_8(file.name, file.read_bytes()), language.name, "SOURCE")
        if start.lstrip().startswith(b"{"):
            return _jupyter(file.name, _utf_8(file.name, file.read_bytes()))
    return None


def notebook_path(path: str, notebook: NotebookSource) -> str:
    """The path under which a notebook is kept whose form was found out: without the suffix that told it."""
    suffix = ".ipynb" if notebook.format == "JUPYTER" else LANGUAGES[notebook.language].suffix
    return path[: -len(suffix)] if path.lower().endswith(suffix) else path


def _language(name: str | None) -> Language:
    if name not in LANGUAGES:
        raise InvalidParameter(f"format SOURCE needs a language of {sorted(LANGUAGES)}, not {name!r}")
    return LANGUAGES[name]


def _with_header(content: bytes, language: Language) -> NotebookSource:
    complete = content if language.begins(content) else language.header.encode() + b"\n" + content
    return NotebookSource(complete, language.name, "SOURCE")


def _source_with_header(path: str, content: bytes, suffix: str) -> NotebookSource | None:
    """The notebook that a file is whose suffix and first line say so; UTF-16 is no way around the header."""
    language = next((each for each in LANGUAGES.values() if each.suffix == suffix), None)
    start = content[:_START].lstrip(BOM_UTF8 + BOM_UTF16_LE).replace(b"\0", b"")
    if language is None or not language.begins(start):
        return None
    return NotebookSource(_utf_8(path, content), language.name, "SOURCE")


def _jupyter(path: str, content: bytes) -> NotebookSource:
    try:
        notebook = source.read_notebook(content.decode(), "JUPYTER")
    except ValueError as error:
        raise InvalidParameter(f"{path} is not a Jupyter notebook that can be read: {error}") from error
    name = _language_of(notebook)
    if name not in LANGUAGES:
        raise InvalidParameter(f"{path} is a Jupyter notebook in {name}; there are {sorted(LANGUAGES)}")
    is_older = notebook.metadata.get("orig_nbformat", notebook.nbformat) < notebook.nbformat
    return NotebookSource(_written(notebook) if is_older else content, name, "JUPYTER")


def _language_of(notebook: NotebookNode) -> str:
    """The language by Databricks' own note of it, or else by Jupyter's; Python without one."""
    notes = [(OF_DATABRICKS, "language"), ("language_info", "name")]
    told = [notebook.metadata[kind].get(name) for kind, name in notes if _is_object(notebook, kind)]
    return str(next(filter(None, told), "python")).upper()


def _is_object(notebook: NotebookNode, kind: str) -> bool:
    return isinstance(notebook.metadata.get(kind), dict)


def _written(notebook: NotebookNode) -> bytes:
    return json.dumps(notebook, indent=1).encode()


def _source_of(notebook: NotebookNode, language: Language) -> bytes:
    cells = [_cell_source(cell, language) for cell in notebook.cells]
    return (language.header + "\n" + language.separator.join(cells) + "\n").encode()


def _cell_source(cell: NotebookNode, language: Language) -> str:
    text: str = "%md\n" + cell.source if cell.cell_type == "markdown" else cell.source
    if not text.startswith("%"):
        return text
    return "\n".join(f"{language.comment} MAGIC {line}".rstrip() for line in text.split("\n"))
