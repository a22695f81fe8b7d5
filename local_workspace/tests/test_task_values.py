"""`dbutils.jobs.taskValues`: alone, and from one real notebook to the next."""

import json
import os
from pathlib import Path

import pytest
from local_workspace.jobs.run_documents import has_ended, new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.kernel.task_values import Jobs, TaskValues
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder


@pytest.fixture
def task_values(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> TaskValues:
    """As a notebook behind task `load` finds them."""
    task = {"task_values": {"load": {"rows": 7, "nothing": None}}}
    (tmp_path / "task.json").write_text(json.dumps(task))
    monkeypatch.setenv("LOCAL_WORKSPACE_TASK", str(tmp_path / "task.json"))
    return Jobs().taskValues


def test_a_value_is_found_by_task_and_key(task_values):
    assert task_values.get("load", "rows") == 7
    assert task_values.get(taskKey="load", key="nothing", default="x", debugValue="y") is None
    assert task_values.get("load", "missing", default=0) == 0
    with pytest.raises(ValueError, match=r"'missing' of task 'load' and no default.*'rows'"):
        task_values.get("load", "missing", debugValue=1)
    with pytest.raises(ValueError, match="of task 'nobody'"):
        task_values.get("nobody", "rows")


def test_values_are_kept_as_json_within_bounds(task_values, tmp_path: Path):
    task_values.set("rows", 1)
    task_values.set(key="rows", value={"a": [1, None]})

    assert json.loads((tmp_path / "task_values.json").read_text()) == {"rows": {"a": [1, None]}}
    with pytest.raises(ValueError, match="'big' takes 49154 bytes"):
        task_values.set("big", "x" * 48 * 1024)
    with pytest.raises(TypeError, match="object"):
        task_values.set("what", object())
    with pytest.raises(TypeError, match="the key"):
        task_values.set(1, "x")


def test_no_more_than_250_values_are_kept(task_values, tmp_path: Path):
    (tmp_path / "task_values.json").write_text(json.dumps({str(number): 0 for number in range(250)}))
    task_values.set("7", 1)

    with pytest.raises(ValueError, match="'more' is one more"):
        task_values.set("more", 1)


FIRST = """# Databricks notebook source
dbutils.jobs.taskValues.set(key="model", value={"version": 3})

# COMMAND ----------

dbutils.notebook.exit("done")
"""
SECOND = """# Databricks notebook source
found = dbutils.jobs.taskValues.get(taskKey="first", key="model")
dbutils.notebook.exit(f"{found['version']} {dbutils.widgets.get('model')} {dbutils.widgets.get('attempt')}")
"""


def test_a_notebook_reads_what_the_one_before_has_set(tmp_path: Path, eventually):
    state = StateFolder(tmp_path / "state")
    state.create()
    database = Database(state.database)
    database.put("cluster", "c1", {"cluster_id": "c1", "terminated": False})
    folder = state.workspace_files / "Shared"
    folder.mkdir()
    tasks = []
    for number, (name, source) in enumerate([("first", FIRST), ("second", SECOND)]):
        (folder / name).write_text(source)
        record = {
            "path": f"/Shared/{name}",
            "object_id": number,
            "object_type": "NOTEBOOK",
            "language": "PYTHON",
        }
        database.put("workspace_object", record["path"], record | {"format": "SOURCE"})
        tasks.append(
            {
                "task_key": name,
                "existing_cluster_id": "c1",
                "notebook_task": {"notebook_path": f"/Shared/{name}"},
            }
        )
    references = {"model": "{{tasks.first.values.model}}", "attempt": "{{task.execution_count}}"}
    tasks[1]["depends_on"] = [{"task_key": "first"}]
    tasks[1]["notebook_task"]["base_parameters"] = references
    environment = os.environ | {"JUPYTER_RUNTIME_DIR": str(tmp_path / "j"), "IPYTHONDIR": str(tmp_path / "i")}
    runs = RunManager(database, state, lambda run: environment, "")
    run = new_run(database, 1, "SUBMIT_RUN", {"tasks": tasks}, "me")
    runs.submit(run["run_id"])
    eventually(lambda: has_ended(runs.find(run["run_id"])), seconds=90)
    runs.shutdown()

    result = json.loads((runs.folder(run["tasks"][1]["run_id"]) / "result.json").read_text())
    assert result["exit_value"] == '3 {"version": 3} 1'
