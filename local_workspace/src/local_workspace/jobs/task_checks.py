"""What a task may ask for, by its kind; all else is refused with its name, and never left out silently."""

import re
from collections.abc import Callable
from typing import Any

from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.jobs import value_references
from local_workspace.jobs.compute import COMPUTE, check_compute, compute_of
from local_workspace.jobs.conditions import OPERATORS
from local_workspace.jobs.git_sources import GIT, WORKSPACE, is_of_git
from local_workspace.jobs.job_checks import LARGEST, NOT_HERE, check_notifications, check_number, refuse
from local_workspace.jobs.libraries import pip_arguments
from local_workspace.jobs.task_conditions import CONDITIONS
from local_workspace.jobs.task_kinds import (
    CONDITION,
    CONTROL,
    FOR_EACH,
    KINDS,
    NOTEBOOK,
    PIPELINE,
    PROGRAMS,
    PYTHON_FILE,
    RUN_JOB,
    SQL,
    WHEEL,
    kind_of,
)
from local_workspace.store.database import Database, Document

REFUSED = ("compute", "disabled", "environment_variables_key")
REFUSED_OF_SQL = ("alert", "dashboard", "query")
REFUSED_OF_RUN_JOB = ("dbt_commands", "jar_params", "pipeline_params", "spark_submit_params", "sql_params")
OUTCOMES = ("true", "false")
MOST_AT_ONCE = 100
TASK_KEY = r"[\w\-]{1,100}"


def check_task(task: Document, settings: Document, database: Database, is_nested: bool = False) -> None:
    """Raise InvalidParameter or NotSupported for what a task holds.

    A nested one is that of a `for_each_task`.
    """
    where = f"Task '{task['task_key']}': "
    kind = _only_kind(task, where)
    check_compute(task, settings, database)
    named = [name for name in COMPUTE if task.get(name)]
    if named and (without := _without_cluster(task, kind)):
        raise InvalidParameter(f"{where}a {without} runs on no cluster; it has {named}")
    if kind in PROGRAMS and not compute_of(task, settings) and not task.get("environment_key"):
        raise InvalidParameter(f"{where}a {kind} on serverless compute needs an environment_key")
    pip_arguments(task, settings)
    refuse(task, REFUSED, where)
    _check_outcomes(task, settings, where)
    check_notifications(task, where)
    check_number(task, "max_retries", -1, LARGEST, where)
    for name in ("min_retry_interval_millis", "timeout_seconds"):
        check_number(task, name, 0, LARGEST, where)
    if not isinstance(task.get("retry_on_timeout") or False, bool):
        raise InvalidParameter(
            f"{where}retry_on_timeout must be true or false, not {task['retry_on_timeout']!r}"
        )
    if task.get("run_if", "ALL_SUCCESS") not in list(CONDITIONS):
        raise InvalidParameter(f"{where}run_if {task['run_if']!r} is not one of {list(CONDITIONS)}")
    if not isinstance(task[kind], dict):
        raise InvalidParameter(f"{where}{kind} must be an object, not {task[kind]!r}")
    if kind == FOR_EACH:
        _check_for_each(task[kind], settings, database, where, is_nested)
    else:
        _CHECKS[kind](task[kind], settings, where)
    for value in _values(task[kind], kind):
        _check_references(value, settings, is_nested)


def _without_cluster(task: Document, kind: str) -> str:
    """What a task is that no cluster runs; empty for any other."""
    if kind == NOTEBOOK and isinstance(task[kind], dict) and task[kind].get("warehouse_id"):
        return f"{NOTEBOOK} with a warehouse_id"
    return kind if kind in (*CONTROL, SQL, PIPELINE) else ""


def _only_kind(task: Document, where: str) -> str:
    named = sorted(name for name in task if name.endswith("_task") and task[name] is not None)
    for name in named:
        if name not in KINDS:
            raise NotSupported(f"{where}{name} {NOT_HERE}; there are {list(KINDS)}")
    if len(named) != 1:
        raise InvalidParameter(f"{where}it needs a {NOTEBOOK}, or one of {list(KINDS[1:])}; it has {named}")
    return kind_of(task)


