"""With ten thousand runs a list and a page read what they show, and every run can be reached."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from local_workspace.jobs.job_settings import normalised
from local_workspace.jobs.run_documents import new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.jobs.schedules import Scheduler
from local_workspace.mlflow_server import mlflow_file
from local_workspace.mlflow_server.tracking import RUN_TAG, LoggedRuns
from local_workspace.rest import jobs
from local_workspace.rest.error_responses import add_handlers
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder
from local_workspace.web import pages
from local_workspace.web.run_summaries import SHOWN_RUNS
from many_runs import BEGINNING, JOBS, SETTINGS, fill
from real_workspace import RealWorkspace, started

FEW, MANY = 300, 10_000
LISTS = [
    "",
    "?limit=25&expand_tasks=true",
    "?job_id=2",
    "?active_only=true",
    "?completed_only=true&job_id=3",
    "?run_type=SUBMIT_RUN",
    "?run_type=JOB_RUN&active_only=true&job_id=1",
    f"?start_time_from={BEGINNING}",
    "?job_id=7",
    "?page_token=older-200",
    "?page_token=newer-100",
    "?offset=40",
]
PAGES = ["/", "/jobs", "/jobs/1", "/runs", "/runs?state=CANCELED", "/runs?state=active", "/runs?job=2"]
REFUSED = ["x", "5-20", "older-", "older--1", "older-1e3", "older-" + "9" * 30, "older-\u0661", "newer-1\n"]


@dataclass
class Filled:
    """A server over a state folder with many runs; it counts what sqlite does for it."""

    host: str
    database: Database
    runs: RunManager
    rows: int = 0
    steps: int = 0
    session: requests.Session = field(default_factory=requests.Session)

    def get(self, path: str) -> requests.Response:
        """An answer, with what it took in `rows` and `steps`."""
        self.rows = self.steps = 0
        return self.session.get(self.host + path, headers={"Accept": "text/html"}, timeout=60)

    def listed(self, query: str) -> dict[str, Any]:
        """The reply to a list of runs."""
        answer = self.get(f"/api/2.2/jobs/runs/list{query}")
        assert answer.status_code == 200, answer.text
        return dict(answer.json())

    def watch(self) -> None:
        """Count the rows that are handed out, and the steps of sqlite's machine."""

        def count_row(cursor: Any, row: tuple[Any, ...]) -> tuple[Any, ...]:
            self.rows += 1
            return row

        def count_step() -> int:
            self.steps += 1
            return 0

        connection = self.database._file.connection
        connection.row_factory = count_row
        connection.set_progress_handler(count_step, 1)


Serve = Callable[[FastAPI], Any]


@contextmanager
def server_with(folder: Path, runs: int, served: Serve) -> Iterator[Filled]:
    state = StateFolder(folder / "state")
    fill(state, runs)
    database = Database(state.database)
    manager = RunManager(database, state, lambda run: {}, "http://here")
    app = FastAPI()
    add_handlers(app, pages.error_response)
    app.include_router(jobs.router(database, manager))
    app.include_router(pages.router(database, state, lambda: "RUNNING", lambda _: []))
    with served(app) as host:
        filled = Filled(host, database, manager)
        filled.watch()
        yield filled
    manager.shutdown()
    database.close()


@pytest.fixture
def few(tmp_path: Path, served: Serve) -> Iterator[Filled]:
    with server_with(tmp_path / "few", FEW, served) as filled:
        yield filled


@pytest.fixture
def many(tmp_path: Path, served: Serve) -> Iterator[Filled]:
    with server_with(tmp_path / "many", MANY, served) as filled:
        yield filled


def test_what_a_list_takes_does_not_grow_with_the_runs(few: Filled, many: Filled):
    for query in LISTS:
        lengths = [len(filled.listed(query).get("runs", [])) for filled in (few, many)]

        assert lengths[0] == lengths[1], query
        assert many.rows == few.rows <= 30, query
        assert many.steps <= few.steps * 1.1, query


def test_a_list_by_time_reads_no_document_that_it_does_not_show(many: Filled):
    reply = many.listed(f"?start_time_to={BEGINNING + 4000}")

    assert [run["run_id"] for run in reply["runs"]] == [10, 8, 6, 4, 2]
    assert many.rows <= 10


