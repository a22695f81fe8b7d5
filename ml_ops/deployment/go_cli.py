"""The Databricks CLI: reads databricks.yml as a bundle and deploys that."""

import json
import os
import shutil
import subprocess
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

from deployment.databricks_cli import DatabricksCli, Document, is_script
from deployment.errors import CliError
from deployment.targets import Target


class GoCli(DatabricksCli):
    """The Databricks CLI, version 1: bundles, workspace files, every kind of sign-in."""

    title = "the Databricks CLI (bundle)"
    notebooks_alone = False

    @classmethod
    def find(cls) -> str | None:
        for folder in os.get_exec_path():
            program = shutil.which("databricks", path=folder)
            if program and cls.recognizes(program):
                return program
        return None

    @classmethod
    def recognizes(cls, program: str) -> bool:
        if is_script(program):  # databricks-cli, which takes half a second to say what it is
            return False
        said = subprocess.run([program, "--version"], capture_output=True, text=True, check=False)
        return said.stdout.startswith("Databricks CLI v")

    def deploy_code(self, target: Target) -> None:
        self._bundle("sync", target)

    def deploy_jobs(self, target: Target) -> None:
        self._bundle("deploy", target)

    def bundle_state(self, target: Target) -> str:
        return f"{target.text('root_path')}/state/metadata.json"

    def is_bound(self, target: Target, job_id: int) -> bool:
        finished = self._call_bundle("summary", target, "--output", "json", stdout=subprocess.PIPE)
        jobs = json.loads(finished.stdout)["resources"]["jobs"].values()
        return str(job_id) in [str(job.get("id")) for job in jobs]

    def keep_variables(self, target: Target) -> None:
        write_overrides(target.root, target.name, target.given)

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

    def _bundle(self, command: str, target: Target) -> None:
        """Runs `databricks bundle` for the target; what it says is shown."""
        print(self.typed("bundle", command, "--target", target.name), flush=True)
        self._call_bundle(command, target)

    def _call_bundle(
        self, command: str, target: Target, *more: str, stdout: int | None = None
    ) -> subprocess.CompletedProcess[bytes]:
        self.keep_variables(target)
        finished = subprocess.run(
            [self.program, *self._sign_in(), "bundle", command, "--target", target.name, *more],
            cwd=target.root,
            env=self.environment(),
            stdin=subprocess.DEVNULL,
            stdout=stdout,
            check=False,
        )
        if finished.returncode != 0:
            raise CliError(f"`databricks bundle {command}` ended with {finished.returncode}; see above")
        return finished

    def _json(self, *arguments: str) -> Any:
        return self.run(*arguments, "--output", "json")

    def _error_of(self, _: Sequence[str], finished: subprocess.CompletedProcess[str]) -> str:
        return finished.stderr.strip().removeprefix("Error: ")


def write_overrides(root: Path, target: str, variables: Mapping[str, Any]) -> None:
    """Keeps values where every `databricks bundle` command of this target finds them."""
    file = root / ".databricks" / "bundle" / target / "variable-overrides.json"
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(json.dumps(dict(variables), indent=2) + "\n")
