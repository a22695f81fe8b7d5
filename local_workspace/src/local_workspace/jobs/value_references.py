"""Dynamic value references: `{{job.id}}` and its like in the parameters of jobs and tasks."""

import json
import re
from collections.abc import Callable, Collection, Mapping
from datetime import UTC, datetime
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs.run_documents import has_ended, latest_attempts
from local_workspace.store.database import Document
from local_workspace.words import WORKSPACE_ID

# Text in braces is a reference when it starts with one of these; all else is left as it is.
NAMESPACES = ("job", "task", "tasks", "workspace")
# What the task of a `for_each_task` runs for; it is a reference there alone.
INPUT = "input"
OLDER_NAMES = {
    "job_id": "job.id",
    "run_id": "task.run_id",
    "parent_run_id": "job.run_id",
    "task_key": "task.name",
    "start_date": "job.start_time.iso_date",
    "start_time": "job.start_time.timestamp_ms",
    "task_retry_count": "task.retry_count",
}
MOMENT_PARTS: dict[str, Callable[[datetime], object]] = {
    "iso_weekday": lambda moment: moment.isoweekday(),
    "is_weekday": lambda moment: str(moment.isoweekday() < 6).lower(),
    "iso_date": lambda moment: moment.date().isoformat(),
    "iso_datetime": lambda moment: moment.isoformat(timespec="milliseconds").replace("+00:00", "Z"),
    "year": lambda moment: moment.year,
    "month": lambda moment: moment.month,
    "day": lambda moment: moment.day,
    "hour": lambda moment: moment.hour,
    "minute": lambda moment: moment.minute,
    "second": lambda moment: moment.second,
    "timestamp_ms": lambda moment: int(moment.timestamp() * 1000),
}
TASK_PARTS = ("run_id", "result_state", "error_code", "execution_count", "notebook_path", "values")

# A name that is not of letters, digits and underscores is written between backticks.
_NAME = r"(?:[\w\-]+|`[^`]+`)"
_REFERENCE = re.compile(r"\{\{\s*(" + _NAME + r"(?:\." + _NAME + r")*)\s*\}\}")

TaskValues = Mapping[str, Mapping[str, Any]]


def check(
    text: Any,
    parameters: Collection[str] = (),
    task_keys: Collection[str] = (),
    has_input: bool = False,
) -> None:
    """Raise InvalidParameter for a reference to what a job with these parameters and tasks never has.

    Without tasks only what concerns the whole run may be referred to.
    """
    for match in _REFERENCE.finditer(str(text)):
        parts = _parts(match[1])
        if has_input and parts[0] == INPUT:
            continue
        if parts[0] in NAMESPACES and not _is_known(parts, parameters, task_keys):
            raise InvalidParameter(
                f"{match[0]} refers to nothing that is known here; the parameters of the job are "
                f"{sorted(parameters)}, its tasks {sorted(task_keys)}"
            )


def resolve(text: Any, run: Document, task: Document | None = None, values: TaskValues | None = None) -> str:
    """Put in what references stand for; raises InvalidParameter for a task value that was not set.

    `run` has an `input` where it is the context of a task that runs for one.
    """

    def replace(match: re.Match[str]) -> str:
        parts = _parts(match[1])
        if parts[0] == INPUT and INPUT in run:
            return _written(_field(run[INPUT], parts[1:]))
        return str(_value(parts, run, task, values or {})) if parts[0] in NAMESPACES else match[0]

    return _REFERENCE.sub(replace, str(text))


def task_values(text: Any) -> list[tuple[str, str]]:
    """The task values that a text refers to, by task and name."""
    found = [_parts(match[1]) for match in _REFERENCE.finditer(str(text))]
    return [(key, name) for key, name in (_task_value(parts) for parts in found) if key]


def _task_value(parts: list[str]) -> tuple[str, str]:
    match parts:
        case ["tasks", key, "values", name]:
            return key, name
    return "", ""


def _field(value: Any, names: list[str]) -> Any:
    """A field of an input, or the input itself."""
    for name in names:
        if not isinstance(value, dict) or name not in value:
            raise InvalidParameter(f"the input {json.dumps(value)} has no field {name!r}")
        value = value[name]
    return value


def _written(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)


def _parts(reference: str) -> list[str]:
    parts = [part.strip("`") for part in re.findall(_NAME, reference)]
    return OLDER_NAMES[parts[0]].split(".") if len(parts) == 1 and parts[0] in OLDER_NAMES else parts


def _is_known(parts: list[str], parameters: Collection[str], task_keys: Collection[str]) -> bool:
    match parts:
        case ["job", "id" | "name" | "run_id" | "repair_count"] | ["job", "trigger", "type"]:
            return True
        case ["job", "start_time", part] | ["job", "trigger", "time", part]:
            return part in MOMENT_PARTS
        case ["job", "parameters", name]:
            return name in parameters
        case ["task", "name" | "run_id" | "execution_count" | "retry_count" | "notebook_path"]:
            return bool(task_keys)
        case ["tasks", key, "values", _]:
            return key in task_keys
        case ["tasks", key, part]:
            return key in task_keys and part in TASK_PARTS and part != "values"
    return parts == ["workspace", "id"]


def _value(parts: list[str], run: Document, task: Document | None, values: TaskValues) -> Any:
    match parts:
        case ["job", "parameters", name]:
            return next(p["value"] for p in run["job_parameters"] if p["name"] == name)
        case ["job", "start_time" | "trigger", *_, part] if part in MOMENT_PARTS:
            return MOMENT_PARTS[part](datetime.fromtimestamp(run["start_time"] / 1000, UTC))
        case ["tasks", key, "values", name]:
            if name not in values.get(key, {}):
                raise InvalidParameter(f"task {key!r} has set no task value {name!r}")
            return _written(values[key][name])
        case ["tasks", key, part]:
            return _of_task(latest_attempts(run)[key])[part]
        case ["task", part] if task is not None:
            return _of_task(task)[part]
    return _of_run(run)[".".join(parts)]


def _of_run(run: Document) -> Document:
    return {
        "job.id": run["job_id"],
        "job.name": run["run_name"],
        "job.run_id": run["run_id"],
        "job.repair_count": len(run.get("repair_history", [0])) - 1,
        "job.trigger.type": run["trigger"].lower(),
        "workspace.id": WORKSPACE_ID,
    }


def _of_task(task: Document) -> Document:
    ended = has_ended(task)
    code = task["status"]["termination_details"]["code"] if ended else "SUCCESS"
    return {
        "name": task["task_key"],
        "run_id": task["run_id"],
        "execution_count": task["attempt_number"] + 1,
        "retry_count": task["attempt_number"],
        "notebook_path": (task.get("notebook_task") or {}).get("notebook_path", ""),
        "result_state": task["state"]["result_state"].lower() if ended else "",
        # RUN_EXECUTION_ERROR is RunExecutionError there.
        "error_code": "" if code == "SUCCESS" else code.title().replace("_", ""),
    }
