"""What people do with the Go program `databricks`, as functions over the program itself."""

import json
import os
import subprocess
import zipfile
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest

HEADER = "# Databricks notebook source\n"
SPARK_VERSION = "18.0.x-cpu-ml-scala2.13"


@dataclass
class GoCli:
    """The program, signed in to one workspace, at home and at work in folders of its own."""

    program: str
    host: str
    home: Path
    folder: Path

    def __call__(self, *arguments: str, ok: bool = True, stdin: str = "") -> str:
        """What the program prints, errors included; `ok` says whether it has to succeed."""
        done = self._run(arguments, ok, stdin)
        return done.stdout + done.stderr

    def json(self, *arguments: str) -> Any:
        """What the program prints with `--output json`."""
        return json.loads(self._run((*arguments, "--output", "json")).stdout)

    def _run(
        self, arguments: tuple[str, ...], ok: bool = True, stdin: str = ""
    ) -> subprocess.CompletedProcess[str]:
        foreign = ("DATABRICKS_", "HTTP_PROXY", "HTTPS_PROXY", "BUNDLE_")
        environment = {k: v for k, v in os.environ.items() if not k.upper().startswith(foreign)}
        environment |= {"DATABRICKS_HOST": self.host, "DATABRICKS_TOKEN": "x", "HOME": str(self.home)}
        done = subprocess.run(
            [self.program, *arguments],
            cwd=self.folder,
            env=environment,
            input=stdin,
            capture_output=True,
            text=True,
            timeout=120,
            check=False,
        )
        if (done.returncode == 0) != ok:
            pytest.fail(f"databricks {arguments} exited {done.returncode}: {done.stdout}{done.stderr}")
        return done

    def write(self, name: str, content: str) -> str:
        """A file in the program's folder."""
        file = self.folder / name
        file.parent.mkdir(parents=True, exist_ok=True)
        file.write_text(content)
        return name

    def make_cluster(self, name: str) -> str:
        """The id of a new cluster."""
        settings = {"cluster_name": name, "spark_version": SPARK_VERSION, "num_workers": 0}
        return str(self.json("clusters", "create", "--json", json.dumps(settings))["cluster_id"])

    def make_wheel(self, name: str) -> None:
        """A wheel without code, the same bytes each time."""
        info = "sample_lib-1.0.dist-info"
        members = {
            "sample_lib.py": "",
            f"{info}/METADATA": "Metadata-Version: 2.1\nName: sample_lib\nVersion: 1.0\n",
            f"{info}/WHEEL": "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
            f"{info}/RECORD": "",
        }
        self.write(name, "")
        with zipfile.ZipFile(self.folder / name, "w") as wheel:
            for member, content in members.items():
                wheel.writestr(zipfile.ZipInfo(member), content)


def workspace(cli: GoCli) -> None:
    """Sign in; import, list, export and delete notebooks and files."""
    cli.write("source/train.py", HEADER + "print('train')\n")
    cli.write("source/deep/module.py", "x = 1\n")
    assert cli.json("current-user", "me")["userName"] == "local.user@localhost"
    cli("workspace", "mkdirs", "/Shared/go")
    one = ("workspace", "import", "/Shared/go/one", "--file", "source/train.py", "--language", "PYTHON")
    cli(*one)
    assert "already exists" in cli(*one, ok=False)
    cli(*one, "--overwrite")
    for more in ((), ("--overwrite",)):
        cli("workspace", "import-dir", "source", "/Shared/go/dir", *more)
    listed = cli.json("workspace", "list", "/Shared/go/dir")
    assert [(entry["path"], entry["object_type"]) for entry in listed] == [
        ("/Shared/go/dir/deep", "DIRECTORY"),
        ("/Shared/go/dir/train", "NOTEBOOK"),
    ]
    assert cli("workspace", "export", "/Shared/go/one") == HEADER + "print('train')\n"
    cli("workspace", "export-dir", "/Shared/go/dir", "back")
    assert (cli.folder / "back/train.py").read_text() == HEADER + "print('train')\n"
    assert (cli.folder / "back/deep/module.py").read_text() == "x = 1\n"
    assert cli.json("workspace", "get-status", "/Shared/go/one")["language"] == "PYTHON"
    assert "doesn't exist" in cli("workspace", "get-status", "/Shared/go/none", ok=False)
    assert "not empty" in cli("workspace", "delete", "/Shared/go", ok=False)
    cli("workspace", "delete", "/Shared/go", "--recursive")


