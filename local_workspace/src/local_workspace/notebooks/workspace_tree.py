"""Workspace objects: folders, files and notebooks, kept as files on disk and named in the database."""

import io
import shutil
import threading
from contextlib import suppress
from pathlib import Path, PurePosixPath
from typing import BinaryIO

from local_workspace.clock import now
from local_workspace.errors import AlreadyExists, DirectoryNotEmpty, DoesNotExist, InvalidParameter
from local_workspace.notebooks.notebook_formats import NotebookSource, recognised
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder, children, make_folder, move_into_place, resolve

KIND = "workspace_object"
# A file on its way to its place, and the record that it gets there: both or none must be seen, also when the
# workspace is killed between the two.
ARRIVING = "arriving_object"
STANDARD_FOLDERS = ("/Shared", "/Users")


class WorkspaceObjects:
    """The tree under `/`. Paths may carry the prefix `/Workspace`; replies are without it."""

    def __init__(self, database: Database, state: StateFolder) -> None:
        self._database = database
        self._state = state
        self._putting = threading.Lock()
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
        inside = []
        for child in children(self._state.workspace_files, folder):
            with suppress(DoesNotExist, FileNotFoundError):  # it vanished meanwhile
                inside.append(self.describe(f"{canonical(path)}/{child.name}"))
        return inside

    def make_folder(self, path: str) -> None:
        """Make a folder and its parents; an existing one is no error."""
        make_folder(self._file(path))

    def put(self, path: str, content: BinaryIO, notebook: NotebookSource | None, overwrite: bool) -> None:
        """Keep a notebook, or a plain file when `notebook` is None, in a folder that exists."""
        path = canonical(path)
        file = self._file(path)
        change = {"object_type": "NOTEBOOK" if notebook else "FILE"}
        if notebook:
            change |= {"language": notebook.language, "format": notebook.format}
        with self._state.new_file() as temporary, self._putting:
            with temporary.open("wb") as arriving:
                shutil.copyfileobj(io.BytesIO(notebook.content) if notebook else content, arriving)
            self._refuse_clash(path, file, change["object_type"], overwrite)
            record = self._record(path, file) | change
            self._database.put(ARRIVING, path, {"inode": temporary.stat().st_ino, "record": record})
            with self._database.transaction():
                self._database.put(KIND, path, record)
                self._database.delete(ARRIVING, path)
                move_into_place(temporary, file)

    def finish_arrivals(self) -> None:
        """Give the files their records whose put was cut off between the two."""
        for arrival in self._database.all(ARRIVING):
            path = arrival["record"]["path"]
            file = self._file(path)
            with self._database.transaction():
                if file.exists() and file.stat().st_ino == arrival["inode"]:
                    self._database.put(KIND, path, arrival["record"])
                self._database.delete(ARRIVING, path)

    def forget_the_absent(self) -> None:
        """Drop the records of what is not on disk any more."""
        with self._database.transaction():
            for record in self._database.all(KIND):
                if not self._file(record["path"]).exists():
                    self._database.delete(KIND, record["path"])

    def notebook(self, path: str) -> NotebookSource:
        """The notebook at a path as it is now; DoesNotExist when there is none."""
        file = self._file(path)
        with self._database.transaction():  # nobody puts another one there between record and content
            record = self._record(canonical(path), file) if file.is_file() else None
            if record is None or record["object_type"] != "NOTEBOOK":
                raise DoesNotExist(f"Notebook {path} does not exist.")
            return NotebookSource(file.read_bytes(), record["language"], record["format"])

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
        if file.is_dir() and not file.is_symlink() and not recursive and any(file.iterdir()):
            raise DirectoryNotEmpty(f"Folder ({path}) is not empty")
        self._state.remove(file)
        self._forget(path)

    def _file(self, path: str) -> Path:
        return resolve(self._state.workspace_files, canonical(path))

    def _existing(self, path: str) -> Path:
        file = self._file(path)
        if not file.exists():
            raise DoesNotExist(f"Path ({path}) doesn't exist.")
        return file

    def _record(self, path: str, file: Path) -> Document:
        """The object's record; what came to the disk without one gets it here."""
        record = self._database.get(KIND, path)
        if record is not None and (record["object_type"] == "DIRECTORY") == file.is_dir():
            return record
        notebook = recognised(file) if file.is_file() else None
        record = {
            "path": path,
            "object_type": "DIRECTORY" if file.is_dir() else "NOTEBOOK" if notebook else "FILE",
            "object_id": self._database.next_id(KIND),
            "created_at": now(),
        }
        if notebook:
            record |= {"language": notebook.language, "format": notebook.format}
        if file.exists():
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
        with self._database.transaction():
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
    info["resource_id"] = str(record["object_id"])
    if record["object_type"] == "DIRECTORY":
        return info
    stat = file.stat()
    info |= {"created_at": record["created_at"], "modified_at": int(stat.st_mtime * 1000)}
    is_notebook = record["object_type"] == "NOTEBOOK"
    return info | ({"language": record["language"]} if is_notebook else {"size": stat.st_size})
