"""Brings a state folder in order whose workspace was killed, or in which something was deleted."""

import shutil
from pathlib import Path

from local_workspace.notebooks.workspace_tree import WorkspaceObjects
from local_workspace.processes.run_processes import end_processes
from local_workspace.store.database import Database
from local_workspace.store.profile import read_profile
from local_workspace.store.state import StateFolder


def recover(database: Database, state: StateFolder) -> None:
    """End, finish or drop what was cut off; to be called before anything is served."""
    end_processes(state.runs)
    objects = WorkspaceObjects(database, state)
    objects.finish_arrivals()
    objects.forget_the_absent()
    for leftover in state.arriving.iterdir():
        _delete(leftover)
    # With a new database the numbers would begin again, and the folders of earlier runs are still there.
    numbers = [int(folder.name) for folder in state.runs.iterdir() if folder.name.isdecimal()]
    database.skip_ids("run", max(numbers, default=0))


def losses(state: StateFolder) -> list[str]:
    """What was lost with a file that somebody deleted or broke while it was stopped, in sentences."""
    unread = state.config_file.exists() and read_profile(state.config_file) is None
    said = [f"{state.config_file} cannot be read; it is written anew."] if unread else []
    lost = {
        state.database: (state.runs, "jobs, runs, clusters and secrets; files and notebooks are kept"),
        state.mlflow_database: (state.mlflow_artifacts, "experiments and models; their artifacts are kept"),
    }
    return said + [
        f"{database} is missing, and with it the {what}."
        for database, (traces, what) in lost.items()
        if not database.exists() and traces.is_dir() and any(traces.iterdir())
    ]


def _delete(path: Path) -> None:
    if path.is_dir():
        shutil.rmtree(path)
    else:
        path.unlink()
