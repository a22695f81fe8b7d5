"""The process that has done the imports of most notebooks and from which runs are forked; Linux only.

Started as `python -m local_workspace.kernel.forking SOCKET` in an environment of its own, it imports and
then forks for each run. That fork gets the folder and the token of the run, and forks again: once for the
process that executes the notebook, once for each kernel. It imports what the cluster carries, never what a
run installs; a run whose libraries could have changed these imports gets an ordinary kernel.
"""

import ctypes
import gc
import importlib
import json
import multiprocessing
import os
import runpy
import select
import socket
import sys
import threading
from collections.abc import Callable, Mapping, Sequence
from contextlib import suppress
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from local_workspace.kernel.imports import Forker, Imports
from local_workspace.processes import environment
from local_workspace.processes.forks import READY
from local_workspace.processes.processes import adopt_orphans, end_descendants
from local_workspace.processes.run_processes import MARK
from local_workspace.spark import spark_daemon

assert sys.platform == "linux"

KERNEL_NAME = "ipykernel"
_LONGEST_REQUEST = 1 << 20
_MOST_FILES = 3


Become = Callable[[bytes, list[int]], None]


def main(descriptor: int) -> None:
    """Imports, then forks runs as the workspace asks for them, until it ends."""
    mark_place = _place_of_mark()
    if not sys.flags.safe_path:
        del sys.path[0]  # the folder in which it was started
    os.environ.setdefault("MPLBACKEND", "module://matplotlib_inline.backend_inline")  # as ipykernel does
    imports = Imports(environment.base_packages_of(Path(sys.prefix)))
    gc.disable()  # what is imported stays, so looking for garbage meanwhile took a sixth of the time
    imports.do()
    if threading.active_count() > 1:
        sys.exit(f"an import has started {threading.enumerate()}: no process for a fork; runs start anew")
    os.close(os.pidfd_open(os.getpid()))  # fails where the system is too old to fork runs here
    gc.freeze()
    gc.enable()
    requests = socket.socket(fileno=descriptor)
    requests.send(READY)
    _fork_on_request({requests: lambda _, files: _become_run(files, mark_place, imports)})()


def _fork_on_request(doors: dict[socket.socket, Become], first: int = 0) -> Callable[[], None]:
    """Forks for those who ask; returns in each process what it has to do.

    A door is the way to one who asks, or a socket that listens. Ends with the child `first` and its exit
    code, or when no door is open any more.
    """
    children = {os.pidfd_open(first): first} if first else {}
    reports: dict[int, int] = {}  # by child, the pipe in which to say how it ended
    while doors:
        waiting: list[Any] = [*children, *doors]
        ready = set(select.select(waiting, [], [])[0])
        for ended in children.keys() & ready:
            pid = children.pop(ended)
            os.close(ended)
            code = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
            if pid == first:
                return lambda: _leave_nothing(code)
            _report(reports.pop(pid), code)
        for door in doors.keys() & ready:
            become, listens = doors[door], door.getsockopt(socket.SOL_SOCKET, socket.SO_ACCEPTCONN)
            asking = door.accept()[0] if listens else door
            message, files, _, _ = socket.recv_fds(asking, _LONGEST_REQUEST, _MOST_FILES)
            if not message:  # it has ended, or is about to
                asking.close()
                doors.pop(asking, None)
                continue
            child = os.fork()
            if child == 0:
                for other in (asking, *doors):
                    other.close()
                for descriptor in (*children, *reports.values()):
                    os.close(descriptor)
                return lambda: become(message, files)
            for file in files:
                os.close(file)
            descriptor, reports[child] = _tell(asking, child)
            children[descriptor] = child
            if listens:
                asking.close()
    return lambda: _leave(0)


def _tell(asking: socket.socket, child: int) -> tuple[int, int]:
    """Tells who has asked of the child; returns what is readable when it has ended, and where to say how."""
    descriptor = os.pidfd_open(child)
    theirs, ours = os.pipe()
    with suppress(ConnectionError):  # nobody waits for it any more
        socket.send_fds(asking, [str(child).encode()], [descriptor, theirs])
    os.close(theirs)
    return descriptor, ours


def _report(pipe: int, code: int) -> None:
    with suppress(BrokenPipeError):  # nobody waits for it any more
        os.write(pipe, str(code).encode())
    os.close(pipe)


