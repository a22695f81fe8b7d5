"""Deploys and runs what the bundles in a folder define on a local workspace; prints what came of each.

It downloads no project. The `host:` of a project gives way to the workspace in a copy; nothing else changes.
"""

import argparse
import json
import os
import re
import shutil
import subprocess
import sys
import tempfile
import time
from collections import Counter
from collections.abc import Iterator, Mapping
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import yaml
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import RunResultState
from databricks.sdk.service.sql import StatementState
from local_workspace.spark.cluster import free_port
from local_workspace.spark.sql_text import statements

CLI = "Databricks CLI v"
RAN, DEPLOYED, REFUSED, FAILED = "ran", "deployed", "not deployed", "failed"
# What a project's own address of a workspace looks like, where it is no comment.
_HOST = re.compile(r"^([ \t]*)(host|profile):[ \t]+\S.*$", re.MULTILINE)
_FOREIGN = ("DATABRICKS_", "BUNDLE_", "MLFLOW_", "SPARK_", "VIRTUAL_ENV", "MAKE", "MFLAGS")
_NOISE = re.compile(r"\x1b\[[0-9;]*m|^(Warning|Recommendation|Uploading|Building|Deploying|Updating)\b.*")


@dataclass(frozen=True)
class Row:
    """What came of one resource of a project."""

    project: str
    resource: str
    came_to: str
    why: str = ""

    def __str__(self) -> str:
        why = self.why.replace("|", "\\|")
        return f"| {self.project} | {self.resource} | {self.came_to} | {why} |"


@dataclass
class Bundle:
    """A bundle in its copy, and the program `databricks` that is signed in to the workspace."""

    name: str
    folder: Path
    program: str
    environment: Mapping[str, str]
    limit: float

    def prepare(self) -> str:
        """Install what a bundle with resources in Python runs them with; returns why that cannot be done."""
        settings = yaml.safe_load((self.folder / "databricks.yml").read_text())
        python = settings.get("python") or settings.get("experimental", {}).get("python")
        if not python or (self.folder / python.get("venv_path", ".venv")).exists():
            return ""
        done = self._run(["uv", "sync", "--no-install-project"])
        return "" if done.returncode == 0 else _reason(done)

    @cached_property
    def resources(self) -> dict[str, dict[str, Any]]:
        """The definitions of the default target, by kind and key; raises RuntimeError with the reason."""
        done = self("validate", "--output", "json")
        if done.returncode:
            raise RuntimeError(_reason(done))
        return dict(json.loads(done.stdout).get("resources") or {})

    def __call__(self, *arguments: str) -> subprocess.CompletedProcess[str]:
        """Run `databricks bundle`."""
        return self._run([self.program, "bundle", *arguments])

    def _run(self, command: list[str]) -> subprocess.CompletedProcess[str]:
        try:
            return subprocess.run(
                command,
                cwd=self.folder,
                env=dict(self.environment),
                stdin=subprocess.DEVNULL,
                capture_output=True,
                text=True,
                timeout=self.limit,
                check=False,
            )
        except subprocess.TimeoutExpired:
            return subprocess.CompletedProcess(command, 124, "", f"no end after {self.limit:.0f} seconds")
        except FileNotFoundError:
            return subprocess.CompletedProcess(command, 127, "", f"the PATH has no {command[0]}")


def try_bundle(bundle: Bundle, client: WorkspaceClient) -> Iterator[Row]:
    """Deploy a bundle, run each of its jobs, and take it away again."""
    why = bundle.prepare()
    try:
        found = bundle.resources if not why else {}
    except RuntimeError as error:
        why = str(error)
    if why:
        yield Row(bundle.name, "the bundle", REFUSED, why)
        return
    names = [(kind, key) for kind, those in sorted(found.items()) for key in those]
    deployed = bundle("deploy", "--auto-approve")
    if deployed.returncode:
        yield Row(bundle.name, ", ".join(f"{kind}.{key}" for kind, key in names), REFUSED, _reason(deployed))
    else:
        for kind, key in names:
            if kind == "pipelines":
                yield _run_pipeline(bundle, key)
            elif kind != "jobs":
                yield Row(bundle.name, f"{kind}.{key}", DEPLOYED)
        yield from _run_jobs(bundle, client)
    bundle("destroy", "--auto-approve")


def _run_jobs(bundle: Bundle, client: WorkspaceClient) -> Iterator[Row]:
    """Run each job; one that failed once more when others have run, whose results it may need."""
    ends = {key: _run_job(bundle, key, client) for key in sorted(bundle.resources.get("jobs", {}))}
    some_ran = any(row.came_to == RAN for row in ends.values())
    for key, row in ends.items():
        yield _run_job(bundle, key, client) if row.came_to != RAN and some_ran else row


def _run_pipeline(bundle: Bundle, key: str) -> Row:
    done = bundle("run", key)
    return Row(
        bundle.name,
        f"pipelines.{key}",
        FAILED if done.returncode else RAN,
        _reason(done) if done.returncode else "",
    )


def _run_job(bundle: Bundle, key: str, client: WorkspaceClient) -> Row:
    started = bundle("run", key, "--no-wait")
    found = re.search(r"/runs?/(\d+)", started.stdout + started.stderr)
    if started.returncode or not found:
        return Row(bundle.name, f"jobs.{key}", FAILED, _reason(started))
    run_id, end = int(found[1]), time.monotonic() + bundle.limit
    while time.monotonic() < end:
        run = client.jobs.get_run(run_id)
        if run.state and run.state.result_state:
            break
        time.sleep(0.5)
    else:
        client.jobs.cancel_run(run_id)
        return Row(bundle.name, f"jobs.{key}", FAILED, f"no end after {bundle.limit:.0f} seconds")
    if run.state.result_state is RunResultState.SUCCESS:
        return Row(bundle.name, f"jobs.{key}", RAN)
    return Row(bundle.name, f"jobs.{key}", FAILED, _why_failed(client, run))


