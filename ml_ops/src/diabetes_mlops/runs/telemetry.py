"""What a job tells the outside about itself: traces, milestones and counts; nothing unless there is a target.

OpenTelemetry is imported, and its threads are started, only where there is one; all of it ends with the job.
No trouble with it fails a job or holds it up for longer than FLUSH_SECONDS.
"""

import logging
from collections.abc import Iterator
from contextlib import AbstractContextManager, contextmanager, nullcontext
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import TYPE_CHECKING, Any

if TYPE_CHECKING:
    from diabetes_mlops.runs.application_insights import Session

SECRET = "appinsights-connection-string"
FLUSH_SECONDS = 5.0
# What an absent library, a wrong connection string, or another version of the library brings about.
CANNOT_CONNECT = (ImportError, ValueError, TypeError, AttributeError, RuntimeError)

_session: ContextVar["Session | None"] = ContextVar("session", default=None)


class _Reporter(logging.Handler):
    """Reports a milestone to the job of which it is one."""

    def emit(self, record: logging.LogRecord) -> None:
        if session := _session.get():
            session.log(record.getMessage())


_milestones = logging.getLogger("diabetes_mlops.milestones")
_milestones.setLevel(logging.INFO)
# They are printed already: a handler of the root logger would show them again.
_milestones.propagate = False
_milestones.addHandler(_Reporter())


@dataclass(frozen=True)
class Target:
    """Where the telemetry of one job run goes, and the ids that Databricks has given it."""

    connection_string: str = field(repr=False)
    job_id: str = ""
    job_run_id: str = ""
    task_run_id: str = ""

    @property
    def ids(self) -> dict[str, str]:
        """The ids that are known; a notebook that a person runs has none."""
        ids = {"job_id": self.job_id, "job_run_id": self.job_run_id, "task_run_id": self.task_run_id}
        return {name: value for name, value in ids.items() if value}


def find_target(dbutils: Any) -> Target | None:
    """Read the widgets of a notebook and the secret; None where the scope has no connection string."""
    ids = {name: dbutils.widgets.get(name) for name in ("job_id", "job_run_id", "task_run_id")}
    connection_string = _read_secret(dbutils, dbutils.widgets.get("secret_scope"))
    return Target(connection_string, **ids) if connection_string else None


@contextmanager
def job(name: str, target: Target | None, **attributes: str) -> Iterator[None]:
    """Report the job inside, with the `attributes` on all that is sent; an error goes on to the caller."""
    session = _connect(name, target, attributes) if target else None
    if session is None:
        yield
        return
    token = _session.set(session)
    try:
        with session.job(name):
            yield
    finally:
        _session.reset(token)
        if not session.close(FLUSH_SECONDS):
            _warn("some of it could not be sent to Application Insights; the job is not affected")


def step(name: str) -> AbstractContextManager[object]:
    """Report a step of the job, how long it takes and the error that ends it."""
    session = _session.get()
    return session.step(name) if session else nullcontext()


def describe(**attributes: str) -> None:
    """Add what the job has come to know, such as `run_id`, to all that is sent from now on."""
    if session := _session.get():
        session.describe(attributes)


def count(**numbers: float) -> None:
    """Report numbers of the job as metrics."""
    if session := _session.get():
        session.count(numbers)


def say(*lines: str) -> None:
    """Print a milestone of the job, its further lines indented, and report it."""
    text = "\n  ".join(lines)
    print(text, flush=True)
    _milestones.info("%s", text)


def _read_secret(dbutils: Any, scope: str) -> str:
    try:
        scopes = [each.name for each in dbutils.secrets.listScopes()] if scope else []
        keys = [each.key for each in dbutils.secrets.list(scope)] if scope in scopes else []
        return str(dbutils.secrets.get(scope, SECRET)).strip() if SECRET in keys else ""
    except Exception as error:  # noqa: BLE001 - each kind of compute has its own types of errors
        _warn(f"the secret {SECRET} of the scope {scope} could not be read: {type(error).__name__}")
        return ""


def _connect(name: str, target: Target, attributes: dict[str, str]) -> "Session | None":
    try:
        from diabetes_mlops.runs.application_insights import Session

        return Session(target.connection_string, {"job": name, **target.ids, **attributes})
    except ImportError as error:
        _warn(f"off, because a package is missing ({error}); deploy with TELEMETRY=1, which brings it")
    except CANNOT_CONNECT as error:
        kind = type(error).__name__  # its text may have the secret in it
        _warn(f"off ({kind}): the secret {SECRET} is no connection string of Application Insights")
    return None


def _warn(text: str) -> None:
    print(f"warning: telemetry: {text}", flush=True)
