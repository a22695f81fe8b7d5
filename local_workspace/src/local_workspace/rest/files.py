"""Files and folders by their path: `/api/2.0/fs/files/…` and `/api/2.0/fs/directories/…`."""

import secrets
import stat
from collections.abc import Callable
from pathlib import Path
from typing import Any

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from fastapi.routing import APIRoute
from starlette.concurrency import run_in_threadpool

from local_workspace.errors import AlreadyExists, DoesNotExist, FolderInUse, NameTaken, NotSupported
from local_workspace.rest.fields import in_query, received
from local_workspace.store.arranging import check_removable
from local_workspace.store.state import StateFolder, children, described, make_folder, move_into_place


def router(state: StateFolder) -> APIRouter:
    """Read, write and list what lies under `/Volumes`."""
    return folder_router(
        "Volumes", state.volumes, lambda path, _write: state.local_path(f"/Volumes/{path}"), state
    )


def folder_router(
    root: str,
    base: Path,
    locate: Callable[[str, bool], Path],
    state: StateFolder,
    route_class: type[APIRoute] = APIRoute,
) -> APIRouter:
    """Read, write and list what lies under `/<root>`, which is the folder `base`; folders are made as needed.

    `locate(path, write)` says where a path below the root lies, or refuses it.
    """
    routes = APIRouter(prefix="/api/2.0/fs", route_class=route_class)
    _add_files(routes, root, locate, state)
    _add_directories(routes, root, base, locate, state)
    return routes


def _add_files(routes: APIRouter, root: str, locate: Callable[[str, bool], Path], state: StateFolder) -> None:
    where = f"/files/{root}/{{path:path}}"

    @routes.put(where, status_code=204)
    async def upload(request: Request, path: str) -> None:
        """Write a file; with `overwrite=true` in place of another."""
        target = await run_in_threadpool(locate, path, True)
        # Without the parameter Databricks keeps the file that is there.
        overwrite = in_query(request).flag("overwrite")
        if target.exists() and not overwrite:
            raise NameTaken(f"The file being created already exists: /{root}/{path}")
        await run_in_threadpool(_keep, await received(request, state), target, overwrite)

    @routes.post(where)
    def initiate_upload(request: Request, path: str) -> dict[str, Any]:
        """Begin an upload in parts. No part gets an address here, so the SDK sends the file in one."""
        action = in_query(request).get("action")
        if action != "initiate-upload":
            raise NotSupported(f"the action {action!r} on files is not part of the local workspace")
        locate(path, True)
        return {"multipart_upload": {"session_token": secrets.token_urlsafe(16)}}

    @routes.api_route(where, methods=["GET", "HEAD"])
    def download(path: str) -> FileResponse:
        """Read a file."""
        return FileResponse(file(path, write=False), media_type="application/octet-stream")

    @routes.delete(where, status_code=204)
    def delete_file(path: str) -> None:
        """Remove a file."""
        file(path, write=True).unlink()

    def file(path: str, write: bool) -> Path:
        found = locate(path, write)
        if not found.is_file():
            raise DoesNotExist(f"The file being accessed is not found: /{root}/{path}")
        return found


def _add_directories(
    routes: APIRouter, root: str, base: Path, locate: Callable[[str, bool], Path], state: StateFolder
) -> None:
    where = f"/directories/{root}/{{path:path}}"

    @routes.put(where, status_code=204)
    def make_directory(path: str) -> None:
        """Make a folder and its parents."""
        make_folder(locate(path, True))

    @routes.head(where)
    def check_directory(path: str) -> Response:
        """Whether there is such a folder."""
        directory(path, write=False)
        return Response()

    @routes.get(where)
    def list_directory(path: str) -> dict[str, Any]:
        """What a folder holds."""
        inside = children(base, directory(path, write=False))
        folder = f"/{root}/{path.strip('/')}"
        return {"contents": described(inside, lambda child: _entry(folder, child))}

    @routes.delete(where, status_code=204)
    def delete_directory(path: str) -> None:
        """Remove an empty folder."""
        found = directory(path, write=True)
        check_removable(state, found, f"/{root}/{path}")
        if found.is_symlink():
            found.unlink()
        elif any(found.iterdir()):
            raise FolderInUse(f"The directory is not empty: /{root}/{path}")
        else:
            found.rmdir()

    def directory(path: str, write: bool) -> Path:
        found = locate(path, write)
        if not found.is_dir():
            raise DoesNotExist(f"The directory being accessed is not found: /{root}/{path}")
        return found


def _keep(temporary: Path, target: Path, overwrite: bool) -> None:
    try:
        make_folder(target.parent)
        move_into_place(temporary, target, overwrite)
    except AlreadyExists as error:
        raise NameTaken(error.message) from error
    finally:
        temporary.unlink(missing_ok=True)


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