def dbfs(cli: GoCli) -> None:
    """Copy to the workspace's own file system and back."""
    _copy_files(cli, "dbfs:/go")


def volumes(cli: GoCli) -> None:
    """Copy to a volume and back."""
    _copy_files(cli, "dbfs:/Volumes/main/go/files")


def _copy_files(cli: GoCli, root: str) -> None:
    cli.write("data/a.csv", "ID\n1\n")
    cli.write("data/deep/b.csv", "ID\n2\n")
    cli("fs", "mkdirs", f"{root}/one")
    cli("fs", "cp", "data/a.csv", f"{root}/one/a.csv")
    assert "skipped" in cli("fs", "cp", "data/a.csv", f"{root}/one/a.csv")
    cli("fs", "cp", "--overwrite", "data/a.csv", f"{root}/one/a.csv")
    cli("fs", "cp", "--recursive", "data", f"{root}/all")
    cli("fs", "cp", "--recursive", "--overwrite", "data", f"{root}/all")
    assert cli("fs", "ls", root).split() == ["all", "one"]
    sizes = {entry["name"]: entry["size"] for entry in cli.json("fs", "ls", "--long", f"{root}/all")}
    assert sizes == {"a.csv": 5, "deep": 0}
    assert cli("fs", "cat", f"{root}/one/a.csv") == "ID\n1\n"
    cli("fs", "cp", "--recursive", f"{root}/all", "back")
    assert (cli.folder / "back/deep/b.csv").read_text() == "ID\n2\n"
    cli("fs", "cp", f"{root}/one/a.csv", f"{root}/one/copy.csv")
    assert "not empty" in cli("fs", "rm", root, ok=False)
    cli("fs", "rm", "--recursive", root)
    assert "no such directory" in cli("fs", "ls", root, ok=False)


def clusters(cli: GoCli) -> None:
    """Make, stop, start, restart, change and remove a cluster."""
    cluster_id = cli.make_cluster("go")
    assert cluster_id in [cluster["cluster_id"] for cluster in cli.json("clusters", "list")]
    assert "unexpected state Running" in cli("clusters", "start", cluster_id, ok=False)
    assert cli.json("clusters", "delete", cluster_id)["state"] == "TERMINATED"
    assert cli.json("clusters", "start", cluster_id)["state"] == "RUNNING"
    assert cli.json("clusters", "restart", cluster_id)["state"] == "RUNNING"
    change = {"cluster_id": cluster_id, "cluster_name": "changed", "spark_version": SPARK_VERSION}
    cli("clusters", "edit", "--json", json.dumps(change | {"num_workers": 0}))
    assert cli.json("clusters", "get", cluster_id)["cluster_name"] == "changed"
    cli("clusters", "permanent-delete", cluster_id)
    assert "does not exist" in cli("clusters", "get", cluster_id, ok=False)


def secrets(cli: GoCli) -> None:
    """Keep a secret and let it go again."""
    cli("secrets", "create-scope", "go")
    assert "already exists" in cli("secrets", "create-scope", "go", ok=False)
    cli("secrets", "put-secret", "go", "key", stdin="hidden")
    cli("secrets", "put-secret", "go", "other", "--string-value", "value")
    assert "go" in [scope["name"] for scope in cli.json("secrets", "list-scopes")]
    assert [secret["key"] for secret in cli.json("secrets", "list-secrets", "go")] == ["key", "other"]
    assert cli.json("secrets", "get-secret", "go", "key")["value"] == "aGlkZGVu"
    cli("secrets", "put-acl", "go", "users", "READ")
    assert {"principal": "users", "permission": "READ"} in cli.json("secrets", "list-acls", "go")
    vault = {
        "resource_id": "/subscriptions/1/resourceGroups/ml/providers/Microsoft.KeyVault/vaults/ours",
        "dns_name": "https://ours.vault.azure.net/",
    }
    backed = {"scope": "go_backed", "scope_backend_type": "AZURE_KEYVAULT", "backend_azure_keyvault": vault}
    cli("secrets", "create-scope", "--json", json.dumps(backed))
    listed = {scope["name"]: scope for scope in cli.json("secrets", "list-scopes")}
    assert listed["go_backed"]["keyvault_metadata"] == vault
    cli("secrets", "delete-scope", "go_backed")
    cli("secrets", "delete-secret", "go", "key")
    assert "No secret" in cli("secrets", "delete-secret", "go", "key", ok=False)
    cli("secrets", "delete-scope", "go")
    assert "does not exist" in cli("secrets", "list-secrets", "go", ok=False)


