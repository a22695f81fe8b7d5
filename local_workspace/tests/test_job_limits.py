"""What jobs may ask for, how many runs go at once, how they are listed and cancelled, and tokens."""

import json
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service.jobs import RunLifecycleStateV2State, RunResultState, RunType

Settings = Callable[..., dict[str, Any]]


@pytest.fixture
def settings(cluster_id: str, notebook: str) -> Settings:
    """The settings of a job of one task; `task` changes the task, the rest the job."""

    def make(task: dict[str, Any] | None = None, **rest: Any) -> dict[str, Any]:
        notebook_task = {"notebook_path": notebook}
        whole = {"task_key": "main", "existing_cluster_id": cluster_id, "notebook_task": notebook_task}
        return {"name": "limits", "tasks": [whole | (task or {})], **rest}

    return make


@pytest.fixture
def create(local, settings: Settings) -> Callable[..., int]:
    def create_job(**changes: Any) -> int:
        body = settings(**changes)
        return int(local.request("POST", "/api/2.2/jobs/create", body=body)["job_id"])

    return create_job


@pytest.fixture
def run_now(local) -> Callable[..., int]:
    def start(job_id: int, **notebook_params: str) -> int:
        body = {"job_id": job_id, "notebook_params": notebook_params}
        return int(local.request("POST", "/api/2.2/jobs/run-now", body=body)["run_id"])

    return start


@pytest.fixture
def states(local) -> Callable[..., list[str]]:
    def get(*run_ids: int) -> list[str]:
        found = [local.client.jobs.get_run(run_id).status for run_id in run_ids]
        return [s.termination_details.code.value if s.termination_details else s.state.value for s in found]

    return get


@pytest.mark.parametrize(
    ("changes", "error", "reason"),
    [
        ({"max_concurrent_runs": 1001}, InvalidParameterValue, "between 0 and 1000, not 1001"),
        ({"max_concurrent_runs": "2"}, InvalidParameterValue, "max_concurrent_runs must be a whole number"),
        ({"timeout_seconds": -1}, InvalidParameterValue, "timeout_seconds .* not -1"),
        ({"timeout_seconds": 2**31}, InvalidParameterValue, "timeout_seconds .* 2147483647, not 2147483648"),
        ({"queue": {"enabled": "yes"}}, InvalidParameterValue, "queue must be"),
        ({"schedule": "daily"}, InvalidParameterValue, "schedule must be an object"),
        ({"parameters": [{"name": "a"}]}, InvalidParameterValue, "name and default"),
        ({"parameters": [{"name": "a b", "default": ""}]}, InvalidParameterValue, "'a b'"),
        ({"parameters": [{"name": "a", "default": ""}] * 2}, InvalidParameterValue, "of its own"),
        ({"continuous": "always"}, InvalidParameterValue, "continuous must be an object, not 'always'"),
        ({"triggers": [{"periodic": {}}]}, NotImplementedHere, "triggers is not part"),
        (
            {"job_clusters": [{"job_cluster_key": "a"}]},
            InvalidParameterValue,
            "Job cluster 'a': new_cluster must",
        ),
        ({"job_clusters": [{"new_cluster": {}}]}, InvalidParameterValue, "needs a job_cluster_key"),
        ({"job_clusters": "one"}, InvalidParameterValue, "job_clusters must be a list"),
        ({"git_source": {"git_url": "x"}}, InvalidParameterValue, "needs one of .*git_branch.*; it has"),
        ({"git_source": {"git_branch": "main"}}, InvalidParameterValue, "needs the git_url of a repository"),
        (
            {"git_source": {"git_url": "x", "git_branch": "main"}},
            InvalidParameterValue,
            "'main': .* a relative notebook_path, since its source is GIT, not '/",
        ),
        (
            {"email_notifications": {"on_failure": "a@b.c"}},
            InvalidParameterValue,
            "each of it an address, not",
        ),
        ({"email_notifications": {"on_failure": [{"id": "1"}]}}, InvalidParameterValue, "an address, not"),
        ({"email_notifications": {"on_fire": ["a@b.c"]}}, InvalidParameterValue, "has no 'on_fire'"),
        ({"webhook_notifications": ["1"]}, InvalidParameterValue, "webhook_notifications must be an object"),
        (
            {"webhook_notifications": {"on_failure": ["1"]}},
            InvalidParameterValue,
            r'each of it {"id": "<its id>"}',
        ),
        (
            {"webhook_notifications": {"on_failure": [{"id": "1"}] * 4}},
            InvalidParameterValue,
            "on_failure has 4 destinations; at most 3 are called",
        ),
        ({"run_as": {"user_name": "somebody"}}, InvalidParameterValue, "somebody"),
        ({"task": {"max_retries": -2}}, InvalidParameterValue, "Task 'main': max_retries .* not -2"),
        ({"task": {"min_retry_interval_millis": "1"}}, InvalidParameterValue, "min_retry_interval_millis"),
        (
            {"task": {"retry_on_timeout": "yes"}},
            InvalidParameterValue,
            "retry_on_timeout must be true or false",
        ),
        ({"task": {"run_if": []}}, InvalidParameterValue, r"run_if \[\] is not one of"),
        ({"task": {"run_if": "MAYBE"}}, InvalidParameterValue, "run_if 'MAYBE' is not one of .*ALL_FAILED"),
        ({"task": {"depends_on": ["a"]}}, InvalidParameterValue, "depends_on must be a list of task_keys"),
        ({"task": {"task_key": "a b"}}, InvalidParameterValue, "'a b'"),
        (
            {"task": {"new_cluster": {"num_workers": 1}}},
            InvalidParameterValue,
            "may have one of .*'new_cluster'",
        ),
        ({"task": {"job_cluster_key": "a"}}, InvalidParameterValue, "it has .*'job_cluster_key'"),
        (
            {"task": {"existing_cluster_id": "", "job_cluster_key": "a"}},
            InvalidParameterValue,
            r"job_cluster_key 'a' is not one of the job's \[\]",
        ),
        (
            {"task": {"existing_cluster_id": "", "new_cluster": {"num_workers": 1}}},
            InvalidParameterValue,
            "Task 'main': new_cluster must be an object with a spark_version",
        ),
        ({"task": {"disabled": True}}, NotImplementedHere, "Task 'main': disabled"),
        (
            {"task": {"webhook_notifications": {"on_start": [{"id": ""}]}}},
            InvalidParameterValue,
            r"Task 'main': webhook_notifications\.on_start must be a list",
        ),
        ({"task": {"dbt_task": {"commands": []}}}, NotImplementedHere, "dbt_task is not part"),
    ],
)
def test_what_cannot_be_done_is_refused_with_its_name(local, settings, changes, error, reason):
    with pytest.raises(error, match=reason):
        local.request("POST", "/api/2.2/jobs/create", body=settings(**changes))
    with pytest.raises(error, match=reason):
        local.request("POST", "/api/2.2/jobs/runs/submit", body=settings(**changes))


