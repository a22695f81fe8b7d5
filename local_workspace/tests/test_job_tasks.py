"""The tasks of one run: conditions, parallel tasks, retries, values from task to task, references."""

import json
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.errors import InvalidParameterValue
from databricks.sdk.service.jobs import Run, RunLifeCycleState, RunLifecycleStateV2State, RunResultState
from local_workspace.jobs import value_references
from local_workspace.jobs.run_documents import CANCELED, FAILED, SUCCESS, end, states, timed_out
from local_workspace.jobs.task_conditions import CONDITIONS, launch_ready, summary_of, why_skipped

RESULTS = ("SUCCESS", "FAILED", "TIMEDOUT", "CANCELED", "EXCLUDED", "UPSTREAM_FAILED", "UPSTREAM_CANCELED")


@pytest.fixture
def task(notebook_task: Callable[..., dict[str, Any]]) -> Callable[..., dict[str, Any]]:
    """Makes a task behind others."""
    return notebook_task


@pytest.fixture
def submit(local) -> Callable[..., int]:
    def submit_run(*tasks: dict[str, Any], **settings: Any) -> int:
        body = {"run_name": "tasks", "tasks": list(tasks), **settings}
        return int(local.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"])

    return submit_run


def results(run: Run) -> dict[str, str]:
    return {task.task_key: task.state.result_state.value for task in run.tasks}


def output(local, run: Run, key: str) -> Any:
    """What the last attempt of a task gave back."""
    task_run_id = [task.run_id for task in run.tasks if task.task_key == key][-1]
    return json.loads(local.client.jobs.get_run_output(task_run_id).notebook_output.result)


@pytest.mark.parametrize(
    ("condition", "runs_after", "otherwise"),
    [
        ("ALL_SUCCESS", {"SUCCESS", "EXCLUDED SUCCESS"}, "UPSTREAM_FAILED"),
        ("AT_LEAST_ONE_SUCCESS", {"SUCCESS", "EXCLUDED SUCCESS", "FAILED SUCCESS"}, "UPSTREAM_FAILED"),
        ("NONE_FAILED", {"SUCCESS", "EXCLUDED SUCCESS"}, "UPSTREAM_FAILED"),
        ("ALL_DONE", {"SUCCESS", "EXCLUDED SUCCESS", "FAILED SUCCESS", "FAILED"}, None),
        ("AT_LEAST_ONE_FAILED", {"FAILED SUCCESS", "FAILED"}, "EXCLUDED"),
        ("ALL_FAILED", {"FAILED"}, "EXCLUDED"),
    ],
)
def test_run_if_decides_by_the_results_upstream(condition, runs_after, otherwise):
    upstream = ("SUCCESS", "EXCLUDED SUCCESS", "FAILED SUCCESS", "FAILED")
    verdicts = {names: why_skipped({"run_if": condition}, names.split()) for names in upstream}

    assert {names for names, verdict in verdicts.items() if verdict is None} == runs_after
    assert {v.result for v in verdicts.values() if v is not None} == ({otherwise} if otherwise else set())


def test_a_cancel_travels_on_and_what_handles_failures_still_runs():
    assert why_skipped({}, ["CANCELED", "SUCCESS"]).result == "UPSTREAM_CANCELED"
    assert why_skipped({}, ["UPSTREAM_CANCELED"]).result == "UPSTREAM_CANCELED"
    assert why_skipped({}, ["CANCELED", "FAILED"]).result == "UPSTREAM_FAILED"
    assert why_skipped({"run_if": "AT_LEAST_ONE_FAILED"}, ["CANCELED"]) is None


@pytest.mark.parametrize("condition", CONDITIONS)
def test_a_task_behind_excluded_tasks_alone_is_excluded_too(condition):
    assert why_skipped({"run_if": condition}, ["EXCLUDED", "EXCLUDED"]).result == "EXCLUDED"


def run_of(**outcomes: Any) -> dict[str, Any]:
    """A run whose tasks depend each on the one before."""
    times = {"start_time": 0, "setup_duration": 0}
    run = {**times, **states("RUNNING"), "tasks": []}
    before: list[dict[str, str]] = []
    for key, outcome in outcomes.items():
        record = {"task_key": key, "depends_on": before, "run_if": "ALL_DONE", **times, **states("RUNNING")}
        end(record, outcome)
        run["tasks"].append(record)
        before = [{"task_key": key}]
    return run


def test_the_leaf_tasks_decide_what_a_run_has_become():
    assert summary_of(run_of(a=SUCCESS, b=SUCCESS)) == SUCCESS
    assert summary_of(run_of(a=FAILED, b=SUCCESS)).result == "SUCCESS_WITH_FAILURES"
    assert summary_of(run_of(a=SUCCESS, b=timed_out(5))).result == "TIMEDOUT"
    both = summary_of(run_of(a=CANCELED, b=FAILED))
    assert (both.result, both.message) == ("FAILED", f"Task b failed with message: {FAILED.message}.")


def test_a_chain_of_tasks_is_skipped_whatever_their_order_in_the_list():
    run = run_of(a=FAILED)
    behind = [("d", "c"), ("c", "b"), ("b", "a")]
    for key, upstream in behind:
        depends_on = [{"task_key": upstream}]
        run["tasks"].append(
            {
                "task_key": key,
                "depends_on": depends_on,
                "start_time": 0,
                "setup_duration": 0,
                **states("BLOCKED"),
            }
        )

    assert launch_ready(run) == []
    assert [task["state"]["result_state"] for task in run["tasks"][1:]] == ["UPSTREAM_FAILED"] * 3


def test_a_failure_is_handled_by_the_task_that_waits_for_it(local, task, submit, finished):
    run = finished(
        submit(
            task("load", do="fail"),
            task("train", "load"),
            task("alarm", "load", settings={"run_if": "AT_LEAST_ONE_FAILED"}),
            task("never", "alarm", settings={"run_if": "ALL_FAILED"}),
        )
    )

    expected = {"load": "FAILED", "train": "UPSTREAM_FAILED", "alarm": "SUCCESS", "never": "EXCLUDED"}
    assert results(run) == expected
    assert run.state.result_state == RunResultState.FAILED
    skipped = next(t for t in run.tasks if t.task_key == "train")
    assert skipped.state.life_cycle_state == RunLifeCycleState.SKIPPED
    assert skipped.status.termination_details.code.value == "SKIPPED"
    assert not (local.state.runs / str(skipped.run_id)).exists()


def test_a_run_whose_leaves_succeed_ends_with_success_with_failures(task, submit, finished):
    clean_up = task("clean_up", "load", settings={"run_if": "ALL_DONE"})
    run = finished(submit(task("load", do="fail"), clean_up))

    assert run.state.result_state == RunResultState.SUCCESS_WITH_FAILURES
    assert run.status.termination_details.code.value == "SUCCESS_WITH_FAILURES"
    assert run.status.termination_details.type.value == "SUCCESS"


def test_independent_tasks_run_at_the_same_time(task, submit, finished, tmp_path: Path):
    one, two = str(tmp_path / "one"), str(tmp_path / "two")
    run = finished(submit(task("a", touch=one, until=two), task("b", touch=two, until=one)))

    assert results(run) == {"a": "SUCCESS", "b": "SUCCESS"}
    assert (run.execution_duration, run.run_duration > 0) == (0, True)


def test_a_failed_task_is_tried_again_and_every_attempt_is_shown(
    local, task, submit, finished, tmp_path: Path
):
    retried = task("flaky", settings={"max_retries": 3}, fail_unless=str(tmp_path / "tried"))
    run = finished(submit(retried, task("behind", "flaky")))

    attempts = [t for t in run.tasks if t.task_key == "flaky"]
    as_runs = [local.client.jobs.get_run(attempt.run_id) for attempt in attempts]
    assert [t.attempt_number for t in attempts] == [0, 1]
    assert [t.state.result_state.value for t in attempts] == ["FAILED", "SUCCESS"]
    assert [r.original_attempt_run_id for r in as_runs] == [attempts[0].run_id] * 2
    assert [r.trigger.value for r in as_runs] == ["ONE_TIME", "RETRY"]
    assert results(run)["behind"] == "SUCCESS"
    assert run.state.result_state == RunResultState.SUCCESS


def test_retries_end_after_max_retries(task, submit, finished, local):
    run_id = submit(task("main", settings={"max_retries": 2}, do="fail"))
    run = finished(run_id)

    assert [t.attempt_number for t in run.tasks] == [0, 1, 2]
    assert run.state.result_state == RunResultState.FAILED
    assert local.client.jobs.get_run_output(run_id).error == "ValueError: no BMI"


def test_a_time_out_is_tried_again_only_when_asked_for(task, submit, finished):
    slow = {"timeout_seconds": 1, "max_retries": 1}
    once = submit(task("main", settings=slow, do="sleep"))
    twice = submit(task("main", settings=slow | {"retry_on_timeout": True}, do="sleep"))

    assert [t.state.result_state.value for t in finished(once).tasks] == ["TIMEDOUT"]
    assert [t.state.result_state.value for t in finished(twice).tasks] == ["TIMEDOUT", "TIMEDOUT"]


def test_a_run_that_waits_for_a_retry_says_so_and_can_be_cancelled(local, task, submit, finished, eventually):
    settings = {"max_retries": -1, "min_retry_interval_millis": 600_000}
    run_id = submit(task("main", settings=settings, do="fail"))
    eventually(lambda: len(local.client.jobs.get_run(run_id).tasks) == 2)
    waiting = local.client.jobs.get_run(run_id).tasks[1]
    local.client.jobs.cancel_run(run_id).result()
    run = finished(run_id)

    assert waiting.state.life_cycle_state == RunLifeCycleState.WAITING_FOR_RETRY
    assert waiting.status.state == RunLifecycleStateV2State.WAITING
    assert [t.state.result_state.value for t in run.tasks] == ["FAILED", "CANCELED"]
    assert run.state.result_state == RunResultState.CANCELED


def test_a_retry_keeps_the_interval_from_the_start_of_the_failed_attempt(task, submit, finished):
    settings = {"max_retries": 1, "min_retry_interval_millis": 1500}
    first, second = finished(submit(task("main", settings=settings, do="fail"))).tasks

    assert 1500 <= second.start_time - first.start_time < 15_000


def test_a_run_that_takes_too_long_is_ended_while_it_waits_for_a_retry(task, submit, finished):
    settings = {"max_retries": 1, "min_retry_interval_millis": 600_000}
    run = finished(submit(task("main", settings=settings, do="fail"), timeout_seconds=2))

    assert run.state.result_state == RunResultState.TIMEDOUT
    assert [t.state.result_state.value for t in run.tasks] == ["FAILED", "TIMEDOUT"]


def test_cancelling_one_task_leaves_the_others(local, task, submit, finished, eventually):
    run_id = submit(
        task("slow", do="sleep"),
        task("other"),
        task("behind", "slow"),
        task("clean_up", "slow", settings={"run_if": "ALL_DONE"}),
    )
    jobs = local.client.jobs
    slow = jobs.get_run(run_id).tasks[0].run_id
    eventually(lambda: (local.state.runs / str(slow) / "child.pid").exists())
    jobs.cancel_run(slow)
    run = finished(run_id)

    expected = {"slow": "CANCELED", "other": "SUCCESS", "behind": "UPSTREAM_CANCELED", "clean_up": "SUCCESS"}
    assert results(run) == expected


def test_task_values_travel_to_the_tasks_behind(local, task, submit, finished):
    behind = task(
        "behind", "first", text="{{tasks.first.values.text}}", table="{{ tasks.first.values.table }}"
    )
    values = json.dumps({"text": "good", "table": {"rows": [1, None]}})
    run = finished(submit(task("first", set_values=values), behind))

    assert output(local, run, "behind") == {"text": "good", "table": '{"rows": [1, null]}'}
    description = json.loads((local.state.runs / str(run.tasks[1].run_id) / "task.json").read_text())
    assert description["task_values"] == {"first": json.loads(values)}


def test_a_task_value_that_was_not_set_fails_the_task_with_its_name(task, submit, finished):
    run = finished(submit(task("first"), task("behind", "first", x="{{tasks.first.values.missing}}")))

    behind = run.tasks[1]
    assert behind.status.termination_details.code.value == "INVALID_RUN_CONFIGURATION"
    assert "task 'first' has set no task value 'missing'" in behind.state.state_message


def test_references_stand_for_what_belongs_to_the_run(local, task, submit, finished):
    names = {
        "ids": "{{job.id}} {{job.run_id}} {{parent_run_id}} {{run_id}} {{task.run_id}}",
        "names": "{{job.name}} {{task.name}} {{task.notebook_path}} {{job.trigger.type}}",
        "counts": "{{job.repair_count}} {{task.execution_count}} {{task_retry_count}}",
        "first": "{{tasks.first.result_state}} {{tasks.first.error_code}} {{tasks.first.run_id}}",
        "literal": "{{unknown.thing}} {{job.id} {{ job_name }} 7",
        "moment": "{{job.start_time.timestamp_ms}} {{job.start_time.iso_date}} {{start_date}}",
    }
    last = task("last", "first", settings={"run_if": "ALL_DONE"}, **names)
    run = finished(submit(task("first", do="fail"), last))
    found = output(local, run, "last")

    first, last = run.tasks
    day = time.strftime("%Y-%m-%d", time.gmtime(run.start_time / 1000))
    assert found["ids"] == f"{run.job_id} {run.run_id} {run.run_id} {last.run_id} {last.run_id}"
    assert found["names"] == "tasks last /Shared/job one_time"
    assert found["counts"] == "0 1 0"
    assert found["first"] == f"failed RunExecutionError {first.run_id}"
    assert found["literal"] == names["literal"]
    assert found["moment"] == f"{run.start_time} {day} {day}"


def test_moments_are_taken_apart_in_utc():
    run = {"start_time": 1_772_343_845_678, "job_id": 1, "run_id": 2, "run_name": "x", "trigger": "PERIODIC"}
    parts = "iso_datetime", "iso_weekday", "is_weekday", "year", "month", "day", "hour", "minute", "second"
    found = value_references.resolve(" ".join(f"{{{{job.start_time.{part}}}}}" for part in parts), run)

    assert found == "2026-03-01T05:44:05.678Z 7 false 2026 3 1 5 44 5"


@pytest.mark.parametrize(
    "text", ["{{job.naem}}", "{{tasks.nobody.values.x}}", "{{job.parameters.beta}}", "{{job.start_time.era}}"]
)
def test_a_reference_to_nothing_is_refused_with_its_text(text, task, submit):
    with pytest.raises(InvalidParameterValue, match=text.strip("{}")):
        submit(task("main", x=text))


def test_job_parameters_hold_references_and_win_over_those_of_the_task(local, task, finished):
    parameters = [{"name": "day", "default": "{{job.start_time.iso_date}}"}, {"name": "run", "default": "-"}]
    main = task("main", run="task", copy="{{job.parameters.day}}", odd="{{job.parameters.`run`}}")
    body = {"name": "references", "tasks": [main], "parameters": parameters}
    job_id = local.request("POST", "/api/2.2/jobs/create", body=body)["job_id"]
    started = local.client.jobs.run_now(job_id, job_parameters={"run": "{{job.run_id}}"}).response.run_id
    run = finished(started)

    day = time.strftime("%Y-%m-%d", time.gmtime(run.start_time / 1000))
    assert output(local, run, "main") == {"run": str(started), "copy": day, "odd": str(started), "day": day}
    assert {p.name: p.value for p in run.job_parameters} == {"day": day, "run": str(started)}
    with pytest.raises(InvalidParameterValue, match="gamma"):
        local.client.jobs.run_now(job_id, job_parameters={"gamma": "1"})
    with pytest.raises(InvalidParameterValue, match=r"tasks\.main\.run_id"):
        local.client.jobs.run_now(job_id, job_parameters={"run": "{{tasks.main.run_id}}"})
