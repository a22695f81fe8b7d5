"""The workspace's Spark for a script or a test: `spark = spark_session()`, as in a notebook."""

import functools
import os
import sys
from pathlib import Path
from typing import Any

from local_workspace.kernel.own_session import NoWorkspaceError, open_session
from local_workspace.kernel.sessions import PYTHON_OF_WORKERS, open_connect_session
from local_workspace.processes.run_processes import uses_cluster
from local_workspace.spark import classic
from local_workspace.spark.access_modes import STANDARD
from local_workspace.store.state import StateFolder

STATE = "LOCAL_WORKSPACE_STATE"
USUAL_FOLDER = ".local_workspace"
# What would lead this process elsewhere.
_FOREIGN = ("DATABRICKS_", "MLFLOW_", "SPARK_", "PYSPARK_")


@functools.cache
def spark_session(access_mode: str = STANDARD) -> Any:
    """The session of this process, which is signed in to MLflow and the workspace by this too.

    Spark Connect; with the access mode `Dedicated` Spark Classic. The workspace is that of the variable
    LOCAL_WORKSPACE_STATE, else of the folder .local_workspace here or above. Raises NoWorkspaceError.
    """
    session = open_session(StateFolder(_state()), mode=access_mode)
    for name in [name for name in os.environ if name.startswith(_FOREIGN)]:
        del os.environ[name]
    os.environ |= session.of_script()
    if session.is_classic:
        classic.prepare()
        return classic.open_session()
    spark = open_connect_session(uses_cluster(session.folder))
    spark.conf.set(PYTHON_OF_WORKERS, sys.executable)  # which has this process's packages
    return spark


def _state() -> Path:
    if STATE in os.environ:
        return Path(os.environ[STATE]).absolute()
    here = Path.cwd()
    for folder in (here, *here.parents):
        if (folder / USUAL_FOLDER).is_dir():
            return folder / USUAL_FOLDER
    raise NoWorkspaceError(
        f"no folder {USUAL_FOLDER} in {here} or above; start the workspace with "
        f"`make local-workspace-start`, or name its folder with {STATE}"
    )