def test_the_name_of_a_job_is_a_text(create):
    with pytest.raises(InvalidParameterValue, match="name must be a text, not 5"):
        create(name=5)


def test_empty_fields_of_what_is_not_here_ask_for_nothing(local, create):
    asks_for_nothing = {"email_notifications": {"no_alert_for_skipped_runs": False}, "job_clusters": []}
    job_id = create(**asks_for_nothing, webhook_notifications={}, tags={"team": "a"}, description="x")

    kept = local.client.jobs.get(job_id).settings
    assert (kept.tags, kept.description) == ({"team": "a"}, "x")


def test_whom_a_job_would_tell_is_kept(local, create):
    told = {"on_failure": [{"id": "0481"}], "on_success": []}
    job_id = create(webhook_notifications=told, email_notifications={"on_start": ["a@b.c"]})

    kept = local.client.jobs.get(job_id).settings
    assert kept.webhook_notifications.as_dict() == {"on_failure": [{"id": "0481"}]}
    assert kept.email_notifications.on_start == ["a@b.c"]


@pytest.mark.parametrize("name", ["only", "jar_params", "pipeline_params", "sql_params"])
def test_run_now_refuses_what_it_would_leave_out(local, create, name):
    with pytest.raises(NotImplementedHere, match=name):
        local.request("POST", "/api/2.2/jobs/run-now", body={"job_id": create(), name: ["main"]})


def test_an_export_needs_a_run_that_is_there(local):
    with pytest.raises(InvalidParameterValue, match="missing required field: run_id"):
        local.request("GET", "/api/2.2/jobs/runs/export")
    with pytest.raises(InvalidParameterValue, match="987654"):
        local.request("GET", "/api/2.2/jobs/runs/export", query={"run_id": 987654})


@pytest.mark.parametrize("tasks", ["main", [1], [{"task_key": {}}], [{}]])
def test_an_update_with_what_are_no_tasks_is_refused(local, create, tasks):
    body = {"job_id": create(), "new_settings": {"tasks": tasks}}
    with pytest.raises(InvalidParameterValue, match="task"):
        local.request("POST", "/api/2.2/jobs/update", body=body)


