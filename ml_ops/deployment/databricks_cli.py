"""Calls the `databricks` program as a child process, whichever program of that name it is."""

import json
import os
import shlex
import shutil
import subprocess
from abc import ABC, abstractmethod
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, ClassVar

from deployment.errors import CliError
from deployment.targets import Target
from deployment.uploads import Upload
from deployment.workspace import Workspace

Document = dict[str, Any]


class DatabricksCli(ABC):
    """The `databricks` program, signed in to one workspace."""

    title: ClassVar[str]
    """Which program this is, for people."""

    notebooks_alone: ClassVar[bool]
    """Whether it takes every source beside the wheels for a notebook, and puts nothing else there."""

    def __init__(self, workspace: Workspace, program: str) -> None:
        self.workspace = workspace
        self.program = program

    @classmethod
    @abstractmethod
    def find(cls) -> str | None:
        """Where this machine has the program, None where it has none."""

    @classmethod
    @abstractmethod
    def recognizes(cls, program: str) -> bool:
        """Whether a program is this one."""

    @abstractmethod
    def deploy_code(self, target: Target) -> None:
        """Puts the notebooks and the built wheels into the folder of the target's version."""

    @abstractmethod
    def deploy_jobs(self, target: Target) -> None:
        """Creates or updates the target's jobs."""

    @abstractmethod
    def bundle_state(self, target: Target) -> str:
        """Where the bundle that deploys the target keeps its metadata, empty without a bundle."""

    @abstractmethod
    def is_bound(self, target: Target, job_id: int) -> bool:
        """Whether a person has handed a job over to the bundle, which has not deployed it yet."""

    @abstractmethod
    def keep_variables(self, target: Target) -> None:
        """Keeps the target's variables where a command that a person gives this program finds them."""

    @abstractmethod
    def clusters(self) -> list[Document]:
        """Every cluster of the workspace."""

    @abstractmethod
    def cluster(self, cluster_id: str) -> Document:
        """One cluster, with its state."""

    @abstractmethod
    def create_cluster(self, definition: Mapping[str, Any]) -> None:
        """Creates a cluster, without waiting for it."""

    @abstractmethod
    def start_cluster(self, cluster_id: str) -> None:
        """Starts a cluster, without waiting for it."""

    @abstractmethod
    def reset_job(self, job_id: int, settings: Mapping[str, Any]) -> None:
        """Gives a job these settings and no others."""

    @abstractmethod
    def run_now(self, job_id: int, params: Mapping[str, str]) -> int:
        """Triggers a job; returns the id of the run."""

    @abstractmethod
    def ended_runs(self, job_id: int) -> list[Document]:
        """The last runs of a job that have ended, the newest first."""

    @abstractmethod
    def run_output(self, run_id: int) -> Document:
        """What a task's run has put out."""

    @abstractmethod
    def delete_workspace_folder(self, path: str) -> None:
        """Deletes a folder of the workspace with all that is in it."""

    @abstractmethod
    def scopes(self) -> list[Document]:
        """Every secret scope."""

    @abstractmethod
    def create_scope(self, scope: str) -> None:
        """Creates a secret scope, which its creator alone may manage."""

    @abstractmethod
    def secret_keys(self, scope: str) -> list[str]:
        """The keys of a secret scope."""

    @abstractmethod
    def put_secret(self, scope: str, key: str, value: str) -> None:
        """Writes a secret, through a pipe: a program's arguments are open to every user of the machine."""

    @abstractmethod
    def scope_permissions(self, scope: str) -> dict[str, str]:
        """READ, WRITE or MANAGE by the user or group that has it on a secret scope."""

    @abstractmethod
    def let_read(self, scope: str, principal: str) -> None:
        """Gives a user or group READ on a secret scope, instead of what it has."""

    def make_folder(self, path: str) -> None:
        """Makes a folder of the workspace, with those above it."""
        self.show("workspace", "mkdirs", path)

    def copy(self, source: Path, target: str) -> None:
        """Copies a file to a `dbfs:/` path."""
        self.show("fs", "cp", "--overwrite", str(source), target)

    def make_dbfs_folder(self, path: str) -> None:
        """Makes a folder of DBFS, with those above it."""
        self.show("fs", "mkdirs", path)

    def write_file(self, path: str, content: bytes, form: str = "AUTO", language: str = "") -> None:
        """Writes a file or a notebook of the workspace, over REST: not every program knows both."""
        wanted = {"path": path, "format": form, "language": language, "overwrite": "true"}
        given = {name: value for name, value in wanted.items() if value}
        sent = {"data": given, "files": {"content": content}}
        self.workspace.call("POST", "/api/2.0/workspace/import", repeats=True, **sent)

    def upload(self, upload: Upload, folder: str) -> None:
        """Writes one file of a version into its place below a folder, instead of what is there."""
        content = upload.file.read_bytes()
        parent, _, name = f"{folder}/{upload.path}".rpartition("/")
        print(f"Uploading {name} ({len(content):,} bytes) to {parent}", flush=True)
        self.write_file(f"{parent}/{name}", content, upload.form, upload.language)

    def run(self, *arguments: str, stdin: str | None = None) -> Any:
        """Runs one command and returns the JSON that it prints, {} when it prints nothing."""
        text = self.text(*arguments, stdin=stdin)
        try:
            return json.loads(text) if text.strip() else {}
        except ValueError as error:
            raise CliError(
                f"`databricks {' '.join(arguments[:2])}` printed no JSON: {text.strip()[:80]!r}"
            ) from error

    def show(self, *arguments: str) -> None:
        """Shows a command as one would type it, and runs it."""
        print(self.typed(*arguments), flush=True)
        self.text(*arguments)

    def typed(self, *arguments: str) -> str:
        """A command as one types it in a shell in this folder: it works as it is when it is pasted there."""
        variables = [f"{name}={shlex.quote(text)}" for name, text in self.needed_variables().items()]
        is_first = shutil.which("databricks") == self.program
        program = "databricks" if is_first else _from_here(Path(self.program))
        return " ".join([*variables, shlex.join([program, *self._sign_in(), *arguments])])

    def needed_variables(self) -> dict[str, str]:
        """What the program has to find in the environment of a shell to get to this workspace."""
        file = self.workspace.config_file
        found = os.environ.get("DATABRICKS_CONFIG_FILE") or "~/.databrickscfg"
        if file is None or Path(found).expanduser() == file:
            return {}
        return {"DATABRICKS_CONFIG_FILE": _from_here(file)}

    def text(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs one command and returns what it prints; a failure raises a CliError with its text."""
        if not Path(self.program).is_file():
            raise CliError(f"there is no program {self.program}; run `make install`")
        finished = self._run(arguments, stdin)
        if finished.returncode != 0:
            command = " ".join(arguments[:2])
            raise CliError(f"`databricks {command}`: {self._error_of(arguments, finished)}")
        return finished.stdout

    def environment(self) -> dict[str, str]:
        """This process's environment, in which the program finds the workspace and no other one."""
        return self.workspace.environment()

    def _run(self, arguments: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        return subprocess.run(
            [self.program, *self._sign_in(), *arguments],
            input=stdin or "",
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )

    @abstractmethod
    def _error_of(self, arguments: Sequence[str], finished: subprocess.CompletedProcess[str]) -> str: ...

    def _sign_in(self) -> list[str]:
        return ["--profile", self.workspace.profile] if self.workspace.config_file else []


def _from_here(file: Path) -> str:
    """The path of a file as one writes it in this folder."""
    return str(file.relative_to(Path.cwd()) if file.is_relative_to(Path.cwd()) else file)


def is_script(program: str) -> bool:
    """Whether a program begins with #!, as what pip installs does."""
    with Path(program).open("rb") as file:
        return file.read(2) == b"#!"
