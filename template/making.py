"""Makes a project in a new folder, with a history of its own."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from template.errors import TemplateError
from template.features import check_without
from template.files import ROOT, describe, git, list_files, list_untracked
from template.names import check_name, project_name
from template.rendering import Record, render


def make_project(name: str, destination: Path, without: Sequence[str]) -> None:
    """Writes the project `name` into a folder that does not exist yet, or is empty; all of it or nothing."""
    check_without(without)
    check_name(name, list_files(ROOT))
    _check_destination(destination)
    destination.parent.mkdir(parents=True, exist_ok=True)
    record = Record(name=name, without=tuple(sorted(set(without))), **describe(ROOT))
    with tempfile.TemporaryDirectory(prefix=f".{name}-", dir=destination.parent) as scratch:
        folder = Path(scratch) / name
        folder.mkdir()
        print(f"Writing {project_name(name)} to {destination}", flush=True)
        if untracked := list_untracked(ROOT):
            print(f"Left out, since git does not track them (`git add` takes one in): {', '.join(untracked)}")
        render(ROOT, folder, record)
        _begin_history(folder, record)
        folder.rename(destination)  # at once, and last; an empty folder gives way
    print(f"{len(list_files(destination))} files and a first commit. Go on with:\n\ncd {destination}")
    if "local-workspace" not in without:
        print("make demo    # trains and scores the sample's data on this machine")
    print("make test\n\ndocs/swapping_the_science.md says how to put your own data and model in.")


def _check_destination(destination: Path) -> None:
    if destination.is_relative_to(ROOT):
        raise TemplateError(f"DEST={destination} is inside the template; name a folder beside it")
    if destination.exists() and (not destination.is_dir() or any(destination.iterdir())):
        raise TemplateError(f"DEST={destination} exists and is not an empty folder; nothing was written")


def _begin_history(folder: Path, record: Record) -> None:
    git(folder, "init", "--quiet", "--initial-branch=main")
    git(folder, "add", "--all")
    from_where = f"template {record.version}" if record.version else "the template"
    message = f"Begin {project_name(record.name)} from {from_where}"
    git(folder, *_author(folder, record.name), "commit", "--quiet", "--no-verify", "--message", message)


def _author(folder: Path, name: str) -> list[str]:
    """Nothing where git knows who commits; otherwise the project itself commits its beginning."""
    known = subprocess.run(
        ["git", "var", "GIT_COMMITTER_IDENT"], cwd=folder, capture_output=True, check=False
    )
    if known.returncode == 0:
        return []
    return ["-c", f"user.name={project_name(name)}", "-c", f"user.email={project_name(name)}@localhost"]
