"""Schedules: what quartz expressions mean, which are refused, and jobs that start when it is their time."""

from datetime import UTC, datetime, timedelta
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.jobs import CronSchedule, JobSettings, PauseStatus, TriggerType
from hypothesis import given, settings
from hypothesis import strategies as st
from local_workspace.errors import InvalidParameter, NotSupported
from local_workspace.jobs.schedules import Schedule, Scheduler
from local_workspace.store.database import Database

# A Tuesday.
START = datetime(2026, 11, 24, 22, 0, 0, 500_000, tzinfo=UTC)


def times(expression: str, count: int, zone: str = "UTC", start: datetime = START) -> list[str]:
    schedule, moment, found = Schedule(expression, zone), start, []
    for _ in range(count):
        following = schedule.next_after(moment)
        if following is None:
            break
        moment = following
        found.append(moment.strftime("%a %y-%m-%d %H:%M:%S"))
    return found


@pytest.mark.parametrize(
    ("expression", "expected"),
    [
        ("* * * * * ?", ["Tue 26-11-24 22:00:01", "Tue 26-11-24 22:00:02"]),
        ("20 30 * * * ?", ["Tue 26-11-24 22:30:20", "Tue 26-11-24 23:30:20"]),
        ("0 0/5 * * * ?", ["Tue 26-11-24 22:05:00", "Tue 26-11-24 22:10:00"]),
        ("0 /20 * * * ?", ["Tue 26-11-24 22:20:00", "Tue 26-11-24 22:40:00"]),
        ("0 0 23-1 * * ?", ["Tue 26-11-24 23:00:00", "Wed 26-11-25 00:00:00", "Wed 26-11-25 01:00:00"]),
        ("0 0 12 ? * 1", ["Sun 26-11-29 12:00:00", "Sun 26-12-06 12:00:00"]),
        ("0 0 12 ? * 2", ["Mon 26-11-30 12:00:00", "Mon 26-12-07 12:00:00"]),
        ("0 0 12 ? * sat", ["Sat 26-11-28 12:00:00", "Sat 26-12-05 12:00:00"]),
        ("0 0 12 ? * 5-6", ["Thu 26-11-26 12:00:00", "Fri 26-11-27 12:00:00", "Thu 26-12-03 12:00:00"]),
        ("0 0 12 ? * 6-1", ["Fri 26-11-27 12:00:00", "Sat 26-11-28 12:00:00", "Sun 26-11-29 12:00:00"]),
        ("0 0 12 ? * 2/2", ["Wed 26-11-25 12:00:00", "Fri 26-11-27 12:00:00", "Mon 26-11-30 12:00:00"]),
        ("0 0 12 ? * L", ["Sat 26-11-28 12:00:00", "Sat 26-12-05 12:00:00"]),
        ("0 0 12 ? * 6L", ["Fri 26-11-27 12:00:00", "Fri 26-12-25 12:00:00"]),
        ("0 0 12 ? * 6#3", ["Fri 26-12-18 12:00:00", "Fri 27-01-15 12:00:00"]),
        ("0 0 12 L * ?", ["Mon 26-11-30 12:00:00", "Thu 26-12-31 12:00:00"]),
        ("0 0 12 5W 12 ?", ["Fri 26-12-04 12:00:00", "Mon 27-12-06 12:00:00"]),
        ("0 0 12 1 JAN,jul ?", ["Fri 27-01-01 12:00:00", "Thu 27-07-01 12:00:00"]),
        ("0 0 12 1 1 ? 2028", ["Sat 28-01-01 12:00:00"]),
    ],
)
def test_expressions_mean_what_quartz_means(expression, expected):
    assert times(expression, len(expected) + (len(expected) == 1)) == expected