@pytest.mark.parametrize("path", PAGES)
def test_a_page_reads_little_more_than_it_shows(many: Filled, path: str):
    answer = many.get(path)

    assert answer.status_code == 200
    assert many.rows < answer.text.count("<tr id=") + 20


def test_each_of_ten_thousand_runs_is_listed_once_while_runs_come_and_go(many: Filled):
    listed, token, settings = [], "", normalised(dict(SETTINGS), many.database)
    for number in range(MANY):
        reply = many.listed(f"?limit=25&page_token={token}")
        listed += [run["run_id"] for run in reply["runs"]]
        new_run(many.database, 1, "JOB_RUN", settings, "me")
        if number % 10 == 0:  # the run that the token names
            many.runs.delete(listed[-1])
        if not reply["has_more"]:
            break
        token = reply["next_page_token"]

    assert listed == list(range(2 * MANY, 0, -2))


def test_a_list_leads_back_to_its_newest_run(many: Filled):
    pages_there = [many.listed("?job_id=2&limit=7")]
    for _ in range(3):
        pages_there.append(many.listed(f"?job_id=2&limit=7&page_token={pages_there[-1]['next_page_token']}"))
    pages_back = [pages_there[-1]]
    while token := pages_back[-1].get("prev_page_token"):
        pages_back.append(many.listed(f"?job_id=2&limit=7&page_token={token}"))

    assert [page["runs"] for page in pages_back[::-1]] == [page["runs"] for page in pages_there]
    assert "prev_page_token" not in pages_there[0]


@pytest.mark.parametrize("start", ["/runs", "/jobs/1", "/runs?state=CANCELED", "/runs?job=3&state=SUCCESS"])
def test_older_runs_are_reached_from_a_page(many: Filled, start: str):
    seen, path, path_back = [], start, ""
    while path:
        shown = many.get(path).text
        seen += [int(run_id) for run_id in re.findall(r'id="run-(\d+)"', shown)]
        path, path_back = link(shown, "older"), link(shown, "newer")

    expected = [
        run_id
        for number, run_id in enumerate(range(2, 2 * MANY + 1, 2))
        if ("state=CANCELED" not in start or number % 100 == 0)
        and ("state=SUCCESS" not in start or number % 100)
        and ("/jobs/1" not in start or number % 3 == 0)
        and ("job=3" not in start or number % 3 == 2)
    ]
    assert seen == expected[::-1]
    assert bool(path_back) == (len(seen) > SHOWN_RUNS)


def link(page: str, way: str) -> str:
    """The address behind a link to the next part of a list."""
    found = re.search(rf'<a id="{way}"[^>]* href="([^"]+)"', page)
    return found[1].replace("&amp;", "&") if found else ""


@pytest.mark.parametrize("token", REFUSED)
def test_a_token_that_nobody_gave_out_is_refused(few: Filled, token: str):
    for path in ("/api/2.2/jobs/runs/list", "/api/2.1/jobs/list"):
        answer = few.session.get(few.host + path, params={"page_token": token}, timeout=10)
        assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")
    page = few.session.get(
        f"{few.host}/runs", params={"page_token": token}, headers={"Accept": "text/html"}, timeout=10
    )
    assert page.status_code == 400
    assert "is not one that was given out" in page.text


@pytest.mark.parametrize("query", ["job=x", "job=9" + "9" * 20, "job=1&page_token=older"])
def test_a_page_that_cannot_be_is_refused_in_words(few: Filled, query: str):
    answer = few.get(f"/runs?{query}")

    assert answer.status_code == 400
    assert "<h1>" in answer.text


@pytest.mark.parametrize(
    "query", ["?limit=26", "?limit=-1", "?run_type=NONE", "?run_type=JOB_RUN&run_type=SUBMIT_RUN"]
)
def test_a_list_that_cannot_be_is_refused_also_without_a_run(tmp_path: Path, served: Serve, query: str):
    with server_with(tmp_path, 0, served) as empty:
        answer = empty.get(f"/api/2.2/jobs/runs/list{query}")

    assert (answer.status_code, answer.json()["error_code"]) == (400, "INVALID_PARAMETER_VALUE")


