"""Shows a notebook as HTML, cell by cell: its source in colours, and what it put out."""

import base64
import html
import json
import re
import threading
from collections.abc import Callable
from dataclasses import dataclass
from datetime import datetime
from hashlib import sha256
from pathlib import Path
from typing import Any

import bleach
import cachetools
import mistune
from pygments import highlight
from pygments.formatters import HtmlFormatter
from pygments.lexers import get_lexer_by_name

from local_workspace.web.templates import render, version

# What output may put into a page as it is; anything else is shown in a frame that can do no harm.
_TABLES = frozenset(["table", "caption", "thead", "tbody", "tfoot", "tr", "th", "td"])
_TEXTS = frozenset(["h1", "h2", "h3", "h4", "h5", "h6", "p", "pre", "br", "hr", "div", "span", "img"])
_WORDS = frozenset(["del", "s", "u", "small", "sub", "sup"])
HARMLESS_TAGS = bleach.ALLOWED_TAGS | _TABLES | _TEXTS | _WORDS
_ATTRIBUTES = {"*": ["class", "title", "colspan", "rowspan", "align"], "a": ["href"], "img": ["src", "alt"]}
_PROTOCOLS = {"http", "https", "mailto", "data"}  # the browser itself follows no link to data
_IMAGES = ("image/svg+xml", "image/png", "image/jpeg", "image/gif")
_PLOTLY = "application/vnd.plotly.v1+json"
_PLOTLY_HEIGHT = "450px"  # of a figure that has none of its own
LONGEST_TEXT = 200_000
# pandas brings these with each table.
_STYLE = re.compile(r'<style scoped>.*?</style>| style="text-align: (right|left);"', re.DOTALL)
_OWN_COLOUR = re.compile(r"(?<!-)color: rgb")
_TAG = re.compile(r"<\s*/?\s*([a-zA-Z][\w-]*)")
_LEXERS = {"%sql": "sql", "%sh": "bash", "%pip": "bash", "%fs": "text"}
_KEPT_CHARACTERS = 16 << 20  # of the HTML of cells, whatever their number
_MARKDOWN = mistune.create_markdown(escape=False, plugins=["table", "strikethrough", "url", "task_lists"])


@dataclass(frozen=True)
class Part:
    """A piece of a page that changes as a whole; `version` tells whether it has."""

    id: str
    html: str
    kind: str = ""

    @property
    def version(self) -> str:
        """A short fingerprint of what it shows, unlike that of every other part."""
        return version(f"{self.id} {self.html}")


def read_cells(path: Path) -> list[dict[str, Any]]:
    """The cells of an executed notebook; none before it has started."""
    if not path.exists():
        return []
    return list(json.loads(path.read_text())["cells"])


def cell_parts(cells: list[dict[str, Any]], prefix: str, frames: str) -> list[Part]:
    """One part a cell; `frames` is the address below which `frame` serves what needs a frame."""
    return [
        Part(f"{prefix}-{number}", _cell_html(cell, f"{frames}/{number}"), "cell")
        for number, cell in enumerate(cells)
    ]


def frame(cell: dict[str, Any], output: int) -> str | None:
    """The HTML of one output as it was put out or as plotly draws it, or None when it needs no frame."""
    outputs = cell.get("outputs", [])
    data = outputs[output].get("data", {}) if output < len(outputs) else {}
    if "text/html" in data:
        return _text(data["text/html"])
    return _plotly_html(data[_PLOTLY]) if _PLOTLY in data else None


def source_html(source: str) -> str:
    """A cell's source in colours."""
    first = (source.split(maxsplit=1) or [""])[0]
    lexer = get_lexer_by_name(_LEXERS.get(first, "ipython3"))
    return str(highlight(source, lexer, HtmlFormatter(nowrap=True)))


def markdown_html(text: str) -> str:
    """Markdown as HTML, without what could do harm."""
    return _harmless(str(_MARKDOWN(text)))


def plain(text: str) -> str:
    """Text without the colours of a terminal."""
    from nbconvert.filters.ansi import strip_ansi  # takes a second, so only when there is an error to show

    return str(strip_ansi(text))


def _cell_html(cell: dict[str, Any], frames: str) -> str:
    """A cell as HTML, kept for the next look at it unless it is running and so about to change."""
    is_running = cell["metadata"].get("state") == "running"
    return _render_cell(cell, frames) if is_running else _kept_html(cell, frames)


@cachetools.cached(
    cachetools.LRUCache(_KEPT_CHARACTERS, getsizeof=len),
    key=lambda cell, frames: sha256(f"{frames} {json.dumps(cell)}".encode()).digest(),
    lock=threading.Lock(),
)
def _kept_html(cell: dict[str, Any], frames: str) -> str:
    return _render_cell(cell, frames)


