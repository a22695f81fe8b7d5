"""Calls the `databricks` program as a child process, whichever of the two programs of that name it is."""

import ast
import json
import os
import re
import shutil
import subprocess
import sys
from abc import ABC, abstractmethod
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from deployment.errors import CliError
from deployment.workspace import Workspace

Document = dict[str, Any]
# The program of requirements.txt, beside the Python that runs this.
OWN_PROGRAM = Path(sys.executable).with_name("databricks")
API_VERSION = "--version=2.1"
# What in the environment could lead the program to another workspace.
ELSEWHERE = ("DATABRICKS_HOST", "DATABRICKS_TOKEN", "DATABRICKS_CONFIG_PROFILE", "DATABRICKS_AUTH_TYPE")


class DatabricksCli(ABC):
    """The `databricks` program, signed in to one workspace."""

    def __init__(self, workspace: Workspace, program: str | Path = OWN_PROGRAM) -> None:
        self.workspace = workspace
        self.program = str(program)

    @property
    @abstractmethod
    def title(self) -> str:
        """Which program this is, for people."""

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

    def run(self, *arguments: str, stdin: str | None = None) -> Any:
        """Runs one command and returns the JSON that it prints, {} when it prints nothing."""
        text = self.text(*arguments, stdin=stdin)
        return json.loads(text) if text.strip() else {}

    def show(self, *arguments: str) -> None:
        """Shows a command as one would type it, and runs it."""
        print("databricks", *self._sign_in(), *arguments, flush=True)
        self.text(*arguments)

    def text(self, *arguments: str, stdin: str | None = None) -> str:
        """Runs one command and returns what it prints; a failure raises a CliError with its text."""
        if not Path(self.program).is_file():
            raise CliError(f"there is no program {self.program}; run `make install`")
        finished = subprocess.run(
            [self.program, *self._sign_in(), *arguments],
            input=stdin or "",
            env=self.environment(),
            capture_output=True,
            text=True,
            check=False,
        )
        if finished.returncode != 0:
            command = " ".join(arguments[:2])
            raise CliError(f"`databricks {command}`: {self._error_of(finished)}")
        return finished.stdout

    @abstractmethod
    def environment(self) -> dict[str, str]:
        """The environment that the program gets."""

    @abstractmethod
    def _error_of(self, finished: subprocess.CompletedProcess[str]) -> str: ...

    def _sign_in(self) -> list[str]:
        return ["--profile", self.workspace.profile] if self.workspace.config_file else []


class PipCli(DatabricksCli):
    """`databricks-cli` of requirements.txt, version 0.18: the Jobs API, notebooks, DBFS."""

    title = "databricks-cli 0.18 (Jobs API)"

    def clusters(self) -> list[Document]:
        return list(self.run("clusters", "list", "--output", "json").get("clusters", []))

    def cluster(self, cluster_id: str) -> Document:
        return dict(self.run("clusters", "get", "--cluster-id", cluster_id))

    def create_cluster(self, definition: Mapping[str, Any]) -> None:
        self.run("clusters", "create", "--json", json.dumps(definition))

    def start_cluster(self, cluster_id: str) -> None:
        self.run("clusters", "start", "--cluster-id", cluster_id)

    def create_job(self, settings: Mapping[str, Any]) -> int:
        """Creates a job; returns its id."""
        return int(self._jobs("create", "--json", json.dumps(settings))["job_id"])

    def reset_job(self, job_id: int, settings: Mapping[str, Any]) -> None:
        self._jobs("reset", "--job-id", str(job_id), "--json", json.dumps(settings))

    def run_now(self, job_id: int, params: Mapping[str, str]) -> int:
        given = ["--notebook-params", json.dumps(params)] if params else []
        return int(self._jobs("run-now", "--job-id", str(job_id), *given)["run_id"])

    def ended_runs(self, job_id: int) -> list[Document]:
        last = ("--completed-only", "--limit", "20", "--job-id", str(job_id))
        return list(self.run("runs", "list", API_VERSION, "--output", "json", *last).get("runs", []))

    def run_output(self, run_id: int) -> Document:
        return dict(self.run("runs", "get-output", API_VERSION, "--run-id", str(run_id)))

    def import_notebooks(self, source: Path, folder: str) -> None:
        """Puts the notebooks of a local folder into a folder of the workspace."""
        self.show("workspace", "import_dir", "--overwrite", "--exclude-hidden-files", str(source), folder)

    def delete_workspace_folder(self, path: str) -> None:
        self.show("workspace", "rm", "--recursive", path)

    def scopes(self) -> list[Document]:
        return list(self.run("secrets", "list-scopes", "--output", "json").get("scopes", []))

    def create_scope(self, scope: str) -> None:
        self.text("secrets", "create-scope", "--scope", scope)

    def secret_keys(self, scope: str) -> list[str]:
        found = self.run("secrets", "list", "--scope", scope, "--output", "json").get("secrets", [])
        return [secret["key"] for secret in found]

    def put_secret(self, scope: str, key: str, value: str) -> None:
        where = ("--scope", scope, "--key", key)
        self.text("secrets", "put", *where, "--binary-file", "/dev/stdin", stdin=value)

    def scope_permissions(self, scope: str) -> dict[str, str]:
        listed = self.run("secrets", "list-acls", "--scope", scope, "--output", "json").get("items", [])
        return {acl["principal"]: acl["permission"] for acl in listed}

    def let_read(self, scope: str, principal: str) -> None:
        self.text("secrets", "put-acl", "--scope", scope, "--principal", principal, "--permission", "READ")

    def environment(self) -> dict[str, str]:
        environment = _signed_in(self.workspace) | {"DATABRICKS_CLI_DO_NOT_EXECUTE_NEWER_VERSION": "1"}
        if self.workspace.has_port:
            # The program drops the port of the host; a proxy at that very port brings the calls there.
            environment["http_proxy"] = self.workspace.host
            environment.pop("no_proxy", None)
            environment.pop("NO_PROXY", None)
        return environment

    def _jobs(self, command: str, *arguments: str) -> Document:
        return dict(self.run("jobs", command, API_VERSION, *arguments))

    def _error_of(self, finished: subprocess.CompletedProcess[str]) -> str:
        return error_text(finished.stdout or finished.stderr)


