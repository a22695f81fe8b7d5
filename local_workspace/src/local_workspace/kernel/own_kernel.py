"""The kernel of a notebook that a person works in: `python -m local_workspace.kernel.own_kernel FILE`.

FILE tells a kernel where to listen. This process becomes the kernel, in an environment of its own: what
`%pip` installs is for this notebook alone, and the project's packages are the working copies. Spark's workers
import them too, and what lies beside the notebook.
"""

import os
import sys
from pathlib import Path
from typing import NoReturn

from local_workspace.kernel.own_session import NoWorkspaceError, open_session
from local_workspace.processes.environment import create_environment, working_copies
from local_workspace.store.state import StateFolder

# By this variable Jupyter tells a kernel which notebook it is for.
NOTEBOOK = "JPY_SESSION_NAME"
# Why there is no workspace, for the kernel that says so.
REFUSAL = "LOCAL_WORKSPACE_REFUSAL"
# The folders of what a person edits while the kernel runs.
SOURCES = "LOCAL_WORKSPACE_SOURCES"


def main(connection_file: str) -> NoReturn:
    """Becomes the kernel; without a workspace one whose cells say which command starts it."""
    state = StateFolder(Path(os.environ["LOCAL_WORKSPACE_STATE"]))
    try:
        session = open_session(state, os.environ.get(NOTEBOOK, ""))
    except NoWorkspaceError as error:
        _become(Path(sys.executable), connection_file, "no_workspace", {**os.environ, REFUSAL: str(error)})
    sources = [*working_copies(), Path.cwd()]
    python = create_environment(session.folder / "python", sources)
    variables = session.of_kernel() | {
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        SOURCES: os.pathsep.join(map(str, sources)),
    }
    _become(python, connection_file, "own_notebook", variables)


def _become(python: Path, connection_file: str, extension: str, variables: dict[str, str]) -> NoReturn:
    words = [str(python), "-Xfrozen_modules=off", "-m", "ipykernel_launcher", "-f", connection_file]
    words += [f"--ext=local_workspace.kernel.{extension}", "--HistoryManager.enabled=False"]
    os.execve(python, words, variables)


if __name__ == "__main__":
    main(sys.argv[1])
