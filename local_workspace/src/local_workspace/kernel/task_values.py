"""`dbutils.jobs`: values that the tasks of one run hand to those behind them."""

import json
import os
from pathlib import Path
from typing import Any

from local_workspace.kernel.utility import Utility
from local_workspace.store.whole_files import write_whole

LARGEST_VALUE = 48 * 1024
MOST_VALUES = 250


class TaskValues(Utility):
    """Small values by task and key; what a task sets is there for the tasks that start when it has ended."""

    name = "dbutils.jobs.taskValues"

    def set(self, key: str, value: Any) -> None:
        """Sets a value of this task: anything that JSON can express, up to 48 KiB."""
        if not isinstance(key, str) or not key:
            raise TypeError(f"the key of a task value is a text; got {key!r}")
        size = len(json.dumps(value, allow_nan=False).encode())
        if size > LARGEST_VALUE:
            raise ValueError(
                f"task value {key!r} takes {size} bytes as JSON; at most {LARGEST_VALUE} are kept"
            )
        file = _task_file().with_name("task_values.json")
        values = json.loads(file.read_text()) if file.exists() else {}
        values[key] = value
        if len(values) > MOST_VALUES:
            raise ValueError(f"a task sets at most {MOST_VALUES} task values; {key!r} is one more")
        write_whole(file, json.dumps(values))

    def get(self, taskKey: str, key: str, default: Any = None, debugValue: Any = None) -> Any:
        """The value that task `taskKey` set for `key`, else `default`; without one a ValueError.

        `debugValue` is for notebooks outside of a job, which there are none of here.
        """
        values = json.loads(_task_file().read_text()).get("task_values", {})
        if key in values.get(taskKey, {}):
            return values[taskKey][key]
        if default is None:
            there = {task: sorted(of_task) for task, of_task in values.items()}
            raise ValueError(f"no task value {key!r} of task {taskKey!r} and no default; there are {there}")
        return default


class Jobs(Utility):
    """What belongs to the job that runs the notebook."""

    name = "dbutils.jobs"

    def __init__(self) -> None:
        self.taskValues = TaskValues()


def _task_file() -> Path:
    return Path(os.environ["LOCAL_WORKSPACE_TASK"])
