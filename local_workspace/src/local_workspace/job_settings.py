"""What a job or a one-time run is made of: settings of every API version, brought into one form."""

from collections.abc import Iterable
from typing import Any

from local_workspace.database import Database, Document
from local_workspace.errors import InvalidParameter, NotSupported

# What API 2.0 keeps at the top, and later versions inside a task.
TASK_FIELDS = (
    "notebook_task",
    "existing_cluster_id",
    "new_cluster",
    "libraries",
    "max_retries",
    "min_retry_interval_millis",
    "retry_on_timeout",
)
ONLY_TASK_KEY = "main"


def normalised(settings: Document, database: Database) -> Document:
    """Settings with `tasks`, checked; raises InvalidParameter or NotSupported with the task's key.

    A `notebook_task` at the top becomes the one task `main`.
    """
    top = {name: settings[name] for name in TASK_FIELDS if name in settings}
    rest = {name: value for name, value in settings.items() if name not in TASK_FIELDS}
    if top and settings.get("tasks"):
        raise InvalidParameter(f"the settings have tasks, so {sorted(top)} belong into the tasks")
    single = {"tasks": [{"task_key": ONLY_TASK_KEY, **top}], "format": "SINGLE_TASK"}
    complete = rest | ({"format": "MULTI_TASK"} if settings.get("tasks") else single)
    _check_tasks(complete["tasks"], database)
    return complete


def as_version_2_0(settings: Document) -> Document:
    """Settings as API 2.0 shows them: the task of a single-task job at the top."""
    if settings.get("format") != "SINGLE_TASK":
        return settings
    task = {name: value for name, value in settings["tasks"][0].items() if name != "task_key"}
    return {**{name: value for name, value in settings.items() if name != "tasks"}, **task}


def in_order(tasks: list[Document]) -> list[Document]:
    """The tasks, each behind those it depends on; raises InvalidParameter for a circle."""
    waiting, ordered, done = list(tasks), [], set[str]()
    while waiting:
        ready = [task for task in waiting if done.issuperset(upstream(task))]
        if not ready:
            circle = [task["task_key"] for task in waiting]
            raise InvalidParameter(f"the tasks {circle} depend on one another in a circle")
        ordered += ready
        done |= {task["task_key"] for task in ready}
        waiting = [task for task in waiting if task not in ready]
    return ordered


def upstream(task: Document) -> list[str]:
    """The keys of the tasks that a task depends on."""
    return [dependency["task_key"] for dependency in task.get("depends_on", [])]


def _check_tasks(tasks: Any, database: Database) -> None:
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InvalidParameter(f"tasks must be a list of objects, not {tasks!r}")
    keys = [task.get("task_key") for task in tasks]
    if not all(isinstance(key, str) and key for key in keys) or len(set(keys)) < len(keys):
        raise InvalidParameter(f"every task needs a task_key of its own; there are {keys}")
    for task in tasks:
        _check_task(task, keys, database)
    in_order(tasks)


def _check_task(task: Document, keys: Iterable[str | None], database: Database) -> None:
    key = task["task_key"]
    unknown = sorted(set(upstream(task)).difference(keys))
    if unknown:
        raise InvalidParameter(f"Task '{key}' depends on {unknown}, which are not tasks of this job")
    _refuse_what_does_not_run_here(task)
    notebook_task = task.get("notebook_task")
    if not isinstance(notebook_task, dict) or not str(notebook_task.get("notebook_path", "")).startswith("/"):
        raise InvalidParameter(f"Task '{key}' needs a notebook_task with an absolute notebook_path")
    if not isinstance(notebook_task.get("base_parameters", {}), dict):
        raise InvalidParameter(f"Task '{key}': base_parameters must be an object")
    cluster_id = task.get("existing_cluster_id")
    if not cluster_id:
        raise InvalidParameter(f"Task '{key}' has no existing_cluster_id; jobs run on existing clusters here")
    if database.get("cluster", cluster_id) is None:
        raise InvalidParameter(f"Task '{key}': Cluster {cluster_id} does not exist")


def _refuse_what_does_not_run_here(task: Document) -> None:
    key = task["task_key"]
    kinds = sorted(name for name in task if name.endswith("_task") and name != "notebook_task")
    if kinds:
        raise NotSupported(f"Task '{key}' is a {kinds[0]}; only a notebook_task runs here")
    if task.get("libraries"):
        raise NotSupported(f"Task '{key}' has libraries; install them with %pip in the notebook")
    if task.get("run_if", "ALL_SUCCESS") != "ALL_SUCCESS":
        raise NotSupported(f"Task '{key}' has run_if {task['run_if']}; only ALL_SUCCESS works here")
