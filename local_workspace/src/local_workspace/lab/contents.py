"""What JupyterLab shows of a project: a source file with Databricks' header is a notebook."""

from pathlib import Path
from typing import Any

from jupyter_server.services.contents.filecheckpoints import AsyncFileCheckpoints
from jupyter_server.services.contents.largefilemanager import AsyncLargeFileManager
from nbformat import NotebookNode
from tornado.web import HTTPError
from traitlets import default

from local_workspace.kernel.kernel_spec import DISPLAY_NAME, NAME
from local_workspace.notebooks.languages import PYTHON
from local_workspace.notebooks.source import read_notebook
from local_workspace.notebooks.source_changes import changed_source

KERNEL = {"name": NAME, "display_name": DISPLAY_NAME, "language": "python"}


class OwnCheckpoints(AsyncFileCheckpoints):  # type: ignore[misc]
    """Keeps what can be reverted to in `FileCheckpoints.root_dir`, and not in the project."""

    def checkpoint_path(self, checkpoint_id: str, path: str) -> str:
        """Where a checkpoint of a file lies; without its folder Jupyter would take a temporary one."""
        Path(self._get_os_path(path.strip("/"))).parent.mkdir(parents=True, exist_ok=True)
        return str(super().checkpoint_path(checkpoint_id, path))


class SourceNotebooks(AsyncLargeFileManager):  # type: ignore[misc]
    """Reads and writes them in place; of one that is saved only the cells change that were changed.

    What cells put out is not kept: the source has no place for it.
    """

    @default("checkpoints_class")
    def _own_checkpoints(self) -> type[OwnCheckpoints]:
        return OwnCheckpoints

    async def get(
        self, path: str, content: bool = True, type: str | None = None, *place: Any, **more: Any
    ) -> Any:
        """The model of a file or folder; a source notebook is one unless it is asked for as a file."""
        if type is None and _is_notebook(Path(self._get_os_path(path.strip("/")))):
            type = "notebook"
        return await super().get(path, content, type, *place, **more)

    async def _read_notebook(self, os_path: str, *place: Any, raw: bool = False, **more: Any) -> Any:
        file = Path(os_path)
        if file.suffix != PYTHON.suffix:
            return await super()._read_notebook(os_path, *place, raw=raw, **more)
        content = file.read_bytes()
        if not _is_notebook(file):
            raise HTTPError(400, f"{file.name} is no notebook: its first line is not {PYTHON.header!r}")
        notebook = read_notebook(content.decode(), "SOURCE")
        notebook.metadata["kernelspec"] = KERNEL
        return (notebook, content) if raw else notebook

    async def _save_notebook(self, os_path: str, nb: NotebookNode, *place: Any, **more: Any) -> None:
        file = Path(os_path)
        if file.suffix != PYTHON.suffix:
            await super()._save_notebook(os_path, nb, *place, **more)
            return
        before = file.read_bytes().decode() if file.exists() else PYTHON.header + "\n"
        after = changed_source(before, nb)
        if after != before or not file.exists():
            with self.atomic_writing(os_path, newline="", encoding="utf-8") as writing:
                writing.write(after)


def _is_notebook(file: Path) -> bool:
    if file.suffix != PYTHON.suffix or not file.is_file():
        return False
    with file.open("rb") as opened:
        return PYTHON.begins(opened.readline().removeprefix(b"\xef\xbb\xbf"))
