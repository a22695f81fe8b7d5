"""A workspace with its own server and Spark, and the notebooks that the tests run on it."""

import base64
import configparser
import json
import os
import subprocess
import sys
import zipfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import nbformat
import psutil
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.workspace import ImportFormat, Language
from local_workspace.spark.cluster import free_port

NOTEBOOKS = Path(__file__).with_name("notebooks")
FOLDER = "/Shared/fidelity"
RUNTIME = "18.x-cpu-ml-scala2.13"
# Where a notebook runs: with Spark Classic, with Spark Connect, and without a cluster.
DEDICATED, STANDARD, SERVERLESS = "SINGLE_USER", "USER_ISOLATION", "SERVERLESS"
PASSWORD = "correct-horse-battery"
KEY = b"\x01\x02binary"
# A Spark of minutes loses more than it gains by Java's second compiler, its check of the jars and the code
# that Spark generates. The first compiler gets the room of both, else it throws away what it has compiled.
FIRST_COMPILER = "-XX:TieredStopAtLevel=1 -XX:ReservedCodeCacheSize=240m"
UNCHECKED = "-XX:+UnlockDiagnosticVMOptions -XX:-BytecodeVerificationRemote"
INTERPRETED = "-Dspark.sql.codegen.wholeStage=false -Dspark.sql.codegen.factoryMode=NO_CODEGEN"
QUICK_JAVA = {"JDK_JAVA_OPTIONS": f"{FIRST_COMPILER} -XX:+UseSerialGC {UNCHECKED} {INTERPRETED}"}


