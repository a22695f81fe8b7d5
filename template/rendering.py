"""Writes the files of a project: those of the template, renamed, without the parts that it does without."""

import json
import subprocess
import sys
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from template.errors import TemplateError
from template.features import PARTS, TEMPLATE, belongs
from template.fences import apply_fences
from template.files import list_files
from template.names import rename
from template.requirements import prune

# What the project was made of; `update` reads it, and a newer template writes it anew.
RECORD = ".template.json"
# Files that only a project has, at the places where it has them.
OWN_FILES = Path("template/files")
# What a project has at another place: the licence is that of the template, and not of what is built on it.
ELSEWHERE = {"LICENSE": "LICENSE.template"}
# Other names are of other length and sort elsewhere, what a part has imported goes with it, and a line that
# no longer fits may stay.
TIDY = (
    ("check", "--select", "I,F401", "--fix"),
    ("format",),
    ("check", "--select", "E501", "--add-noqa"),
)


@dataclass(frozen=True)
class Record:
    """Which template made a project, and how: what `.template.json` holds."""

    name: str
    without: tuple[str, ...]
    template: str
    commit: str
    version: str

    @classmethod
    def read(cls, file: Path) -> "Record":
        """Reads a record; what a newer template has added to it is not looked at."""
        try:
            kept: dict[str, Any] = json.loads(file.read_text(encoding="utf-8"))
            texts = {name: str(kept[name]) for name in ("name", "template", "commit", "version")}
            return cls(without=tuple(kept["without"]), **texts)
        except (ValueError, KeyError) as error:
            raise TemplateError(f"{file} is not what `make new-project` wrote: {error!r}") from error

    def write(self, file: Path) -> None:
        """Writes the record as JSON."""
        file.write_text(json.dumps(asdict(self), indent=2) + "\n", encoding="utf-8")


def render(root: Path, folder: Path, record: Record) -> None:
    """Writes the project into an empty folder."""
    left_out = {TEMPLATE, *(part for part in record.without if part in PARTS)}
    for path in list_files(root):
        if not any(belongs(path.as_posix(), part) for part in left_out):
            place = ELSEWHERE.get(path.as_posix(), path.as_posix())
            _write(root / path, folder / rename(place, record.name), record, left_out)
    for file in sorted((root / OWN_FILES).rglob("*")):
        if file.is_file():
            path = file.relative_to(root / OWN_FILES)
            _write(file, folder / rename(path.as_posix(), record.name), record, left_out)
    _prune_requirements(folder)
    record.write(folder / RECORD)
    for command in TIDY:
        _ruff(folder, command)


def _write(source: Path, target: Path, record: Record, left_out: set[str]) -> None:
    target.parent.mkdir(parents=True, exist_ok=True)
    content = source.read_bytes()
    try:
        text = content.decode()
    except UnicodeDecodeError:
        target.write_bytes(content)
    else:
        text = apply_fences(text, left_out, str(source))
        target.write_text(rename(text, record.name), encoding="utf-8", newline="")
    target.chmod(source.stat().st_mode)


def _prune_requirements(folder: Path) -> None:
    pinned = folder / "requirements.txt"
    wanted = (folder / "requirements.in").read_text(encoding="utf-8")
    pinned.write_text(prune(pinned.read_text(encoding="utf-8"), wanted), encoding="utf-8")


def _ruff(folder: Path, command: tuple[str, ...]) -> None:
    words = [sys.executable, "-m", "ruff", *command, "--no-cache"]
    finished = subprocess.run(words, cwd=folder, capture_output=True, text=True, check=False)
    if finished.returncode > 1:  # 1: something is left to do by hand, which `make lint` tells
        said = (finished.stderr or finished.stdout).strip()
        raise TemplateError(f"`ruff {command[0]}` of the project: {said}")
