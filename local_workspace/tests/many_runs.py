"""A state folder as an older version left it: a table of documents without an index, and many runs in it."""

import json
import sqlite3
from contextlib import closing
from pathlib import Path
from typing import Any

from local_workspace.jobs.run_documents import SUCCESS, end, launch, new_run
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder

TABLES = """
CREATE TABLE IF NOT EXISTS documents (
    position INTEGER PRIMARY KEY AUTOINCREMENT, kind TEXT, key TEXT, document TEXT, UNIQUE (kind, key));
CREATE TABLE IF NOT EXISTS counters (kind TEXT PRIMARY KEY, value INTEGER);
"""
JOBS = (1, 2, 3)
BEGINNING = 1_700_000_000_000
CANCELED_EACH = 100
TASK = {
    "task_key": "main",
    "notebook_task": {"notebook_path": "/Shared/job", "base_parameters": {"a": "1" * 200}},
}
SETTINGS = {"name": "nightly", "max_concurrent_runs": 1, "timeout_seconds": 0, "tasks": [TASK]}


def fill(state: StateFolder, runs: int) -> None:
    """Write ended runs 2, 4, 6, … of three jobs and their tasks, a second one after another."""
    state.create()
    pattern = _ended_run(state.root / "pattern.db")
    with closing(sqlite3.connect(state.database)) as file, file:
        file.executescript(TABLES)
        keep = "INSERT INTO documents (kind, key, document) VALUES (?, ?, ?)"
        for job_id in JOBS:
            job = {"job_id": job_id, "settings": SETTINGS | {"name": f"nightly {job_id}"}}
            file.execute(keep, ("job", str(job_id), json.dumps(job)))
        for number in range(runs):
            run = _numbered(pattern, number)
            task_run_id = str(run["tasks"][0]["run_id"])
            file.execute(keep, ("task_run", task_run_id, json.dumps({"run_id": run["run_id"]})))
            file.execute(keep, ("run", str(run["run_id"]), json.dumps(run)))
        file.executemany("INSERT INTO counters VALUES (?, ?)", [("run", 2 * runs + 1), ("job", len(JOBS))])


def _ended_run(file: Path) -> dict[str, Any]:
    database = Database(file)
    run = new_run(database, 1, "JOB_RUN", SETTINGS, "me")
    database.close()
    file.unlink()
    for record in (*run["tasks"], run):
        launch(record)
        end(record, SUCCESS)
    return run


def _numbered(pattern: dict[str, Any], number: int) -> dict[str, Any]:
    run_id, start = 2 * number + 2, BEGINNING + 1000 * number
    state = pattern["state"] | ({"result_state": "CANCELED"} if number % CANCELED_EACH == 0 else {})
    times = {"start_time": start, "end_time": start + 500, "state": state}
    task = pattern["tasks"][0] | times | {"run_id": run_id + 1}
    ids = {"run_id": run_id, "number_in_job": run_id, "original_attempt_run_id": run_id}
    return {**pattern, **times, **ids, "job_id": JOBS[number % len(JOBS)], "tasks": [task]}
