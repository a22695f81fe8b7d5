"""Files of the workspace's own file system: `/api/2.0/dbfs`."""

import base64
import io
import secrets
import stat
import threading
from pathlib import Path
from typing import Any

from fastapi import APIRouter

from local_workspace.errors import (
    AlreadyExists,
    BlockTooLarge,
    DoesNotExist,
    InvalidParameter,
    ReadTooLarge,
    StorageError,
)
from local_workspace.rest.body_limit import MEGABYTE
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.store.arranging import check_apart, check_removable
from local_workspace.store.state import StateFolder, children, described, make_folder, move_into_place, rename


def router(state: StateFolder) -> APIRouter:
    """Put, stream, read and arrange files; a `dbfs:` in front of a path is understood."""
    routes = APIRouter(prefix="/api/2.0/dbfs")
    _add_writing(routes, state)
    _add_streaming(routes, state, _Streams(state))
    _add_reading(routes, state)
    _add_arranging(routes, state)
    return routes


def _add_writing(routes: APIRouter, state: StateFolder) -> None:
    @routes.post("/put")
    def put(fields: RequestFields) -> dict[str, Any]:
        """Write a small file, sent as base64 or as a form."""
        target, overwrite = _new_file(state, fields), fields.flag("overwrite")
        if "file" in fields:
            state.write(target, fields.content("file"), overwrite)
        else:
            state.write(target, io.BytesIO(_block(fields, "contents")), overwrite)
        return {}

    @routes.post("/mkdirs")
    def make_folders(fields: RequestFields) -> dict[str, Any]:
        """Make a folder and its parents."""
        make_folder(_local(state, fields.text("path")))
        return {}


def _add_streaming(routes: APIRouter, state: StateFolder, streams: "_Streams") -> None:
    @routes.post("/create")
    def create(fields: RequestFields) -> dict[str, Any]:
        """Begin a file that is sent block by block."""
        return {"handle": streams.open(_new_file(state, fields), fields.flag("overwrite"))}

    @routes.post("/add-block")
    def add_block(fields: RequestFields) -> dict[str, Any]:
        """Add a block of at most 1 MB to a file that was begun."""
        _append(streams.temporary(fields.integer("handle")), _block(fields, "data"))
        return {}

    @routes.post("/close")
    def close(fields: RequestFields) -> dict[str, Any]:
        """Put a file that was begun in its place."""
        streams.close(fields.integer("handle"))
        return {}


