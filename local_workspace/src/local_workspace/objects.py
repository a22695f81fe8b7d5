"""Workspace objects: folders, files and notebooks, kept as files on disk and named in the database."""

import io
import shutil
import time
from dataclasses import dataclass
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from local_workspace.database import Database, Document
from local_workspace.errors import AlreadyExists, DirectoryNotEmpty, DoesNotExist, InvalidParameter
from local_workspace.notebook_formats import NotebookSource
from local_workspace.state import StateFolder, children, make_folder, resolve

KIND = "workspace_object"
STANDARD_FOLDERS = ("/Shared", "/Users")


@dataclass(frozen=True)
class Notebook:
    """A notebook in the workspace, and the file on disk that holds its source."""

    path: str
    file: Path
    language: str
    format: str

    def read(self) -> NotebookSource:
        """Its content."""
        return NotebookSource(self.file.read_bytes(), self.language, self.format)


class WorkspaceObjects:
    """The tree under `/`. Paths may carry the prefix `/Workspace`; replies are without it."""

    def __init__(self, database: Database, state: StateFolder) -> None:
        self._database = database
        self._state = state
        for folder in STANDARD_FOLDERS:
            self.make_folder(folder)

    def describe(self, path: str) -> Document:
        """One object in the official form, with an `object_id` that stays the same."""
        file = self._existing(path)
        return _info(self._record(canonical(path), file), file)

    def children(self, path: str) -> list[Document]:
        """What a folder holds, by name; a file or notebook lists itself."""
        folder = self._existing(path)
        if not folder.is_dir():
            return [self.describe(path)]
        inside = children(self._state.workspace_files, folder)
        return [self.describe(f"{canonical(path)}/{child.name}") for child in inside]

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents; an existing one is no error."""
        make_folder(self._file(path))

    def put(self, path: str, content: BinaryIO, notebook: NotebookSource | None, overwrite: bool) -> None:
        """Keep a notebook, or a plain file when `notebook` is None, in a folder that exists."""
        path = canonical(path)
        file = self._file(path)
        asked = "NOTEBOOK" if notebook else "FILE"
        self._refuse_clash(path, file, asked, overwrite)
        self._state.write(file, io.BytesIO(notebook.content) if notebook else content)
        record = self._record(path, file) | {"object_type": asked}
        if notebook:
            record |= {"language": notebook.language, "format": notebook.format}
        self._database.put(KIND, path, record)

    def notebook(self, path: str) -> Notebook:
        """The notebook at a path; DoesNotExist when there is none."""
        file = self._file(path)
        record = self._database.get(KIND, canonical(path))
        if record is None or record["object_type"] != "NOTEBOOK" or not file.is_file():
            raise DoesNotExist(f"Notebook {path} does not exist.")
        return Notebook(record["path"], file, record["language"], record["format"])

    def file(self, path: str) -> Path:
        """The file on disk behind an object; folders have no content and are refused."""
        file = self._existing(path)
        if file.is_dir():
            raise InvalidParameter(f"{path} is a folder; only files and notebooks can be read")
        return file

    def delete(self, path: str, recursive: bool) -> None:
        """Remove an object; a folder with something in it only when `recursive`."""
        path, file = canonical(path), self._existing(path)
        if path == "/":
            raise InvalidParameter("the root folder cannot be deleted")
        if file.is_dir():
            if not recursive and any(file.iterdir()):
                raise DirectoryNotEmpty(f"Folder ({path}) is not empty")
            shutil.rmtree(file)
        else:
            file.unlink()
        self._forget(path)

    def _file(self, path: str) -> Path:
        return resolve(self._state.workspace_files, canonical(path))

    def _existing(self, path: str) -> Path:
        file = self._file(path)
        if not file.exists():
            raise DoesNotExist(f"Path ({path}) doesn't exist.")
        return file

    def _record(self, path: str, file: Path) -> Document:
        """The object's record; what a notebook run made on disk gets its record here."""
        record = self._database.get(KIND, path)
        if record is not None and (record["object_type"] == "DIRECTORY") == file.is_dir():
            return record
        record = {
            "path": path,
            "object_type": "DIRECTORY" if file.is_dir() else "FILE",
            "object_id": self._database.next_id(KIND),
            "created_at": int(time.time() * 1000),
        }
        self._database.put(KIND, path, record)
        return record

    def _refuse_clash(self, path: str, file: Path, asked: str, overwrite: bool) -> None:
        parent = str(PurePosixPath(path).parent)
        if not self._file(parent).is_dir():
            raise DoesNotExist(f"The parent folder ({parent}) does not exist.")
        if not file.exists():
            return
        if not overwrite:
            raise AlreadyExists(f"Path ({path}) already exists.")
        actual = self._record(path, file)["object_type"]
        if actual != asked:
            mismatch = f"type mismatch (asked: {asked}, actual: {actual})"
            raise InvalidParameter(f"Cannot overwrite the asset at {path} due to {mismatch}")

    def _forget(self, path: str) -> None:
        for record in self._database.all(KIND):
            if record["path"] == path or record["path"].startswith(path + "/"):
                self._database.delete(KIND, record["path"])


def canonical(path: str) -> str:
    """The one spelling of a workspace path: absolute, without `/Workspace` and without a last slash."""
    if not path.startswith("/"):
        raise InvalidParameter(f"Path ({path[:300]}) must be absolute: it starts with '/'")
    parts = [part for part in PurePosixPath(path).parts if part.strip("/")]
    return "/" + "/".join(parts[1:] if parts[:1] == ["Workspace"] else parts)


def _info(record: Document, file: Path) -> Document:
    info = {name: record[name] for name in ("object_type", "path", "object_id")}
    if record["object_type"] == "NOTEBOOK":
        info["language"] = record["language"]
    if record["object_type"] == "FILE":
        stat = file.stat()
        times = {"created_at": record["created_at"], "modified_at": int(stat.st_mtime * 1000)}
        info |= times | {"size": stat.st_size}
    return info
