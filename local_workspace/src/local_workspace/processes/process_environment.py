"""What the processes that the workspace starts find in their environment."""

import os

from local_workspace.store.state import StateFolder

# What would lead a process past this workspace, to another one or to other packages. ipykernel shows what
# child processes print unless it sees a variable of pytest.
FOREIGN = ("DATABRICKS_", "MLFLOW_", "_MLFLOW_", "SPARK_", "PYTHONPATH", "PYSPARK_", "PYTEST_")


def inherited() -> dict[str, str]:
    """The variables of this process that concern nobody else; no proxy stands before this machine."""
    kept = {name: value for name, value in os.environ.items() if not name.startswith(FOREIGN)}
    loopback = ",".join(filter(None, [os.environ.get("no_proxy"), "127.0.0.1,localhost"]))
    return kept | {"NO_PROXY": loopback, "no_proxy": loopback}


def of_run(state: StateFolder, host: str, token: str) -> dict[str, str]:
    """How a run reaches the workspace at `host`, and folders of its own."""
    return inherited() | {
        "DATABRICKS_HOST": host,
        "DATABRICKS_TOKEN": token,
        "MLFLOW_TRACKING_URI": host,
        "MLFLOW_REGISTRY_URI": host,
        "MLFLOW_TRACKING_TOKEN": token,
        "MLFLOW_DISABLE_TELEMETRY": "true",
        "LOCAL_WORKSPACE_STATE": str(state.root),
        "PYTHONNOUSERSITE": "1",
        "TMPDIR": str(state.tmp),
        "IPYTHONDIR": str(state.tmp / "ipython"),
        "JUPYTER_RUNTIME_DIR": str(state.tmp / "jupyter"),
        "JUPYTER_DATA_DIR": str(state.tmp / "jupyter"),
        "MPLCONFIGDIR": str(state.tmp / "matplotlib"),
    }
