"""Files in volumes: `/api/2.0/fs/files/Volumes` and `/api/2.0/fs/directories/Volumes`."""

from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse

from local_workspace.errors import DirectoryNotEmpty, DoesNotExist, InvalidParameter, NameTaken
from local_workspace.rest.fields import Fields, received
from local_workspace.state import StateFolder, children, make_folder, move_into_place


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
        if target.exists() and not Fields(request.query_params).flag("overwrite"):
            raise NameTaken(f"The file being created already exists: /Volumes/{path}")
        make_folder(target.parent)
        move_into_place(await received(request, state), target)

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
        inside = children(state.volumes, _directory(state, path))
        folder = f"/Volumes/{path.strip('/')}"
        return {"contents": [_entry(folder, child) for child in inside]}

    @routes.delete("/directories/Volumes/{path:path}", status_code=204)
    def delete_directory(path: str) -> None:
        directory = _directory(state, path)
        if directory == state.volumes:
            raise InvalidParameter("/Volumes cannot be deleted")
        if any(directory.iterdir()):
            raise DirectoryNotEmpty(f"The directory is not empty: /Volumes/{path}")
        directory.rmdir()


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
    stat = child.stat()
    entry = {
        "path": f"{folder}/{child.name}",
        "name": child.name,
        "is_directory": child.is_dir(),
        "last_modified": int(stat.st_mtime * 1000),
    }
    return entry if child.is_dir() else entry | {"file_size": stat.st_size}