@pytest.mark.parametrize("name", ["tasks", "tasks/main"])
@pytest.mark.parametrize("version", ["2.0", "2.1"])
def test_a_job_keeps_its_last_task(local, settings, cluster_id, version, name):
    single = {"name": "single", **{k: v for k, v in settings()["tasks"][0].items() if k != "task_key"}}
    body = single if version == "2.0" else settings()
    job_id = local.request("POST", f"/api/{version}/jobs/create", body=body)["job_id"]

    with pytest.raises(InvalidParameterValue, match="Task 'main': it needs a notebook_task"):
        local.client.jobs.update(job_id, fields_to_remove=[name])
    replaced = {"job_id": job_id, "fields_to_remove": [name], "new_settings": {"tasks": settings()["tasks"]}}
    local.request("POST", "/api/2.2/jobs/update", body=replaced)


def test_a_task_and_a_field_are_removed_from_a_job(local, settings, create):
    second = settings(task={"task_key": "second"})["tasks"]
    job_id = create(description="x", tags={"a": "b"})
    jobs = local.client.jobs
    local.request("POST", "/api/2.2/jobs/update", body={"job_id": job_id, "new_settings": {"tasks": second}})
    jobs.update(job_id, fields_to_remove=["tasks/main", "description"])

    kept = jobs.get(job_id).settings
    assert [task.task_key for task in kept.tasks] == ["second"]
    assert (kept.description, kept.tags) == (None, {"a": "b"})


def test_as_many_runs_of_a_job_go_at_once_as_it_allows(create, run_now, states, eventually, tmp_path: Path):
    go = tmp_path / "go"
    job_id = create(max_concurrent_runs=2)
    runs = [run_now(job_id, until=str(go)) for _ in range(4)]
    eventually(lambda: states(*runs) == ["RUNNING", "RUNNING", "QUEUED", "QUEUED"])
    go.touch()

    eventually(lambda: states(*runs) == ["SUCCESS"] * 4)


def test_a_job_that_allows_no_run_skips_each(create, run_now, states):
    run_id = run_now(create(max_concurrent_runs=0, queue={"enabled": False}))

    assert states(run_id) == ["MAX_CONCURRENT_RUNS_EXCEEDED"]


def test_a_cancelled_run_counts_until_its_processes_are_gone(local, create, run_now, states, eventually):
    job_id = create()
    first = run_now(job_id, do="cling")
    task_run_id = local.client.jobs.get_run(first).tasks[0].run_id
    eventually(lambda: (local.state.runs / str(task_run_id) / "clings").exists())
    second = run_now(job_id)
    local.client.jobs.cancel_run(first)
    while_ending = states(first, second)

    assert while_ending == ["TERMINATING", "QUEUED"]
    eventually(lambda: states(first, second) == ["USER_CANCELED", "SUCCESS"])


def test_cancel_all_ends_every_run_of_one_job(local, create, run_now, states, eventually, tmp_path: Path):
    go = tmp_path / "go"
    job_id, other_job = create(), create()
    runs = [run_now(job_id, do="sleep"), run_now(job_id), run_now(job_id)]
    other = run_now(other_job, until=str(go))
    local.client.jobs.cancel_all_runs(job_id=job_id)

    eventually(lambda: states(*runs) == ["USER_CANCELED"] * 3)
    assert states(other)[0] in ("PENDING", "RUNNING")
    go.touch()
    eventually(lambda: states(other) == ["SUCCESS"])
    with pytest.raises(InvalidParameterValue, match="needs a job_id"):
        local.client.jobs.cancel_all_runs()
    with pytest.raises(InvalidParameterValue, match=f"Job {2**62} does not exist"):
        local.client.jobs.cancel_all_runs(job_id=2**62)


def test_cancel_all_can_spare_the_runs_that_have_started(
    local, create, run_now, states, eventually, tmp_path
):
    go = tmp_path / "go"
    job_id = create()
    runs = [run_now(job_id, until=str(go)), run_now(job_id), run_now(job_id)]
    local.client.jobs.cancel_all_runs(job_id=job_id, all_queued_runs=True)
    go.touch()

    eventually(lambda: states(*runs) == ["SUCCESS", "USER_CANCELED", "USER_CANCELED"])


def test_requests_with_one_token_at_the_same_moment_start_one_run(local, create):
    body = {"job_id": create(), "idempotency_token": "at the same moment"}
    with ThreadPoolExecutor(8) as pool:
        replies = list(
            pool.map(lambda _: local.request("POST", "/api/2.2/jobs/run-now", body=body), range(8))
        )

    runs = list(local.client.jobs.list_runs(job_id=body["job_id"]))
    assert {reply["run_id"] for reply in replies} == {run.run_id for run in runs}
    assert len(runs) == 1


def test_a_token_is_not_used_again_for_another_run(local, settings, eventually, states):
    body = settings() | {"idempotency_token": "deleted"}
    run_id = local.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"]
    eventually(lambda: states(run_id) == ["SUCCESS"])
    local.client.jobs.delete_run(run_id)

    with pytest.raises(InvalidParameterValue, match="'deleted' was deleted"):
        local.request("POST", "/api/2.2/jobs/runs/submit", body=body)
    with pytest.raises(InvalidParameterValue, match="at most 64"):
        local.request("POST", "/api/2.2/jobs/runs/submit", body=body | {"idempotency_token": "x" * 65})