def _why_failed(client: WorkspaceClient, run: Any) -> str:
    """The error of the first task that failed by itself, in one line."""
    for task in run.tasks or []:
        if task.state and task.state.result_state is RunResultState.FAILED:
            error = client.jobs.get_run_output(task.run_id).error or task.state.state_message or ""
            return f"{task.task_key}: {_one_line(error)}"
    return _one_line(run.state.state_message or "")


def _reason(done: subprocess.CompletedProcess[str]) -> str:
    """The line of a program's output that says what is wrong."""
    lines = [_NOISE.sub("", line).strip() for line in (done.stderr + done.stdout).splitlines()]
    errors = [line for line in lines if line.lower().startswith("error")] or [line for line in lines if line]
    return _one_line(errors[0] if errors else f"exit code {done.returncode}")


def _one_line(text: str) -> str:
    text = " ".join("".join(letter for letter in text if letter.isprintable() or letter.isspace()).split())
    return text if len(text) <= 200 else text[:199] + "…"


def find_bundles(projects: Path) -> list[Path]:
    """The folders with a `databricks.yml` that is no template, relative to `projects`."""
    found = [file.parent.relative_to(projects) for file in projects.rglob("databricks.yml")]
    return sorted(folder for folder in found if "{{" not in str(folder) and ".git" not in folder.parts)


def copy_projects(projects: Path, to: Path, host: str) -> None:
    """Copy the checkouts, and put the workspace's address where a bundle names one of its own."""
    shutil.copytree(projects, to, ignore=shutil.ignore_patterns(".git", ".venv", ".databricks"))
    for folder in find_bundles(to):
        for file in (to / folder).glob("*.yml"):
            text = file.read_text()
            file.write_text(_HOST.sub(rf"\1host: {host}", text))


def run_sql(client: WorkspaceClient, text: str) -> None:
    """Run statements on the workspace before anything is deployed; ends the program where one fails."""
    warehouse = next(iter(client.warehouses.list())).id
    for statement in statements(text):
        done = client.statement_execution.execute_statement(statement, warehouse, wait_timeout="50s")
        if done.status is None or done.status.state is not StatementState.SUCCEEDED:
            sys.exit(f"{statement}: {done.status and done.status.error}")


@contextmanager
def open_workspace(folder: Path) -> Iterator[tuple[str, str]]:
    """Start a local workspace with its state in a folder; gives its address and the administrator's token."""
    command = [sys.executable, "-m", "local_workspace", "--state", str(folder)]
    try:
        subprocess.run([*command, "--port", str(free_port()), "start"], check=True, stdout=sys.stderr)
        sign_in = ConfigParser(interpolation=None)
        sign_in.read(folder / "databrickscfg")
        yield sign_in["local"]["host"], sign_in["local"]["token"]
    finally:
        subprocess.run([*command, "stop"], check=True, stdout=sys.stderr)


def find_program() -> str:
    """The Databricks CLI that deploys bundles; ends the program where this machine has none."""
    named = os.environ.get("DATABRICKS_GO_CLI") or "databricks"
    found = shutil.which(named)
    if found:
        said = subprocess.run([found, "--version"], capture_output=True, text=True, check=False)
        if said.stdout.startswith(CLI):
            return found
    sys.exit(f"{named} is not the Databricks CLI that deploys bundles: name it with DATABRICKS_GO_CLI")


def main() -> None:
    """Try each bundle, and print a table."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("projects", type=Path, help="a folder of checkouts")
    parser.add_argument("--only", default="", help="a part of the names of bundles to try")
    parser.add_argument("--before", default="", help="SQL that makes what the projects expect to be there")
    parser.add_argument("--limit", type=float, default=300, help="seconds for a program or a run")
    options = parser.parse_args()
    projects = options.projects.resolve()
    names = [folder for folder in find_bundles(projects) if options.only in str(folder)]
    if not names:
        sys.exit(f"{projects} has no folder with a databricks.yml")
    program = find_program()
    inherited = {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}
    inherited["PATH"] = f"{Path(sys.executable).parent}{os.pathsep}{inherited['PATH']}"
    rows: list[Row] = []
    with tempfile.TemporaryDirectory() as scratch, open_workspace(Path(scratch) / "state") as (host, token):
        copy_projects(projects, Path(scratch) / "projects", host)
        environment = inherited | {"HOME": scratch, "DATABRICKS_CONFIG_PROFILE": "local"}
        environment["DATABRICKS_CONFIG_FILE"] = str(Path(scratch) / "state" / "databrickscfg")
        client = WorkspaceClient(host=host, token=token, auth_type="pat")
        run_sql(client, options.before)
        print("| project | resource | came to | why |\n|---|---|---|---|", flush=True)
        for name in names:
            folder = Path(scratch) / "projects" / name
            bundle = Bundle(str(name), folder, program, environment, options.limit)
            for row in try_bundle(bundle, client):
                rows.append(row)
                print(row, flush=True)
    print(f"\n{len(names)} bundles; resources: {dict(Counter(row.came_to for row in rows))}")


if __name__ == "__main__":
    main()
