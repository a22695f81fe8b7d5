"""What git says about this checkout; without a repository, or without git, there is no commit."""

import os
import shutil
import subprocess
from collections.abc import Sequence
from dataclasses import dataclass, field
from pathlib import Path

from deployment.errors import DeploymentError

NO_REPOSITORY = "fatal: not a git repository (or any "


@dataclass(frozen=True)
class Commit:
    """The full id of a commit, and the ids of the contents of its files; empty where there is none."""

    id: str = ""
    files: dict[str, str] = field(default_factory=dict)


def find_commit(root: Path, paths: Sequence[str]) -> Commit:
    """The commit that is checked out, with its files under `paths`. Raises DeploymentError."""
    if not _has_repository(root):
        return Commit()
    commit = _git(root, "rev-parse", "--verify", "--quiet", "HEAD", may_miss=True).strip()
    if not commit:
        return Commit()
    lines = _git(root, "ls-tree", "-r", "-z", commit, "--", *paths).split("\0")
    entries = [line.partition("\t") for line in lines if line]
    return Commit(commit, {name: description.split()[2] for description, _, name in entries})


def content_ids(root: Path, names: Sequence[str]) -> list[str]:
    """The id of each file's content, as a commit would keep it: with the line ends and filters of git."""
    top, prefix = (_git(root, "rev-parse", f"--show-{what}").rstrip("\n") for what in ("toplevel", "prefix"))
    lines = "".join(f"{prefix}{name}\n" for name in names)
    return _git(Path(top), "hash-object", "--stdin-paths", stdin=lines).split()


def full_commit(root: Path, short: str) -> str:
    """The full id of a commit; `short` itself where this checkout does not know it."""
    if not short or not _has_repository(root):
        return short
    found = _git(root, "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}", may_miss=True)
    return found.strip() or short


def _has_repository(root: Path) -> bool:
    if shutil.which("git") is None:
        return False
    asked = _run(root, "rev-parse", "--git-dir")
    if asked.returncode == 0:
        return True
    # A repository that is broken is not the same as none.
    if asked.stderr.startswith(NO_REPOSITORY) and not (root / ".git").exists():
        return False
    raise _refusal(root, asked)


def _git(root: Path, *arguments: str, stdin: str = "", may_miss: bool = False) -> str:
    asked = _run(root, *arguments, stdin=stdin)
    if asked.returncode and not (may_miss and asked.returncode == 1):
        raise _refusal(root, asked)
    return asked.stdout


def _run(root: Path, *arguments: str, stdin: str = "") -> subprocess.CompletedProcess[str]:
    return subprocess.run(
        ["git", "-C", str(root), *arguments],
        input=stdin,
        env=os.environ | {"LC_ALL": "C"},
        capture_output=True,
        encoding="utf-8",
        errors="surrogateescape",  # a name of a file need not be text
        check=False,
    )


def _refusal(root: Path, asked: subprocess.CompletedProcess[str]) -> DeploymentError:
    said = " ".join(asked.stderr.split()) or f"exit code {asked.returncode}"
    return DeploymentError(f"git does not say which commit {root} is: {said}")
