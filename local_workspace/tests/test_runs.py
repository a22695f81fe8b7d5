"""What becomes of runs: success, failure, time-out, cancel, and a workspace that is killed."""

import json
import os
import subprocess
import sys
import threading
import time
from pathlib import Path
from typing import Any

import psutil
import pytest
from databricks.sdk.errors import BadRequest, InvalidParameterValue, ResourceDoesNotExist
from databricks.sdk.service.jobs import RunLifecycleStateV2State, RunResultState
from local_workspace.jobs.run_documents import has_ended, new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.kernel.fork_server import ForkServer
from local_workspace.processes.processes import has_ended as has_ended_process
from local_workspace.recovery import recover
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder


def task_of(cluster_id: str, notebook: str, key: str = "main", **parameters: str) -> dict[str, Any]:
    notebook_task = {"notebook_path": notebook, "base_parameters": parameters}
    return {"task_key": key, "existing_cluster_id": cluster_id, "notebook_task": notebook_task}


@pytest.fixture
def submit(local, cluster_id: str, notebook: str):
    """Submits a run of one task, or of the tasks given, and gives back its id."""

    def submit_run(*tasks: dict[str, Any], timeout_seconds: int = 0, **parameters: str) -> int:
        chosen = list(tasks) or [task_of(cluster_id, notebook, **parameters)]
        body = {"run_name": "test", "tasks": chosen, "timeout_seconds": timeout_seconds}
        return int(local.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"])

    return submit_run


@pytest.fixture
def finished(local, eventually):
    """Waits for a run and gives back its reply."""

    def wait(run_id: int) -> dict[str, Any]:
        def get() -> dict[str, Any]:
            return dict(local.request("GET", "/api/2.2/jobs/runs/get", query={"run_id": run_id}))

        eventually(lambda: get()["status"]["state"] == "TERMINATED")
        return get()

    return wait


@pytest.fixture
def make_job(local, cluster_id: str, notebook: str):
    def make(version: str = "2.1", **settings: Any) -> int:
        body = {"name": "runs", "tasks": [task_of(cluster_id, notebook, alpha="0.5")], **settings}
        return int(local.request("POST", f"/api/{version}/jobs/create", body=body)["job_id"])

    return make


def test_the_pip_cli_runs_a_job_and_reads_its_exit_value(local, make_job, finished):
    job_id = make_job()
    arguments = ("--job-id", str(job_id), "--notebook-params", '{"beta": "1"}')
    started = json.loads(local.cli("jobs", "run-now", "--version=2.1", *arguments))
    run_id = str(started["run_id"])
    finished(started["run_id"])
    run = local.request("GET", "/api/2.1/jobs/runs/get", query={"run_id": run_id})
    output = json.loads(local.cli("runs", "get-output", "--version=2.1", "--run-id", run_id))

    assert run["state"]["result_state"] == "SUCCESS"
    assert run["run_page_url"] == f"{local.host}/jobs/{job_id}/runs/{run_id}"
    assert json.loads(output["notebook_output"]["result"]) == {"alpha": "0.5", "beta": "1"}
    assert run_id in local.cli("runs", "list", "--version=2.1", "--job-id", str(job_id))


def test_the_sdk_runs_a_job_and_waits_for_it(local, make_job):
    run = local.client.jobs.run_now_and_wait(make_job())
    output = local.client.jobs.get_run_output(run.tasks[0].run_id)

    assert run.state.result_state == RunResultState.SUCCESS
    assert run.status.state == RunLifecycleStateV2State.TERMINATED
    assert run.start_time <= run.end_time
    assert json.loads(output.notebook_output.result) == {"alpha": "0.5"}
    assert output.metadata.job_run_id == run.run_id


def test_an_api_2_0_client_sees_the_single_task_at_the_top(local, submit, finished):
    run_id = submit()
    finished(run_id)

    run = local.request("GET", "/api/2.0/jobs/runs/get", query={"run_id": run_id})
    assert run["task"]["notebook_task"]["notebook_path"] == "/Shared/job"
    assert run["cluster_instance"]["cluster_id"] == run["tasks"][0]["existing_cluster_id"]


def test_a_failed_notebook_gives_its_own_error(local, submit, finished):
    run = finished(submit(do="fail"))
    output = local.client.jobs.get_run_output(run["run_id"])

    assert (run["state"]["life_cycle_state"], run["state"]["result_state"]) == ("TERMINATED", "FAILED")
    assert run["status"]["termination_details"]["code"] == "RUN_EXECUTION_ERROR"
    assert (output.error, output.error_trace) == ("ValueError: no BMI", "Traceback")


def test_a_process_that_dies_without_a_result_shows_its_last_words(local, submit, finished):
    run = finished(submit(do="die"))

    assert run["state"]["life_cycle_state"] == "INTERNAL_ERROR"
    assert "the stand-in died" in run["state"]["state_message"]
    assert "the stand-in died" in local.client.jobs.get_run_output(run["run_id"]).error


def test_a_missing_notebook_fails_the_run_and_not_the_request(submit, finished, cluster_id: str):
    run = finished(submit(task_of(cluster_id, "/Shared/missing")))

    assert run["status"]["termination_details"]["code"] == "RESOURCE_NOT_FOUND"
    assert "/Shared/missing" in run["state"]["state_message"]


def test_a_run_starts_the_cluster_that_it_needs(local, submit, finished, notebook: str):
    cluster = local.client.clusters.create(spark_version="18").response.cluster_id
    local.client.clusters.delete_and_wait(cluster)
    run = finished(submit(task_of(cluster, notebook)))

    assert run["state"]["result_state"] == "SUCCESS"
    assert local.request("GET", "/api/2.1/clusters/get", query={"cluster_id": cluster})["state"] == "RUNNING"


def test_cancel_ends_the_process_and_all_that_it_started(local, submit, finished, eventually):
    run_id = submit(do="sleep")
    task_run_id = local.client.jobs.get_run(run_id).tasks[0].run_id
    note = local.state.runs / str(task_run_id) / "child.pid"
    eventually(lambda: note.exists() and note.read_text() != "")
    child = psutil.Process(int(note.read_text()))
    local.cli("runs", "cancel", "--version=2.1", "--run-id", str(run_id))

    assert finished(run_id)["state"]["result_state"] == "CANCELED"
    eventually(lambda: not child.is_running())
    assert finished(run_id)["state"]["result_state"] == "CANCELED"


def test_a_run_that_takes_too_long_is_ended(local, submit, finished):
    run = finished(submit(timeout_seconds=1, do="sleep"))

    assert run["state"]["result_state"] == "TIMEDOUT"
    assert run["state"]["user_cancelled_or_timedout"] is True
    assert "1 seconds" in run["state"]["state_message"]


def test_tasks_run_in_the_order_of_their_dependencies(local, submit, finished, cluster_id, notebook):
    last = task_of(cluster_id, notebook, "last") | {"depends_on": [{"task_key": "first"}]}
    run = finished(submit(last, task_of(cluster_id, notebook, "first")))

    ends = {task["task_key"]: (task["start_time"] + task["setup_duration"]) for task in run["tasks"]}
    assert ends["first"] < ends["last"]
    with pytest.raises(InvalidParameterValue, match="multiple tasks is not supported"):
        local.client.jobs.get_run_output(run["run_id"])
    assert local.client.jobs.get_run_output(run["tasks"][0]["run_id"]).notebook_output.result == "{}"


def test_tasks_behind_a_failed_one_are_skipped(submit, finished, cluster_id, notebook):
    last = task_of(cluster_id, notebook, "last") | {"depends_on": [{"task_key": "first"}]}
    run = finished(submit(task_of(cluster_id, notebook, "first", do="fail"), last))

    assert [task["state"]["result_state"] for task in run["tasks"]] == ["FAILED", "UPSTREAM_FAILED"]
    assert run["state"]["result_state"] == "FAILED"
    assert "Task first failed" in run["state"]["state_message"]


def test_one_run_too_many_is_skipped(local, make_job, finished, tmp_path: Path):
    job_id = make_job()
    go = tmp_path / "go"
    first = local.client.jobs.run_now(job_id, notebook_params={"until": str(go)}).response.run_id
    second = local.request("POST", "/api/2.1/jobs/run-now", body={"job_id": str(job_id)})["run_id"]
    skipped = finished(second)
    go.touch()

    assert skipped["state"]["life_cycle_state"] == "SKIPPED"
    assert skipped["state"]["result_state"] == "MAXIMUM_CONCURRENT_RUNS_REACHED"
    assert finished(first)["state"]["result_state"] == "SUCCESS"


def test_jobs_of_version_2_2_wait_for_their_turn(local, make_job, finished, tmp_path: Path):
    job_id = make_job("2.2")
    go = tmp_path / "go"
    first = local.client.jobs.run_now(job_id, notebook_params={"until": str(go)}).response.run_id
    second = local.client.jobs.run_now(job_id).response.run_id
    waiting = local.client.jobs.get_run(second).status.state
    go.touch()

    assert waiting == RunLifecycleStateV2State.QUEUED
    assert finished(second)["state"]["result_state"] == "SUCCESS"
    assert finished(first)["end_time"] <= finished(second)["end_time"]


def test_a_run_that_waits_for_its_turn_can_be_cancelled(local, make_job, finished, tmp_path: Path):
    job_id = make_job("2.2")
    go = tmp_path / "go"
    first = local.client.jobs.run_now(job_id, notebook_params={"until": str(go)}).response.run_id
    second = local.client.jobs.run_now(job_id).response.run_id
    local.client.jobs.cancel_run(second)
    cancelled = local.client.jobs.get_run(second)
    go.touch()

    assert cancelled.state.result_state == RunResultState.CANCELED
    assert finished(first)["state"]["result_state"] == "SUCCESS"
    assert not (local.state.runs / str(cancelled.tasks[0].run_id)).exists()


def test_a_repeated_request_with_the_same_token_is_one_run(local, make_job, finished):
    body = {"job_id": make_job(), "idempotency_token": "once"}
    first, second = (local.request("POST", "/api/2.1/jobs/run-now", body=body) for _ in range(2))

    assert first == second
    assert finished(first["run_id"])["state"]["result_state"] == "SUCCESS"


def test_job_parameters_reach_the_notebook(local, make_job, finished):
    parameters = [{"name": "alpha", "default": "1"}, {"name": "gamma", "default": "2"}]
    body = {"job_id": make_job(parameters=parameters), "job_parameters": {"gamma": "3"}}
    run_id = local.request("POST", "/api/2.2/jobs/run-now", body=body)["run_id"]
    finished(run_id)

    output = local.client.jobs.get_run_output(run_id)
    assert json.loads(output.notebook_output.result) == {"alpha": "1", "gamma": "3"}


def test_a_long_exit_value_is_cut_at_five_megabytes(local, submit, finished):
    run = finished(submit(exit="0123456789", times="600000"))

    output = local.client.jobs.get_run_output(run["run_id"]).notebook_output
    assert (len(output.result), output.truncated) == (5 * 1024 * 1024, True)


def test_runs_are_listed_by_what_is_asked_for(local, make_job, finished):
    job_id = make_job()
    ids = []
    for _ in range(3):
        ids.append(local.request("POST", "/api/2.1/jobs/run-now", body={"job_id": job_id})["run_id"])
        finished(ids[-1])

    jobs = local.client.jobs
    assert [run.run_id for run in jobs.list_runs(job_id=job_id, limit=2)] == ids[::-1]
    assert [run.run_id for run in jobs.list_runs(job_id=job_id, completed_only=True)] == ids[::-1]
    assert list(jobs.list_runs(job_id=job_id, active_only=True)) == []


def test_only_a_run_that_has_ended_is_deleted(local, submit, finished, eventually):
    run_id = submit(do="sleep")
    with pytest.raises(BadRequest, match="is active"):
        local.client.jobs.delete_run(run_id)
    local.client.jobs.cancel_run(run_id)
    finished(run_id)

    def is_deleted() -> bool:
        try:
            local.client.jobs.delete_run(run_id)
        except BadRequest:
            return False
        return True

    eventually(is_deleted)
    with pytest.raises(ResourceDoesNotExist, match=f"Run {run_id} does not exist"):
        local.client.jobs.get_run(run_id)


@pytest.fixture
def own_state(tmp_path: Path) -> StateFolder:
    """A workspace's state with a notebook and a cluster, and no server."""
    state = StateFolder(tmp_path / "state")
    state.create()
    database = Database(state.database)
    database.put("cluster", "c1", {"cluster_id": "c1", "terminated": False})
    (state.workspace_files / "Shared").mkdir()
    (state.workspace_files / "Shared" / "job").write_text("# Databricks notebook source\n")
    record = {"path": "/Shared/job", "object_id": 1, "object_type": "NOTEBOOK"}
    database.put("workspace_object", "/Shared/job", record | {"language": "PYTHON", "format": "SOURCE"})
    database.close()
    return state


WORKSPACE_WITH_A_RUN = """
import os, sys, time
from pathlib import Path
from local_workspace.store.database import Database
from local_workspace.processes.processes import has_ended as has_ended_process
from local_workspace.jobs.run_documents import new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.store.state import StateFolder
state = StateFolder(Path(sys.argv[1]))
database = Database(state.database)
task = {"task_key": "main", "existing_cluster_id": "c1",
        "notebook_task": {"notebook_path": "/Shared/job", "base_parameters": {"do": "sleep"}}}
runs = RunManager(database, state, lambda run: dict(os.environ), "", (sys.executable, sys.argv[2]))
run = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task]}, "me")
runs.submit(run["run_id"])
print("submitted", flush=True)
time.sleep(600)
"""


def test_a_killed_workspace_leaves_no_process_and_no_run_that_runs(own_state, stand_in, eventually):
    script = [sys.executable, "-c", WORKSPACE_WITH_A_RUN, str(own_state.root), str(stand_in)]
    workspace = subprocess.Popen(script)
    note = own_state.runs / "2" / "child.pid"
    eventually(lambda: note.exists() and note.read_text() != "")
    left_over = psutil.Process(int(note.read_text()))
    workspace.kill()
    workspace.wait()
    survived = not has_ended_process(left_over)

    database = Database(own_state.database)
    recover(database, own_state)
    runs = RunManager(database, own_state, lambda run: dict(os.environ), "")
    state = runs.find(1)["state"]
    assert survived
    assert has_ended_process(left_over)
    assert state["life_cycle_state"] == "INTERNAL_ERROR"
    assert state["state_message"] == "the workspace was restarted while it ran"


def test_stopping_the_workspace_ends_its_runs(own_state, stand_in, eventually):
    database = Database(own_state.database)
    command = (sys.executable, str(stand_in))
    runs = RunManager(database, own_state, lambda run: dict(os.environ), "", command)
    settings = {"tasks": [task_of("c1", "/Shared/job", do="sleep")]}
    run = new_run(database, 1, "SUBMIT_RUN", settings, "me")
    runs.submit(run["run_id"])
    note = own_state.runs / "2" / "child.pid"
    eventually(lambda: note.exists() and note.read_text() != "")
    child = psutil.Process(int(note.read_text()))
    runs.shutdown()

    assert has_ended_process(child)
    assert runs.find(1)["state"]["state_message"] == "the workspace was stopped while it ran"


def test_a_run_that_waited_for_its_turn_goes_on_waiting_when_the_workspace_comes_back(
    own_state, stand_in, eventually
):
    command = (sys.executable, str(stand_in))
    settings = {"max_concurrent_runs": 1, "queue": {"enabled": True}}
    database = Database(own_state.database)
    for do in ("sleep", "end", "end"):
        tasks = [task_of("c1", "/Shared/job", do=do)]
        new_run(database, 1, "JOB_RUN", settings | {"tasks": tasks}, "me")
    waiting = [run["run_id"] for run in database.all("run")]
    before = RunManager(database, own_state, lambda run: dict(os.environ), "", command)
    for run_id in waiting:
        before.submit(run_id)
    before.shutdown()
    stopped = [before.find(run_id)["state"]["life_cycle_state"] for run_id in waiting]
    after = RunManager(database, own_state, lambda run: dict(os.environ), "", command)
    after.resume()

    assert stopped == ["INTERNAL_ERROR", "QUEUED", "QUEUED"]
    eventually(lambda: [after.find(i)["state"].get("result_state") for i in waiting[1:]] == ["SUCCESS"] * 2)
    after.shutdown()
    database.close()


def test_a_run_whose_imports_cannot_be_done_ahead_is_started_the_ordinary_way(
    own_state, stand_in, eventually, tmp_path
):
    (tmp_path / "ipykernel.py").write_text("raise ImportError('a broken package')")
    database, fork_server = Database(own_state.database), ForkServer(own_state.runs)
    command, environment = (sys.executable, str(stand_in)), os.environ | {"PYTHONPATH": str(tmp_path)}
    runs = RunManager(database, own_state, lambda run: environment, "", command, fork_server=fork_server)
    run = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task_of("c1", "/Shared/job")]}, "me")
    runs.submit(run["run_id"])
    eventually(lambda: has_ended(runs.find(1)))

    assert runs.find(1)["state"]["result_state"] == "SUCCESS"
    runs.shutdown()
    fork_server.close()


