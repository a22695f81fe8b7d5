"""Files in volumes: `/api/2.0/fs/files/Volumes` and `/api/2.0/fs/directories/Volumes`."""

import stat
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from local_workspace.errors import AlreadyExists, DirectoryNotEmpty, DoesNotExist, InvalidParameter, NameTaken
from local_workspace.rest.fields import Fields
from local_workspace.state import StateFolder, described, make_folder, move_into_place


def router(state: StateFolder) -> APIRouter:
    """Read, write and list what lies under `/Volumes`; folders are made as they are needed."""
    routes = APIRouter(prefix="/api/2.0/fs")
    _add_files(routes, state)
    _add_directories(routes, state)
    return routes


def _add_files(routes: APIRouter, state: StateFolder) -> None:
    @routes.put("/files/Volumes/{path:path}", status_code=204)
    async def upload(request: Request, path: str) -> None:
        target = _volume_path(state, path)
        # Without the parameter Databricks keeps the file that is there.
        overwrite = Fields(request.query_params).flag("overwrite")
        if target.exists() and not overwrite:
            raise NameTaken(f"The file being created already exists: /Volumes/{path}")
        with state.new_file() as temporary:
            with temporary.open("wb") as file:
                async for part in request.stream():
                    file.write(part)
            await run_in_threadpool(_keep, temporary, target, overwrite)

    @routes.api_route("/files/Volumes/{path:path}", methods=["GET", "HEAD"])
    def download(path: str) -> FileResponse:
        return FileResponse(_file(state, path), media_type="application/octet-stream")

    @routes.delete("/files/Volumes/{path:path}", status_code=204)
    def delete_file(path: str) -> None:
        _file(state, path).unlink()


def _add_directories(routes: APIRouter, state: StateFolder) -> None:
    @routes.put("/directories/Volumes/{path:path}", status_code=204)
    def make_directory(path: str) -> None:
        make_folder(_volume_path(state, path))

    @routes.head("/directories/Volumes/{path:path}")
    def check_directory(path: str) -> Response:
        _directory(state, path)
        return Response()

    @routes.get("/directories/Volumes/{path:path}")
    def list_directory(path: str) -> dict[str, Any]:
        children = sorted(_directory(state, path).iterdir())
        folder = f"/Volumes/{path.strip('/')}"
        return {"contents": described(children, lambda child: _entry(folder, child))}

    @routes.delete("/directories/Volumes/{path:path}", status_code=204)
    def delete_directory(path: str) -> None:
        directory = _directory(state, path)
        if directory == state.volumes:
            raise InvalidParameter("/Volumes cannot be deleted")
        if any(directory.iterdir()):
            raise DirectoryNotEmpty(f"The directory is not empty: /Volumes/{path}")
        directory.rmdir()


def _keep(temporary: Path, target: Path, overwrite: bool) -> None:
    make_folder(target.parent)
    try:
        move_into_place(temporary, target, overwrite)
    except AlreadyExists as error:
        raise NameTaken(error.message) from error


def _volume_path(state: StateFolder, path: str) -> Path:
    return state.local_path(f"/Volumes/{path}")


def _file(state: StateFolder, path: str) -> Path:
    file = _volume_path(state, path)
    if not file.is_file():
        raise DoesNotExist(f"The file being accessed is not found: /Volumes/{path}")
    return file


def _directory(state: StateFolder, path: str) -> Path:
    directory = _volume_path(state, path)
    if not directory.is_dir():
        raise DoesNotExist(f"The directory being accessed is not found: /Volumes/{path}")
    return directory


def _entry(folder: str, child: Path) -> dict[str, Any]:
    status = child.stat()
    is_folder = stat.S_ISDIR(status.st_mode)
    entry = {
        "path": f"{folder}/{child.name}",
        "name": child.name,
        "is_directory": is_folder,
        "last_modified": int(status.st_mtime * 1000),
    }
    return entry if is_folder else entry | {"file_size": status.st_size}