def _become_run(files: Sequence[int], mark_place: int, imports: Imports) -> None:
    """Executes a run, and forks its kernels and Spark's daemons for it.

    `files` are a socket that tells which run, and its log.
    """
    order, log = files
    os.setsid()
    adopt_orphans()
    for stream in (sys.stdout, sys.stderr):
        os.dup2(log, stream.fileno())
    os.close(log)
    with socket.socket(fileno=order) as workspace, workspace.makefile() as file:
        variables = json.loads(file.read())
        _write_mark(mark_place, variables[MARK])
        workspace.send(b"1")  # fails where the workspace has given up
    os.environ.update(variables)
    folder = Path(variables[MARK])
    environment.move_to(folder)
    os.chdir(folder)
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    executor = os.fork()
    if executor == 0:
        ours.close()
        _execute(folder, Forker(theirs, imports))
    theirs.close()
    doors: dict[socket.socket, Become] = {
        ours: lambda request, _: _become_kernel(*json.loads(request)),
        spark_daemon.listen(): lambda request, files: _become_daemon(request, files, imports),
    }
    _fork_on_request(doors, first=executor)()


def _place_of_mark() -> int:
    """Where in memory the system reads the mark with which this process was started."""
    find = ctypes.CDLL(None).getenv
    find.restype = ctypes.c_void_p
    place: int = find(MARK.encode())
    return place


def _write_mark(place: int, value: str) -> None:
    """Puts another mark there: a fork has no environment of its own for those who look from outside."""
    mark, room = os.fsencode(value), len(ctypes.string_at(place))
    if len(mark) > room:
        sys.exit(f"the mark {value} is longer than the {room} bytes that there are for it")
    ctypes.memmove(place, mark.ljust(room, b"/"), room)


def _execute(folder: Path, forker: Forker) -> None:
    from local_workspace.kernel import execute

    _leave(execute.main(folder, forker))


def _leave(code: int) -> None:
    """Ends this process at once: taking all the modules apart would take a while."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(code)


def _leave_nothing(code: int) -> None:
    """Ends this process, and before it what the run has left behind."""
    end_descendants()
    _leave(code)


def _become_kernel(command: list[str], variables: dict[str, str], cwd: str) -> None:
    from ipykernel.kernelapp import IPKernelApp

    os.setsid()
    Path("/proc/self/comm").write_text(KERNEL_NAME)
    _move_into(variables | {"JPY_PARENT_PID": str(os.getppid())}, cwd)
    if numpy := sys.modules.get("numpy"):
        numpy.random.seed()  # else the kernels of a run would draw the same numbers
    multiprocessing.current_process().authkey = os.urandom(32)
    sys.argv = command[command.index("ipykernel_launcher") :]
    if (launcher := find_spec(sys.argv[0])) and launcher.origin:
        sys.argv[0] = launcher.origin
    IPKernelApp.launch_instance(sys.argv[1:], parent_handle=os.getppid())


def _become_daemon(request: bytes, files: Sequence[int], imports: Imports) -> None:
    """Forks Spark's workers; `files` are the standard ones of the process that Spark has started."""
    adopt_orphans()
    arguments, variables, cwd = json.loads(request)
    for place, file in enumerate(files):
        os.dup2(file, place)
        os.close(file)
    _move_into(variables, cwd)
    if not imports.hold(environment.packages_of(Path(sys.prefix))):
        os.execv(sys.executable, [sys.executable, "-m", spark_daemon.SPARKS_OWN, *arguments])
    sys.path += (folders := environment.shared_folders(Path(sys.prefix)))
    sys.dont_write_bytecode = bool(folders)  # as the file does in which they are kept
    if numpy := sys.modules.get("numpy"):
        os.register_at_fork(after_in_child=numpy.random.seed)
    sys.argv[1:] = arguments
    try:
        runpy.run_module(spark_daemon.SPARKS_OWN, run_name="__main__", alter_sys=True)
    except SystemExit as end:
        _leave(int(end.code or 0))


def _move_into(variables: Mapping[str, str], cwd: str) -> None:
    """Takes over the environment and the folder of a process that would have been started anew."""
    os.environ.clear()
    os.environ.update(variables)
    os.chdir(cwd)
    importlib.invalidate_caches()  # the run may have installed packages


if __name__ == "__main__":
    main(int(sys.argv[1]))
