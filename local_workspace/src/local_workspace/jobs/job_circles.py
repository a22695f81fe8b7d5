"""Whether jobs that run one another would do so for ever."""

from collections.abc import Iterator

from local_workspace.errors import InvalidParameter
from local_workspace.jobs.task_kinds import FOR_EACH, RUN_JOB
from local_workspace.store.database import Database, Document


def check_circle(job_id: int, settings: Document, database: Database) -> None:
    """Raise InvalidParameter where a job with these settings would lead back to itself."""
    known: set[int] = set()
    waiting = list(jobs_run_by(settings))
    while waiting:
        other = waiting.pop()
        if other == job_id:
            raise InvalidParameter(
                f"job {job_id} would run itself, by its run_job_tasks or those of other jobs"
            )
        if other in known:
            continue
        known.add(other)
        job = database.get("job", str(other))
        waiting += jobs_run_by(job["settings"]) if job else []


def jobs_run_by(settings: Document) -> Iterator[int]:
    """The jobs that tasks of these settings run."""
    for task in settings["tasks"]:
        for each in (task, (task.get(FOR_EACH) or {}).get("task") or {}):
            if each.get(RUN_JOB):
                yield each[RUN_JOB]["job_id"]
