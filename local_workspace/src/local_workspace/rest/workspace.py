"""Import, export and look up workspace objects: `/api/2.0/workspace` and `/api/2.0/workspace-files`."""

import base64
from typing import Any

from fastapi import APIRouter, Request, Response
from starlette.concurrency import run_in_threadpool

from local_workspace.database import Database
from local_workspace.errors import AlreadyExists, NameTaken
from local_workspace.notebook_formats import notebook_path, read_notebook
from local_workspace.objects import WorkspaceObjects
from local_workspace.rest.fields import Fields, RequestFields
from local_workspace.state import StateFolder


def router(database: Database, state: StateFolder) -> APIRouter:
    """The folder tree as both command lines and the SDKs use it."""
    objects = WorkspaceObjects(database, state)
    routes = APIRouter(prefix="/api/2.0")
    _add_tree(routes, objects)
    _add_content(routes, objects)
    return routes


def _add_tree(routes: APIRouter, objects: WorkspaceObjects) -> None:
    @routes.post("/workspace/mkdirs")
    def make_folder(fields: RequestFields) -> dict[str, Any]:
        objects.make_folder(fields.text("path"))
        return {}

    @routes.get("/workspace/get-status")
    def describe(fields: RequestFields) -> dict[str, Any]:
        return objects.describe(fields.text("path"))

    @routes.get("/workspace/list")
    def list_folder(fields: RequestFields) -> dict[str, Any]:
        return {"objects": objects.children(fields.text("path"))}

    @routes.post("/workspace/delete")
    def delete(fields: RequestFields) -> dict[str, Any]:
        objects.delete(fields.text("path"), fields.flag("recursive"))
        return {}


def _add_content(routes: APIRouter, objects: WorkspaceObjects) -> None:
    @routes.post("/workspace/import")
    def import_object(fields: RequestFields) -> dict[str, Any]:
        content = fields.content("content").read()
        form = str(fields.get("format") or "SOURCE")
        _keep(objects, fields.text("path"), content, form, fields.get("language"), fields.flag("overwrite"))
        return {}

    @routes.get("/workspace/export", response_model=None)
    def export_object(fields: RequestFields) -> Response | dict[str, Any]:
        content, file_type = _exported(objects, fields.text("path"), str(fields.get("format") or "SOURCE"))
        if fields.flag("direct_download"):
            return Response(content, media_type="application/octet-stream")
        return {"content": base64.b64encode(content).decode(), "file_type": file_type}

    @routes.post("/workspace-files/import-file/{path:path}")
    async def import_file(request: Request, path: str) -> dict[str, Any]:
        content = await request.body()
        overwrite = Fields(request.query_params).flag("overwrite")
        absolute = "/" + path.lstrip("/")
        try:
            await run_in_threadpool(_keep, objects, absolute, content, "AUTO", None, overwrite)
        except AlreadyExists as error:
            raise NameTaken(error.message) from error
        return {}


def _keep(
    objects: WorkspaceObjects, path: str, content: bytes, form: str, language: str | None, overwrite: bool
) -> None:
    notebook = read_notebook(path, content, form, language)
    target = notebook_path(path, notebook) if notebook else path
    objects.put(target, content, notebook, overwrite)


def _exported(objects: WorkspaceObjects, path: str, form: str) -> tuple[bytes, str]:
    if objects.describe(path)["object_type"] == "NOTEBOOK":
        return objects.notebook(path).read().exported(form)
    file = objects.file(path)
    return file.read_bytes(), file.suffix.removeprefix(".")
