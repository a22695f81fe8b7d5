"""A run's process that has done the imports of most notebooks before it knows its run; Linux only.

Started as `python -m local_workspace.notebook.spare` in an environment of its own, it imports, waits for the
folder and the token of a run on its standard input, and then forks: once for the process that executes the
notebook, once for each kernel. It imports what the cluster carries, never what a run installs; a run whose
libraries could have changed these imports gets an ordinary kernel.
"""

import gc
import importlib
import json
import os
import select
import signal
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib import metadata
from importlib.util import find_spec
from pathlib import Path
from types import ModuleType
from typing import Any

from local_workspace.notebook import environment

assert sys.platform == "linux"

# What notebooks on a cluster for machine learning import; those that are installed. Not matplotlib.pyplot,
# which looks for the notebook's shell when it is imported.
MODULES = (
    "ipykernel.kernelapp",
    "ipykernel.ipkernel",
    "local_workspace.notebook.execute",
    "local_workspace.notebook.kernel",
    "pandas",
    "pyarrow.parquet",
    "pyspark.sql.connect.session",
    "matplotlib.figure",
    "matplotlib.backends.backend_agg",
    "sklearn.pipeline",
    "sklearn.linear_model",
    "mlflow.sklearn",
    "mlflow.pyfunc",
    "skops.io",
    "git",
    "jinja2",
)
KERNEL_NAME = "ipykernel"
_LONGEST_REQUEST = 1 << 20


class Imports:
    """The imports that were done ahead, and what must not have changed for them to hold.

    `own` is the folder into which the run installs packages, `base` the one that all runs share.
    """

    def __init__(self, own: Path, base: Path) -> None:
        self._own, self._base = own, base
        self._began = _changed_at(base)
        self._missed: set[str] = set()

    def do(self, names: Sequence[str] = MODULES) -> None:
        """Imports the modules that are installed, and notes which packages were looked for in vain."""
        sys.meta_path.append(self)  # asked last, for what nobody else has found
        for name in names:
            if find_spec(name.partition(".")[0]):
                importlib.import_module(name)
        sys.meta_path.remove(self)

    def find_spec(self, name: str, path: object = None, target: ModuleType | None = None) -> None:
        """Called by Python for a module that it found nowhere."""
        self._missed.add(name.partition(".")[0])

    def hold(self) -> bool:
        """Whether a new interpreter would import the same, given what the run has installed meanwhile."""
        names = {path.name.partition(".")[0] for path in self._own.iterdir()}
        imported = {name.partition(".")[0] for name in sys.modules}
        starts_code = {path.name for path in self._own.glob("*.pth")} != {environment.BASE}
        found = metadata.distributions(path=[str(self._own)])
        groups = {point.group for package in found for point in package.entry_points}
        return not (
            names & (imported | self._missed)
            or starts_code
            or groups - {"console_scripts", "gui_scripts"}  # plug-ins of what is imported
            or _changed_at(self._base) != self._began
        )


class Kernel:
    """A kernel that was forked: what `LocalProvisioner` needs of a `Popen`, for a process not its child."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, descriptor: int, ended: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._ended = ended  # a pipe, in which its parent says how it ended
        self._code: int | None = None
        self._lock = threading.Lock()

    def poll(self) -> int | None:
        """None while it runs, then its exit code, or minus the signal that ended it."""
        with self._lock:
            if self._code is None and select.select([self._ended], [], [], 0)[0]:
                self._code = int(os.read(self._ended, 16) or b"1")  # nothing: its parent was killed too
            return self._code

    def wait(self) -> int:
        """Waits until it has ended, and tells how."""
        while (code := self.poll()) is None:
            select.select([self._ended], [], [])
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal; ProcessLookupError when it has ended."""
        signal.pidfd_send_signal(self._descriptor, number)


