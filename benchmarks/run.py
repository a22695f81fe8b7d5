"""Measures a training by `make run-diabetes-model-training` against a plain script and `mlflow run`.

All three train with the same package, data, parameters, tracking server and Spark. Measured first: how long
the workspace takes to start, and the memory that it has when idle.
"""

import argparse
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Iterator
from configparser import ConfigParser
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path

import psutil
import requests
from bench import ROOT, alternate, finish, medians
from local_workspace.spark.cluster import free_port

PROJECT = Path(__file__).with_name("mlflow_project")
FOLDER = "/Shared/azure-databricks-mlops-mlflow"
PARAMETERS = {
    "training_data": "dbfs:/azure-databricks-mlops-mlflow/data/data_raw.csv",
    "experiment_name": f"{FOLDER}/azure-databricks-mlops-mlflow",
    "model_name": "spark_catalog.diabetes.diabetes",
    "alpha": "0.5",
}
PLAIN, MLFLOW_RUN, MAKE = "plain script", "mlflow run", "make run-..."
ON_CONNECT = "make run-... (Connect)"
# Enough for what a workspace does after its start, and for MLflow's server to end what it has begun.
IDLE_SECONDS = 10
_FOREIGN = ("DATABRICKS_", "MLFLOW_", "SPARK_", "MAKE", "MFLAGS")


@dataclass
class LocalWorkspace:
    """A workspace of the benchmark's own, and the processes that it consists of."""

    state: Path
    port: int

    def make(self, *goals: str) -> None:
        """Run Make targets on this workspace, as a user does."""
        _run(["make", *goals, *self._settings], _inherited())

    def set_access_mode(self, mode: str) -> None:
        """Make the cluster of the jobs a dedicated one (Spark Classic) or a standard one (Connect)."""
        host, token = self._sign_in
        with requests.Session() as session:
            session.trust_env = False
            session.headers["Authorization"] = f"Bearer {token}"
            cluster = session.get(f"{host}/api/2.1/clusters/list", timeout=30).json()["clusters"][0]
            definition = {
                name: cluster[name]
                for name in ("cluster_id", "cluster_name", "spark_version", "node_type_id", "num_workers")
            }
            edited = session.post(
                f"{host}/api/2.1/clusters/edit", json=definition | {"data_security_mode": mode}, timeout=30
            )
            edited.raise_for_status()

    def start(self) -> dict[str, float]:
        """Start it; returns the seconds to the first answer, and to where MLflow and Spark answer."""
        began = time.perf_counter()
        command = ["make", "local-workspace-start", *self._settings]
        starting = subprocess.Popen(command, cwd=ROOT, env=_inherited())
        while not self._answers():
            time.sleep(0.05)
        answered = time.perf_counter() - began
        assert starting.wait() == 0, "the workspace did not start"
        return {"first_answer": round(answered, 2), "spark": round(time.perf_counter() - began, 2)}

    def memory(self) -> dict[str, int]:
        """Resident memory in MiB of its processes: the server with MLflow, the fork server, Spark."""
        server = psutil.Process(int((self.state / "workspace.pid").read_text().split()[0]))
        spark = self._spark.pid
        names = {server.pid: "server", spark: "spark"}
        family = [server, *server.children()]
        return {names.get(p.pid, "fork server"): round(p.memory_info().rss / 2**20) for p in family}

    def environment(self) -> dict[str, str]:
        """What a plain process needs to track in this workspace and to use its Spark."""
        host, token = self._sign_in
        setting = "spark.connect.grpc.binding.port="
        port = next(word for word in self._spark.cmdline() if word.startswith(setting)).removeprefix(setting)
        secret = "SPARK_CONNECT_AUTHENTICATE_TOKEN"
        return _inherited() | {
            "MLFLOW_TRACKING_URI": host,
            "MLFLOW_REGISTRY_URI": host,
            "MLFLOW_TRACKING_TOKEN": token,
            "MLFLOW_DISABLE_TELEMETRY": "true",
            "SPARK_REMOTE": f"sc://localhost:{port}",
            secret: self._spark.environ()[secret],
            "no_proxy": "127.0.0.1,localhost",
            "NO_PROXY": "127.0.0.1,localhost",
            "PATH": f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}",
        }

    @property
    def _sign_in(self) -> tuple[str, str]:
        sign_in = ConfigParser(interpolation=None)
        sign_in.read(self.state / "databrickscfg")
        return sign_in["local"]["host"], sign_in["local"]["token"]

    @property
    def _settings(self) -> list[str]:
        return [f"LOCAL_WORKSPACE_STATE={self.state}", f"LOCAL_WORKSPACE_PORT={self.port}"]

    @property
    def _spark(self) -> psutil.Process:
        return psutil.Process(int((self.state / "spark" / "server.pid").read_text().split()[0]))

    def _answers(self) -> bool:
        try:
            with requests.Session() as session:
                session.trust_env = False
                return session.get(f"http://127.0.0.1:{self.port}/health", timeout=5).ok
        except (requests.ConnectionError, requests.Timeout):
            return False