def test_runs_are_listed_by_type_and_start(local, create, run_now, settings, eventually, states):
    job_id, jobs = create(), local.client.jobs
    first = run_now(job_id)
    eventually(lambda: states(first) == ["SUCCESS"])
    second = run_now(job_id)
    eventually(lambda: states(second) == ["SUCCESS"])
    moment = jobs.get_run(second).start_time
    submitted = local.request("POST", "/api/2.2/jobs/runs/submit", body=settings())["run_id"]

    by_start = jobs.list_runs(job_id=job_id, start_time_from=moment)
    assert [run.run_id for run in by_start] == [second]
    assert [run.run_id for run in jobs.list_runs(job_id=job_id, start_time_to=moment - 1)] == [first]
    assert submitted in [run.run_id for run in jobs.list_runs(run_type=RunType.SUBMIT_RUN)]
    assert list(jobs.list_runs(job_id=job_id, run_type=RunType.SUBMIT_RUN)) == []
    expanded = next(iter(jobs.list_runs(job_id=job_id, expand_tasks=True)))
    assert [task.task_key for task in expanded.tasks] == ["main"]
    with pytest.raises(InvalidParameterValue, match="cannot both be true"):
        list(jobs.list_runs(active_only=True, completed_only=True))
    with pytest.raises(InvalidParameterValue, match="'NO_RUN' is not one of"):
        local.request("GET", "/api/2.2/jobs/runs/list", query={"run_type": "NO_RUN"})


def test_the_pages_of_a_list_stay_what_they_were_when_a_run_is_added(local, create, run_now):
    job_id = create()
    runs = [run_now(job_id) for _ in range(4)]
    pages = iter(local.client.jobs.list_runs(job_id=job_id, limit=2))
    listed = [next(pages).run_id]
    run_now(job_id)

    assert listed + [run.run_id for run in pages] == runs[::-1]
    with pytest.raises(InvalidParameterValue, match="page_token 'x' is not one that was given out"):
        local.request("GET", "/api/2.2/jobs/runs/list", query={"page_token": "x"})


def test_what_a_notebook_runs_does_not_wait_for_the_worker_of_that_notebook(
    local, settings, eventually, states, tmp_path: Path
):
    go = tmp_path / "go"
    busy = settings(
        task={"notebook_task": {"notebook_path": "/Shared/job", "base_parameters": {"until": str(go)}}}
    )
    outer = [local.request("POST", "/api/2.2/jobs/runs/submit", body=busy)["run_id"] for _ in range(2)]
    eventually(lambda: states(*outer) == ["RUNNING"] * 2)
    inner = settings(run_name="inner") | {"run_type": "WORKFLOW_RUN"}
    run_id = local.request("POST", "/api/2.2/jobs/runs/submit", body=inner)["run_id"]

    eventually(lambda: states(run_id) == ["SUCCESS"])
    go.touch()
    eventually(lambda: states(*outer) == ["SUCCESS"] * 2)
    jobs = local.client.jobs
    assert jobs.get_run(run_id).run_type == RunType.WORKFLOW_RUN
    assert run_id not in [run.run_id for run in jobs.list_runs()]
    assert run_id in [run.run_id for run in jobs.list_runs(run_type=RunType.WORKFLOW_RUN)]
    with pytest.raises(InvalidParameterValue, match="'JOB_RUN' of a submitted run"):
        local.request("POST", "/api/2.2/jobs/runs/submit", body=inner | {"run_type": "JOB_RUN"})


def test_the_sdk_waits_for_a_cancelled_run(local, create, run_now, states):
    run_id = run_now(create(), do="sleep")
    run = local.client.jobs.cancel_run_and_wait(run_id)

    assert run.status.state == RunLifecycleStateV2State.TERMINATED
    assert run.state.result_state == RunResultState.CANCELED
    assert run.state.user_cancelled_or_timedout is True
    assert run.status.termination_details.type.value == "CLIENT_ERROR"


def test_the_pip_cli_lists_what_is_active(local, create, run_now, eventually, states, tmp_path: Path):
    go = tmp_path / "go"
    job_id = create()
    runs = [run_now(job_id), run_now(job_id, until=str(go))]
    eventually(lambda: states(runs[0]) == ["SUCCESS"])
    arguments = ("runs", "list", "--version=2.1", "--job-id", str(job_id), "--output", "json")
    active = json.loads(local.cli(*arguments, "--active-only"))["runs"]
    go.touch()
    eventually(lambda: states(*runs) == ["SUCCESS"] * 2)

    assert [run["run_id"] for run in active] == runs[:0:-1]
