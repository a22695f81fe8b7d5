"""How runs are looked for, by the indexes of the database."""

from collections.abc import Sequence

from local_workspace.store.document_index import Search, Value

RUN_TYPES = ("JOB_RUN", "SUBMIT_RUN", "WORKFLOW_RUN")


def search_runs(
    job_id: int | None = None, run_types: Sequence[str] = RUN_TYPES, ended: bool | None = None
) -> Search:
    """The runs of a job or of all, of these types, that have ended, or not, or either."""
    has_ended = (0, 1) if ended is None else (int(ended),)
    return Search("run", {**_of_job(job_id), "run_type": run_types, "run_has_ended": has_ended})


def search_states(states: Sequence[str], job_id: int | None = None) -> Search:
    """The runs of a job or of all that are, or have ended, in one of these states."""
    return Search("run", {**_of_job(job_id), "run_state": states})


def search_all(job_id: int | None = None) -> Search:
    """The runs of a job or of all, in no order that an index has: to be counted."""
    return Search("run", _of_job(job_id))


def _of_job(job_id: int | None) -> dict[str, Sequence[Value]]:
    return {} if job_id is None else {"run_job": (job_id,)}