def _add_reading(routes: APIRouter, state: StateFolder) -> None:
    @routes.get("/get-status")
    def get_status(fields: RequestFields) -> dict[str, Any]:
        """One file or folder with its size and time."""
        return _info(_plain(fields), _existing(state, fields, "path"))

    @routes.get("/list")
    def list_folder(fields: RequestFields) -> dict[str, Any]:
        """What a folder holds."""
        path, folder = _plain(fields), _existing(state, fields, "path")
        if not folder.is_dir():
            return {"files": [_info(path, folder)]}
        root = path.rstrip("/")
        inside = children(state.root_of(folder), folder)
        return {"files": described(inside, lambda child: _info(f"{root}/{child.name}", child))}

    @routes.get("/read")
    def read(fields: RequestFields) -> dict[str, Any]:
        """A part of a file, at most 1 MB."""
        offset, length = fields.natural("offset", 0), fields.natural("length", MEGABYTE // 2)
        if length > MEGABYTE:
            raise ReadTooLarge(f"length is {length}; one read gives at most {MEGABYTE} bytes")
        file = _existing(state, fields, "path")
        if file.is_dir():
            raise InvalidParameter(f"{_plain(fields)} is a folder; only files can be read")
        data = _read_part(file, offset, length)
        return {"bytes_read": len(data), "data": base64.b64encode(data).decode()}


def _add_arranging(routes: APIRouter, state: StateFolder) -> None:
    @routes.post("/move")
    def move(fields: RequestFields) -> dict[str, Any]:
        """Give a file or folder another path."""
        source, from_ = _existing(state, fields, "source_path"), _plain(fields, "source_path")
        check_removable(state, source, from_)
        target, to = _local(state, fields.text("destination_path")), _plain(fields, "destination_path")
        if target.exists():
            raise AlreadyExists(f"A file or directory already exists at {to}.")
        check_apart(source, target, from_, to)
        make_folder(target.parent)
        rename(source, target)
        return {}

    @routes.post("/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove a file, or with `recursive` a folder."""
        target = _existing(state, fields, "path")
        check_removable(state, target, _plain(fields))
        if target.is_symlink() or not target.is_dir():
            target.unlink()
        elif fields.flag("recursive"):
            state.remove(target)
        elif any(target.iterdir()):
            raise StorageError(f"The directory {_plain(fields)} is not empty; delete it with recursive=true")
        else:
            target.rmdir()
        return {}


class _Streams:
    """Files that are being written block by block; they get their name when they are closed."""

    def __init__(self, state: StateFolder) -> None:
        self._state = state
        self._open: dict[int, tuple[Path, Path, bool]] = {}
        self._lock = threading.Lock()

    def open(self, target: Path, overwrite: bool) -> int:
        temporary = self._state.make_file()
        # Not 1, 2, 3, …: a client that goes on after a restart must not write into another one's file.
        number = secrets.randbits(52)
        with self._lock:
            self._open[number] = (temporary, target, overwrite)
        return number

    def temporary(self, number: int) -> Path:
        with self._lock:
            return self._found(number)[0]

    def close(self, number: int) -> None:
        with self._lock:
            temporary, target, overwrite = self._found(number)
            del self._open[number]
        try:
            make_folder(target.parent)
            move_into_place(temporary, target, overwrite)
        finally:
            temporary.unlink(missing_ok=True)

    def _found(self, number: int) -> tuple[Path, Path, bool]:
        if number not in self._open:
            raise DoesNotExist(f"No open streams with handle {number}")
        return self._open[number]


def _append(file: Path, block: bytes) -> None:
    """Add a block, or nothing of it: one that does not fit may be sent again."""
    with file.open("ab", buffering=0) as opened:
        size = opened.tell()
        try:
            written = opened.write(block)
            if written < len(block):  # the rest tells why
                opened.write(block[written:])
        except OSError:
            opened.truncate(size)
            raise


def _plain(fields: Fields, name: str = "path") -> str:
    return fields.text(name).removeprefix("dbfs:")


def _local(state: StateFolder, path: str) -> Path:
    plain = path.removeprefix("dbfs:")
    if not plain.startswith("/"):
        raise InvalidParameter(f"path {path[:300]!r} must be absolute: /… or dbfs:/…")
    return state.local_path("dbfs:" + plain)


def _existing(state: StateFolder, fields: Fields, name: str) -> Path:
    path = _local(state, fields.text(name))
    if not path.exists():
        raise DoesNotExist(f"No file or directory exists on path {_plain(fields, name)}.")
    return path


def _new_file(state: StateFolder, fields: Fields) -> Path:
    """Where a file is to be written; its folder is made, a taken name needs `overwrite`."""
    target = _local(state, fields.text("path"))
    if target.is_dir() or (target.exists() and not fields.flag("overwrite")):
        raise AlreadyExists(f"A file or directory already exists at the input path {_plain(fields)}.")
    make_folder(target.parent)
    return target


def _block(fields: Fields, name: str) -> bytes:
    block = fields.content(name).read(MEGABYTE + 1)
    if len(block) > MEGABYTE:
        raise BlockTooLarge(f"{name} has more than {MEGABYTE} bytes, the most that one request takes")
    return block


def _read_part(file: Path, offset: int, length: int) -> bytes:
    if offset >= file.stat().st_size:  # so far out that a file system might refuse to seek
        return b""
    with file.open("rb") as opened:
        opened.seek(offset)
        return opened.read(length)


def _info(path: str, file: Path) -> dict[str, Any]:
    status = file.stat()
    is_folder = stat.S_ISDIR(status.st_mode)
    size = 0 if is_folder else status.st_size
    modified = int(status.st_mtime * 1000)
    return {"path": path, "is_dir": is_folder, "file_size": size, "modification_time": modified}