@contextmanager
def open_workspace() -> Iterator[tuple[LocalWorkspace, dict[str, dict[str, float]]]]:
    """Start a workspace on an empty folder and again on what it left, and deploy; gives the seconds too."""
    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=ROOT) as name:
        workspace = LocalWorkspace(Path(name) / "state", free_port())
        try:
            starts = {"first start": workspace.start()}
            workspace.make("databricks-init", "databricks-upload-data", "deploy")
            workspace.make("local-workspace-stop")
            starts["later start"] = workspace.start()
            yield workspace, starts
        finally:
            workspace.make("local-workspace-stop")


def train_with_make(workspace: LocalWorkspace) -> None:
    """Train as a user of the template does; the parameters are those that the science begins with."""
    workspace.make("run-diabetes-model-training")


def train_on(workspace: LocalWorkspace, mode: str) -> None:
    """Train likewise, on a cluster of this access mode."""
    workspace.set_access_mode(mode)
    train_with_make(workspace)


def train_with_script(environment: dict[str, str]) -> None:
    """Train in one fresh Python process."""
    options = [word for name, value in PARAMETERS.items() for word in (f"--{name}", value)]
    _run([sys.executable, "train.py", *options], environment)


def train_with_mlflow(environment: dict[str, str]) -> None:
    """Train with an MLflow Project in the same environment."""
    options = [word for name, value in PARAMETERS.items() for word in ("-P", f"{name}={value}")]
    experiment = ["--experiment-name", PARAMETERS["experiment_name"]]
    _run(["mlflow", "run", ".", "--env-manager", "local", *experiment, *options], environment)


def _inherited() -> dict[str, str]:
    return {name: value for name, value in os.environ.items() if not name.startswith(_FOREIGN)}


def _run(command: list[str], environment: dict[str, str]) -> None:
    folder = ROOT if command[0] == "make" else PROJECT
    nothing = subprocess.DEVNULL
    done = subprocess.run(
        command, cwd=folder, env=environment, stdin=nothing, capture_output=True, text=True, check=False
    )
    if done.returncode != 0:
        raise SystemExit(f"{command} ended with {done.returncode}:\n{done.stdout}{done.stderr}")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--runs", type=int, default=5)
    options = parser.parse_args()
    with open_workspace() as (workspace, starts):
        time.sleep(2 * IDLE_SECONDS)
        memory = workspace.memory()
        environment = workspace.environment()
        ways = {
            MAKE: partial(train_on, workspace, "SINGLE_USER"),
            ON_CONNECT: partial(train_on, workspace, "USER_ISOLATION"),
            PLAIN: partial(train_with_script, environment),
            MLFLOW_RUN: partial(train_with_mlflow, environment),
        }
        seconds = medians(alternate(ways, options.runs, IDLE_SECONDS))
        print("One make directly after another", flush=True)
        workspace.set_access_mode("SINGLE_USER")
        hurried = medians(alternate({MAKE: partial(train_with_make, workspace)}, options.runs))[MAKE]
    ratios = {name: round(seconds[MAKE] / seconds[name], 2) for name in (PLAIN, MLFLOW_RUN, ON_CONNECT)}
    print(f"\nSeconds to start the workspace: {starts}\nIdle memory in MiB: {memory}")
    print(f"Median seconds of {options.runs} runs: {seconds}; one make directly after another: {hurried}")
    for name, ratio in ratios.items():
        print(f"  make takes {ratio:5.2f} times as long as {name}")
    finish(
        {"benchmark": "run", "runs": options.runs, "median_seconds": seconds, "make_takes_times": ratios}
        | {"make_directly_after_another": hurried, "start_seconds": starts, "idle_mib": memory}
    )


if __name__ == "__main__":
    main()