@settings(max_examples=300, deadline=None)
@given(st.lists(st.text("0123456789*?/-,#LW MONJAN", min_size=1, max_size=5), min_size=6, max_size=7))
def test_whatever_an_expression_is_it_has_times_or_is_refused(fields):
    try:
        due = Schedule(" ".join(fields), "Europe/Berlin").next_after(START)
    except (InvalidParameter, NotSupported):
        return

    assert due is None or due > START


def test_times_follow_the_clock_of_the_zone_through_summer_time():
    spring, autumn = datetime(2026, 3, 28, tzinfo=UTC), datetime(2026, 10, 24, tzinfo=UTC)

    early = times("0 30 2 * * ?", 3, "Europe/Berlin", spring)
    late = times("0 30 2 * * ?", 3, "Europe/Berlin", autumn)
    # 02:30 is left out on 29 March, and comes twice on 25 October.
    assert early == ["Sat 26-03-28 01:30:00", "Sun 26-03-29 01:30:00", "Mon 26-03-30 00:30:00"]
    assert late == ["Sat 26-10-24 00:30:00", "Sun 26-10-25 00:30:00", "Mon 26-10-26 01:30:00"]


@pytest.fixture
def create(local, cluster_id: str, notebook: str):
    def create_job(expression: str, zone: str = "UTC", **schedule: Any) -> int:
        task = {
            "task_key": "main",
            "existing_cluster_id": cluster_id,
            "notebook_task": {"notebook_path": notebook},
        }
        schedule = {"quartz_cron_expression": expression, "timezone_id": zone, **schedule}
        body = {"name": "scheduled", "tasks": [task], "schedule": schedule}
        return int(local.request("POST", "/api/2.2/jobs/create", body=body)["job_id"])

    return create_job


@pytest.mark.parametrize(
    "expression",
    [
        "nonsense",
        "0 0 * * *",
        "0 0 12 * * *",
        "0 0 12 ? * ?",
        "0 0 25 * * ?",
        "60 0 0 * * ?",
        "0 0 12 ? * 0",
        "0 0 12 ? * 8",
        "0 0 0 ? * MON#6",
        "0 0 0 ? * *L",
        "0 0/90 * * * ?",
        "R 0 0 * * ?",
        "0 0 12 1 1 ? 2020",
        "0 0 12 31 2 ?",
        "0 0 12 W * ?",
        "",
    ],
)
def test_a_bad_expression_is_refused_with_its_text(expression, create):
    with pytest.raises(InvalidParameterValue) as refused:
        create(expression)

    assert repr(expression) in str(refused.value)


def test_what_is_no_schedule_is_refused(create):
    with pytest.raises(InvalidParameterValue, match="timezone_id 'Mars/Phobos' is no time zone"):
        create("0 0 12 * * ?", "Mars/Phobos")
    with pytest.raises(InvalidParameterValue, match=r"timezone_id '\.\./etc/passwd' is no time zone"):
        create("0 0 12 * * ?", "../etc/passwd")
    with pytest.raises(InvalidParameterValue, match="pause_status 'LATER'"):
        create("0 0 12 * * ?", pause_status="LATER")
    with pytest.raises(NotImplementedHere, match="day of month LW"):
        create("0 0 12 LW * ?")
    with pytest.raises(NotImplementedHere, match="sql_condition"):
        create("0 0 12 * * ?", sql_condition={"warehouse_id": "1"})


def test_a_job_runs_when_it_is_time_until_it_is_paused(local, create, eventually):
    job_id, jobs = create("* * * * * ?"), local.client.jobs
    eventually(lambda: list(jobs.list_runs(job_id=job_id, completed_only=True)) != [])
    schedule = jobs.get(job_id).settings.schedule
    paused = CronSchedule(schedule.quartz_cron_expression, schedule.timezone_id, PauseStatus.PAUSED)
    jobs.update(job_id, new_settings=JobSettings(schedule=paused))

    runs = {(run.trigger, run.schedule.quartz_cron_expression) for run in jobs.list_runs(job_id=job_id)}
    assert schedule.pause_status == PauseStatus.UNPAUSED
    assert jobs.get(job_id).settings.schedule.pause_status == PauseStatus.PAUSED
    assert runs == {(TriggerType.PERIODIC, "* * * * * ?")}