def test_a_cluster_that_does_not_come_up_fails_the_run(own_state, eventually):
    def no_cluster(run: dict[str, Any]) -> dict[str, str]:
        raise RuntimeError("Spark did not start")

    database = Database(own_state.database)
    runs = RunManager(database, own_state, no_cluster, "")
    run = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task_of("c1", "/Shared/job")]}, "me")
    runs.submit(run["run_id"])
    eventually(lambda: has_ended(runs.find(1)))

    state = runs.find(1)["state"]
    assert state["life_cycle_state"] == "INTERNAL_ERROR"
    assert "Spark did not start" in state["state_message"]


def test_stopping_does_not_wait_for_a_cluster_that_does_not_come_up(own_state, stand_in, monkeypatch, caplog):
    monkeypatch.setattr("local_workspace.jobs.runs.SHUTDOWN_SECONDS", 0.1)
    asked, up = threading.Event(), threading.Event()

    def slow_cluster(run: dict[str, Any]) -> dict[str, str]:
        asked.set()
        up.wait(30)
        return dict(os.environ)

    database = Database(own_state.database)
    runs = RunManager(database, own_state, slow_cluster, "", (sys.executable, str(stand_in)))
    run = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task_of("c1", "/Shared/job")]}, "me")
    runs.submit(run["run_id"])
    asked.wait(30)
    runs.shutdown()
    state = runs.find(1)["state"]
    database.close()
    monkeypatch.undo()
    up.set()
    runs._workers.stop(30)

    assert state["state_message"] == "the workspace was stopped while it ran"
    assert caplog.records == []
    assert not (own_state.runs / "2" / "process.log").exists()


def test_nothing_reads_the_state_of_a_workspace_that_has_stopped(
    own_state, stand_in, monkeypatch, caplog, eventually
):
    start_waiting = RunManager._start_waiting
    monkeypatch.setattr(
        RunManager, "_start_waiting", lambda runs, run: (time.sleep(0.5), start_waiting(runs, run))
    )
    database = Database(own_state.database)
    runs = RunManager(database, own_state, lambda run: dict(os.environ), "", (sys.executable, str(stand_in)))
    run = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task_of("c1", "/Shared/job")]}, "me")
    runs.submit(run["run_id"])
    eventually(lambda: has_ended(runs.find(1)))
    runs.shutdown()
    database.close()
    runs._workers.stop(10)

    assert caplog.records == []
