"""The notebook of a run that has ended as a page of HTML, as `/api/2.x/jobs/runs/export` gives it.

Clients read what it put out from the model in the page, which is JSON, escaped as in a URL, in base64.
"""

import base64
import html
import json
from pathlib import Path
from typing import Any
from urllib.parse import quote

from local_workspace.errors import InvalidParameter
from local_workspace.jobs.run_documents import has_ended
from local_workspace.jobs.task_kinds import NOTEBOOK, kind_of
from local_workspace.store.database import Document

_PAGE = """<!DOCTYPE html>
<html>
<head><meta charset="utf-8"><title>{title}</title></head>
<body>
<script>var __DATABRICKS_NOTEBOOK_MODEL = '{model}';</script>
<h1>{title}</h1>
{cells}
</body>
</html>
"""


def views_of(task: Document, file: Path) -> list[dict[str, str]]:
    """The one view of a notebook task that has ended; raises InvalidParameter for any other task."""
    if kind_of(task) != NOTEBOOK:
        raise InvalidParameter(f"Run {task['run_id']} is of a {kind_of(task)}; only notebooks are exported")
    if not has_ended(task) or not file.exists():
        raise InvalidParameter(
            f"Run {task['run_id']} has no notebook to export: it has not ended, or not begun"
        )
    title = str(task[NOTEBOOK]["notebook_path"]).rpartition("/")[2]
    commands = [_command(cell, place) for place, cell in enumerate(json.loads(file.read_text())["cells"])]
    model = json.dumps({"version": "NotebookV1", "name": title, "commands": commands})
    page = _PAGE.format(
        title=html.escape(title),
        model=base64.b64encode(quote(model).encode()).decode(),
        cells="\n".join(_shown(command) for command in commands),
    )
    return [{"content": page, "name": title, "type": "NOTEBOOK"}]


def _command(cell: Document, place: int) -> dict[str, Any]:
    data = [{"type": kind, "data": text} for kind, text in map(_text_of, cell.get("outputs", []))]
    results = {"type": "listResults", "data": data}
    return {"position": place, "command": _joined(cell["source"]), "results": results}


def _text_of(output: Document) -> tuple[str, str]:
    """What an output shows, of what it has the richest, and what that is."""
    if output["output_type"] == "error":
        return "ansi", "\n".join(output["traceback"])
    data = output.get("data") or {"text/plain": output.get("text", "")}
    if "text/html" in data:
        return "html", _joined(data["text/html"])
    return "ansi", _joined(data.get("text/plain", f"[{', '.join(data)}]"))


def _shown(command: dict[str, Any]) -> str:
    texts = "".join(each["data"] for each in command["results"]["data"] if each["type"] == "ansi")
    tables = "".join(each["data"] for each in command["results"]["data"] if each["type"] == "html")
    frame = f'<iframe sandbox srcdoc="{html.escape(tables)}" width="100%"></iframe>' if tables else ""
    return f"<pre>{html.escape(command['command'])}</pre>\n<pre>{html.escape(texts)}</pre>{frame}"


def _joined(text: str | list[str]) -> str:
    return text if isinstance(text, str) else "".join(text)
