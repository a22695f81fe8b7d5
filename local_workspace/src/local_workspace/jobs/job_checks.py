"""What a job may ask for beside its tasks; all else is refused with its name, and never left out silently."""

import re
from typing import Any

from local_workspace.callers import caller
from local_workspace.errors import InvalidParameter, NotSupported, PermissionDenied
from local_workspace.jobs import value_references
from local_workspace.jobs.git_sources import check_git_source
from local_workspace.jobs.libraries import environments_of
from local_workspace.jobs.run_documents import RUN_AS, run_as
from local_workspace.jobs.schedules import check_schedule
from local_workspace.store.database import Document
from local_workspace.store.principals import Principals

MOST_TASKS = 100
MOST_CONCURRENT_RUNS = 1000
LARGEST = 2**31 - 1
NOT_HERE = "is not part of the local workspace"

# Fields that would change what happens; empty ones ask for nothing.
REFUSED_OF_JOBS = (
    "access_control_list",
    "dbt_commands",
    "environment_variables",
    "jar_params",
    "only",
    "pipeline_params",
    "spark_submit_params",
    "sql_params",
    "triggers",
)
# What would start, watch or fetch something on Databricks: kept and shown, and nothing more.
KEPT = {
    "continuous": "no run follows by itself when one has ended",
    "trigger": "nothing is watched for, so no run starts by itself",
    "health": "no rule is looked at",
}
# Whom a job would tell of its runs: kept and shown, and nobody is told.
NOTIFICATIONS = ("email_notifications", "webhook_notifications")
EVENTS = (
    "on_start",
    "on_success",
    "on_failure",
    "on_duration_warning_threshold_exceeded",
    "on_streaming_backlog_exceeded",
    "on_maintenance_start",
    "on_maintenance_complete",
)
SKIPPED = "no_alert_for_skipped_runs"
MOST_WEBHOOKS = 3


def check_job(settings: Document) -> None:
    """Raise InvalidParameter or NotSupported for what the settings hold beside the tasks."""
    refuse(settings, REFUSED_OF_JOBS, "")
    for name in (*KEPT, "git_source"):
        if not isinstance(settings.get(name) or {}, dict):
            raise InvalidParameter(f"{name} must be an object, not {settings[name]!r}")
    if settings.get("git_source"):
        check_git_source(settings["git_source"])
    check_notifications(settings, "")
    if not isinstance(settings.get("name", ""), str):
        raise InvalidParameter(f"name must be a text, not {settings['name']!r}")
    check_number(settings, "timeout_seconds", 0, LARGEST, "")
    check_number(settings, "max_concurrent_runs", 0, MOST_CONCURRENT_RUNS, "")
    _check_run_as(settings.get("run_as") or {})
    if settings.get("schedule"):
        check_schedule(settings["schedule"])
    check_queue(settings.get("queue"))
    _check_parameters(settings.get("parameters", []))
    environments_of(settings)
    if len(settings["tasks"]) > MOST_TASKS:
        raise NotSupported(f"there are {len(settings['tasks'])} tasks; a job has at most {MOST_TASKS} here")


def check_runs_as(settings: Document, creator: str, principals: Principals) -> None:
    """Raise unless whom a job of a creator runs as is who asks, or is there and an administrator asks."""
    name = run_as(settings, creator)
    if name != caller() and not principals.is_active(name):
        raise InvalidParameter(f"it would run as {name!r}, not an active principal here; name one in run_as")
    if name != caller() and not principals.is_administrator(caller()):
        raise PermissionDenied(f"User {caller()} may not let a job run as {name}; an administrator may.")


def check_queue(queue: Any) -> None:
    """Raise InvalidParameter for a `queue` that does not say whether it is enabled."""
    if queue is not None and not (isinstance(queue, dict) and isinstance(queue.get("enabled"), bool)):
        raise InvalidParameter(f"queue must be {{'enabled': true}} or {{'enabled': false}}, not {queue!r}")


