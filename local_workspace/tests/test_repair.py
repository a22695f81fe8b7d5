"""A run that has ended goes on: tasks of it run again, and those that have succeeded stay as they are."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk.errors import BadRequest, InvalidParameterValue
from databricks.sdk.service.jobs import Run
from local_workspace.jobs.run_documents import duration


@pytest.fixture
def job(local, cluster_id: str, notebook: str) -> Callable[..., int]:
    """Makes a job of tasks one after the other; each is given what it tells the stand-in."""

    def make(max_retries: int = 0, **tasks: dict[str, str]) -> int:
        keys = list(tasks)
        listed = [
            {
                "task_key": key,
                "existing_cluster_id": cluster_id,
                "max_retries": max_retries,
                "notebook_task": {"notebook_path": notebook, "base_parameters": parameters},
                "depends_on": [{"task_key": before} for before in keys[max(0, keys.index(key) - 1) :][:1]]
                if key != keys[0]
                else [],
            }
            for key, parameters in tasks.items()
        ]
        body = {"name": "repaired", "tasks": listed}
        return int(local.request("POST", "/api/2.2/jobs/create", body=body)["job_id"])

    return make


@pytest.fixture
def waiting(local, job, finished, tmp_path: Path) -> Run:
    """A run whose middle task fails until a file is there, as an approval does."""
    tasks: dict[str, Any] = {"first": {}, "approval": {"fail_unless": str(tmp_path / "ok")}, "last": {}}
    return finished(local.client.jobs.run_now(job(**tasks)).run_id)


def attempts(run: Run) -> list[tuple[str, int, str]]:
    return [(task.task_key, task.attempt_number, task.state.result_state.value) for task in run.tasks]


BEFORE = [("first", 0, "SUCCESS"), ("approval", 0, "FAILED"), ("last", 0, "UPSTREAM_FAILED")]


def test_what_has_failed_runs_again_and_the_run_succeeds(local, waiting, finished):
    made = local.client.jobs.repair_run(waiting.run_id, rerun_all_failed_tasks=True)
    repaired = finished(waiting.run_id)

    assert attempts(waiting) == BEFORE
    assert attempts(repaired) == [*BEFORE, ("approval", 1, "SUCCESS"), ("last", 1, "SUCCESS")]
    assert repaired.state.result_state.value == "SUCCESS"
    assert repaired.start_time == waiting.start_time
    original, repair = repaired.repair_history
    assert (original.type.value, original.state.result_state.value) == ("ORIGINAL", "FAILED")
    assert (repair.type.value, repair.state.result_state.value) == ("REPAIR", "SUCCESS")
    assert repair.id == made.response.repair_id
    assert repair.task_run_ids == [task.run_id for task in repaired.tasks[3:]]


def test_a_repaired_task_has_its_retries_anew(local, job, finished):
    run_id = local.client.jobs.run_now(job(flaky={"do": "fail"}, max_retries=1)).run_id
    first = finished(run_id)
    local.client.jobs.repair_run(run_id, rerun_all_failed_tasks=True)
    repaired = finished(run_id)

    assert attempts(first) == [("flaky", number, "FAILED") for number in range(2)]
    assert attempts(repaired) == [("flaky", number, "FAILED") for number in range(4)]
    ids = [task.run_id for task in repaired.tasks]
    assert [each.task_run_ids for each in repaired.repair_history] == [ids[:2], ids[2:]]


def test_a_named_task_runs_again_with_those_behind_it_where_that_is_asked(local, waiting, finished):
    client = local.client.jobs
    first = client.repair_run(waiting.run_id, rerun_tasks=["approval"]).response.repair_id
    alone = finished(waiting.run_id)
    client.repair_run(
        waiting.run_id, rerun_tasks=["approval"], rerun_dependent_tasks=True, latest_repair_id=first
    )
    both = finished(waiting.run_id)

    assert attempts(alone) == [*BEFORE, ("approval", 1, "SUCCESS")]
    assert attempts(both)[4:] == [("approval", 2, "SUCCESS"), ("last", 1, "SUCCESS")]
    assert [each.type.value for each in both.repair_history] == ["ORIGINAL", "REPAIR", "REPAIR"]


def test_a_repair_does_what_the_job_says_now(local, job, finished):
    client = local.client.jobs
    job_id = job(only={"do": "fail"})
    run = finished(client.run_now(job_id).run_id)
    task = client.get(job_id).as_dict()["settings"]["tasks"][0]
    task["notebook_task"]["base_parameters"] = {"exit": "mended"}
    body = {"job_id": job_id, "new_settings": {"tasks": [task]}}
    local.request("POST", "/api/2.2/jobs/update", body=body)

    client.repair_run(run.run_id, rerun_all_failed_tasks=True)

    task_run_id = finished(run.run_id).tasks[-1].run_id
    assert client.get_run_output(task_run_id).notebook_output.result == "mended"


@pytest.mark.parametrize(
    ("wanted", "said"),
    [
        ({}, "needs rerun_tasks or rerun_all_failed_tasks, and not both"),
        ({"rerun_tasks": ["none"]}, r"has no tasks \['none'\]: \['first', 'approval', 'last'\]"),
        ({"rerun_all_failed_tasks": True, "latest_repair_id": 5}, "must be None, not 5"),
    ],
    ids=["nothing", "unknown", "other"],
)
def test_what_cannot_be_repaired_is_refused_and_the_run_stays(local, waiting, wanted, said):
    with pytest.raises(InvalidParameterValue, match=said):
        local.request("POST", "/api/2.2/jobs/runs/repair", body={"run_id": waiting.run_id, **wanted})
    assert attempts(local.client.jobs.get_run(waiting.run_id)) == BEFORE


def test_a_second_repair_names_the_first_and_a_good_run_needs_none(local, waiting, finished):
    client = local.client.jobs
    repair_id = client.repair_run(waiting.run_id, rerun_tasks=["approval"]).response.repair_id
    finished(waiting.run_id)
    with pytest.raises(InvalidParameterValue, match=f"must be {repair_id}, not None"):
        client.repair_run(waiting.run_id, rerun_all_failed_tasks=True)
    last = client.repair_run(waiting.run_id, rerun_all_failed_tasks=True, latest_repair_id=repair_id)
    finished(waiting.run_id)

    with pytest.raises(InvalidParameterValue, match="no task to repair"):
        client.repair_run(
            waiting.run_id, rerun_all_failed_tasks=True, latest_repair_id=last.response.repair_id
        )


def test_the_page_of_a_run_repairs_it_as_often_as_it_fails(local, waiting, finished, tmp_path: Path):
    def asks() -> list[dict[str, Any]]:
        headers = {"Authorization": "Bearer x", "Accept": "text/html"}
        page = requests.get(f"{local.host}/runs/{waiting.run_id}", headers=headers, timeout=30).text
        found = re.findall(r'data-call="(/api/2.2/jobs/runs/repair)" data-body=\'([^\']+)', page)
        for path, body in found:
            local.request("POST", path, body=json.loads(body))
        return [json.loads(body) for _, body in found]

    (tmp_path / "ok").unlink()
    first = asks()
    again = finished(waiting.run_id)
    second = asks()
    done = finished(waiting.run_id)

    assert [task.state.result_state.value for task in again.tasks[-2:]] == ["FAILED", "UPSTREAM_FAILED"]
    assert "latest_repair_id" not in first[0]
    assert second[0]["latest_repair_id"] == again.repair_history[-1].id
    assert done.state.result_state.value == "SUCCESS"
    assert asks() == []


def test_a_run_that_is_active_is_not_repaired(local, job, eventually, tmp_path: Path):
    client = local.client.jobs
    run_id = client.run_now(job(only={"until": str(tmp_path / "go_on")})).run_id

    with pytest.raises(BadRequest, match=f"Run {run_id} is active"):
        client.repair_run(run_id, rerun_all_failed_tasks=True)

    (tmp_path / "go_on").touch()
    eventually(lambda: client.get_run(run_id).state.result_state is not None)


def test_the_time_between_a_run_and_its_repair_does_not_count():
    history = [{"start_time": 100, "end_time": 130}, {"start_time": 1000}]

    assert duration({"start_time": 100, "end_time": 1005, "repair_history": history}) == 35
    assert duration({"start_time": 100, "end_time": 130}) == 30
