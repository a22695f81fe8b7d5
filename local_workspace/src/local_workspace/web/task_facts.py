"""What a task does, by its kind, as the pages of jobs and runs say it."""

import json
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from local_workspace.errors import InvalidParameter
from local_workspace.jobs import pipelines
from local_workspace.jobs.conditions import written
from local_workspace.jobs.run_documents import has_ended
from local_workspace.jobs.task_kinds import PROGRAMS, RUN_JOB, kind_of
from local_workspace.notebooks.workspace_tree import canonical
from local_workspace.store.database import Database, Document

SHOWN_ITERATIONS = 200
_NOT_WORKSPACE = ("dbfs:", "/dbfs/", "/Volumes/", "{{")


@dataclass(frozen=True)
class Fact:
    """A piece of text, and where it leads to; empty where that is nowhere."""

    text: str
    link: str = ""


def facts_of(task: Document, database: Database) -> list[Fact]:
    """What a task of a job, or of a run, does or has done."""
    own = task.get(kind_of(task)) or {}
    match kind_of(task):
        case "notebook_task":
            return [_in_workspace(str(own.get("notebook_path", "")))]
        case "spark_python_task":
            return [_in_workspace(own["python_file"])]
        case "python_wheel_task":
            return [Fact(f"{own['package_name']}, entry point {own['entry_point']}")]
        case "sql_task":
            return [_in_workspace(own["file"]["path"])]
        case "condition_task":
            outcome = f": {own['outcome']}" if "outcome" in own else ""
            return [Fact(f"if {written(own)}{outcome}")]
        case "run_job_task":
            return _other_job(task, database)
        case "pipeline_task":
            found = database.get(pipelines.KIND, str(own["pipeline_id"])) or {}
            return [Fact(f"pipeline {found.get('name') or own['pipeline_id']}")]
        case "for_each_task":
            at_once = f", {own['concurrency']} at once" if own.get("concurrency") else ""
            return [Fact(f"for each of {own['inputs']}{at_once}"), *facts_of(own["task"], database)]
    return []


def given_to(task: Document, description: Path) -> dict[str, str]:
    """What a task was started with; before that, what it is told for every run."""
    if description.exists():
        started = json.loads(description.read_text())
        return {**started["parameters"], **_numbered(started.get("words", []))}
    own = task.get(kind_of(task)) or {}
    if kind_of(task) in PROGRAMS:
        return dict(own.get("named_parameters") or {}) | _numbered(own.get("parameters") or [])
    return dict(own.get("base_parameters") or own.get("job_parameters") or own.get("parameters") or {})


def iterations_of(task: Document, database: Database) -> list[dict[str, Any]]:
    """The runs of a `for_each_task`, in the order of its inputs; of very many the first."""
    found = [database.get("run", str(each)) for each in task.get("iteration_runs", [])[:SHOWN_ITERATIONS]]
    return [
        {
            "run_id": run["run_id"],
            "input": json.dumps(run["iteration"]["input"], ensure_ascii=False),
            "state": run["state"].get("result_state") if has_ended(run) else run["state"]["life_cycle_state"],
        }
        for run in found
        if run
    ]


def _numbered(words: list[str]) -> dict[str, str]:
    return {f"word {number}": word for number, word in enumerate(words, 1)}


def _in_workspace(path: str) -> Fact:
    try:
        return Fact(path, "" if path.startswith(_NOT_WORKSPACE) else f"/workspace{canonical(path)}")
    except InvalidParameter:
        return Fact(path)


def _other_job(task: Document, database: Database) -> list[Fact]:
    job_id = task[RUN_JOB]["job_id"]
    job = database.get("job", str(job_id))
    named = Fact(f"job {job['settings'].get('name', job_id)}", f"/jobs/{job_id}") if job else None
    facts = [named or Fact(f"job {job_id}, which is not there")]
    if run_id := task.get("run_job_run"):
        facts.append(Fact(f"run {run_id}", f"/runs/{run_id}"))
    return facts