def _check_outcomes(task: Document, settings: Document, where: str) -> None:
    """An outcome is asked of condition tasks alone."""
    kinds = {each["task_key"]: kind_of(each) for each in settings["tasks"]}
    for dependency in task.get("depends_on") or []:
        key = str(dependency["task_key"])
        outcome = dependency.get("outcome")
        if outcome is None:
            continue
        if outcome not in OUTCOMES:
            raise InvalidParameter(f"{where}the outcome of {key!r} is one of {OUTCOMES}, not {outcome!r}")
        if kinds.get(key) != CONDITION:
            raise InvalidParameter(f"{where}{key!r} is no {CONDITION}, so it has no outcome {outcome!r}")


def _check_notebook(own: Document, settings: Document, where: str) -> None:
    _check_path(own, "notebook_path", settings, where, "it needs a notebook_task with")
    if not isinstance(own.get("warehouse_id") or "", str):
        raise InvalidParameter(f"{where}warehouse_id must be text, not {own['warehouse_id']!r}")
    _check_mapping(own, "base_parameters", where)


def _check_python_file(own: Document, settings: Document, where: str) -> None:
    path = own.get("python_file")
    if not isinstance(path, str) or not path:
        raise InvalidParameter(f"{where}python_file must be a path, not {path!r}")
    _check_words(own, where)
    if _is_of_git(own, settings, where):
        return _check_path(own, "python_file", settings, where, "it needs")
    if re.match(r"(?!dbfs:)[a-z][\w+.\-]*:", path):
        raise NotSupported(f"{where}python_file {path} {NOT_HERE}; it is in /Workspace, /Volumes or dbfs:/")
    if not path.startswith(("/", "dbfs:/", "{{")):
        raise InvalidParameter(f"{where}python_file must be absolute, not {path!r}")


def _check_wheel(own: Document, settings: Document, where: str) -> None:
    for name in ("package_name", "entry_point"):
        if not isinstance(own.get(name), str) or not own[name]:
            raise InvalidParameter(f"{where}a {WHEEL} needs a {name}, not {own.get(name)!r}")
    if own.get("parameters") and own.get("named_parameters"):
        raise InvalidParameter(f"{where}a {WHEEL} has parameters or named_parameters, not both")
    _check_words(own, where)
    _check_mapping(own, "named_parameters", where)


def _check_sql(own: Document, settings: Document, where: str) -> None:
    refuse(own, REFUSED_OF_SQL, where)
    file = own.get("file")
    if not isinstance(own.get("warehouse_id"), str) or not own["warehouse_id"]:
        raise InvalidParameter(f"{where}a {SQL} needs a warehouse_id, which stands for the one Spark here")
    if not isinstance(file, dict):
        raise InvalidParameter(f"{where}a {SQL} needs a file, not {file!r}")
    _check_path(file, "path", settings, where, f"a {SQL} needs a file with")
    _check_mapping(own, "parameters", where)


def _check_condition(own: Document, settings: Document, where: str) -> None:
    if own.get("op") not in list(OPERATORS):
        raise InvalidParameter(f"{where}op {own.get('op')!r} is not one of {list(OPERATORS)}")
    for name in ("left", "right"):
        if not isinstance(own.get(name), str):
            raise InvalidParameter(f"{where}{name} of a {CONDITION} must be a text, not {own.get(name)!r}")


def _check_run_job(own: Document, settings: Document, where: str) -> None:
    if not isinstance(own.get("job_id"), int) or isinstance(own["job_id"], bool):
        raise InvalidParameter(f"{where}a {RUN_JOB} needs the job_id of a job, not {own.get('job_id')!r}")
    refuse(own, REFUSED_OF_RUN_JOB, where)
    for name in ("job_parameters", "notebook_params", "python_named_params"):
        _check_mapping(own, name, where)
    _check_words(own, where, "python_params")


def _check_pipeline(own: Document, settings: Document, where: str) -> None:
    if not isinstance(own.get("pipeline_id"), str) or not own["pipeline_id"]:
        raise InvalidParameter(f"{where}a {PIPELINE} needs a pipeline_id, not {own.get('pipeline_id')!r}")
    if not isinstance(own.get("full_refresh") or False, bool):
        raise InvalidParameter(f"{where}full_refresh must be true or false, not {own['full_refresh']!r}")


