"""Scripts, tests and shells that find the workspace's Spark and MLflow by one line."""

import os
import subprocess
import sys
from pathlib import Path

import pytest
from real_workspace import RealWorkspace

SCRIPT = """
import sys
import mlflow
from local_workspace.connect import spark_session

spark = spark_session({mode})
assert spark_session({mode}) is spark
from pyspark.sql import functions as F

prefix = F.udf(lambda _: sys.prefix)
print(type(spark).__module__, spark.range(1).select(prefix("id")).first()[0] == sys.prefix)
with mlflow.start_run() as run:
    mlflow.log_param("from", "a script")
print(run.info.run_id)
"""
TEST = """
import pytest
from local_workspace.connect import spark_session

@pytest.fixture(scope="session")
def spark():
    return spark_session()

def test_counts(spark):
    assert spark.range(5).count() == 5
"""


def run(folder: Path, *command: str, state: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Runs a command in a folder; a workspace in the cloud is what else its environment leads to."""
    foreign = {"DATABRICKS_HOST": "https://adb-1.azuredatabricks.net", "DATABRICKS_CLIENT_ID": "someone"}
    own = {"LOCAL_WORKSPACE_STATE": str(state)} if state else {}
    kept = {name: text for name, text in os.environ.items() if name != "LOCAL_WORKSPACE_STATE"}
    return subprocess.run(
        command,
        cwd=folder,
        env=kept | foreign | own,
        capture_output=True,
        text=True,
        timeout=200,
        check=False,
    )


@pytest.mark.parametrize(
    ("mode", "kind"), [("", "pyspark.sql.connect.session"), ("'Dedicated'", "pyspark.sql.session")]
)
def test_a_script_has_spark_with_its_own_python_in_the_workers_and_mlflow(
    real_workspace: RealWorkspace, tmp_path: Path, mode: str, kind: str
):
    (tmp_path / "script.py").write_text(SCRIPT.format(mode=mode))

    done = run(tmp_path, sys.executable, "script.py", state=real_workspace.state)

    assert done.returncode == 0, done.stderr
    first, *_, run_id = done.stdout.splitlines()
    assert first == f"{kind} True"
    logged = real_workspace.request("GET", "/api/2.0/mlflow/runs/get", query={"run_id": run_id})
    assert logged["run"]["info"]["status"] == "FINISHED"


def test_a_test_of_pytest_has_a_session(real_workspace: RealWorkspace, tmp_path: Path):
    (tmp_path / "test_of_a_person.py").write_text(TEST)
    (tmp_path / ".local_workspace").symlink_to(real_workspace.state)

    done = run(tmp_path, sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider")

    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout + done.stderr


def test_a_script_says_where_it_looked_for_a_workspace(tmp_path: Path):
    source = "from local_workspace.connect import spark_session; spark_session()"

    nowhere = run(tmp_path, sys.executable, "-c", source)
    stopped = run(tmp_path, sys.executable, "-c", source, state=tmp_path)

    assert f"no folder .local_workspace in {tmp_path} or above; start the workspace with" in nowhere.stderr
    assert f"no local workspace runs in {tmp_path}; start it with" in stopped.stderr


IN_SHELL = """
import mlflow
from databricks.sdk import WorkspaceClient
from pyspark.sql import SparkSession

print(SparkSession.builder.getOrCreate().range(4).count())
print(WorkspaceClient().current_user.me().user_name, mlflow.get_tracking_uri())
"""


def test_a_program_in_the_shell_is_signed_in_and_no_token_is_shown(
    real_workspace: RealWorkspace, tmp_path: Path
):
    (tmp_path / "in_shell.py").write_text(IN_SHELL)
    shell = (sys.executable, "-m", "local_workspace.work", "shell", "--state", str(real_workspace.state))

    program = run(tmp_path, *shell, "--", "python", "in_shell.py")
    interactive = subprocess.run(
        shell, input="echo $SPARK_REMOTE\nexit 7\n", capture_output=True, text=True, timeout=60, check=False
    )

    assert program.returncode == 0, program.stderr
    assert program.stdout.split() == ["4", "local.user@localhost", real_workspace.profile["host"]]
    assert interactive.returncode == 7
    signed_in, remote = interactive.stdout.splitlines()
    assert signed_in == f"Signed in to {real_workspace.profile['host']}; `exit` leaves this shell."
    assert remote.startswith("sc://localhost:") and "token" not in remote


def test_a_shell_without_a_workspace_is_one_message(tmp_path: Path):
    done = run(tmp_path, sys.executable, "-m", "local_workspace.work", "shell")

    assert done.returncode == 1
    assert done.stderr == (
        f"local workspace: no local workspace runs in {tmp_path}/.local_workspace; "
        "start it with `make local-workspace-start`\n"
    )