class Forker:
    """The way from the process that executes a notebook to the one that forks its kernels."""

    def __init__(self, requests: socket.socket, imports: Imports) -> None:
        self._requests = requests
        self._imports = imports

    def fits(self) -> bool:
        """Whether a forked kernel is like a new one."""
        return self._imports.hold()

    def start(self, command: Sequence[str], variables: Mapping[str, str], cwd: str) -> Kernel:
        """Starts a kernel; `command` is that of an ordinary one."""
        self._requests.send(json.dumps([command, dict(variables), cwd]).encode())
        pid, descriptors, _, _ = socket.recv_fds(self._requests, 32, 2)
        return Kernel(int(pid), *descriptors)


def main() -> None:
    """Imports, waits for a run, and does a part of it: forks, executes the notebook, or is a kernel."""
    del sys.path[0]  # the folder in which it was started
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel does
    here = Path(sys.prefix)
    imports = Imports(environment.packages_of(here), environment.base_packages_of(here))
    gc.disable()  # what is imported stays, so looking for garbage meanwhile took a sixth of the time
    imports.do()
    if threading.active_count() > 1:
        sys.exit(f"an import has started {threading.enumerate()}: no process for a fork; runs start anew")
    order = sys.stdin.readline()
    if not order:  # the workspace has ended
        return
    folder, variables = json.loads(order).values()
    os.environ.update(variables)
    os.dup2(os.open(os.devnull, os.O_RDONLY), sys.stdin.fileno())
    os.chdir(folder)
    gc.freeze()
    gc.enable()
    _fork(Path(folder), imports)()


def _fork(folder: Path, imports: Imports) -> Callable[[], None]:
    """Forks the executor and then kernels as it asks; returns in each process what it has to do."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    executor = os.fork()
    if executor == 0:
        ours.close()
        return lambda: _execute(folder, Forker(theirs, imports))
    theirs.close()
    children = {os.pidfd_open(executor): executor}
    reports: dict[int, int] = {}  # by kernel, the pipe in which to say how it ended
    waiting: list[Any] = [ours]
    while True:
        ready = select.select([*waiting, *children], [], [])[0]
        for descriptor in children.keys() & set(ready):
            pid = children.pop(descriptor)
            os.close(descriptor)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if pid == executor:
                return lambda: _leave(code)
            _report(reports.pop(pid), code)
        if ours not in ready:
            continue
        request = ours.recv(_LONGEST_REQUEST)
        if not request:  # the executor is about to end
            waiting.clear()
            continue
        kernel = os.fork()
        if kernel == 0:
            for descriptor in (ours.detach(), *children, *reports.values()):
                os.close(descriptor)
            return lambda: _become_kernel(*json.loads(request))
        descriptor = os.pidfd_open(kernel)
        children[descriptor] = kernel
        ended, reports[kernel] = os.pipe()
        socket.send_fds(ours, [str(kernel).encode()], [descriptor, ended])
        os.close(ended)


def _report(pipe: int, code: int) -> None:
    with suppress(BrokenPipeError):  # the executor has ended
        os.write(pipe, str(code).encode())
    os.close(pipe)


def _execute(folder: Path, forker: Forker) -> None:
    from local_workspace.notebook import execute

    _leave(execute.main(folder, forker))


def _leave(code: int) -> None:
    """Ends this process at once: taking all the modules apart would take a while."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _become_kernel(command: list[str], variables: dict[str, str], cwd: str) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    Path("/proc/self/comm").write_text(KERNEL_NAME)
    os.environ.clear()
    os.environ.update(variables | {"JPY_PARENT_PID": str(os.getppid())})
    os.chdir(cwd)
    importlib.invalidate_caches()  # the run may have installed packages
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else the kernels of a run would draw the same numbers
    sys.argv = command[command.index("ipykernel_launcher") :]
    IPKernelApp.launch_instance(sys.argv[1:])


def _changed_at(folder: Path) -> int:
    return folder.stat().st_mtime_ns


if __name__ == "__main__":
    main()
