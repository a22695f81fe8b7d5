"""`dbutils` of a notebook that runs on the local workspace."""

import base64
import json
import posixpath
import sys
import time
from collections.abc import Collection, Iterator, Sequence
from contextlib import contextmanager
from typing import Any, NamedTuple

from IPython.core.getipython import get_ipython

from local_workspace.kernel import rest
from local_workspace.kernel.context import Context, EntryPoint
from local_workspace.kernel.file_system import FileSystem
from local_workspace.kernel.kernel_signals import SECRET_MIME_TYPE, exit_notebook, restart_python
from local_workspace.kernel.task_values import Jobs
from local_workspace.kernel.utility import Utility, first_line
from local_workspace.notebooks.languages import BY_SUFFIX, PYTHON
from local_workspace.store.document_index import ENDED


class DbUtils:
    """The utilities by their Databricks names."""

    def __init__(self, task: dict[str, Any]) -> None:
        self._entry_point = EntryPoint(Context(task))
        self.fs = FileSystem()
        self.jobs = Jobs()
        self.library = Library()
        self.notebook = Notebook(task["notebook_path"], task.get("compute", {}), self._entry_point)
        self.secrets = Secrets()
        self.widgets = Widgets(task["parameters"])

    @property
    def entry_point(self) -> EntryPoint:
        """The Java side, as far as there is one."""
        return self._entry_point

    def help(self) -> None:
        """Prints which utilities there are."""
        for utility in filter(lambda part: isinstance(part, Utility), vars(self).values()):
            print(f"{utility.name}: {first_line(utility)} ({utility.name}.help() tells more)")


