"""Brings a newer template into a project: what changed between both renderings, as one commit."""

import os
import subprocess
import sys
import tempfile
from dataclasses import replace
from pathlib import Path

from template.errors import TemplateError
from template.files import ROOT, describe, git
from template.rendering import RECORD, Record


def update_project(project: Path) -> None:
    """Picks onto the project's branch what this template has that the project's own did not have.

    Each template writes the project by its own code, with the names and parts that it has. What does not fit
    becomes a conflict of git, for the project's people to resolve.
    """
    record = _read_record(project)
    _check_clean(project)
    newer = describe(ROOT)
    with tempfile.TemporaryDirectory() as scratch:
        older = Path(scratch) / "older"
        _check_out(record.commit, older)
        print(
            f"Writing the project as template {record.version} has it, and as {newer['version']}", flush=True
        )
        before = _tree(project, older, project / RECORD, Path(scratch) / "before")
        wanted = Path(scratch) / RECORD
        source, commit, version = newer["template"] or record.template, newer["commit"], newer["version"]
        replace(record, template=source, commit=commit, version=version).write(wanted)
        after = _tree(project, ROOT, wanted, Path(scratch) / "after")
    _pick(project, before, after, f"Take in template {newer['version']}")


def _read_record(project: Path) -> Record:
    file = project / RECORD
    if not file.exists():
        raise TemplateError(f"{project} has no {RECORD}: it was not made by `make new-project`")
    record = Record.read(file)
    if not record.commit:
        raise TemplateError(
            f"{file} names no commit: the template that made the project had no history. Write the full id "
            "of the template's commit that comes closest into it, and commit that"
        )
    return record


def _check_clean(project: Path) -> None:
    changed = git(project, "status", "--porcelain", "--untracked-files=no").strip()
    if changed:
        raise TemplateError(f"the project has changes that are not committed; commit them first:\n{changed}")


def _check_out(commit: str, folder: Path) -> None:
    """Puts the template's files of a commit into a folder with its history."""
    known = subprocess.run(
        ["git", "cat-file", "-e", f"{commit}^{{commit}}"], cwd=ROOT, capture_output=True, check=False
    )
    if known.returncode != 0:
        raise TemplateError(
            f"this template does not know the commit {commit}, which the project was made from"
        )
    git(ROOT, "clone", "--quiet", "--no-checkout", "--shared", str(ROOT), str(folder))
    git(folder, "checkout", "--quiet", "--detach", commit)


def _tree(project: Path, template: Path, record: Path, folder: Path) -> str:
    """Lets a template write the project by its own code; gives git's name of what it wrote."""
    folder.mkdir()
    environment = os.environ | {"PYTHONPATH": str(template)}
    command = [sys.executable, "-m", "template", "render", str(record), str(folder)]
    finished = subprocess.run(
        command, cwd=template, env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        raise TemplateError(
            f"the template at {template} does not write the project: {finished.stderr.strip()}"
        )
    with tempfile.TemporaryDirectory() as index:
        there = {"GIT_INDEX_FILE": f"{index}/index", "GIT_WORK_TREE": str(folder)}
        there["GIT_DIR"] = git(project, "rev-parse", "--absolute-git-dir").strip()
        git(folder, "add", "--all", ".", environment=os.environ | there)
        return git(folder, "write-tree", environment=os.environ | there).strip()


def _pick(project: Path, before: str, after: str, message: str) -> None:
    if before == after:
        print("The project has this template already.")
        return
    base = git(project, "commit-tree", before, "-m", "The template so far").strip()
    newer = git(project, "commit-tree", after, "-p", base, "-m", message).strip()
    print(git(project, "diff", "--shortstat", base, newer).strip(), flush=True)
    picked = subprocess.run(
        ["git", "cherry-pick", newer], cwd=project, capture_output=True, text=True, check=False
    )
    if picked.returncode != 0:
        conflicts = git(project, "diff", "--name-only", "--diff-filter=U").split()
        if not conflicts:
            raise TemplateError(f"`git cherry-pick`: {picked.stderr.strip()}")
        raise TemplateError(
            "these files have changes of yours where the template has others:\n  "
            + "\n  ".join(conflicts)
            + "\nresolve and `git add` them, then `git cherry-pick --continue`; or --abort, which undoes all"
        )
    print(f"{message}: committed. Run `make install`, `make test` and `make lint` before you push it.")
