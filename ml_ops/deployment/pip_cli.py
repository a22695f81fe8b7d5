"""databricks-cli 0.18, which knows no bundles: sends the jobs to the Jobs API and the code file by file."""

import ast
import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployment.databricks_cli import DatabricksCli, Document, is_script
from deployment.errors import CliError
from deployment.gaps import LOOK_FIRST, PAUSES, Refusal
from deployment.job_access import describe, ensure_permissions
from deployment.jobs import find_job
from deployment.targets import Target
from deployment.uploads import find_uploads
from deployment.wheels import NOTEBOOKS

# The program of requirements.txt, beside the Python that runs this.
OWN_PROGRAM = Path(sys.executable).with_name("databricks")
TOLD = "databricks-reply "
API_VERSION = "--version=2.1"
# In it the program finds what lets it say how a call was answered; it starts no other Python.
TELLS = Path(__file__).with_name("told_by_pip_cli")
# What ends the same however often it is done. Nothing else is given a second time: a create or a run-now
# without an answer may have taken effect.
REPEATED = {
    "clusters": ("get", "list"),
    "fs": ("cp", "mkdirs"),
    "jobs": ("reset",),
    "runs": ("get-output", "list"),
    "secrets": ("list", "list-acls", "list-scopes", "put", "put-acl"),
    "workspace": ("import_dir", "mkdirs", "rm"),
}


class PipCli(DatabricksCli):
    """`databricks-cli` of requirements.txt, version 0.18: the Jobs API, notebooks, DBFS."""

    title = "databricks-cli 0.18 (Jobs API)"
    notebooks_alone = True

    @classmethod
    def find(cls) -> str:
        return str(OWN_PROGRAM)

    @classmethod
    def recognizes(cls, program: str) -> bool:
        return is_script(program)

    def deploy_code(self, target: Target) -> None:
        """Puts notebooks and wheels where a bundle would put them."""
        target.jobs()  # says of a job without its notebook, before anything is there
        folder = f"{target.deployments_folder}/{target.text('version')}"
        notebooks = f"{folder}/{NOTEBOOKS}"
        for path in (notebooks, target.text("wheel_dir").removeprefix("/Workspace")):
            self.make_folder(path)
        # First, because only of files the workspace says when they came.
        for upload in find_uploads(target, notebooks_alone=True):
            if upload.file.suffix == ".whl":
                self.upload(upload, folder)
        self.import_notebooks(target.root / NOTEBOOKS, notebooks)

    def deploy_jobs(self, target: Target) -> None:
        jobs = target.jobs().values()
        permissions = [settings.pop("permissions", []) for settings in jobs]
        ids = [self.deploy_job(settings) for settings in jobs]
        for job_id, entries in zip(ids, permissions, strict=True):
            if ensure_permissions(self.workspace, job_id, entries):
                print(f"Job {job_id} has its permissions now: {describe(entries)}", flush=True)

    def bundle_state(self, target: Target) -> str:
        return ""

    def is_bound(self, target: Target, job_id: int) -> bool:
        return False

    def keep_variables(self, target: Target) -> None:
        """Nowhere: no command of this program reads databricks.yml."""

    def deploy_job(self, settings: Mapping[str, Any]) -> int:
        """Creates the job, or resets the one that has its name; returns its id."""
        name = settings["name"]
        existing = find_job(self, name)
        if existing is None:
            job_id, done = self.create_job(settings), "created"
        else:
            job_id, done = int(existing["job_id"]), "updated"
            self.reset_job(job_id, settings)
        print(f"Job '{name}' ({job_id}) is {done}", flush=True)
        return job_id

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
        try:
            self.show("workspace", "rm", "--recursive", path)
        except CliError:  # also when it was given again, and the first time had been enough
            if self.workspace.find("/api/2.0/workspace/get-status", path=path):
                raise

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
        environment = super().environment() | {"DATABRICKS_CLI_DO_NOT_EXECUTE_NEWER_VERSION": "1"}
        environment["PYTHONPATH"] = os.pathsep.join(filter(None, (str(TELLS), environment.get("PYTHONPATH"))))
        if self.workspace.has_port:
            if self.workspace.host.startswith("https:"):
                raise CliError(
                    f"databricks-cli would drop the port of {self.workspace.host} and send the token to "
                    "another one; use the Databricks CLI there"
                )
            environment |= self._past_the_port()
        return environment

    def needed_variables(self) -> dict[str, str]:
        return super().needed_variables() | (self._past_the_port() if self.workspace.has_port else {})

    def _past_the_port(self) -> dict[str, str]:
        """The program drops the port of the host; a proxy at that very port brings the calls there."""
        unset = dict.fromkeys((name for name in ("no_proxy", "NO_PROXY") if os.environ.get(name)), "")
        return {"http_proxy": self.workspace.host} | unset

    def _run(self, arguments: Sequence[str], stdin: str | None) -> subprocess.CompletedProcess[str]:
        """Runs one command, again for a while where it ran into a gap and may be repeated."""
        repeats = arguments[1] in REPEATED.get(arguments[0], ())
        command = " ".join(arguments[:2])
        for pause in (*PAUSES, None):
            finished = super()._run(arguments, stdin)
            refusal = find_refusal(finished.stderr) if finished.returncode else None
            if refusal is None or not refusal.is_gap or not repeats or pause is None:
                break
            seconds = refusal.seconds_until_again(pause)
            print(f"`databricks {command}`: {refusal}; it is given again in {seconds:g} s", flush=True)
            time.sleep(seconds)
        return finished

    def _jobs(self, command: str, *arguments: str) -> Document:
        return dict(self.run("jobs", command, API_VERSION, *arguments))

    def _error_of(self, arguments: Sequence[str], finished: subprocess.CompletedProcess[str]) -> str:
        refusal = find_refusal(finished.stderr)
        if refusal is None or not refusal.is_gap:
            lines = finished.stderr.splitlines(keepends=True)
            return error_text(finished.stdout or "".join(each for each in lines if not each.startswith(TOLD)))
        if arguments[1] in REPEATED.get(arguments[0], ()):
            return f"{refusal}, also when it was given again; try it later"
        return f"{refusal}. {LOOK_FIRST}"


def find_refusal(told: str) -> Refusal | None:
    """The last call that was refused or not answered, in what the program told on its standard error."""
    lines = [line for line in told.splitlines() if line.startswith(TOLD)]
    return Refusal(**json.loads(lines[-1].removeprefix(TOLD))) if lines else None


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
