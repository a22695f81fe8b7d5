"""Starts jobs by their schedules: quartz cron expressions, each in a time zone."""

import logging
import re
import threading
from collections.abc import Callable
from datetime import UTC, datetime, timedelta
from typing import Any
from zoneinfo import ZoneInfo, ZoneInfoNotFoundError

from croniter import CroniterBadDateError, CroniterError, croniter

from local_workspace.errors import ApiError, InvalidParameter, NotSupported
from local_workspace.store.database import Database, Document
from local_workspace.store.document_index import Search

DAYS = ("SUN", "MON", "TUE", "WED", "THU", "FRI", "SAT")
_NUMBERS = r"[\d*,/\-]+"
_MONTHS = r"([\d*,/\-]|JAN|FEB|MAR|APR|MAY|JUN|JUL|AUG|SEP|OCT|NOV|DEC)+"
_DAY = f"([1-7]|{'|'.join(DAYS)})"
_WEEKDAYS = rf"[?L]|{_DAY}(L|#[1-5])|([*,/\-0-9]|{'|'.join(DAYS)})+"
# What each field may be made of, and the longest step in it.
FIELDS = {
    "second": (_NUMBERS, 59),
    "minute": (_NUMBERS, 59),
    "hour": (_NUMBERS, 23),
    "day of month": (r"\?|[\d*,/\-LW]+", 31),
    "month": (_MONTHS, 12),
    "day of week": (_WEEKDAYS, 7),
    "year": (_NUMBERS, 99),
}
PAUSE_STATES = ("PAUSED", "UNPAUSED")
TICK_SECONDS = 0.5
# At least ten seconds lie between two runs, as on Databricks, whatever the expression's seconds say.
REST = timedelta(seconds=10) - timedelta(microseconds=1)
WITH_SCHEDULE = Search("job", conditions={"job_cron > ?": ""})

Key = tuple[int, str, str]


class Schedule:
    """When a job is due; raises InvalidParameter with the value that cannot be read."""

    def __init__(self, expression: str, timezone_id: str) -> None:
        self._name = f"quartz_cron_expression {expression!r}"
        self._cron = _as_croniter_reads_it(expression)
        try:
            self._zone = ZoneInfo(timezone_id)
        except (ZoneInfoNotFoundError, ValueError, OSError) as error:
            raise InvalidParameter(f"timezone_id {timezone_id!r} is no time zone") from error
        self.next_after(datetime.now(UTC))

    def next_after(self, moment: datetime) -> datetime | None:
        """The first time behind `moment` at which the job is due; None when there is none any more.

        An hour that comes twice on the zone's clock counts once, one that is left out comes late.
        """
        try:
            clock = moment.astimezone(self._zone).replace(tzinfo=None)
            cron = croniter(self._cron, clock, second_at_beginning=True)
            due = moment
            while due <= moment:
                due = cron.get_next(datetime).replace(tzinfo=self._zone).astimezone(UTC)
        except CroniterBadDateError:
            return None
        except (CroniterError, ValueError, KeyError) as error:
            raise InvalidParameter(f"{self._name} cannot be read: {error}") from error
        return due


def check_schedule(schedule: Any) -> None:
    """Raise InvalidParameter or NotSupported for a `schedule` that a job cannot have."""
    if not isinstance(schedule, dict):
        raise InvalidParameter(f"schedule must be an object, not {schedule!r}")
    for name in ("quartz_cron_expression", "timezone_id"):
        if not isinstance(schedule.get(name), str) or not schedule[name]:
            raise InvalidParameter(f"schedule needs a {name}; it has {schedule}")
    if schedule.get("pause_status", "UNPAUSED") not in PAUSE_STATES:
        raise InvalidParameter(
            f"pause_status {schedule['pause_status']!r} is not one of {list(PAUSE_STATES)}"
        )
    if "sql_condition" in schedule:
        raise NotSupported("schedule.sql_condition is not part of the local workspace")
    found = Schedule(schedule["quartz_cron_expression"], schedule["timezone_id"])
    if found.next_after(datetime.now(UTC)) is None:
        expression = schedule["quartz_cron_expression"]
        raise InvalidParameter(f"quartz_cron_expression {expression!r} will never be due")


