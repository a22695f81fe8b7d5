"""A workspace whose folder is moved or copied goes on with its tables, runs and models, at the new place."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import psutil
from real_workspace import FOLDER, QUICK_JAVA, RealWorkspace, free_port

MAKE = """
spark.range(3).write.saveAsTable("made")
spark.sql("create schema s2")
spark.range(2).write.saveAsTable("s2.other")
spark.sql("create table clone shallow clone made")
spark.sql("create view seen as select * from made")
# COMMAND ----------
import mlflow
from sklearn.linear_model import LinearRegression
mlflow.set_experiment("/Shared/moved")
with mlflow.start_run():
    mlflow.log_text("before", "note.txt")
    model = LinearRegression().fit([[1], [2]], [1, 2])
    mlflow.sklearn.log_model(model, name="line", registered_model_name="spark_catalog.s2.line")
"""
USE = """
spark.range(5).write.mode("append").saveAsTable("made")
spark.range(1).write.saveAsTable("new")
print([spark.table(name).count() for name in ("made", "s2.other", "clone", "seen", "new")])
# COMMAND ----------
import mlflow
mlflow.set_experiment("/Shared/moved")
run = mlflow.search_runs().artifact_uri[0]
print(mlflow.artifacts.load_text(run + "/note.txt"))
with mlflow.start_run() as later:
    mlflow.log_text("after", "note.txt")
print(later.info.artifact_uri)
print(mlflow.pyfunc.load_model("models:/spark_catalog.s2.line/1").predict([[3]]))
"""


def local_workspace(command: str, state: Path, *options: str) -> str:
    words = [sys.executable, "-m", "local_workspace", command, "--state", str(state), *options]
    done = subprocess.run(
        words, timeout=300, capture_output=True, text=True, env=os.environ | QUICK_JAVA, check=False
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def execute(state: Path, source: str) -> str:
    """Runs a notebook, and gives what it printed."""
    workspace = RealWorkspace(state)
    workspace.upload(f"{FOLDER}/moved", f"# Databricks notebook source\n{source}")
    run = workspace.finished(workspace.submit(workspace.task("moved")))
    assert run["state"]["result_state"] == "SUCCESS", workspace.executed(run["tasks"][0]["run_id"])
    return (state / "runs" / str(run["tasks"][0]["run_id"]) / "notebook.ipynb").read_text()


def test_a_workspace_goes_on_where_its_folder_was_copied_to(tmp_path):
    state, copy = tmp_path / "first place" / "state", tmp_path / "a copy of [it]" / "state"
    try:
        local_workspace("start", state, "--port", str(free_port()))
        execute(state, MAKE)
        server = psutil.Process(int((state / "workspace.pid").read_text().split()[0]))
        shutil.copytree(state, copy)
        assert "is not running" in local_workspace("stop", copy)
        assert server.is_running()
        local_workspace("stop", state)
        state.parent.rename(tmp_path / "gone")

        local_workspace("start", copy, "--port", str(free_port()))
        shown = execute(copy, USE)

        assert "[8, 2, 3, 8, 1]" in shown
        assert "before" in shown and "[3.]" in shown
        assert f"{copy.as_uri()}/mlflow_artifacts/1/" in shown
        assert {child.name for child in tmp_path.iterdir()} == {"gone", "a copy of [it]"}
    finally:
        local_workspace("stop", state)
        local_workspace("stop", copy)