class GoCli(DatabricksCli):
    """The Databricks CLI, version 1: bundles, workspace files, every kind of sign-in."""

    title = "the Databricks CLI (bundle)"

    def clusters(self) -> list[Document]:
        return list(self._json("clusters", "list") or [])

    def cluster(self, cluster_id: str) -> Document:
        return dict(self._json("clusters", "get", cluster_id))

    def create_cluster(self, definition: Mapping[str, Any]) -> None:
        self.text("clusters", "create", "--no-wait", "--json", json.dumps(definition))

    def start_cluster(self, cluster_id: str) -> None:
        self.text("clusters", "start", cluster_id, "--no-wait")

    def reset_job(self, job_id: int, settings: Mapping[str, Any]) -> None:
        self.text("jobs", "reset", "--json", json.dumps({"job_id": job_id, "new_settings": settings}))

    def run_now(self, job_id: int, params: Mapping[str, str]) -> int:
        wanted = {"job_id": job_id} | ({"notebook_params": params} if params else {})
        return int(self._json("jobs", "run-now", "--no-wait", "--json", json.dumps(wanted))["run_id"])

    def ended_runs(self, job_id: int) -> list[Document]:
        last = ("--completed-only", "--limit", "20", "--job-id", str(job_id))
        return list(self._json("jobs", "list-runs", *last) or [])

    def run_output(self, run_id: int) -> Document:
        return dict(self._json("jobs", "get-run-output", str(run_id)))

    def delete_workspace_folder(self, path: str) -> None:
        self.show("workspace", "delete", "--recursive", path)

    def scopes(self) -> list[Document]:
        return list(self._json("secrets", "list-scopes") or [])

    def create_scope(self, scope: str) -> None:
        self.text("secrets", "create-scope", scope)

    def secret_keys(self, scope: str) -> list[str]:
        return [secret["key"] for secret in self._json("secrets", "list-secrets", scope) or []]

    def put_secret(self, scope: str, key: str, value: str) -> None:
        self.text("secrets", "put-secret", scope, key, stdin=value)

    def scope_permissions(self, scope: str) -> dict[str, str]:
        listed = self._json("secrets", "list-acls", scope) or []
        return {acl["principal"]: acl["permission"] for acl in listed}

    def let_read(self, scope: str, principal: str) -> None:
        self.text("secrets", "put-acl", scope, principal, "READ")

    def bundle(self, command: str, target: str, folder: Path) -> None:
        """Runs `databricks bundle` for a target of the databricks.yml in `folder`; what it says is shown."""
        arguments = [*self._sign_in(), "bundle", command, "--target", target]
        print("databricks", *arguments, flush=True)
        finished = subprocess.run(
            [self.program, *arguments],
            cwd=folder,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            check=False,
        )
        if finished.returncode != 0:
            raise CliError(f"`databricks bundle {command}` ended with {finished.returncode}; see above")

    def environment(self) -> dict[str, str]:
        return _signed_in(self.workspace)

    def _json(self, *arguments: str) -> Any:
        return self.run(*arguments, "--output", "json")

    def _error_of(self, finished: subprocess.CompletedProcess[str]) -> str:
        return finished.stderr.strip().removeprefix("Error: ")


def open_cli(workspace: Workspace, wanted: str = "") -> DatabricksCli:
    """The program `wanted`; without one the Databricks CLI where the PATH has it, else PipCli's."""
    if wanted:
        program = shutil.which(wanted)
        if program is None:
            raise CliError(f"DATABRICKS_CLI names no program: {wanted}")
        return GoCli(workspace, program) if _is_go(program) else PipCli(workspace, program)
    found = _go_program()
    return GoCli(workspace, found) if found else PipCli(workspace)


def error_text(output: str) -> str:
    """The message in what a failed databricks-cli printed, as `CODE: message` when it is a reply."""
    found = re.search(r"^Error: (.*)", output.strip(), re.DOTALL | re.MULTILINE)
    text = found[1] if found else output.strip()
    if text.startswith(("b'", 'b"')):
        text = ast.literal_eval(text).decode()  # it prints the bytes of the reply
    try:
        reply = json.loads(text)
        return f"{reply['error_code']}: {reply['message']}"
    except (ValueError, TypeError, KeyError):
        return text


def _go_program() -> str | None:
    for folder in os.get_exec_path():
        program = shutil.which("databricks", path=folder)
        if program and Path(program).resolve().parent != OWN_PROGRAM.resolve().parent and _is_go(program):
            return program
    return None


def _is_go(program: str) -> bool:
    # The other one takes half a second to say so, and is a script that begins with #!.
    with Path(program).open("rb") as file:
        if file.read(2) == b"#!":
            return False
    said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
    return said.stdout.startswith("Databricks CLI v")


def _signed_in(workspace: Workspace) -> dict[str, str]:
    """This process's environment, in which the program finds the workspace and no other one."""
    environment = {name: value for name, value in os.environ.items() if name not in ELSEWHERE}
    # A service principal in the environment would be one way too many to sign in.
    environment["DATABRICKS_AUTH_TYPE"] = "pat"
    if workspace.config_file:
        return environment | {"DATABRICKS_CONFIG_FILE": str(workspace.config_file)}
    return environment | {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": workspace.token}