def jobs(cli: GoCli) -> None:
    """Create, change, run, cancel and delete a job."""
    cluster_id = cli.make_cluster("go-jobs")
    cli.write("job.py", HEADER)
    cli("workspace", "import", "/Shared/go_job", "--file", "job.py", "--language", "PYTHON")
    task = {"task_key": "main", "existing_cluster_id": cluster_id}
    task["notebook_task"] = {"notebook_path": "/Shared/go_job", "base_parameters": {"alpha": "1"}}
    settings = {"name": "go job", "tasks": [task]}
    job_id = str(cli.json("jobs", "create", "--json", json.dumps(settings))["job_id"])

    reset = {"job_id": int(job_id), "new_settings": settings | {"timeout_seconds": 100}}
    cli("jobs", "reset", "--json", json.dumps(reset))
    cli("jobs", "update", "--json", json.dumps({"job_id": int(job_id), "new_settings": {"tags": {"a": "b"}}}))
    kept = cli.json("jobs", "get", job_id)["settings"]
    assert (kept["timeout_seconds"], kept["tags"]) == (100, {"a": "b"})
    assert job_id in [str(job["job_id"]) for job in cli.json("jobs", "list", "--name", "go job")]

    done = cli.json("jobs", "run-now", job_id)
    assert done["state"]["result_state"] == "SUCCESS"
    run_id = str(done["run_id"])
    assert cli.json("jobs", "get-run", run_id)["run_id"] == done["run_id"]
    assert cli.json("jobs", "get-run-output", run_id)["notebook_output"]["result"] == '{"alpha": "1"}'
    slow = {"job_id": int(job_id), "notebook_params": {"do": "sleep"}}
    slow_id = str(cli.json("jobs", "run-now", "--no-wait", "--json", json.dumps(slow))["run_id"])
    cli("jobs", "cancel-run", slow_id)
    cancelled = cli.json("jobs", "get-run", slow_id)
    assert cancelled["state"]["result_state"] == "CANCELED"
    assert len(cli.json("jobs", "list-runs", "--job-id", job_id)) == 2
    failing = task | {"notebook_task": {"notebook_path": "/Shared/go_job", "base_parameters": {"do": "fail"}}}
    assert "FAILED" in cli("jobs", "submit", "--json", json.dumps({"run_name": "once", "tasks": [failing]}))

    cli("jobs", "delete-run", run_id)
    cli("jobs", "delete", job_id)
    assert "does not exist" in cli("jobs", "get", job_id, ok=False)
    cli("workspace", "delete", "/Shared/go_job")
    cli("clusters", "permanent-delete", cluster_id)


BUNDLE = """
bundle: {name: NAME}
include: [resources/*.yml]
variables:
  cluster_id: {lookup: {cluster: NAME}}
  alpha: {default: "2"}
targets:
  dev: {mode: development, default: true}
  prod:
    mode: production
    workspace: {root_path: "/Workspace/Shared/.bundle/${bundle.name}/${bundle.target}"}
    permissions: [{level: CAN_MANAGE, group_name: users}]
"""
TRAIN = """
resources:
  jobs:
    train:
      name: train
      permissions: [{level: CAN_VIEW, group_name: users}]
      tasks:
        - task_key: main
          existing_cluster_id: ${var.cluster_id}
          notebook_task:
            notebook_path: ../src/train.py
            base_parameters: {alpha: "${var.alpha}"}
          libraries: [{whl: ../dist/*.whl}]
"""
SCORE = """
resources:
  jobs:
    score:
      name: score
      parameters: [{name: beta, default: "5"}]
      schedule: {quartz_cron_expression: "0 0 3 * * ?", timezone_id: UTC, pause_status: PAUSED}
      tasks:
        - task_key: first
          existing_cluster_id: ${var.cluster_id}
          notebook_task: {notebook_path: ../src/train.py}
        - task_key: second
          depends_on: [{task_key: first}]
          existing_cluster_id: ${var.cluster_id}
          notebook_task: {notebook_path: ../src/train.py}
"""