def _check_for_each(
    own: Document, settings: Document, database: Database, where: str, is_nested: bool
) -> None:
    nested = own.get("task")
    if is_nested or (isinstance(nested, dict) and nested.get(FOR_EACH)):
        raise InvalidParameter(f"{where}the task of a {FOR_EACH} cannot be another {FOR_EACH}")
    if not isinstance(own.get("inputs"), str):
        raise InvalidParameter(
            f"{where}inputs must be the text of a JSON array or a reference to one, not {own.get('inputs')!r}"
        )
    check_number(own, "concurrency", 1, MOST_AT_ONCE, where)
    if not isinstance(nested, dict) or not _is_key(nested.get("task_key")):
        raise InvalidParameter(f"{where}a {FOR_EACH} needs a task with a task_key, not {nested!r}")
    if nested.get("depends_on"):
        raise InvalidParameter(
            f"{where}the task of a {FOR_EACH} depends on nothing; only the {FOR_EACH} does"
        )
    check_task(nested, settings, database, is_nested=True)


def _is_key(key: Any) -> bool:
    return isinstance(key, str) and re.fullmatch(TASK_KEY, key) is not None


_CHECKS: dict[str, Callable[[Document, Document, str], None]] = {
    NOTEBOOK: _check_notebook,
    PYTHON_FILE: _check_python_file,
    WHEEL: _check_wheel,
    SQL: _check_sql,
    CONDITION: _check_condition,
    RUN_JOB: _check_run_job,
    PIPELINE: _check_pipeline,
}


def _is_of_git(own: Document, settings: Document, where: str) -> bool:
    """Whether something is in the job's repository; raises InvalidParameter for another source."""
    if own.get("source") not in (None, "", WORKSPACE, GIT):
        raise InvalidParameter(f"{where}source {own['source']!r} is not one of {WORKSPACE}, {GIT}")
    if own.get("source") == GIT and not settings.get("git_source"):
        raise InvalidParameter(f"{where}source {GIT} needs a git_source of the job, which has none")
    return is_of_git(own, settings)


def _check_path(own: Document, field: str, settings: Document, where: str, needs: str) -> None:
    """A path in the workspace is absolute; one in the job's repository begins at its root."""
    path, is_relative = str(own.get(field, "")), _is_of_git(own, settings, where)
    if not path or path.startswith("/") == is_relative:
        kind = f"a relative {field}, since its source is {GIT}," if is_relative else f"an absolute {field},"
        raise InvalidParameter(f"{where}{needs} {kind} not {path!r}")


def _check_mapping(own: Document, name: str, where: str) -> None:
    if not isinstance(own.get(name) or {}, dict):
        raise InvalidParameter(f"{where}{name} must be an object, not {own[name]!r}")


def _check_words(own: Document, where: str, name: str = "parameters") -> None:
    words = own.get(name) or []
    if not isinstance(words, list) or not all(isinstance(word, str) for word in words):
        raise InvalidParameter(f"{where}{name} must be a list of texts, not {words!r}")


def _values(own: Document, kind: str) -> list[Any]:
    """What of a task may hold references."""
    fields = [own[name] for name in _REFERRING[kind] if own.get(name)]
    lists = [list(field.values()) if isinstance(field, dict) else field for field in fields]
    return [value for each in lists for value in (each if isinstance(each, list) else [each])]


_REFERRING = {
    NOTEBOOK: ("base_parameters",),
    PYTHON_FILE: ("python_file", "parameters"),
    WHEEL: ("parameters", "named_parameters"),
    SQL: ("parameters",),
    CONDITION: ("left", "right"),
    RUN_JOB: ("job_parameters", "notebook_params", "python_params", "python_named_params"),
    FOR_EACH: ("inputs",),
    PIPELINE: (),
}


def _check_references(value: Any, settings: Document, is_nested: bool) -> None:
    names = [parameter["name"] for parameter in settings.get("parameters", [])]
    keys = [each["task_key"] for each in settings["tasks"]]
    value_references.check(value, names, keys, has_input=is_nested)