def kept_alone(settings: Document) -> dict[str, str]:
    """What the settings hold that does nothing here, by its field, with what does not happen."""
    return {name: what for name, what in KEPT.items() if settings.get(name)}


def refuse(settings: Document, names: tuple[str, ...], where: str) -> None:
    """Raise NotSupported for the first of these fields that is not empty."""
    for name in names:
        if settings.get(name):
            raise NotSupported(f"{where}{name} {NOT_HERE}; it is {settings[name]!r}")


def _check_run_as(run_as: Any) -> None:
    is_one = isinstance(run_as, dict) and len(run_as) <= 1 and set(run_as) <= set(RUN_AS)
    if not is_one or not all(isinstance(name, str) and name for name in run_as.values()):
        raise InvalidParameter(f"run_as must name one of {RUN_AS}, not {run_as!r}")


def _check_parameters(parameters: Any) -> None:
    if not isinstance(parameters, list) or not all(
        isinstance(p, dict) and "default" in p for p in parameters
    ):
        raise InvalidParameter(
            f"parameters must be a list of objects with name and default, not {parameters!r}"
        )
    names = [parameter.get("name") for parameter in parameters]
    if not all(isinstance(name, str) and re.fullmatch(r"[\w.\-]+", name) for name in names):
        raise InvalidParameter(
            f"a parameter's name is made of letters, digits, _, - and .; there are {names}"
        )
    if len(set(names)) < len(names):
        raise InvalidParameter(f"every parameter needs a name of its own; there are {names}")
    for parameter in parameters:
        value_references.check(parameter["default"])


def receivers(settings: Document) -> dict[str, list[str]]:
    """Addresses, and ids of destinations, by the event of which a job or a task would tell them."""
    asked = [(settings.get(name) or {}).items() for name in NOTIFICATIONS]
    found: dict[str, list[str]] = {}
    for event, who in (item for items in asked for item in items):
        if event in EVENTS:
            found.setdefault(event, []).extend(_receiver(each) for each in who or [])
    return {event: names for event, names in found.items() if names}


def check_notifications(settings: Document, where: str) -> None:
    """Raise InvalidParameter for what are not notifications of a job or a task."""
    for name in NOTIFICATIONS:
        asked = settings.get(name) or {}
        if not isinstance(asked, dict):
            raise InvalidParameter(f"{where}{name} must be an object, not {asked!r}")
        for event, who in asked.items():
            if event in EVENTS:
                _check_receivers(who, name, f"{where}{name}.{event}")
            elif event != SKIPPED:
                raise InvalidParameter(f"{where}{name} has no {event!r}; it has {EVENTS}")


def _check_receivers(who: Any, name: str, where: str) -> None:
    is_webhook = name == "webhook_notifications"
    if not isinstance(who or [], list) or not all(_receiver(each, is_webhook) for each in who or []):
        form = '{"id": "<its id>"}' if is_webhook else "an address"
        raise InvalidParameter(f"{where} must be a list, each of it {form}, not {who!r}")
    if is_webhook and len(who or []) > MOST_WEBHOOKS:
        raise InvalidParameter(f"{where} has {len(who)} destinations; at most {MOST_WEBHOOKS} are called")


def _receiver(one: Any, is_webhook: bool | None = None) -> str:
    """The address or the id, empty where it is not one, or one of the other kind."""
    if is_webhook is not None and isinstance(one, dict) != is_webhook:
        return ""
    named = one.get("id") if isinstance(one, dict) else one
    return named if isinstance(named, str) else ""


def check_number(settings: Document, name: str, least: int, most: int, where: str) -> None:
    """Raise InvalidParameter for a field that is there and no whole number within its bounds."""
    value = settings.get(name)
    is_number = isinstance(value, int) and not isinstance(value, bool)
    if value is not None and not (is_number and least <= value <= most):
        raise InvalidParameter(
            f"{where}{name} must be a whole number between {least} and {most}, not {value!r}"
        )