def _render_cell(cell: dict[str, Any], frames: str) -> str:
    if cell["cell_type"] == "markdown":
        return render("cell.html", cell=None, markdown=markdown_html(_text(cell["source"])))
    outputs = _with_whole_streams(cell.get("outputs", []))
    shown = [_output_html(output, f"{frames}/{number}") for number, output in outputs]
    metadata = cell["metadata"]
    return render(
        "cell.html",
        cell={
            "state": metadata.get("state", ""),
            "title": metadata.get("title", ""),
            "seconds": _seconds(metadata.get("execution", {})),
            "source": source_html(_text(cell["source"])),
            "outputs": [output for output in shown if output],
        },
    )


def _with_whole_streams(outputs: list[dict[str, Any]]) -> list[tuple[int, dict[str, Any]]]:
    """Outputs with their numbers; what one stream brought in pieces is one output."""
    merged: list[tuple[int, dict[str, Any]]] = []
    for number, output in enumerate(outputs):
        last = merged[-1][1] if merged else {}
        if output["output_type"] == "stream" and last.get("name") == output["name"]:
            last["text"] = _text(last["text"]) + _text(output["text"])
        else:
            merged.append((number, output))
    return merged


def _output_html(output: dict[str, Any], frame_url: str) -> str:
    if output["output_type"] == "stream":
        return _terminal(_text(output["text"]), output["name"])
    if output["output_type"] == "error":
        return _error(output)
    data = output.get("data", {})
    for mime, show in _SHOWN.items():
        if mime in data:
            return show(_text(data[mime]), mime, frame_url)
    kinds = html.escape(", ".join(data))
    return f'<p class="note">An output of type {kinds} is not shown here.</p>' if data else ""


def _error(output: dict[str, Any]) -> str:
    """What went wrong at once, then the trace, which says it at its very end."""
    said = plain(f"{output['ename']}: {output['evalue']}")
    trace = _terminal("\n".join(output["traceback"]), "error") if output["traceback"] else ""
    return f'<pre class="said" tabindex="0">{html.escape(said)}</pre>{trace}'


def _table_or_frame(text: str, _mime: str, frame_url: str) -> str:
    text = _STYLE.sub("", text) if "dataframe" in text else text
    tags = {tag.lower() for tag in _TAG.findall(text)}
    if tags <= HARMLESS_TAGS and "style=" not in text:
        return f'<div class="html">{_harmless(text)}</div>'
    return _frame(text, _mime, frame_url)


def _frame(text: str, _mime: str, frame_url: str) -> str:
    return (
        f'<iframe class="html" sandbox="allow-scripts allow-popups" title="HTML output" loading="lazy" '
        f'src="{html.escape(frame_url)}?v={version(text)}"></iframe>'
    )


def _plotly_html(figure: dict[str, Any]) -> str:
    from plotly.io import to_html  # takes a second, so only when there is a figure to show

    config = figure.pop("config", None)
    return str(to_html(figure, config, validate=False, include_plotlyjs=True, default_height=_PLOTLY_HEIGHT))


def _image(text: str, mime: str, _frame_url: str) -> str:
    try:
        image = (
            text.encode()
            if mime == "image/svg+xml"
            else base64.b64decode("".join(text.split()), validate=True)
        )
    except ValueError:  # whoever wrote it may have meant more than an image
        return f'<p class="note">An output of type {mime} is not shown: its data is not base64.</p>'
    return f'<img src="data:{mime};base64,{base64.b64encode(image).decode()}" alt="Figure">'


def _markdown(text: str, _mime: str, _frame_url: str) -> str:
    return f'<div class="markdown">{markdown_html(text)}</div>'


def _plain(text: str, _mime: str, _frame_url: str) -> str:
    return _terminal(text, "result")


_SHOWN: dict[str, Callable[[str, str, str], str]] = {
    "text/html": _table_or_frame,
    _PLOTLY: _frame,
    **dict.fromkeys(_IMAGES, _image),
    "text/markdown": _markdown,
    "text/latex": _plain,
    "text/plain": _plain,
}


def _terminal(text: str, kind: str) -> str:
    """Text with the colours of a terminal; of a very long one the end."""
    from nbconvert.filters.ansi import ansi2html  # takes a second, so only when there is output to show

    note = ""
    if len(text) > LONGEST_TEXT:
        note = f'<p class="note">The first {len(text) - LONGEST_TEXT:,} characters are not shown here.</p>'
        text = text[-LONGEST_TEXT:]
    coloured = _OWN_COLOUR.sub("--own: rgb", ansi2html(text))
    return f'{note}<pre class="{kind}" tabindex="0">{coloured}</pre>'


def _harmless(text: str) -> str:
    return str(bleach.clean(text, HARMLESS_TAGS, _ATTRIBUTES, protocols=_PROTOCOLS, strip=True))


def _text(value: Any) -> str:
    """Text that Jupyter may have kept as a list of lines."""
    if isinstance(value, list):
        return "".join(value)
    return value if isinstance(value, str) else json.dumps(value, indent=2)


def _seconds(times: dict[str, str]) -> str:
    """How long a cell took, from the times at which the kernel reported."""
    start, end = times.get("iopub.execute_input"), times.get("iopub.status.idle")
    if not start or not end:
        return ""
    return f"{(datetime.fromisoformat(end) - datetime.fromisoformat(start)).total_seconds():.1f} s"
