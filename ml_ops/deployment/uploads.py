"""The files of a version: those of a checkout, and what became of them in the workspace."""

from base64 import b64decode
from collections.abc import Collection, Mapping
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

from deployment import wheels
from deployment.targets import Target
from deployment.workspace import Workspace

HEADERS = {"PYTHON": "#", "SQL": "--", "SCALA": "//", "R": "#"}
LANGUAGES = {".py": "PYTHON", ".sql": "SQL", ".scala": "SCALA", ".r": "R"}
# What the workspace exports; of a larger file nothing is compared but its size.
LARGEST_EXPORT = 10 * 2**20


@dataclass(frozen=True)
class Upload:
    """A file of a checkout, its path below the folder of the version, and how the workspace takes it."""

    path: str
    file: Path
    form: str = "AUTO"
    language: str = ""

    @property
    def is_notebook(self) -> bool:
        """Whether the workspace makes a notebook of it, and gives it back as it writes notebooks."""
        return self.form != "AUTO"

    @property
    def fingerprint(self) -> str:
        """That of the file as it is here."""
        kind = "NOTEBOOK" if self.is_notebook else "FILE"
        return _fingerprint(kind, self.file.stat().st_size, self.file.read_bytes())


def find_uploads(target: Target, *, notebooks_alone: bool) -> list[Upload]:
    """The wheels and the notebooks of the target's version.

    `notebooks_alone`: beside the wheels every source is taken for a notebook, and nothing else is put there.
    """
    folder = f"dist/{target.text('version')}"
    found = [
        Upload(f"{folder}/{wheel.name}", wheel) for wheel in sorted((target.root / folder).glob("*.whl"))
    ]
    for name in wheels.source_files(target.root):
        if name.startswith(f"{wheels.NOTEBOOKS}/"):
            upload = _beside_wheels(target.root / name, name, notebooks_alone)
            if upload.is_notebook or not notebooks_alone:
                found.append(upload)
    return found


def read_fingerprints(workspace: Workspace, folder: str, wanted: Collection[str]) -> dict[str, str]:
    """The fingerprints of those of the wanted files that are in a folder of the workspace, by their paths."""
    there = list_files(workspace, folder) if wanted else {}
    return {path: _read_fingerprint(workspace, there[path]) for path in wanted if path in there}


def find_differences(
    expected: Mapping[str, Collection[str | None]], found: Mapping[str, str]
) -> dict[str, str]:
    """What is wrong with each file that is not there, or is unlike all that is expected of it."""
    wrong = {path: "is missing" for path in expected if path not in found}
    changed = [path for path in expected if path in found and found[path] not in expected[path]]
    return wrong | dict.fromkeys(changed, "is not as it was put there")


def list_files(workspace: Workspace, folder: str) -> dict[str, dict[str, Any]]:
    """What the workspace says of every file and notebook in a folder, by its path below that."""
    found: dict[str, dict[str, Any]] = {}
    for item in (workspace.find("/api/2.0/workspace/list", path=folder) or {}).get("objects", []):
        name = item["path"].rpartition("/")[2]
        if item["object_type"] == "DIRECTORY":
            below = list_files(workspace, item["path"])
            found |= {f"{name}/{path}": each for path, each in below.items()}
        else:
            found[name] = item
    return found


def _beside_wheels(file: Path, name: str, notebooks_alone: bool) -> Upload:
    suffix = Path(name).suffix
    language = LANGUAGES.get(suffix.lower(), "")
    if suffix == ".ipynb":
        return Upload(name.removesuffix(suffix), file, "JUPYTER", "PYTHON")
    if language and (notebooks_alone or _has_header(file, language)):
        return Upload(name.removesuffix(suffix), file, "SOURCE", language)
    return Upload(name, file)


def _has_header(file: Path, language: str) -> bool:
    """Whether a source says that it is a notebook, which some programs ask of it."""
    header = f"{HEADERS[language]} Databricks notebook source".encode()
    with file.open("rb") as opened:
        return opened.read(len(header)) == header


def _read_fingerprint(workspace: Workspace, item: Mapping[str, Any]) -> str:
    kind, size = str(item["object_type"]), int(item.get("size") or 0)
    if size > LARGEST_EXPORT:
        return _fingerprint(kind, size, b"")
    form = "SOURCE" if kind == "NOTEBOOK" else "AUTO"
    exported = workspace.find("/api/2.0/workspace/export", path=item["path"], format=form) or {}
    content = b64decode(exported.get("content", ""))
    return _fingerprint(kind, len(content), content)


def _fingerprint(kind: str, size: int, content: bytes) -> str:
    said = f"size:{size}" if size > LARGEST_EXPORT else f"sha256:{sha256(content).hexdigest()}"
    return f"{kind} {said}"
