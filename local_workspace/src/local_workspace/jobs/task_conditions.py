"""Which tasks of a run may start, which are skipped, and what the run has become when all have ended."""

from collections.abc import Callable

from local_workspace.jobs.run_documents import (
    GOOD,
    NOT_STARTED,
    SUCCESS,
    Outcome,
    end,
    has_ended,
    is_in,
    latest_attempts,
    launch,
    outcome_of,
)
from local_workspace.jobs.task_kinds import CONDITION
from local_workspace.jobs.task_order import upstream
from local_workspace.store.database import Document

UPSTREAM_FAILED = Outcome("SKIPPED", "UPSTREAM_FAILED", "Upstream tasks failed.", "SKIPPED")
UPSTREAM_CANCELED = Outcome("SKIPPED", "UPSTREAM_CANCELED", "Upstream tasks were canceled.", "SKIPPED")
EXCLUDED = Outcome("SKIPPED", "EXCLUDED", "The run_if condition of the task was not met.", "SKIPPED")

_CANCELED = ("CANCELED", "UPSTREAM_CANCELED")
_SKIPPED = ("UPSTREAM_FAILED", "UPSTREAM_CANCELED")

# `run_if`: does a task run when its upstream tasks have these result states?
CONDITIONS: dict[str, Callable[[list[str]], bool]] = {
    "ALL_SUCCESS": lambda results: all(result in GOOD for result in results),
    "AT_LEAST_ONE_SUCCESS": lambda results: any(result in GOOD for result in results),
    "NONE_FAILED": lambda results: all(r in GOOD for r in results) and "SUCCESS" in results,
    "ALL_DONE": lambda results: True,
    "AT_LEAST_ONE_FAILED": lambda results: any(result not in GOOD for result in results),
    "ALL_FAILED": lambda results: all(result not in GOOD for result in results),
}
_ABOUT_FAILURES = ("AT_LEAST_ONE_FAILED", "ALL_FAILED")


def launch_ready(run: Document) -> list[Document]:
    """Launch every task whose time has come and give them back; skip those whose condition is not met."""
    launched: list[Document] = []
    waiting = [task for task in latest_attempts(run).values() if is_in(task, *NOT_STARTED)]
    for task in waiting:
        latest = latest_attempts(run)
        if not all(has_ended(latest[key]) for key in upstream(task)):
            continue
        reason = why_skipped(task, [_result(each, latest) for each in task.get("depends_on") or []])
        if reason is not None:
            end(task, reason)
            # A task further up in the list may have waited for this one.
            return launched + launch_ready(run)
        launch(task)
        launched.append(task)
    return launched


def _result(dependency: Document, latest: dict[str, Document]) -> str:
    """How an upstream task ended; a condition with another outcome than is asked for excludes."""
    upstream_task, wanted = latest[str(dependency["task_key"])], dependency.get("outcome")
    result = outcome_of(upstream_task).result
    is_other = wanted and result == "SUCCESS" and upstream_task[CONDITION].get("outcome") != wanted
    return "EXCLUDED" if is_other else result


def why_skipped(task: Document, results: list[str]) -> Outcome | None:
    """The outcome of a task that does not run after these upstream results; None when it runs."""
    condition = task.get("run_if", "ALL_SUCCESS")
    if results and all(result == "EXCLUDED" for result in results):
        return EXCLUDED
    if not results or CONDITIONS[condition](results):
        return None
    if condition in _ABOUT_FAILURES:
        return EXCLUDED
    failures = [result for result in results if result not in GOOD]
    return UPSTREAM_CANCELED if all(result in _CANCELED for result in failures) else UPSTREAM_FAILED


def summary_of(run: Document) -> Outcome | None:
    """The outcome of a run from those of its tasks; None while one of them has not ended.

    The run fails when a leaf task, one that no other depends on, did not succeed.
    """
    tasks = latest_attempts(run)
    if not all(has_ended(task) for task in tasks.values()):
        return None
    outcomes = {key: outcome_of(task) for key, task in tasks.items()}
    failed = {key: o for key, o in outcomes.items() if o.result not in (*GOOD, *_SKIPPED)}
    if not failed:
        return SUCCESS
    # A failure says more than a cancelled task beside it.
    key, first = min(failed.items(), key=lambda item: item[1].result in _CANCELED)
    skipped = any(outcome.result in _SKIPPED for outcome in outcomes.values())
    message = f"Task {key} failed with message: {first.message}."
    message += " This caused all downstream tasks to get skipped." * skipped
    inner = {other for task in tasks.values() for other in upstream(task)}
    if all(outcomes[leaf].result in GOOD for leaf in tasks if leaf not in inner):
        return Outcome("TERMINATED", "SUCCESS_WITH_FAILURES", message, "SUCCESS_WITH_FAILURES")
    return Outcome(first.life_cycle, first.result, message, first.code)
