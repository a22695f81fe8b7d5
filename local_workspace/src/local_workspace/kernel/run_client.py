"""The client of a run's notebook: takes in what its kernel says, without secrets and within bounds."""

import os
from collections.abc import Iterator
from itertools import islice
from typing import Any

import nbformat
from nbclient import NotebookClient
from nbformat import NotebookNode

from local_workspace.kernel import bounds
from local_workspace.kernel.kernel_signals import SECRET_MIME_TYPE
from local_workspace.kernel.redaction import TOKENS, Redactor


class RunClient(NotebookClient):  # type: ignore[misc]
    """A notebook client that hides secrets in every output before it is kept."""

    def __init__(self, notebook: NotebookNode, **options: Any) -> None:
        super().__init__(notebook, **options)
        self.redactor = Redactor()
        for name in TOKENS & os.environ.keys():
            self.redactor.add(os.environ[name])

    def process_message(self, msg: dict[str, Any], cell: NotebookNode, cell_index: int) -> Any:
        """Keeps one message of the kernel, unless it only announces a secret."""
        data = msg["content"].get("data")
        if isinstance(data, dict) and SECRET_MIME_TYPE in data:
            self.redactor.add(data[SECRET_MIME_TYPE])
            return None
        content = msg["content"] = self.redactor.clean(msg["content"])
        if msg["msg_type"] == "error":
            content["evalue"] = bounds.both_ends_of(content["evalue"])
            content["traceback"] = [bounds.both_ends_of(line) for line in content["traceback"]]
        elif isinstance(data, dict):
            content["data"] = bounds.small_enough(content["data"])
        output = super().process_message(msg, cell, cell_index)
        self._clean_seam(cell_index, len(content.get("text", "")) or len(str(content)))
        if output and output.output_type == "stream":
            output.text = bounds.end_of(output.text)
        return output

    def output(self, outs: list[NotebookNode], msg: dict[str, Any], *place: Any) -> NotebookNode | None:
        """Keeps what is shown: the text of a stream as one output, and not more outputs than a page bears."""
        if msg["msg_type"] == "stream" and not self.clear_before_next_output and _continues(outs, msg):
            outs[-1].text = bounds.append(outs[-1].text, msg["content"]["text"])
            return outs[-1]
        if len(outs) >= bounds.MOST_OUTPUTS:
            outs[-1] = note(f"[Only the first {bounds.MOST_OUTPUTS - 1:,} outputs of this cell are kept.]")
            return None
        if msg["msg_type"] == "stream":
            msg["content"]["text"] = bounds.append("", msg["content"]["text"])
        kept: NotebookNode | None = super().output(outs, msg, *place)
        return kept

    def _clean_seam(self, cell_index: int, arrived: int) -> None:
        """Hides a value that arrived in pieces: in an output and the one before it, or in two prints.

        The one before may be of an earlier cell: what a child process prints arrives when it likes. Between
        two prints something else may be shown.
        """
        for kinds in (("stream", "display_data", "execute_result"), ("stream",)):
            places = list(islice(self._latest_texts(cell_index, kinds), 2))[::-1]
            cleaned = self.redactor.clean_seam([holder[name] for holder, name in places], arrived)
            for (holder, name), text in zip(places, cleaned, strict=True):
                holder[name] = text

    def _latest_texts(self, cell_index: int, kinds: tuple[str, ...]) -> Iterator[tuple[dict[str, str], str]]:
        """Where the texts of the outputs of these kinds stand, the newest first."""
        for cell in reversed(self.nb.cells[: cell_index + 1]):
            outputs = [output for output in cell.get("outputs", []) if output.output_type in kinds]
            yield from filter(None, map(_text_of, reversed(outputs)))


def _continues(outs: list[NotebookNode], msg: dict[str, Any]) -> bool:
    """Whether the text of a stream goes on after what was put out last."""
    return bool(outs) and outs[-1].output_type == "stream" and outs[-1].name == msg["content"]["name"]


def _text_of(output: NotebookNode) -> tuple[dict[str, str], str] | None:
    """Where the plain text of an output stands, or None when it has none."""
    holder, name = (output, "text") if "text" in output else (output.get("data", {}), "text/plain")
    return (holder, name) if isinstance(holder.get(name), str) else None


def note(text: str) -> NotebookNode:
    """An output that says something about its cell."""
    return nbformat.v4.new_output("stream", name="stdout", text=text + "\n")
