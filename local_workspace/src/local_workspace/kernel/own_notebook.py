"""What a notebook finds in its kernel that a person works in: what it has in a run; an IPython extension.

Beyond that nobody stands between this kernel and who looks at it, so that it hides secrets itself, goes on
after `dbutils.notebook.exit`, and begins anew by itself after `dbutils.library.restartPython`.
"""

import importlib
import json
import os
import posixpath
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import ExecutionResult, InteractiveShell

from local_workspace.kernel import kernel
from local_workspace.kernel.kernel_signals import SECRET_MIME_TYPE, NotebookExit, PythonRestart
from local_workspace.kernel.own_kernel import SOURCES
from local_workspace.kernel.redaction import TOKENS, Redactor
from local_workspace.notebooks.notebook_formats import imported
from local_workspace.processes.environment import packages_of

# What is there without a cell that has made it.
GIVEN = ("dbutils", "display", "displayHTML", "getArgument", "spark", "sc", "sqlContext")
SUFFIXES = (".py", ".ipynb")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Prepares the kernel as that of a run, and then for a person."""
    kernel.load_ipython_extension(shell)
    task = json.loads(Path(os.environ["LOCAL_WORKSPACE_TASK"]).read_text())
    _hide_secrets(shell.kernel.session)
    Cells(shell, _whose_widgets(task))
    _run_neighbours(beside(Path.cwd(), task["notebook_path"]))


class Cells:
    """Follows the cells of a kernel: what begins and ends with each."""

    def __init__(self, shell: InteractiveShell, greeting: str) -> None:
        self._shell = shell
        self._greeting = greeting
        self._depth = 0  # a cell can run another one, as `%run` does
        shell.set_custom_exc((NotebookExit, PythonRestart), lambda *_, **__: None)
        shell.events.register("pre_run_cell", self._begin)
        shell.events.register("post_run_cell", self._end)

    def _begin(self, _: object) -> None:
        self._depth += 1
        if self._greeting:
            print(self._greeting)
            self._greeting = ""

    def _end(self, result: ExecutionResult) -> None:
        self._depth -= 1
        ended_by = result.error_in_exec
        if self._depth:
            return
        if isinstance(ended_by, NotebookExit):  # it stays an error: the cells behind this one are not to run
            print(f"Notebook exited: {ended_by}")
        elif isinstance(ended_by, PythonRestart):
            result.error_in_exec = None
            print(begin_anew(self._shell))


def begin_anew(shell: InteractiveShell) -> str:
    """Does what a new Python process is started for: its variables go, and new packages are imported.

    The process stays, and with it whoever is connected to it; gives what there is to say.
    """
    kept = {name: shell.user_ns[name] for name in GIVEN if name in shell.user_ns}
    shell.reset(new_session=False)
    shell.push(kept)
    sources = [Path(folder) for folder in os.environ[SOURCES].split(os.pathsep)]
    left = forget_changed_modules(packages_of(Path(sys.prefix)), sources)
    said = "Python began anew: variables are gone, and packages are imported again."
    if left:
        said += (
            f" Not so {', '.join(left)}, which cannot be imported twice: restart the kernel, and run %pip "
            "before they are imported."
        )
    return said


def forget_changed_modules(installed: Path, sources: list[Path]) -> list[str]:
    """Has the packages of these folders imported anew; gives those with compiled parts, which cannot be."""
    importlib.invalidate_caches()
    names = {path.name.partition(".")[0] for path in installed.iterdir()}
    changed: dict[str, list[str]] = {}
    for name in list(sys.modules):
        package, file = name.partition(".")[0], _file_of(name)
        if package in names or any(file.is_relative_to(folder) for folder in sources):
            changed.setdefault(package, []).append(name)
    changed.pop("local_workspace", None)  # it runs this
    compiled = [package for package, modules in changed.items() if any(map(_is_compiled, modules))]
    for package in changed.keys() - compiled:
        for name in changed[package]:
            del sys.modules[name]
    return sorted(compiled)


def beside(folder: Path, notebook_path: str) -> Callable[[str], tuple[str, str] | None]:
    """Which notebook lies in a folder here as it would in the workspace: its source and its language."""

    def find(path: str) -> tuple[str, str] | None:
        name = posixpath.relpath(path, posixpath.dirname(notebook_path))
        for suffix in SUFFIXES:
            file = folder / f"{name.removesuffix(suffix)}{suffix}"
            found = imported(file.name, file.read_bytes(), "AUTO", None) if file.is_file() else None
            if found is not None:
                return found.exported("SOURCE")[0].decode(), found.language
        return None

    return find


def _run_neighbours(here: Callable[[str], tuple[str, str] | None]) -> None:
    """Has `%run` take a notebook that lies here, and else that of the workspace."""
    magics = vars(kernel)  # where `%run` looks
    notebook_at, source_of = magics["notebook_at"], magics["source_of"]
    magics["notebook_at"] = lambda path: path if here(path) else notebook_at(path)
    magics["source_of"] = lambda path: here(path) or source_of(path)


def _file_of(name: str) -> Path:
    """Where a module that was imported lies; one that is to be imported when it is used is not asked."""
    return Path(str(getattr(sys.modules[name], "__dict__", {}).get("__file__", "")))


def _is_compiled(name: str) -> bool:
    return _file_of(name).suffix in (".so", ".pyd")


def _whose_widgets(task: dict[str, Any]) -> str:
    name = task.get("job_name")
    return f"Widgets have the values of job {name!r}." if name and task["parameters"] else ""


def _hide_secrets(session: Any) -> None:
    """Has everything that the kernel sends go without the values of secrets that were read in it."""
    redactor, send = Redactor(), session.send
    for name in TOKENS:
        redactor.add(os.environ.get(name, ""))

    def send_without(stream: Any, message: Any, content: Any = None, *more: Any, **named: Any) -> Any:
        if isinstance(message, dict):
            data = message["content"].get("data")
            if isinstance(data, dict) and SECRET_MIME_TYPE in data:
                redactor.add(data[SECRET_MIME_TYPE])
                return message
            message = message | {"content": redactor.clean(message["content"])}
        return send(stream, message, redactor.clean(content), *more, **named)

    session.send = send_without