class Scheduler:
    """Calls `start(job)` for every job that is due, from now on: what was missed before stays undone."""

    def __init__(self, database: Database, start: Callable[[Document], None]) -> None:
        self._database = database
        self._start = start
        self._last = datetime.now(UTC)
        self._due: dict[Key, datetime | None] = {}
        self._stop = threading.Event()
        self._thread = threading.Thread(target=self._run, daemon=True)
        self._thread.start()

    def stop(self) -> None:
        """Start no job any more."""
        self._stop.set()
        self._thread.join()

    def tick(self, moment: datetime) -> None:
        """Start what became due since the last tick, each job once."""
        due: dict[Key, datetime | None] = {}
        for _, job in self._database.find(WITH_SCHEDULE):
            schedule = job["settings"]["schedule"]
            if schedule.get("pause_status") == "PAUSED":
                continue
            key = (job["job_id"], schedule["quartz_cron_expression"], schedule["timezone_id"])
            due[key] = self._due[key] if key in self._due else _next_time(key, self._last)
            if (when := due[key]) is not None and when <= moment:
                due[key] = _next_time(key, max(moment, when + REST))
                self._start_one(job)
        self._due = due
        self._last = moment

    def _start_one(self, job: Document) -> None:
        try:
            self._start(job)
        except Exception:
            # One job that cannot be started must not keep the others from their time.
            logging.getLogger(__name__).exception("job %s could not be started on time", job["job_id"])

    def _run(self) -> None:
        while not self._stop.wait(TICK_SECONDS):
            try:
                self.tick(datetime.now(UTC))
            except Exception:
                # The next tick looks again; what is due by then is started.
                logging.getLogger(__name__).exception("the schedules could not be read")


def _next_time(key: Key, moment: datetime) -> datetime | None:
    try:
        return Schedule(*key[1:]).next_after(moment)
    except ApiError as error:
        # Kept by an older version that took every schedule.
        logging.getLogger(__name__).warning("job %s never starts by itself: %s", key[0], error.message)
        return None


def _as_croniter_reads_it(expression: str) -> str:
    """The expression with the names of days, whose numbers differ: quartz counts from SUN as 1."""
    name = f"quartz_cron_expression {expression!r}"
    fields = expression.upper().split()
    if len(fields) not in (6, 7):
        raise InvalidParameter(
            f"{name} has {len(fields)} fields; it needs {', '.join(FIELDS)} (the year may lack)"
        )
    for (field_name, (allowed, longest_step)), field in zip(FIELDS.items(), fields, strict=False):
        steps = [int(step) for step in re.findall(r"/(\d+)", field)]
        if not re.fullmatch(allowed, field, re.ASCII) or any(step > longest_step for step in steps):
            raise InvalidParameter(f"{name} cannot be read: {field_name} is {field!r}")
    day_of_month, day_of_week = fields[3], fields[5]
    if [day_of_month, day_of_week].count("?") != 1:
        raise InvalidParameter(f"{name} needs ? in exactly one of day of month and day of week")
    if re.search(r"LW|L-|.L|,.*W|W.*,", day_of_month):
        raise NotSupported(
            f"{name} has day of month {day_of_month}; LW, L-n, and L or W in a list do not work here"
        )
    fields[5] = _days(name, day_of_week)
    return re.sub(r"(?<=[ ,])/", "*/", " ".join(fields))


def _days(name: str, field: str) -> str:
    if field == "L":
        return "SAT"

    def day(match: re.Match[str]) -> str:
        if not 1 <= int(match[0]) <= len(DAYS):
            raise InvalidParameter(f"{name} has day of week {match[0]}; days are 1 (SUN) to 7 (SAT)")
        return DAYS[int(match[0]) - 1]

    # Numbers behind / and # count something else.
    named = re.sub(r"(?<![/#\d])\d+", day, field)
    return f"L{DAYS.index(named[:-1])}" if named.endswith("L") else named
