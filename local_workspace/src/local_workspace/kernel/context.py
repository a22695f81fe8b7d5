"""What a notebook tells of itself: `dbutils.notebook.entry_point.getDbutils().notebook().getContext()`.

On Databricks these are objects of Java, and so notebooks call them: each value is an `Option`.
"""

import json
import os
from collections.abc import Callable, Iterator, Mapping
from typing import Any, NoReturn

from local_workspace.callers import USER_NAME
from local_workspace.kernel import rest
from local_workspace.words import WORKSPACE_ID


class Option:
    """A value that may be absent, with the calls of Scala's."""

    def __init__(self, value: Any) -> None:
        self._value = value

    def get(self) -> Any:
        """The value; LookupError where there is none."""
        return self._value if self.isDefined() else _raise_absent()

    def getOrElse(self, other: Any) -> Any:
        """The value, or `other` where there is none."""
        return self._value if self.isDefined() else other

    def isDefined(self) -> bool:
        """Whether there is a value."""
        return self._value is not None

    def isEmpty(self) -> bool:
        """Whether there is none."""
        return self._value is None

    def __str__(self) -> str:
        return f"Some({self._value})" if self.isDefined() else "None"

    toString = __repr__ = __str__


class Tags:
    """Names and texts, with the calls of a map of Scala's."""

    def __init__(self, values: Mapping[str, str]) -> None:
        self._values = values

    def get(self, name: str) -> Option:
        """What stands under a name, if anything."""
        return Option(self._values.get(name))

    def apply(self, name: str) -> str:
        """What stands under a name; KeyError where nothing does."""
        return self._values[name]

    def contains(self, name: str) -> bool:
        """Whether anything stands under a name."""
        return name in self._values

    def __iter__(self) -> Iterator[str]:
        return iter(self._values)

    def __str__(self) -> str:
        return f"Map({', '.join(f'{name} -> {value}' for name, value in self._values.items())})"

    toString = __repr__ = __str__


class RunId:
    """The number of a run, as the context has it."""

    def __init__(self, number: int) -> None:
        self._number = number

    def id(self) -> int:
        """The number."""
        return self._number

    def __str__(self) -> str:
        return f"RunId({self._number})"

    toString = __repr__ = __str__


class Context:
    """What is known of a notebook and its run; `context.notebookPath().get()`."""

    def __init__(self, task: Mapping[str, Any]) -> None:
        run = task.get("run_id")
        self._run = None if run is None else int(run)
        host = os.environ.get("DATABRICKS_HOST")
        self._values: dict[str, Callable[[], Any]] = {
            "apiToken": lambda: os.environ.get("DATABRICKS_TOKEN"),
            "apiUrl": lambda: host,
            "browserHostName": lambda: host and host.partition("://")[2],
            "clusterId": lambda: task.get("compute", {}).get("existing_cluster_id"),
            "currentRunId": lambda: None if self._run is None else RunId(self._run),
            "jobId": lambda: _text(task.get("job_id")),
            "notebookId": lambda: _text(_object_id(task["notebook_path"])),
            "notebookLanguage": lambda: str(task.get("language", "PYTHON")).lower(),
            "notebookPath": lambda: task["notebook_path"],
            "userName": lambda: task.get("user", USER_NAME),
            "workspaceId": lambda: WORKSPACE_ID,
        }
        self._of_job = {
            "jobId": _text(task.get("job_id")),
            "jobRunId": _text(task.get("job_run_id")),
            "multitaskParentRunId": _text(task.get("job_run_id")),
            "runId": _text(run),
            "taskKey": task.get("task_key"),
        }

    def __getattr__(self, name: str) -> Callable[[], Option]:
        if name.startswith("_") or name not in self._values:
            raise AttributeError(
                f"the context of a notebook has no {name!r}; there are {sorted(self._values)}"
            )
        return lambda: Option(self._values[name]())

    def tags(self) -> Tags:
        """What the run is tagged with."""
        names = {"browserHostName", "clusterId", "notebookId", "notebookLanguage"}
        told = {name: self._values[name]() for name in sorted(names)}
        told |= {"orgId": self._values["workspaceId"](), "user": self._values["userName"]()}
        return Tags({name: value for name, value in (told | self._of_job).items() if value is not None})

    def extraContext(self) -> Tags:
        """What else is told by name."""
        named = {"api_token": "apiToken", "api_url": "apiUrl", "notebook_path": "notebookPath"}
        values = {name: self._values[value]() for name, value in named.items()}
        return Tags({name: value for name, value in values.items() if value is not None})

    def toJson(self) -> str:
        """All of it as JSON; with the token, which is hidden where it is shown."""
        tags, extra = self.tags(), self.extraContext()
        return json.dumps(
            {
                "rootRunId": None,
                "currentRunId": None if self._run is None else {"id": self._run},
                "jobGroup": None,
                "tags": {name: tags.apply(name) for name in tags},
                "extraContext": {name: extra.apply(name) for name in extra},
            }
        )

    def safeToJson(self) -> str:
        """The same without the token."""
        tags = self.tags()
        attributes = {name: tags.apply(name) for name in tags}
        own = {"notebook_path": self._values["notebookPath"](), "notebook_id": attributes.get("notebookId")}
        run = {"currentRunId": _text(self._run)}
        return json.dumps({"attributes": attributes | own | run})


class EntryPoint:
    """The Java side of `dbutils`; of it there is the notebook's context."""

    def __init__(self, context: Context) -> None:
        self._context = context

    def getDbutils(self) -> "EntryPoint":
        """Itself."""
        return self

    def notebook(self) -> "EntryPoint":
        """Itself."""
        return self

    def getContext(self) -> Context:
        """What the notebook tells of itself."""
        return self._context


def _object_id(path: str) -> int:
    return int(rest.own().get("2.0/workspace/get-status", path=path)["object_id"])


def _text(value: object) -> str | None:
    return None if value is None else str(value)


def _raise_absent() -> NoReturn:
    raise LookupError("None.get: there is no value; isDefined() tells, getOrElse(...) gives another one")
