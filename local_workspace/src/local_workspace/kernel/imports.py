"""The imports that a process has done before a run is forked from it, and whether they hold for that run."""

import builtins
import importlib
import json
import socket
import sys
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType, SimpleNamespace

from local_workspace.processes import environment
from local_workspace.processes.forks import Fork, ask_for_fork

# What notebooks on a cluster for machine learning import; those that are installed. Not matplotlib.pyplot,
# which looks for the notebook's shell when it is imported.
MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "local_workspace.kernel.execute",
    "local_workspace.kernel.kernel",
    "pandas",
    "pyarrow.parquet",
    "mlflow.sklearn",  # before pyspark, whose loggers it would switch on again
    "mlflow.pyfunc",
    "pyspark.sql.connect.session",
    "pyspark.sql.classic.dataframe",
    "py4j.clientserver",
    "pyspark.worker",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "sklearn.pipeline",
    "sklearn.linear_model",
    "skops.io",
    "git",
    "jinja2",
)


class Imports:
    """The imports that were done ahead, and what must not have changed for them to hold.

    `base` is the folder of the packages that all runs share.
    """

    def __init__(self, base: Path) -> None:
        self._base = base
        self._began = _changed_at(base)
        self._missed: set[str] = set()

    def do(self, names: Sequence[str] = MODULES) -> None:
        """Imports the modules that are installed, and notes which packages were looked for in vain."""
        sys.meta_path.append(self)  # asked last, for what nobody else has found
        with _as_in_a_notebook():
            for name in names:
                if find_spec(name.partition(".")[0]):
                    importlib.import_module(name)
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Called by Python for a module that it found nowhere."""
        self._missed.add(name.partition(".")[0])

    def hold(self, own: Path) -> bool:
        """Whether a new interpreter would import the same, given what the run has installed into `own`."""
        names = {path.name.partition(".")[0] for path in own.iterdir()}
        imported = {name.partition(".")[0] for name in sys.modules}
        starts_code = {path.name for path in own.glob("*.pth")} - {environment.FOLDERS} != {environment.BASE}
        found = metadata.distributions(path=[str(own)])
        groups = {point.group for package in found for point in package.entry_points}
        return not (
            names & (imported | self._missed)
            or starts_code
            or groups - {"console_scripts", "gui_scripts"}  # plug-ins of what is imported
            or _changed_at(self._base) != self._began
        )


@contextmanager
def _as_in_a_notebook() -> Iterator[None]:
    """Shows who asks for it a shell with a kernel: pandas chooses how it shows tables when it is imported."""
    vars(builtins)["get_ipython"] = lambda: SimpleNamespace(kernel=None)
    try:
        yield
    finally:
        del vars(builtins)["get_ipython"]


class Forker:
    """The way from the process that executes a notebook to the one that forks its kernels."""

    def __init__(self, requests: socket.socket, imports: Imports) -> None:
        self._requests = requests
        self._imports = imports

    def fits(self) -> bool:
        """Whether a forked kernel is like a new one."""
        return self._imports.hold(environment.packages_of(Path(sys.prefix)))

    def start(self, command: Sequence[str], variables: Mapping[str, str], cwd: str) -> Fork:
        """Starts a kernel; `command` is that of an ordinary one."""
        return ask_for_fork(self._requests, json.dumps([command, dict(variables), cwd]).encode())


def _changed_at(folder: Path) -> int:
    return folder.stat().st_mtime_ns
