"""What git says about this checkout; a folder without git has no commit."""

import hashlib
import shutil
import subprocess
from collections.abc import Sequence
from pathlib import Path


def commit(root: Path) -> str:
    """The full id of the commit that is checked out, empty without git or before the first commit."""
    return _git(root, "rev-parse", "--verify", "--quiet", "HEAD").strip()


def full_commit(root: Path, short: str) -> str:
    """The full id of a commit; `short` itself where this checkout does not know it."""
    return _git(root, "rev-parse", "--verify", "--quiet", f"{short}^{{commit}}").strip() or short


def differs(root: Path, paths: Sequence[str]) -> bool:
    """Whether anything under `paths` differs from the commit, new files included."""
    return bool(_git(root, "status", "--porcelain", "--untracked-files=all", "--", *paths).strip())


def digest(root: Path, paths: Sequence[str]) -> str:
    """Eight hexadecimal digits of the names and contents of all files under `paths`, without ignored ones."""
    listed = _git(root, "ls-files", "-z", "--cached", "--others", "--exclude-standard", "--", *paths)
    total = hashlib.sha256()
    for name in sorted(set(listed.split("\0")) - {""}):
        file = root / name
        if file.is_file():
            total.update(f"{name}\0{file.stat().st_size}\0".encode() + file.read_bytes())
    return total.hexdigest()[:8]


def _git(root: Path, *arguments: str) -> str:
    if shutil.which("git") is None:
        return ""
    command = ["git", "-C", str(root), *arguments]
    return subprocess.run(command, capture_output=True, text=True, check=False).stdout