class Clock:
    """A scheduler whose ticks are told, and what it started."""

    def __init__(self, database: Database, monkeypatch: pytest.MonkeyPatch) -> None:
        monkeypatch.setattr("local_workspace.jobs.schedules.TICK_SECONDS", 3600)
        self.started: list[int] = []
        self.now = START
        self.scheduler = Scheduler(database, lambda job: self.started.append(job["job_id"]))
        self.scheduler._last = self.now

    def tick_after(self, **duration: float) -> list[int]:
        self.started.clear()
        self.now += timedelta(**duration)
        self.scheduler.tick(self.now)
        return list(self.started)


@pytest.fixture
def database(tmp_path: Path) -> Database:
    return Database(tmp_path / "workspace.db")


def put_job(database: Database, job_id: int, expression: str, pause_status: str = "UNPAUSED") -> None:
    schedule = {"quartz_cron_expression": expression, "timezone_id": "UTC", "pause_status": pause_status}
    database.put("job", str(job_id), {"job_id": job_id, "settings": {"schedule": schedule}})


def test_times_that_passed_while_nothing_ran_start_a_job_once(database, monkeypatch):
    put_job(database, 1, "0 * * * * ?")
    clock = Clock(database, monkeypatch)

    assert clock.tick_after(hours=5) == [1]
    assert clock.tick_after(seconds=1) == []
    assert clock.tick_after(minutes=1) == [1]


def test_a_restart_makes_up_for_nothing(database, monkeypatch):
    put_job(database, 1, "0 0 0 1 1 ?")
    before = Clock(database, monkeypatch)
    assert before.tick_after(days=366) == [1]
    before.scheduler.stop()

    assert Clock(database, monkeypatch).tick_after(seconds=1) == []


def test_a_job_runs_every_ten_seconds_at_most(database, monkeypatch):
    put_job(database, 1, "* * * * * ?")
    clock = Clock(database, monkeypatch)

    assert [clock.tick_after(seconds=2) for _ in range(7)] == [[1], [], [], [], [], [1], []]


def test_a_paused_changed_or_deleted_job_is_not_started_by_its_old_schedule(database, monkeypatch):
    for job_id in (1, 2, 3, 4):
        put_job(database, job_id, "0 0 * * * ?")
    clock = Clock(database, monkeypatch)
    clock.tick_after(seconds=0)
    put_job(database, 1, "0 0 * * * ?", "PAUSED")
    put_job(database, 2, "0 0 0 1 1 ? 2090")
    database.delete("job", "3")

    assert clock.tick_after(hours=1) == [4]
    put_job(database, 1, "0 0 * * * ?")
    assert clock.tick_after(seconds=1) == []


def test_a_schedule_that_cannot_be_read_does_not_stop_the_others(database, monkeypatch, caplog):
    put_job(database, 1, "every day")
    put_job(database, 2, "0 * * * * ?")
    clock = Clock(database, monkeypatch)

    assert [clock.tick_after(minutes=1) for _ in range(2)] == [[2], [2]]
    assert caplog.text.count("job 1 never starts by itself: quartz_cron_expression 'every day'") == 1


def test_one_job_that_cannot_be_started_does_not_stop_the_others(database, monkeypatch, caplog, eventually):
    put_job(database, 1, "* * * * * ?")
    put_job(database, 2, "* * * * * ?")
    monkeypatch.setattr("local_workspace.jobs.schedules.TICK_SECONDS", 0.05)
    started: list[int] = []

    def start(job: dict[str, Any]) -> None:
        if job["job_id"] == 1:
            raise OSError("the disk is full")
        started.append(job["job_id"])

    scheduler = Scheduler(database, start)
    eventually(lambda: started == [2])
    scheduler.stop()

    assert "the disk is full" in caplog.text