def test_a_limit_of_zero_means_the_most_that_one_page_has(few: Filled):
    assert len(few.listed("?limit=0")["runs"]) == 25
    assert len(few.listed("")["runs"]) == 20
    assert len(few.get("/api/2.0/jobs/runs/list?limit=0").json()["runs"]) == FEW


def test_a_run_starts_without_a_look_at_those_that_have_ended(many: Filled):
    run = new_run(many.database, 1, "JOB_RUN", normalised(dict(SETTINGS), many.database), "me")
    many.rows = many.steps = 0
    many.runs.submit(run["run_id"])

    assert many.rows < 50
    assert many.steps < 10_000


def test_the_end_of_a_run_reads_few_of_those_that_wait(few: Filled):
    settings = normalised(SETTINGS | {"queue": {"enabled": True}}, few.database)
    first, *_ = [new_run(few.database, 1, "JOB_RUN", settings, "me")["run_id"] for _ in range(500)]
    few.runs.submit(first)
    few.rows = 0
    few.runs.cancel(first)

    assert few.rows < 100


def test_schedules_are_looked_up_without_the_jobs_that_have_none(tmp_path: Path):
    database, due = Database(tmp_path / "workspace.db"), []
    cron = {"quartz_cron_expression": "* * * * * ?", "timezone_id": "UTC"}
    for number in range(200):
        settings = SETTINGS | ({"schedule": cron} if number == 100 else {})
        database.put("job", str(number), {"job_id": number, "settings": settings})
    scheduler = Scheduler(database, due.append)
    scheduler.stop()
    rows = []
    database._file.connection.row_factory = lambda cursor, row: rows.append(row) or row
    scheduler.tick(scheduler._last)
    database.close()

    assert len(rows) == 1


def test_a_page_of_a_run_shows_what_it_logged_to_any_of_very_many_experiments(tmp_path: Path):
    state = StateFolder(tmp_path / "state")
    state.create()
    mlflow_file.create(state.mlflow_database)
    logged = LoggedRuns(state)
    client = logged._client
    last = client.create_experiment("first", artifact_location=tmp_path.as_uri())
    client.create_run(last, tags={RUN_TAG: "7"}, run_name="in the first")
    with closing(sqlite3.connect(state.mlflow_database)) as file, file:
        columns = "name, artifact_location, lifecycle_stage, creation_time, last_update_time"
        rows = [(f"experiment {number}", "file:///none", "active", 2**42, 2**42) for number in range(1100)]
        file.executemany(f"INSERT INTO experiments ({columns}) VALUES (?, ?, ?, ?, ?)", rows)
    newest = client.get_experiment_by_name("experiment 1099").experiment_id
    client.create_run(newest, tags={RUN_TAG: "7"}, run_name="in the last")
    removed = client.create_run(newest, tags={RUN_TAG: "7"}, run_name="removed")
    client.delete_run(removed.info.run_id)
    client.create_run(newest, tags={RUN_TAG: "77"}, run_name="of another task")

    assert [run["name"] for run in logged.of_tasks(["7"])] == ["in the first", "in the last"]
    assert logged.of_tasks([]) == []


@pytest.fixture(scope="module")
def of_an_older_version(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorkspace]:
    """A real workspace that was started on the state folder of an older version."""
    folder = tmp_path_factory.mktemp("older")
    fill(StateFolder(folder / "state"), MANY)
    with started(folder) as workspace:
        yield workspace


def test_a_state_folder_of_an_older_version_is_upgraded_at_the_start(of_an_older_version: RealWorkspace):
    host = of_an_older_version.profile["host"]
    headers = {"Authorization": f"Bearer {of_an_older_version.profile['token']}"}
    home = requests.get(host, headers=headers, timeout=60).text
    listed = of_an_older_version.client.jobs.list_runs(job_id=JOBS[-1])

    assert f"{MANY} in all, 0 active" in home
    assert sum(1 for _ in listed) == MANY // len(JOBS)
