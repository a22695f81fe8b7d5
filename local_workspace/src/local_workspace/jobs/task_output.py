"""What a task leaves for those who ask for its output, by the kind of the task."""

import json
from pathlib import Path

from local_workspace.jobs.run_documents import has_ended
from local_workspace.jobs.task_kinds import CONTROL, NOTEBOOK, PROGRAMS, RUN_JOB, SQL, kind_of
from local_workspace.jobs.task_processes import read_result
from local_workspace.store.database import Document
from local_workspace.store.task_folder import TaskFolder

LONGEST_RESULT = 5 * 1024 * 1024


def output_of(task: Document, folder: Path) -> Document:
    """The exit value of a notebook, the logs of a program, the run of another job; or the error of each."""
    kind, state = kind_of(task), task["state"]
    own = _logs(folder) if kind in PROGRAMS else {}
    if kind == SQL:
        own = {"sql_output": {"query_output": {"warehouse_id": task[SQL]["warehouse_id"]}}}
    if kind == RUN_JOB and "run_job_run" in task:
        own["run_job_output"] = {"run_id": task["run_job_run"]}
    if state["life_cycle_state"] == "INTERNAL_ERROR":
        return own | {"error": state["state_message"]}
    if kind in CONTROL:
        return own | ({"error": state["state_message"]} if state.get("state_message") else {})
    result = read_result(folder) if has_ended(task) else None
    if result is None:
        if has_ended(task) and state["result_state"] == "SUCCESS":
            return own | {"error": f"the output of this run was deleted: {folder}"}
        if has_ended(task):
            return own | {"error": state["state_message"]}
        return own or {"notebook_output": {}}
    if result["status"] != "SUCCESS":
        return own | {"error": result["error"], "error_trace": result["error_trace"]}
    if kind != NOTEBOOK:
        return own
    value = result["exit_value"]
    return {"notebook_output": {} if value is None else _shortened(value)}


def _logs(folder: Path) -> Document:
    """What a program has printed so far: of a long text the end."""
    text = "".join(_printed(TaskFolder(folder).notebook))
    data = text.encode(errors="replace")
    return {
        "logs": data[-LONGEST_RESULT:].decode(errors="ignore"),
        "logs_truncated": len(data) > LONGEST_RESULT,
    }


def _printed(notebook: Path) -> list[str]:
    if not notebook.exists():
        return []
    cells = json.loads(notebook.read_text())["cells"]
    outputs = [
        output
        for cell in cells
        if not cell["metadata"].get("libraries")  # what pip says of them is not the program's
        for output in cell.get("outputs", [])
    ]
    return ["".join(output["text"]) for output in outputs if output["output_type"] == "stream"]


def _shortened(value: str) -> Document:
    data = value.encode()
    kept = data[:LONGEST_RESULT].decode(errors="ignore")
    return {"result": kept, "truncated": len(data) > LONGEST_RESULT}
