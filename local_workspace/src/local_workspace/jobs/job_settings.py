"""What a job or a one-time run is made of: settings of every API version, brought into one form."""

import re
from collections.abc import Iterable
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs.job_checks import check_job
from local_workspace.jobs.task_checks import TASK_KEY, check_task
from local_workspace.jobs.task_order import in_order, upstream
from local_workspace.store.database import Database, Document

# What API 2.0 keeps at the top, and later versions inside a task.
TASK_FIELDS = (
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
    top = {name: settings[name] for name in settings if name in TASK_FIELDS or name.endswith("_task")}
    rest = {name: value for name, value in settings.items() if name not in top}
    if top and settings.get("tasks"):
        raise InvalidParameter(f"the settings have tasks, so {sorted(top)} belong into the tasks")
    single = {"tasks": [{"task_key": ONLY_TASK_KEY, **top}], "format": "SINGLE_TASK"}
    complete = rest | ({"format": "MULTI_TASK"} if settings.get("tasks") else single)
    tasks = complete["tasks"]
    check_task_keys(tasks)
    for task in tasks:
        _check_upstream(task, [other["task_key"] for other in tasks])
    in_order(tasks)
    check_job(complete)
    for task in tasks:
        check_task(task, complete, database)
    return complete


def as_version_2_0(settings: Document) -> Document:
    """Settings as API 2.0 shows them: the task of a single-task job at the top."""
    if settings.get("format") != "SINGLE_TASK" or not settings.get("tasks"):
        return settings
    task = {name: value for name, value in settings["tasks"][0].items() if name != "task_key"}
    return {**{name: value for name, value in settings.items() if name != "tasks"}, **task}


def check_task_keys(tasks: Any) -> None:
    """Raise InvalidParameter unless these are tasks, each with a key of its own."""
    if not isinstance(tasks, list) or not all(isinstance(task, dict) for task in tasks):
        raise InvalidParameter(f"tasks must be a list of objects, not {tasks!r}")
    keys = [task.get("task_key") for task in tasks]
    if not all(isinstance(key, str) and re.fullmatch(TASK_KEY, key) for key in keys) or len(set(keys)) < len(
        keys
    ):
        raise InvalidParameter(
            f"every task needs a task_key of its own, of letters, digits, _ and -; there are {keys}"
        )


def _check_upstream(task: Document, keys: Iterable[str]) -> None:
    key, depends_on = task["task_key"], task.get("depends_on") or []
    if not isinstance(depends_on, list) or not all(
        isinstance(d, dict) and "task_key" in d for d in depends_on
    ):
        raise InvalidParameter(f"Task '{key}': depends_on must be a list of task_keys, not {depends_on!r}")
    unknown = sorted(set(upstream(task)).difference(keys))
    if unknown:
        raise InvalidParameter(f"Task '{key}' depends on {unknown}, which are not tasks of this job")
