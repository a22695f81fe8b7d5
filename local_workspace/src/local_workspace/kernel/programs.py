"""Runs a Python file, or an entry point of a wheel, in the kernel of its run, as Databricks does."""

import importlib
import sys
from collections.abc import Callable, Sequence
from importlib import metadata
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell

from local_workspace.kernel.file_system import own_state


class ProgramExit(Exception):
    """A program has ended itself with an exit code that tells of a failure."""


def prepare(shell: InteractiveShell) -> None:
    """Gives the one cell of a program what it calls."""
    programs = Programs(shell)
    shell.push({"run_file": programs.run_file, "run_entry_point": programs.run_entry_point})


class Programs:
    """Runs one program."""

    def __init__(self, shell: InteractiveShell) -> None:
        self._shell = shell

    def run_file(self, path: str, words: Sequence[str]) -> None:
        """Runs a file as `python FILE WORD ...` would; a file that names `spark` or `dbutils` finds them."""
        __tracebackhide__ = True
        file = own_state().local_path(path)
        source = file.read_bytes()
        sys.argv = [str(file), *words]
        sys.path.insert(0, str(file.parent))
        # As before any cell: the session is opened for what names it.
        text = source.decode(errors="replace")
        self._shell.events.trigger("pre_run_cell", ExecutionInfo(text, False, False, False, ""))
        self._shell.user_ns["__file__"] = str(file)
        _until_exit(exec, compile(source, str(file), "exec"), self._shell.user_ns)

    def run_entry_point(self, package: str, name: str, words: Sequence[str]) -> None:
        """Calls an entry point of a package; without one of that name the function `package.name`."""
        __tracebackhide__ = True
        sys.argv = [package, *words]
        importlib.invalidate_caches()  # the cell before this one may have installed it
        points = [point for point in metadata.distribution(package).entry_points if point.name == name]
        if points:
            _until_exit(points[0].load())
        else:
            _until_exit(getattr(importlib.import_module(package.replace("-", "_")), name))


def _until_exit(program: Callable[..., Any], *arguments: Any) -> None:
    """Runs a program that may end itself: with code 0 it has succeeded."""
    __tracebackhide__ = True
    try:
        program(*arguments)
    except SystemExit as end:
        if end.code not in (None, 0):
            raise ProgramExit(f"the program ended itself with sys.exit({end.code!r})") from None
        print(
            "The program ended itself with sys.exit(0). A cluster of Databricks may count that as a failure; "
            "let it return instead.",
            file=sys.stderr,
        )
