"""When a task is tried again."""

from local_workspace.clock import now
from local_workspace.jobs.run_documents import Outcome
from local_workspace.jobs.run_repairs import attempts_now
from local_workspace.store.database import Document

FOR_EVER = -1


def is_due(run: Document, task: Document, outcome: Outcome) -> bool:
    """Whether an attempt that ended so is followed by another one; a repair gives a task its retries anew."""
    limit = int(task.get("max_retries") or 0)
    if limit != FOR_EVER and attempts_now(run, task["task_key"]) > limit:
        return False
    return outcome.result == "FAILED" or (outcome.result == "TIMEDOUT" and bool(task.get("retry_on_timeout")))


def seconds_until(task: Document) -> float:
    """How long to wait after an attempt: the interval counts from the attempt's start."""
    interval = int(task.get("min_retry_interval_millis") or 0)
    started: int = task["start_time"]
    return max(0, started + interval - now()) / 1000