def _start_bundle(cli: GoCli, name: str) -> str:
    cli.write("databricks.yml", BUNDLE.replace("NAME", name))
    cli.write("resources/train.yml", TRAIN)
    cli.write("src/train.py", HEADER)
    cli.make_wheel("dist/sample_lib-1.0-py3-none-any.whl")
    return cli.make_cluster(name)


def bundle(cli: GoCli) -> None:
    """Deploy a bundle, run its job, change it, and take everything away again."""
    cluster_id = _start_bundle(cli, "go_alone")
    assert "Validation OK!" in cli("bundle", "validate")
    assert "2 created" in cli("bundle", "deploy")
    assert "0 created, 0 changed, 0 deleted, 2 unchanged" in cli("bundle", "deploy")
    assert "] train" in cli("bundle", "summary")
    assert '{"alpha": "2"}' in cli("bundle", "run", "train")
    assert "1 changed" in cli("bundle", "deploy", "--var", "alpha=3")
    assert '{"alpha": "3"}' in cli("bundle", "run", "train")
    assert "Destroy: 1 deleted" in cli("bundle", "destroy", "--auto-approve")
    cli("clusters", "permanent-delete", cluster_id)


def bundle_of_a_team(cli: GoCli) -> None:
    """A shared target: permissions on its folder, several tasks, a job deleted by hand, a job taken out."""
    cluster_id = _start_bundle(cli, "go_team")
    cli.write("resources/score.yml", SCORE)
    target = ("--target", "prod")
    assert "4 created" in cli("bundle", "deploy", *target)
    assert '{"beta": "6"}' in cli("bundle", "run", "score", *target, "--params", "beta=6")
    assert "run failed" in cli("bundle", "run", "train", *target, "--", "--do", "fail", ok=False)
    jobs_by_name = {job["settings"]["name"]: str(job["job_id"]) for job in cli.json("jobs", "list")}
    cli("jobs", "delete", jobs_by_name["score"])
    assert "2 created, 0 changed" in cli("bundle", "deploy", *target)
    (cli.folder / "resources/score.yml").unlink()
    assert "Deleted jobs.score" in cli("bundle", "deploy", *target, "--auto-approve")
    cli("bundle", "destroy", *target, "--auto-approve")
    cli("clusters", "permanent-delete", cluster_id)


def bundle_lock(cli: GoCli) -> None:
    """A deployment that another one has locked."""
    cluster_id = _start_bundle(cli, "go_locked")
    target = ("--target", "prod")
    cli("bundle", "deploy", *target)
    state = cli.json("bundle", "summary", *target)["workspace"]["state_path"]
    held = {
        "ID": "00000000-0000-0000-0000-000000000001",
        "AcquisitionTime": "2026-01-01T00:00:00Z",
        "IsForced": False,
        "User": "somebody else",
    }
    cli.write("lock", json.dumps(held))
    cli("workspace", "import", f"{state}/deploy.lock", "--file", "lock", "--format", "RAW")
    assert "somebody else" in cli("bundle", "deploy", *target, ok=False)
    cli("bundle", "deploy", *target, "--force-lock")
    cli("bundle", "destroy", *target, "--auto-approve")
    cli("clusters", "permanent-delete", cluster_id)


FLOWS: dict[str, Callable[[GoCli], None]] = {
    flow.__name__: flow
    for flow in (workspace, dbfs, volumes, clusters, secrets, jobs, bundle, bundle_of_a_team, bundle_lock)
}
