"""Jobs whose code is in a git repository: the commit that a run needs, brought into the workspace."""

import io
import os
import subprocess
import tarfile
import threading
from hashlib import sha256
from pathlib import Path, PurePosixPath
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs.task_kinds import NOTEBOOK, PYTHON_FILE, SQL, kind_of
from local_workspace.notebooks.notebook_formats import imported, notebook_path
from local_workspace.notebooks.workspace_tree import WorkspaceObjects
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder

GIT, WORKSPACE = "GIT", "WORKSPACE"
# Where Databricks has them too.
PLACE = "/Repos/.internal"
KIND = "git_checkout"
# How git calls what the fields of a `git_source` name.
_REFERENCES = {"git_branch": "refs/heads/{}", "git_tag": "refs/tags/{}", "git_commit": "{}"}
_EVERYTHING = ("+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*")
# Nobody can be asked for a password.
_UNASKED = {"GIT_TERMINAL_PROMPT": "0", "GIT_ASKPASS": "", "GIT_SSH_COMMAND": "ssh -oBatchMode=yes"}
_SECONDS = 600


class GitFailed(InvalidParameter):
    """The repository could not be read."""


def check_git_source(source: Document) -> None:
    """Raise InvalidParameter unless it names a repository and one branch, tag or commit."""
    url = source.get("git_url")
    if not isinstance(url, str) or not url or url.startswith("-"):
        raise InvalidParameter(f"git_source needs the git_url of a repository, not {url!r}")
    named = [name for name in _REFERENCES if source.get(name)]
    if len(named) != 1 or not isinstance(source[named[0]], str):
        raise InvalidParameter(f"git_source needs one of {list(_REFERENCES)}; it has {named}")


def is_of_git(own: Document, settings: Document) -> bool:
    """Whether a notebook or file is in the job's repository; without a `source` it is, where there is one."""
    return (own.get("source") or (GIT if settings.get("git_source") else WORKSPACE)) == GIT


def place_of_task(task: Document) -> Document:
    """The part of a task that has its path and `source`."""
    kind = kind_of(task)
    own: Document = task[kind]["file"] if kind == SQL else task[kind]
    return own if kind in (NOTEBOOK, PYTHON_FILE, SQL) else {"source": WORKSPACE}


def commit_of(run: Document) -> tuple[str, str] | None:
    """The commit of a run that has taken one, and the folder of the workspace in which it is."""
    if "git_snapshot" not in run:
        return None
    commit: str = run["git_snapshot"]["used_commit"]
    return commit, _folder(run["settings"]["git_source"], commit)


class GitSources:
    """Commits of repositories in the workspace; each is fetched once."""

    def __init__(self, database: Database, state: StateFolder, objects: WorkspaceObjects) -> None:
        self._database = database
        self._repositories = state.root / "git"
        self._objects = objects
        self._lock = threading.Lock()

    def folder_of(self, run: Document) -> str:
        """The folder of the workspace with the commit of a run, which is one for all of its tasks.

        Raises GitFailed with what git says where the repository, or what is named of it, is not there.
        """
        source = run["settings"]["git_source"]
        with self._lock:
            taken = commit_of(self._database.get("run", str(run["run_id"])) or run)
            commit = taken[0] if taken else self._fetch(source)
            if not taken:
                snapshot = {"git_snapshot": {"used_commit": commit}}
                self._database.update("run", str(run["run_id"]), lambda kept: kept.update(snapshot))
            folder = _folder(source, commit)
            if self._database.get(KIND, folder) is None:
                self._bring(source, commit, folder)
                self._database.put(KIND, folder, {"git_url": source["git_url"]})
        return folder

    def _fetch(self, source: Document) -> str:
        """Fetches what is new; gives the commit that the source names."""
        repository = self._repository(source)
        if not repository.exists():
            self._git("init", "--quiet", "--bare", str(repository))
        inside = ("--git-dir", str(repository))
        self._git(*inside, "fetch", "--quiet", "--prune", "--force", source["git_url"], *_EVERYTHING)
        field = next(name for name in _REFERENCES if source.get(name))
        wanted = _REFERENCES[field].format(source[field]) + "^{commit}"
        try:
            return self._git(*inside, "rev-parse", "--verify", "--end-of-options", wanted).decode().strip()
        except GitFailed as error:
            raise GitFailed(f"{source['git_url']} has no {field} {source[field]!r}") from error

    def _bring(self, source: Document, commit: str, folder: str) -> None:
        """Puts the files of a commit into the workspace, as an import does that finds out their form."""
        archive = self._git("--git-dir", str(self._repository(source)), "archive", commit)
        with tarfile.open(fileobj=io.BytesIO(archive)) as files:
            for member in files:
                if not member.isfile():  # folders are made below; a link could lead out
                    continue
                path, content = f"{folder}/{member.name}", _read(files, member)
                notebook = imported(path, content, "AUTO", None)
                target = notebook_path(path, notebook) if notebook else path
                self._objects.make_folder(str(PurePosixPath(target).parent))
                self._objects.put(target, io.BytesIO(content), notebook, overwrite=True)

    def _repository(self, source: Document) -> Path:
        return self._repositories / _name(source)

    def _git(self, *words: str) -> bytes:
        self._repositories.mkdir(exist_ok=True, mode=0o700)
        try:
            done = subprocess.run(
                ["git", *words],
                cwd=self._repositories,
                env=os.environ | _UNASKED,
                stdin=subprocess.DEVNULL,
                capture_output=True,
                timeout=_SECONDS,
            )
        except FileNotFoundError as error:
            raise GitFailed("a job with a git_source needs git, which is not on the PATH") from error
        except subprocess.TimeoutExpired as error:
            raise GitFailed(f"git {words[0]} took more than {_SECONDS} seconds") from error
        if done.returncode:
            raise GitFailed(f"git failed: {done.stderr.decode(errors='replace').strip()}")
        return done.stdout


def _folder(source: Document, commit: str) -> str:
    return f"{PLACE}/{_name(source)}_commits/{commit}"


def _name(source: Document) -> str:
    return sha256(source["git_url"].encode()).hexdigest()[:20]


def _read(files: tarfile.TarFile, member: tarfile.TarInfo) -> bytes:
    opened: Any = files.extractfile(member)
    content: bytes = opened.read()
    return content