class Widgets(Utility):
    """The parameters of a notebook; what the job passes wins over a widget's default."""

    name = "dbutils.widgets"

    def __init__(self, parameters: dict[str, str]) -> None:
        self._parameters = parameters
        self._undeclared = dict(parameters)  # known without a widget that declares them
        self._defaults: dict[str, str] = {}  # of the widgets that are declared

    def text(self, name: str, defaultValue: str, label: str | None = None) -> None:
        """Declares a widget that takes any text."""
        self._defaults[name] = defaultValue

    def dropdown(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that offers `choices`, of which the default is one; a job may pass any value."""
        if defaultValue not in choices:
            raise ValueError(f"widget {name!r} takes one of {list(choices)}; got {defaultValue!r}")
        self._defaults[name] = defaultValue

    def combobox(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that suggests `choices` and takes any text."""
        self.text(name, defaultValue)

    def multiselect(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that offers `choices`, of which the default is one, or some between commas.

        A job may pass any value.
        """
        unknown = set() if defaultValue in choices else set(defaultValue.split(",")) - set(choices)
        if unknown:
            raise ValueError(f"widget {name!r} takes some of {list(choices)}; got {sorted(unknown)}")
        self._defaults[name] = defaultValue

    def get(self, name: str) -> str:
        """The value of a widget or job parameter."""
        values = self.getAll()
        if name not in values:
            raise InputWidgetNotDefined(
                f"no input widget named {name!r} is defined; there are {sorted(values)}"
            )
        return values[name]

    def getArgument(self, name: str, optional: str | None = None) -> str:
        """The value of a widget or job parameter, or `optional` where there is none."""
        return self.get(name) if optional is None else self.getAll().get(name, optional)

    def getAll(self) -> dict[str, str]:
        """All values by name."""
        declared = {name: self._parameters.get(name, value) for name, value in self._defaults.items()}
        return self._undeclared | declared

    def remove(self, name: str) -> None:
        """Removes one widget."""
        self._undeclared.pop(name, None)
        self._defaults.pop(name, None)

    def removeAll(self) -> None:
        """Removes all widgets."""
        self._undeclared.clear()
        self._defaults.clear()

    @contextmanager
    def _called_with(self, arguments: dict[str, str]) -> Iterator[None]:
        """While another notebook runs inside this one, what it is called with wins over its defaults.

        Both share their widgets: what it declares or removes stays so. What it was called with does not.
        """
        parameters, undeclared = self._parameters, self._undeclared
        own_defaults = {name: self._defaults[name] for name in arguments.keys() & self._defaults.keys()}
        self._parameters, self._undeclared = parameters | arguments, undeclared | arguments
        try:
            yield
        finally:
            self._parameters = parameters
            self._undeclared = _within(undeclared, self._undeclared)
            self._defaults |= _within(own_defaults, self._defaults)


def _within(values: dict[str, str], names: Collection[str]) -> dict[str, str]:
    return {name: value for name, value in values.items() if name in names}


class InputWidgetNotDefined(Exception):
    """A widget was asked for that neither the notebook nor its job defines."""


class SecretMetadata(NamedTuple):
    """What is told of a secret."""

    key: str


class SecretScope(NamedTuple):
    """A scope of secrets."""

    name: str

    def getName(self) -> str:
        """Its name."""
        return self.name


class Secrets(Utility):
    """Reads secrets; their values are hidden in every output of the run."""

    name = "dbutils.secrets"

    def get(self, scope: str, key: str) -> str:
        """The secret `key` of `scope` as text."""
        return self.getBytes(scope, key).decode()

    def getBytes(self, scope: str, key: str) -> bytes:
        """The secret `key` of `scope` as bytes."""
        value = base64.b64decode(rest.own().get("2.0/secrets/get", scope=scope, key=key)["value"])
        shell = get_ipython()
        if shell is not None:
            shell.display_pub.publish({SECRET_MIME_TYPE: value.decode(errors="ignore")})
        return value

    def list(self, scope: str) -> Sequence[SecretMetadata]:
        """The keys of `scope`."""
        found = rest.own().get("2.0/secrets/list", scope=scope).get("secrets", [])
        return [SecretMetadata(secret["key"]) for secret in found]

    def listScopes(self) -> Sequence[SecretScope]:
        """The scopes of the workspace."""
        found = rest.own().get("2.0/secrets/scopes/list").get("scopes", [])
        return [SecretScope(scope["name"]) for scope in found]


class Notebook(Utility):
    """Runs other notebooks, and ends this one."""

    name = "dbutils.notebook"

    def __init__(self, path: str, compute: dict[str, Any], entry_point: EntryPoint) -> None:
        self.entry_point = entry_point
        self._path = path
        self._compute = compute  # a notebook that it runs is on the same

    def exit(self, value: str) -> None:
        """Ends this notebook; `value` is what its caller gets."""
        exit_notebook(value if isinstance(value, str) else json.dumps(value))

    def run(self, path: str, timeout_seconds: int = 0, arguments: dict[str, str] | None = None) -> str:
        """Runs another notebook in a Python process of its own and returns its exit value.

        Raises WorkflowException when it fails or takes longer than `timeout_seconds` (0: no limit).
        """
        notebook = notebook_at(self._resolve(path))
        run_id = _submit(notebook, timeout_seconds, arguments or {}, self._compute)
        try:
            task = _wait(run_id)["tasks"][-1]
        except BaseException:
            rest.own().post("2.2/jobs/runs/cancel", run_id=run_id)  # it ends with this notebook
            raise
        output, state = rest.own().get("2.2/jobs/runs/get-output", run_id=task["run_id"]), task["state"]
        result = state.get("result_state") or state["life_cycle_state"]
        if result != "SUCCESS":
            reason = output.get("error") if result == "FAILED" else None
            raise WorkflowException(f"{path} ended {result}: {reason or state['state_message']}")
        return str(output.get("notebook_output", {}).get("result") or "")

    def _resolve(self, path: str) -> str:
        """The workspace path of a notebook that is named relative to this one."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._path), path))

    @contextmanager
    def _inside(self, path: str) -> Iterator[None]:
        """While the cells of another notebook run in this one, paths are relative to that one."""
        before, self._path = self._path, path
        try:
            yield
        finally:
            self._path = before


class WorkflowException(Exception):
    """A notebook that this one ran did not succeed."""


class Library(Utility):
    """Notebook-scoped libraries."""

    name = "dbutils.library"

    def restartPython(self) -> None:
        """Starts a new Python process, so that packages just installed are picked up."""
        restart_python()


def notebook_at(path: str) -> str:
    """A notebook's path as the workspace keeps it: one of Jupyter's may be named with `.ipynb` or without."""
    spellings = (path, path.removesuffix(".ipynb"), f"{path}.ipynb")
    return next(filter(_is_notebook, dict.fromkeys(spellings)), path)


def source_of(path: str) -> tuple[str, str]:
    """The source of a notebook in the workspace, in Databricks' format, and its language."""
    if rest.own().get("2.0/workspace/get-status", path=path)["object_type"] != "NOTEBOOK":
        raise ValueError(f"{path} is no notebook; %run takes one, and a file is imported: import its_name")
    found = rest.own().get("2.0/workspace/export", path=path, format="SOURCE")
    language = BY_SUFFIX.get(f".{found['file_type']}", PYTHON)
    return base64.b64decode(found["content"]).decode(), language.name


def _is_notebook(path: str) -> bool:
    try:
        return bool(rest.own().get("2.0/workspace/get-status", path=path)["object_type"] == "NOTEBOOK")
    except rest.WorkspaceError:
        return False


def _submit(path: str, timeout_seconds: int, arguments: dict[str, str], compute: dict[str, Any]) -> int:
    task = {
        **compute,
        "task_key": "notebook",
        "notebook_task": {"notebook_path": path, "base_parameters": arguments},
        "timeout_seconds": timeout_seconds,
    }
    name = posixpath.basename(path)
    submitted = rest.own().post("2.2/jobs/runs/submit", run_name=name, tasks=[task], run_type="WORKFLOW_RUN")
    print(f"Runs {path}: {rest.host()}/runs/{submitted['run_id']}", file=sys.stderr)
    return int(submitted["run_id"])


def _wait(run_id: int) -> Any:
    while True:
        run = rest.own().get("2.2/jobs/runs/get", run_id=run_id)
        if run["state"]["life_cycle_state"] in ENDED:
            return run
        time.sleep(0.2)
