"""What a repair changes in the document of a run, and which tasks it takes."""

from collections.abc import Collection, Sequence

from local_workspace.clock import now
from local_workspace.jobs.run_documents import GOOD, ending, latest_attempts, next_attempt, parts_of, states
from local_workspace.jobs.task_order import upstream
from local_workspace.store.database import Database, Document


def to_repair(run: Document, keys: Collection[str], *, failed: bool, dependents: bool) -> list[str]:
    """The tasks that a repair runs again: these, all that did not succeed, and those behind them."""
    latest = latest_attempts(run)
    ended = {key: task["state"].get("result_state", "") for key, task in latest.items()}
    wanted = {*keys, *(key for key, result in ended.items() if failed and result not in GOOD)}
    while dependents and (
        behind := {key for key, task in latest.items() if wanted.intersection(upstream(task))} - wanted
    ):
        wanted |= behind
    return [key for key in latest if key in wanted]


def repair(database: Database, run: Document, settings: Document, keys: Sequence[str]) -> int:
    """Put a run that has ended back into the queue, with one more attempt of these tasks by these settings.

    Gives the id of the repair.
    """
    moment, number = now(), database.next_id("run")
    first = {"type": "ORIGINAL", "start_time": run["start_time"], "task_run_ids": _run_ids(run)}
    history = run.setdefault("repair_history", [first | ending(run)])
    history.append({"type": "REPAIR", "id": number, "start_time": moment, "task_run_ids": []})
    before = latest_attempts(run)
    run["settings"] = settings
    for key in keys:
        attempt = next_attempt(database, run, before[key])
        attempt |= states("BLOCKED" if upstream(attempt) else "QUEUED")
    run |= {"end_time": 0, **states("QUEUED")}
    return number


def _run_ids(run: Document) -> list[int]:
    return [task["run_id"] for task in run["tasks"]]


def attempts_now(run: Document, key: str) -> int:
    """How often a task was tried since the run began or, where it was repaired, since its last repair."""
    ids = parts_of(run)[-1].get("task_run_ids", _run_ids(run))
    return sum(task["task_key"] == key and task["run_id"] in ids for task in run["tasks"])
