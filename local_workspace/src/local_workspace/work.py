"""Lets a person work in the local workspace: `python -m local_workspace.work kernel|notebook|shell`.

`kernel` tells editors of its kernel, `notebook` opens JupyterLab, `shell` is a shell that is signed in; with
words behind `--` it runs these in place of the shell.
"""

import argparse
import os
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import NoReturn

from local_workspace.kernel.kernel_spec import NAME, write_kernel_spec
from local_workspace.kernel.own_session import NoWorkspaceError, find_running, open_session
from local_workspace.processes import process_environment
from local_workspace.spark.access_modes import STANDARD
from local_workspace.store.profile import ADDRESS
from local_workspace.store.state import StateFolder

# Where Jupyter keeps what is the user's, by the variables that tell it.
FOLDERS = {
    "JUPYTER_CONFIG_DIR": "config",
    "JUPYTER_DATA_DIR": "data",
    "JUPYTER_RUNTIME_DIR": "runtime",
    "IPYTHONDIR": "ipython",
}
EXTENSIONS = Path(__file__).parent / "lab" / "extensions"


def main(arguments: Sequence[str]) -> int:
    """Runs one command; returns the exit code, where the process does not become another program."""
    own, words = _split(arguments)
    parser = argparse.ArgumentParser(prog="local_workspace.work", description=__doc__)
    parser.add_argument("command", choices=("kernel", "notebook", "shell"))
    parser.add_argument("--state", type=Path, default=Path(".local_workspace"), help="the state folder")
    options = parser.parse_args(own)
    state = StateFolder(options.state.resolve())
    try:
        if options.command == "shell":
            open_shell(state, words)
        folder = write_kernel_spec(state.root)
        if options.command == "notebook":
            open_notebook(state, words)
    except (NoWorkspaceError, OSError) as error:
        print(f"local workspace: {error}", file=sys.stderr)
        return 1
    print(f"The kernel is in {folder}")
    return 0


def open_shell(state: StateFolder, words: Sequence[str]) -> NoReturn:
    """Becomes a shell, or another program, that finds Spark, MLflow and the workspace in its environment."""
    session = open_session(state, mode=STANDARD)
    programs = os.pathsep.join([str(Path(sys.executable).parent), os.environ.get("PATH", os.defpath)])
    variables = process_environment.inherited() | session.of_script() | {"PATH": programs}
    if not words:
        words = [os.environ.get("SHELL", "sh")]
        print(f"Signed in to {session.profile.host}; `exit` leaves this shell.", flush=True)
    os.execvpe(words[0], list(words), variables)


def open_notebook(state: StateFolder, words: Sequence[str]) -> NoReturn:
    """Becomes JupyterLab, on this machine alone, which keeps what is its own in the state folder."""
    find_running(state)
    own = state.root / "jupyter"
    variables = {name: str(own / folder) for name, folder in FOLDERS.items()}
    command = [sys.executable, "-m", "jupyterlab", *_options(own), *words]
    os.execve(sys.executable, command, os.environ | variables)


def _options(own: Path) -> list[str]:
    """What JupyterLab is told."""
    settings = {
        "ServerApp.ip": ADDRESS,
        "ServerApp.allow_root": "True",  # as people are in a container
        "ServerApp.root_dir": str(Path.cwd()),
        "ServerApp.contents_manager_class": "local_workspace.lab.contents.SourceNotebooks",
        "LabApp.extra_labextensions_path": str(EXTENSIONS),
        "LabApp.extension_manager": "readonly",  # what is installed is pinned
        "LabApp.news_url": "None",
        "LabApp.check_for_updates_class": "jupyterlab.NeverCheckForUpdate",
        "LanguageServerManager.autodetect": "False",  # there are none; npm would be asked for them
        "FileCheckpoints.root_dir": str(own / "checkpoints"),
        "MappingKernelManager.default_kernel_name": NAME,
        # Any user of this machine can connect to a port of a kernel, and read what is sent there.
        "KernelManager.transport_encryption": "auto",
    }
    return [f"--{name}={value}" for name, value in settings.items()]


def _split(arguments: Sequence[str]) -> tuple[list[str], list[str]]:
    """The words before and behind `--`."""
    place = arguments.index("--") if "--" in arguments else len(arguments)
    return list(arguments[:place]), list(arguments[place + 1 :])


if __name__ == "__main__":
    sys.exit(main(sys.argv[1:]))
