"""`dbutils` of a notebook that runs on the local workspace."""

import functools
import json
import posixpath
from collections.abc import Sequence
from typing import Any

from IPython.core.getipython import get_ipython

from local_workspace.notebook.signals import SECRET_MIME_TYPE, exit_notebook, restart_python
from local_workspace.notebook.task_values import Jobs


class DbUtils:
    """The utilities by their Databricks names; `fs` and `secrets` speak to the workspace's REST API."""

    def __init__(self, parameters: dict[str, str], notebook_path: str) -> None:
        self.widgets = Widgets(parameters)
        self.notebook = Notebook(notebook_path)
        self.library = Library()
        self.jobs = Jobs()
        self.secrets = Secrets()

    @functools.cached_property
    def fs(self) -> Any:
        """File operations on `dbfs:/` and `/Volumes/`, as databricks-sdk offers them."""
        return _client().dbutils.fs


class Widgets:
    """The parameters of a notebook; what the job passes wins over a widget's default."""

    def __init__(self, parameters: dict[str, str]) -> None:
        self._parameters = parameters
        self._values = dict(parameters)

    def text(self, name: str, defaultValue: str, label: str | None = None) -> None:
        """Declares a widget that takes any text."""
        self._values[name] = self._parameters.get(name, defaultValue)

    def dropdown(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that takes one of `choices`."""
        self.text(name, defaultValue)
        if self._values[name] not in choices:
            raise ValueError(f"widget {name!r} takes one of {list(choices)}; got {self._values[name]!r}")

    def combobox(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that suggests `choices` and takes any text."""
        self.text(name, defaultValue)

    def multiselect(
        self, name: str, defaultValue: str, choices: Sequence[str], label: str | None = None
    ) -> None:
        """Declares a widget that takes some of `choices`, separated by commas."""
        self.text(name, defaultValue)
        if unknown := set(self._values[name].split(",")) - set(choices):
            raise ValueError(f"widget {name!r} takes some of {list(choices)}; got {sorted(unknown)}")

    def get(self, name: str) -> str:
        """The value of a widget or job parameter."""
        if name not in self._values:
            raise InputWidgetNotDefined(
                f"no input widget named {name!r} is defined; there are {sorted(self._values)}"
            )
        return self._values[name]

    getArgument = get

    def getAll(self) -> dict[str, str]:
        """All values by name."""
        return dict(self._values)

    def remove(self, name: str) -> None:
        """Removes one widget."""
        self._values.pop(name, None)

    def removeAll(self) -> None:
        """Removes all widgets."""
        self._values.clear()


class InputWidgetNotDefined(Exception):
    """A widget was asked for that neither the notebook nor its job defines."""


class Secrets:
    """Reads secrets; their values are hidden in every output of the run."""

    def get(self, scope: str, key: str) -> str:
        """The secret `key` of `scope` as text."""
        value: str = _client().dbutils.secrets.get(scope, key)
        shell = get_ipython()
        if shell is not None:
            shell.display_pub.publish({SECRET_MIME_TYPE: value})
        return value

    def getBytes(self, scope: str, key: str) -> bytes:
        """The secret `key` of `scope` as bytes."""
        return self.get(scope, key).encode()

    def list(self, scope: str) -> Any:
        """The keys of `scope`."""
        return _client().dbutils.secrets.list(scope)

    def listScopes(self) -> Any:
        """The scopes of the workspace."""
        return _client().dbutils.secrets.listScopes()


class Notebook:
    """Runs other notebooks, and ends this one."""

    def __init__(self, path: str) -> None:
        self._path = path

    def exit(self, value: str) -> None:
        """Ends this notebook; `value` is what its caller gets."""
        exit_notebook(value if isinstance(value, str) else json.dumps(value))

    def run(self, path: str, timeout_seconds: int = 0, arguments: dict[str, str] | None = None) -> str:
        """Runs another notebook in a kernel of its own and returns its exit value."""
        from databricks.sdk.service.jobs import NotebookTask, SubmitTask

        client = _client()
        task = SubmitTask(
            task_key="notebook",
            notebook_task=NotebookTask(self.resolve(path), base_parameters=arguments),
            existing_cluster_id=next(iter(client.clusters.list())).cluster_id,
            timeout_seconds=timeout_seconds,
        )
        run = client.jobs.submit(run_name=f"notebook.run {path}", tasks=[task]).result()
        output = client.jobs.get_run_output(run.tasks[0].run_id)
        return output.notebook_output.result or "" if output.notebook_output else ""

    def resolve(self, path: str) -> str:
        """The workspace path of a notebook that is named relative to this one."""
        return posixpath.normpath(posixpath.join(posixpath.dirname(self._path), path))

    def source_of(self, path: str) -> str:
        """The source of a notebook in the workspace, in Databricks' format."""
        from databricks.sdk.service.workspace import ExportFormat

        with _client().workspace.download(path, format=ExportFormat.SOURCE) as content:
            return str(content.read(), "utf-8")


class Library:
    """Notebook-scoped libraries."""

    def restartPython(self) -> None:
        """Starts a new Python process, so that packages just installed are picked up."""
        restart_python()


@functools.cache
def _client() -> Any:
    from databricks.sdk import WorkspaceClient

    return WorkspaceClient()
