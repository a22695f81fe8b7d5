"""Import, export and look up workspace objects: `/api/2.0/workspace` and `/api/2.0/workspace-files`."""

import base64
from pathlib import Path
from typing import Any, BinaryIO

from fastapi import APIRouter, Request, Response
from fastapi.responses import FileResponse
from starlette.concurrency import run_in_threadpool

from local_workspace.errors import AlreadyExists, NameTaken, NotebookTooLarge
from local_workspace.notebooks.notebook_formats import imported, notebook_path
from local_workspace.notebooks.workspace_tree import WorkspaceObjects
from local_workspace.rest.body_limit import MEGABYTE
from local_workspace.rest.fields import RequestFields, in_query, received
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder

LARGEST_NOTEBOOK = 10 * MEGABYTE  # as on Databricks


def router(database: Database, state: StateFolder) -> APIRouter:
    """The folder tree as both command lines and the SDKs use it."""
    objects = WorkspaceObjects(database, state)
    routes = APIRouter(prefix="/api/2.0")
    _add_tree(routes, objects)
    _add_content(routes, objects, state)
    return routes


def _add_tree(routes: APIRouter, objects: WorkspaceObjects) -> None:
    @routes.post("/workspace/mkdirs")
    def make_folder(fields: RequestFields) -> dict[str, Any]:
        """Make a folder and its parents."""
        objects.make_folder(fields.text("path"))
        return {}

    @routes.get("/workspace/get-status")
    def describe(fields: RequestFields) -> dict[str, Any]:
        """One object with its type and id."""
        return objects.describe(fields.text("path"))

    @routes.get("/workspace/list")
    def list_folder(fields: RequestFields) -> dict[str, Any]:
        """What a folder holds; with `notebooks_modified_after` without older notebooks."""
        after, found = fields.natural("notebooks_modified_after", 0), objects.children(fields.text("path"))
        is_old = {each["path"] for each in found if "language" in each and each["modified_at"] <= after}
        return {"objects": [each for each in found if each["path"] not in is_old]}

    @routes.post("/workspace/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        """Remove an object; a folder with something in it only with `recursive`."""
        objects.delete(fields.text("path"), fields.flag("recursive"))
        return {}


def _add_content(routes: APIRouter, objects: WorkspaceObjects, state: StateFolder) -> None:
    @routes.post("/workspace/import")
    def import_object(fields: RequestFields) -> dict[str, Any]:
        """Write a notebook or a file of at most 10 MB, sent as base64 or as a form."""
        content, form = fields.content("content"), fields.text("format", "SOURCE")
        language = fields.text("language", "") or None
        _keep(objects, fields.text("path"), content, form, language, fields.flag("overwrite"))
        return {}

    @routes.get("/workspace/export", response_model=None)
    def export_object(fields: RequestFields) -> Response | dict[str, Any]:
        """Read a notebook in a format of choice, or a file."""
        path, direct = fields.text("path"), fields.flag("direct_download")
        if objects.describe(path)["object_type"] == "NOTEBOOK":
            content, file_type = objects.notebook(path).exported(fields.text("format", "SOURCE"))
        else:
            file = objects.file(path)
            if direct:
                return FileResponse(file, media_type="application/octet-stream")
            content, file_type = _small_file(path, file), file.suffix.removeprefix(".")
        if direct:
            return Response(content, media_type="application/octet-stream")
        return {"content": base64.b64encode(content).decode(), "file_type": file_type}

    @routes.get("/workspace-files/{path:path}")
    def read_file(path: str) -> FileResponse:
        """Read a file, or the source of a notebook, as it is kept."""
        return FileResponse(objects.file(f"/{path.lstrip('/')}"), media_type="application/octet-stream")

    @routes.post("/workspace-files/import-file/{path:path}")
    async def import_file(request: Request, path: str) -> dict[str, Any]:
        """Write a notebook or a file of any size, sent as it is."""
        overwrite = in_query(request).flag("overwrite")
        temporary = await received(request, state)
        try:
            with temporary.open("rb") as content:
                absolute = "/" + path.lstrip("/")
                await run_in_threadpool(_keep, objects, absolute, content, "AUTO", None, overwrite)
        except AlreadyExists as error:
            raise NameTaken(error.message) from error
        finally:
            temporary.unlink()
        return {}


def _keep(
    objects: WorkspaceObjects,
    path: str,
    content: BinaryIO,
    form: str,
    language: str | None,
    overwrite: bool,
) -> None:
    """Keeps a notebook, or a file; what is larger than a notebook may be is a file, never read as a whole."""
    start = content.read(LARGEST_NOTEBOOK + 1)
    content.seek(0)
    if len(start) <= LARGEST_NOTEBOOK:
        notebook = imported(path, start, form, language)
    elif form in ("AUTO", "RAW"):
        notebook = None
    else:
        raise NotebookTooLarge(f"{path} has more than {LARGEST_NOTEBOOK} bytes, the most of a notebook")
    # Only where the form is found out does the name lose what told it; else the path is kept as it was given.
    target = notebook_path(path, notebook) if notebook and form == "AUTO" else path
    objects.put(target, content, notebook, overwrite)


def _small_file(path: str, file: Path) -> bytes:
    if file.stat().st_size > LARGEST_NOTEBOOK:
        raise NotebookTooLarge(
            f"{path} has more than {LARGEST_NOTEBOOK} bytes; ask with direct_download=true"
        )
    return file.read_bytes()
