"""The files of the template as they are now: those that git tracks, with uncommitted changes."""

import subprocess
import tempfile
from collections.abc import Sequence
from pathlib import Path

from template.errors import TemplateError

ROOT = Path(__file__).resolve().parents[1]


def git(folder: Path, *arguments: str, environment: dict[str, str] | None = None) -> str:
    """Runs git in a folder and returns what it prints; a failure raises its own words."""
    finished = subprocess.run(
        ["git", *arguments], cwd=folder, env=environment, capture_output=True, text=True, check=False
    )
    if finished.returncode != 0:
        raise TemplateError(
            f"`git {arguments[0]}` in {folder}: {(finished.stderr or finished.stdout).strip()}"
        )
    return finished.stdout


def list_files(root: Path) -> list[Path]:
    """The template's files, by their paths from the root; of a copy without history all but ignored ones.

    Raises TemplateError for a link that leads out of the template.
    """
    if (root / ".git").exists():
        return _existing(root, git(root, "ls-files", "-z", "--cached").split("\0"))
    with tempfile.TemporaryDirectory() as empty:
        git(root, "init", "--quiet", "--bare", empty)
        as_new = (f"--git-dir={empty}", f"--work-tree={root}")
        return _existing(
            root, git(root, *as_new, "ls-files", "-z", "--others", "--exclude-standard").split("\0")
        )


def list_untracked(root: Path) -> list[str]:
    """Files that git neither tracks nor ignores: they may be anybody's, secrets among them."""
    if not (root / ".git").exists():
        return []
    return [
        path for path in git(root, "ls-files", "-z", "--others", "--exclude-standard").split("\0") if path
    ]


def describe(root: Path) -> dict[str, str]:
    """Where this template comes from: address, commit and what git calls that; empty where unknown."""
    if not (root / ".git").exists():
        return {"template": "", "commit": "", "version": ""}
    return {
        "template": _address(root),
        "commit": git(root, "rev-parse", "HEAD").strip(),
        "version": git(root, "describe", "--tags", "--always").strip(),
    }


def _address(root: Path) -> str:
    """The address that the template was cloned from, without a sign-in; a local folder has none."""
    remotes = git(root, "remote").split()
    url = git(root, "remote", "get-url", remotes[0]).strip() if remotes else ""
    scheme, separator, rest = url.partition("://")
    if separator and scheme != "file":
        host, slash, path = rest.partition("/")
        host = host.rpartition("@")[2] if scheme.startswith("http") else host
        return f"{scheme}://{host}{slash}{path}"
    is_ssh = not separator and ":" in url and "/" not in url.partition(":")[0]
    return url if is_ssh else ""


def _existing(root: Path, paths: Sequence[str]) -> list[Path]:
    found = sorted({path for path in paths if path and (root / path).is_file()})
    if outside := [path for path in found if not (root / path).resolve().is_relative_to(root.resolve())]:
        raise TemplateError(
            f"{outside} are links that lead out of {root}; remove them, or put files in their place"
        )
    return [Path(path) for path in found]
