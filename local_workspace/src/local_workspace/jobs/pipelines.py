"""What a `pipeline_task` runs: the definition of a pipeline, as the kernel of the task is told it."""

import re
from typing import Any

from local_workspace.errors import DoesNotExist, InvalidParameter
from local_workspace.jobs.libraries import words_of
from local_workspace.notebooks.languages import PYTHON
from local_workspace.notebooks.notebook_formats import NotebookSource
from local_workspace.spark.warehouse import CATALOG_NAME
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder

KIND = "pipeline"
_EDITABLE = re.compile(r"(?:-e|--editable)[ =]+(?P<folder>\S+)")


def find(database: Database, pipeline_id: str) -> Document:
    """The document of a pipeline; raises DoesNotExist."""
    found = database.get(KIND, pipeline_id)
    if found is None:
        raise DoesNotExist(f"The specified pipeline {pipeline_id} was not found.")
    return found


def definition_of(pipeline: Document, state: StateFolder, full_refresh: bool) -> dict[str, Any]:
    """What an update of it needs to know; raises InvalidParameter for what is no file of the workspace."""
    spec = pipeline["spec"]
    folders = [spec["root_path"]] if spec.get("root_path") else []
    for line in _dependencies(spec):
        if editable := _EDITABLE.fullmatch(line):
            folders += [editable["folder"], f"{editable['folder']}/src"]
    return {
        "catalog": spec.get("catalog") or CATALOG_NAME,
        "schema": spec.get("schema") or spec.get("target") or "default",
        "configuration": {name: str(value) for name, value in (spec.get("configuration") or {}).items()},
        "storage": (state.spark / "pipelines" / pipeline["pipeline_id"]).as_uri(),
        "full_refresh": full_refresh,
        "folders": [_in_workspace(folder) for folder in folders],
        "libraries": [_path_of(library) for library in spec.get("libraries") or []],
    }


def installed_by(pipeline: Document) -> list[str]:
    """What pip is told to install before; a project in editable form is found in its folder instead."""
    return words_of([line for line in _dependencies(pipeline["spec"]) if not _EDITABLE.fullmatch(line)])


def cell_that_runs(definition: Document) -> NotebookSource:
    """The notebook of one cell that carries out an update, as it is shown above the events."""
    lines = "\n".join(f"    {name!r}: {value!r}," for name, value in definition.items())
    source = f"{PYTHON.header}\nrun_pipeline({{\n{lines}\n}})\n"
    return NotebookSource(source.encode(), PYTHON.name, "SOURCE")


def _dependencies(spec: Document) -> list[str]:
    return [str(line).strip() for line in (spec.get("environment") or {}).get("dependencies") or []]


def _path_of(library: Document) -> str:
    match library:
        case {"glob": {"include": str(path)}} | {"file": {"path": str(path)}}:
            return _in_workspace(path)
    raise InvalidParameter(
        f"the library {str(library)[:200]} of a pipeline is not one of glob and file, the kinds that run"
    )


def _in_workspace(path: str) -> str:
    return path if path.startswith(("/Workspace/", "/Volumes/")) else f"/Workspace/{path.lstrip('/')}"
