"""A local workspace of the tests' own, driven through the Make targets as a user drives it."""

import configparser
import json
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import NotebookTask, RunResultState, SubmitTask
from databricks.sdk.service.workspace import ImportFormat, Language
from machine import ROOT, clean_environment, command_lines, package_caches
from ports import free_port
from programs import any_program

FOLDER = "/Shared/azure-databricks-mlops-mlflow"
DATA_ROOT = "dbfs:/azure-databricks-mlops-mlflow/data"
MODEL = "spark_catalog.diabetes.diabetes"
SCORED = "spark_catalog.diabetes.diabetes_scored"
# A Spark of minutes loses more than it gains by Java's second compiler, its check of the jars and the code
# that Spark generates. The first compiler gets the room of both, else it throws away what it has compiled.
FIRST_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
UNCHECKED = "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
INTERPRETED = "-Dspark.sql.codegen.wholeStage=false -Dspark.sql.codegen.factoryMode=NO_CODEGEN"
QUICK_JAVA = {"JDK_JAVA_OPTIONS": f"{FIRST_COMPILER} -XX:+UseSerialGC {UNCHECKED} {INTERPRETED}"}


@dataclass
class WorkspaceUnderTest:
    """Where the workspace keeps its state, and the HOME and the temporary folder that its commands get."""

    folder: Path
    port: int = field(default_factory=free_port)

    @property
    def state(self) -> Path:
        return self.folder / "state"

    @property
    def home(self) -> Path:
        return self.folder / "home"

    @property
    def temporary(self) -> Path:
        return self.folder / "tmp"

    def make(
        self, *arguments: str, timeout: float = 300, checkout: Path = ROOT, **environment: str
    ) -> subprocess.CompletedProcess[str]:
        """Runs `make` in the repository, or another checkout of it, against this workspace."""
        for folder in (self.home, self.temporary):
            folder.mkdir(parents=True, exist_ok=True)
        own = {"HOME": str(self.home), "TMPDIR": str(self.temporary), **package_caches()}
        own |= {"DATABRICKS_CLI": any_program()}
        settings = [f"LOCAL_WORKSPACE_STATE={self.state}", f"LOCAL_WORKSPACE_PORT={self.port}"]
        return subprocess.run(
            ["make", *arguments, *settings],
            cwd=checkout,
            env=clean_environment() | QUICK_JAVA | own | environment,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
        )

    @property
    def client(self) -> WorkspaceClient:
        """The official client, signed in with the profile that the workspace wrote."""
        profile = self.profile
        return WorkspaceClient(host=profile["host"], token=profile["token"], auth_type="pat")

    @property
    def profile(self) -> dict[str, str]:
        """Host and token as a client reads them."""
        file = configparser.ConfigParser()
        file.read(self.state / "databrickscfg")
        return dict(file["local"])

    def make_user(self, name: str) -> str:
        """Makes a user, who administers nothing; gives their token."""
        client = self.client
        client.users.create(user_name=name)
        made: Any = client.api_client.do("POST", "/api/2.0/local-workspace/tokens", body={"user_name": name})
        return str(made["token_value"])

    def submit(self, name: str, *cells: str, serverless: bool = False) -> int:
        """Starts a run of a notebook of these cells, on the cluster if not serverless; gives its id."""
        client = self.client
        source = "# Databricks notebook source\n" + "\n\n# COMMAND ----------\n\n".join(cells)
        path = f"{FOLDER}/{name}"
        client.workspace.upload(
            path, source.encode(), format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
        )
        cluster_id = None if serverless else next(iter(client.clusters.list())).cluster_id
        task = SubmitTask(name, existing_cluster_id=cluster_id, notebook_task=NotebookTask(path))
        return int(client.jobs.submit(run_name=name, tasks=[task]).run_id)

    def run_cells(self, *cells: str, serverless: bool = False) -> Any:
        """Runs a notebook of these cells and gives the JSON that it exits with."""
        client = self.client
        run_id = self.submit("probe", *cells, serverless=serverless)
        run = client.jobs.wait_get_run_job_terminated_or_skipped(run_id)
        output = client.jobs.get_run_output(run.tasks[0].run_id)
        assert run.state.result_state is RunResultState.SUCCESS, output.error
        return json.loads(output.notebook_output.result)

    def delete_jobs(self, prefix: str) -> None:
        """Deletes the jobs whose names begin so, which a bundle of another test may own."""
        for job in self.client.jobs.list():
            if job.settings.name.startswith(prefix):
                self.client.jobs.delete(job.job_id)

    def last_run_id(self) -> int:
        """The newest run of any job."""
        return next(iter(self.client.jobs.list_runs())).run_id


@dataclass
class Demo:
    """A workspace on which `make demo` ran, and what it printed."""

    workspace: WorkspaceUnderTest
    finished: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo; that stopping its workspace leaves nothing behind is looked at when all tests are done."""
    workspace = WorkspaceUnderTest(tmp_path_factory.mktemp("workspace"))
    try:
        finished = workspace.make("demo", timeout=400)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        # pip asks `rustc`, where there is one, for its version, and that makes a folder of its own.
        assert {path.name for path in workspace.home.iterdir()} <= {".rustup"}
        yield Demo(workspace, finished)
    finally:
        stopped = workspace.make("local-workspace-stop")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert not [arguments for arguments in command_lines() if str(workspace.folder) in arguments]
    assert list(workspace.temporary.iterdir()) == []