@dataclass
class RealWorkspace:
    """Where a workspace that was started for the tests keeps its state."""

    state: Path

    @property
    def home(self) -> Path:
        """The HOME that its processes have."""
        return self.state.parent / "home"

    @property
    def temporary(self) -> Path:
        """Their folder for temporary files."""
        return self.state.parent / "tmp"

    @cached_property
    def profile(self) -> dict[str, str]:
        """Host and token."""
        file = configparser.ConfigParser()
        file.read(self.state / "databrickscfg")
        return dict(file["local"])

    @cached_property
    def client(self) -> WorkspaceClient:
        """The official client."""
        return WorkspaceClient(host=self.profile["host"], token=self.profile["token"], auth_type="pat")

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON reply to a plain request."""
        return self.client.api_client.do(method, path, **options)

    def sign_in_link(self) -> str:
        """A link that signs one browser in."""
        code = self.request("POST", "/api/2.0/local-workspace/sign-in-codes")["code"]
        return f"{self.profile['host']}/login?code={code}"

    def upload(self, path: str, source: str) -> None:
        """Puts a notebook into the workspace."""
        self.client.workspace.mkdirs(path.rpartition("/")[0])
        self.client.workspace.upload(
            path, source.encode(), format=ImportFormat.SOURCE, language=Language.PYTHON, overwrite=True
        )

    def upload_all(self) -> None:
        """Puts the notebooks of the tests into the workspace."""
        for file in NOTEBOOKS.rglob("*.py"):
            self.upload(f"{FOLDER}/{file.relative_to(NOTEBOOKS).with_suffix('')}", file.read_text())

    def cluster_id(self, mode: str = DEDICATED) -> str:
        """The one cluster with this access mode, made when there is none."""
        for cluster in self.client.clusters.list():
            if cluster.cluster_name == mode:
                return str(cluster.cluster_id)
        settings = {"cluster_name": mode, "spark_version": RUNTIME, "data_security_mode": mode}
        return str(self.request("POST", "/api/2.1/clusters/create", body=settings)["cluster_id"])

    def task(
        self, notebook: str, key: str = "main", on: str = DEDICATED, **parameters: str
    ) -> dict[str, Any]:
        """A task of a job that runs one of the notebooks on such a cluster, or serverless."""
        notebook_task = {"notebook_path": f"{FOLDER}/{notebook}", "base_parameters": parameters}
        compute = {} if on == SERVERLESS else {"existing_cluster_id": self.cluster_id(on)}
        return {"task_key": key, "notebook_task": notebook_task, **compute}

    def result_of(self, notebook: str, source: str, on: str = DEDICATED) -> Any:
        """What a notebook exits with, which is JSON."""
        self.upload(f"{FOLDER}/{notebook}", source)
        run = self.finished(self.submit(self.task(notebook, on=on)))
        output = self.client.jobs.get_run_output(run["tasks"][0]["run_id"])
        assert output.notebook_output and output.notebook_output.result, output.error_trace
        return json.loads(output.notebook_output.result)

    def submit(self, *tasks: dict[str, Any], name: str = "one-time") -> int:
        """Starts a one-time run."""
        body = {"run_name": name, "tasks": list(tasks)}
        return int(self.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"])

    def finished(self, run_id: int) -> dict[str, Any]:
        """A run when it has ended."""
        self.client.jobs.wait_get_run_job_terminated_or_skipped(run_id)
        return dict(self.request("GET", "/api/2.2/jobs/runs/get", query={"run_id": run_id}))

    def executed(self, task_run_id: int) -> dict[str, str]:
        """What the cells of an executed notebook put out, by their titles."""
        notebook = nbformat.read(self.state / "runs" / str(task_run_id) / "notebook.ipynb", as_version=4)
        return {cell.metadata["title"]: _shown(cell) for cell in notebook.cells if "title" in cell.metadata}


def _shown(cell: nbformat.NotebookNode) -> str:
    shown = []
    for output in cell.get("outputs", []):
        data = output.get("data", {})
        kinds = [f"[{kind}]{value}" for kind, value in data.items() if kind != "text/plain"]
        shown.append(
            output.get("text") or "".join(kinds) or data.get("text/plain") or output.get("evalue", "")
        )
    return "".join(shown)


@contextmanager
def started(folder: Path) -> Iterator[RealWorkspace]:
    """Starts a workspace as a user does; kills its server in the end and sees that `stop` clears up."""
    workspace = RealWorkspace(folder / "state")
    for own in (workspace.home, workspace.temporary):
        own.mkdir()

    def run(command: str, *options: str) -> subprocess.CompletedProcess[str]:
        words = [sys.executable, "-m", "local_workspace", command, "--state", str(workspace.state), *options]
        own = {"HOME": str(workspace.home), "TMPDIR": str(workspace.temporary)}
        return subprocess.run(
            words, timeout=300, capture_output=True, text=True, env=os.environ | QUICK_JAVA | own, check=False
        )

    try:
        begun = run("start", "--port", str(free_port()))
        assert begun.returncode == 0, begun.stdout + begun.stderr
        yield workspace
        kill_process_of(workspace.state / "workspace.pid")
        told = run("status")
    finally:
        stopped = run("stop")
    assert "not running" in told.stderr
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert not [words for words in command_lines() if str(folder) in words]
    assert list(workspace.temporary.iterdir()) == []
    # pip asks `rustc`, where there is one, for its version, and that makes a folder of its own.
    assert {path.name for path in workspace.home.iterdir()} <= {".rustup"}


def command_lines() -> list[str]:
    """Of all processes of this machine."""
    return [" ".join(process.info["cmdline"] or []) for process in psutil.process_iter(["cmdline"])]


def kill_process_of(pid_file: Path) -> None:
    """Kills the process that a workspace noted there."""
    psutil.Process(int(pid_file.read_text().split()[0])).kill()


def prepare(workspace: RealWorkspace) -> None:
    """Notebooks, secrets and a wheel that the notebook `fidelity` needs."""
    workspace.upload_all()
    workspace.client.secrets.create_scope("fidelity")
    workspace.client.secrets.put_secret("fidelity", "password", string_value=PASSWORD)
    key = {"scope": "fidelity", "key": "key", "bytes_value": base64.b64encode(KEY).decode()}
    workspace.request("POST", "/api/2.0/secrets/put", body=key)
    make_wheel(workspace.state / "dbfs" / "fidelity-wheels", "made_up_package", "1.2")


def make_wheel(folder: Path, name: str, version: str) -> None:
    """A package that nobody else has."""
    folder.mkdir(parents=True, exist_ok=True)
    info = f"{name}-{version}.dist-info"
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/RECORD", "")


def create_job(workspace: RealWorkspace) -> int:
    """The job whose two tasks go through everything that a notebook can rely on."""
    first = workspace.task("fidelity", "first", alpha="0.7", colour="blue")
    second = workspace.task("second", "second") | {"depends_on": [{"task_key": "first"}]}
    schedule = {
        "quartz_cron_expression": "0 0 6 * * ?",
        "timezone_id": "Europe/Berlin",
        "pause_status": "PAUSED",
    }
    settings = {"name": "fidelity", "tasks": [first, second], "schedule": schedule}
    return int(workspace.request("POST", "/api/2.2/jobs/create", body=settings)["job_id"])


@dataclass
class FidelityRun:
    """A finished run of that job."""

    workspace: RealWorkspace
    run: dict[str, Any]

    def task(self, key: str) -> dict[str, Any]:
        """One task of the run."""
        return next(task for task in self.run["tasks"] if task["task_key"] == key)

    def notebook_file(self, key: str) -> Path:
        """The executed notebook of a task."""
        return self.workspace.state / "runs" / str(self.task(key)["run_id"]) / "notebook.ipynb"

    def executed(self, key: str) -> dict[str, str]:
        """What the cells of a task's notebook put out, by their titles."""
        return self.workspace.executed(self.task(key)["run_id"])


def run_fidelity(workspace: RealWorkspace) -> FidelityRun:
    """Runs the job once."""
    prepare(workspace)
    body = {"job_id": create_job(workspace)}
    run_id = workspace.request("POST", "/api/2.2/jobs/run-now", body=body)["run_id"]
    return FidelityRun(workspace, workspace.finished(run_id))
