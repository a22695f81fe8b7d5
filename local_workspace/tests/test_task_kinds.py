"""Tasks that are no notebooks: conditions, runs of other jobs, one task for many inputs, and programs."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk.errors import InvalidParameterValue, ResourceDoesNotExist
from databricks.sdk.errors import NotImplemented as NotImplementedHere
from databricks.sdk.service import compute, jobs
from databricks.sdk.service.jobs import Run, RunResultState, Task
from databricks.sdk.service.workspace import ImportFormat
from local_workspace.jobs import conditions

TaskOf = Callable[..., dict[str, Any]]


@pytest.fixture
def create(local) -> Callable[..., int]:
    """Makes a job of these tasks."""

    def make(*tasks: dict[str, Any], **settings: Any) -> int:
        body = {"name": "kinds", "tasks": list(tasks), **settings}
        return int(local.request("POST", "/api/2.2/jobs/create", body=body)["job_id"])

    return make


@pytest.fixture
def start(local, create) -> Callable[..., int]:
    """Makes a job of these tasks and starts a run of it."""
    return lambda *tasks, **settings: local.client.jobs.run_now(create(*tasks, **settings)).run_id


@pytest.fixture
def page_of(local) -> Callable[[str], str]:
    """A page as a browser gets it."""

    def get(path: str) -> str:
        headers = {"Authorization": "Bearer x", "Accept": "text/html"}
        answer = requests.get(f"{local.host}{path}", headers=headers, timeout=30)
        assert answer.status_code == 200
        return answer.text

    return get


def condition(key: str, op: str, left: str, right: str, *after: str) -> dict[str, Any]:
    own = {"op": op, "left": left, "right": right}
    return {
        "task_key": key,
        "condition_task": own,
        "depends_on": [{"task_key": other} for other in after],
    }


def behind(task: dict[str, Any], key: str, outcome: str) -> dict[str, Any]:
    """A task that waits for an outcome of a condition."""
    return task | {"depends_on": [{"task_key": key, "outcome": outcome}]}


def results(run: Run) -> dict[str, str]:
    return {task.task_key: task.state.result_state.value for task in run.tasks}


def task_of(run: Run, key: str) -> jobs.RunTask:
    return [task for task in run.tasks if task.task_key == key][-1]


def exit_value(local, task_run_id: int) -> Any:
    return json.loads(local.client.jobs.get_run_output(task_run_id).notebook_output.result)


@pytest.mark.parametrize(
    ("op", "left", "right", "outcome"),
    [
        ("EQUAL_TO", "12.0", "12", "false"),
        ("EQUAL_TO", "a", "a", "true"),
        ("NOT_EQUAL", "true", "false", "true"),
        ("GREATER_THAN_OR_EQUAL", "12.0", "12", "true"),
        ("GREATER_THAN_OR_EQUAL", "10.0", "12", "false"),
        ("GREATER_THAN", "9007199254740993", "9007199254740992", "true"),
        ("LESS_THAN", "-1", "1e-3", "true"),
        ("LESS_THAN_OR_EQUAL", "2", "1", "false"),
    ],
)
def test_equality_compares_texts_and_order_compares_numbers(op, left, right, outcome):
    assert conditions.outcome({"op": op, "left": left, "right": right}) == outcome


def test_a_condition_chooses_the_branch_that_runs(local, notebook_task, start, finished, page_of):
    run = finished(
        start(
            notebook_task("first", set_values='{"bad": 3, "good": true}'),
            condition(
                "many", "GREATER_THAN", "{{tasks.first.values.bad}}", "{{job.parameters.most}}", "first"
            ),
            condition("good", "EQUAL_TO", "{{tasks.first.values.good}}", "true", "first"),
            behind(notebook_task("clean"), "many", "true"),
            behind(notebook_task("go_on"), "many", "false"),
            notebook_task("report", "go_on"),
            notebook_task("join", "clean", "go_on"),
            parameters=[{"name": "most", "default": "2"}],
        )
    )

    ran = dict.fromkeys(("first", "many", "good", "clean", "join"), "SUCCESS")
    assert results(run) == ran | {"go_on": "EXCLUDED", "report": "EXCLUDED"}
    assert run.state.result_state == RunResultState.SUCCESS
    many = task_of(run, "many").condition_task
    assert (many.left, many.right, many.outcome) == ("3", "2", "true")
    assert task_of(run, "good").condition_task.outcome == "true"
    assert [each.outcome for each in task_of(run, "clean").depends_on] == ["true"]
    page = page_of(f"/runs/{run.run_id}")
    assert "if 3 &gt; 2: true" in page
    assert "This task did not run." in page


@pytest.mark.parametrize(
    ("left", "reason"),
    [
        ("many", "the condition compares numbers, and 'many' is not a number"),
        ("NaN", "'NaN' is not a number"),
        ("{{tasks.first.values.rows}}", r"task value 'rows' of task 'first' is \[1\]; a condition compares"),
        ("{{tasks.first.values.none}}", "has set no task value 'none'"),
    ],
)
def test_a_condition_that_cannot_be_compared_fails_with_the_reason(
    notebook_task, start, finished, left, reason
):
    first = notebook_task("first", set_values='{"rows": [1]}')
    run = finished(start(first, condition("check", "LESS_THAN", left, "1", "first")))

    check = task_of(run, "check")
    assert run.state.result_state == RunResultState.FAILED
    assert check.status.termination_details.code.value == "INVALID_RUN_CONFIGURATION"
    assert re.search(reason, check.state.state_message)


@pytest.fixture
def other_job(create, notebook_task) -> Callable[..., int]:
    """A job with the parameters `day`, `name` and `do`, which its notebook gets."""

    def make(**settings: Any) -> int:
        names = ("day", "name", "do")
        declared = [{"name": name, "default": "" if name == "do" else "default"} for name in names]
        return create(notebook_task("only"), parameters=declared, **settings)

    return make


def run_job(key: str, job_id: int, **parameters: str) -> dict[str, Any]:
    return {"task_key": key, "run_job_task": {"job_id": job_id, "job_parameters": parameters}}


def test_a_task_runs_another_job_with_its_parameters(local, other_job, start, finished, page_of):
    job_id = other_job()
    own = [{"name": "name", "default": "{{job.run_id}}"}, {"name": "unknown", "default": "x"}]
    run = finished(start(run_job("call", job_id, day="{{task.name}}", name="task"), parameters=own))

    output = local.client.jobs.get_run_output(task_of(run, "call").run_id)
    child = finished(output.run_job_output.run_id)
    assert results(run) == {"call": "SUCCESS"}
    assert (child.job_id, child.trigger.value) == (job_id, "RUN_JOB_TASK")
    assert child.trigger_info.run_id == task_of(run, "call").run_id
    found = exit_value(local, child.tasks[0].run_id)
    assert (found["day"], found["name"]) == ("call", str(run.run_id))
    assert f'<a href="/runs/{child.run_id}">run {child.run_id}</a>' in page_of(f"/runs/{run.run_id}")
    assert f'<a href="/runs/{child.trigger_info.run_id}">' in page_of(f"/runs/{child.run_id}")
    assert "run_job_run" not in json.dumps(
        local.request("GET", f"/api/2.2/jobs/runs/get?run_id={run.run_id}")
    )


def test_a_run_of_another_job_that_fails_fails_the_task(local, other_job, start, finished):
    run = finished(start(run_job("call", other_job(), do="fail")))

    task = task_of(run, "call")
    output = local.client.jobs.get_run_output(task.run_id)
    assert results(run) == {"call": "FAILED"}
    assert f"Run {output.run_job_output.run_id} of job" in output.error
    assert "ended FAILED: Task only failed" in output.error


def test_a_run_of_another_job_ends_with_the_task_that_waits_for_it(local, other_job, start, eventually):
    client, job_id = local.client.jobs, other_job()
    run_id = start(run_job("call", job_id, do="sleep"), run_job("late", job_id, do="sleep"))
    eventually(lambda: len(list(client.list_runs(job_id=job_id, active_only=True))) == 2)
    client.cancel_run(run_id)

    eventually(lambda: client.get_run(run_id).state.result_state == RunResultState.CANCELED)
    ended = [run.state.result_state.value for run in client.list_runs(job_id=job_id)]
    assert ended == ["CANCELED", "CANCELED"]


def test_a_task_that_waits_too_long_for_another_job_ends_its_run(local, other_job, start, finished):
    job_id = other_job()
    run = finished(start(run_job("call", job_id, do="sleep") | {"timeout_seconds": 1}))

    assert results(run) == {"call": "TIMEDOUT"}
    ended = [each.state.result_state.value for each in local.client.jobs.list_runs(job_id=job_id)]
    assert ended == ["CANCELED"]


def test_many_tasks_that_wait_for_others_leave_room_for_these(other_job, create, start, finished):
    inner = other_job(max_concurrent_runs=10)
    middle = create(*[run_job(f"m{number}", inner) for number in range(3)], max_concurrent_runs=10)
    run = finished(start(*[run_job(f"o{number}", middle) for number in range(3)]))

    assert set(results(run).values()) == {"SUCCESS"}


def test_jobs_that_run_one_another_for_ever_are_refused(local, other_job, create):
    first = other_job()
    second = create(run_job("call", first))
    nested = {"task_key": "each", "run_job_task": {"job_id": second}}
    loop = {"task_key": "loop", "for_each_task": {"inputs": "[1]", "task": nested}}
    for task in (run_job("back", second), run_job("self", first), loop):
        body = {"job_id": first, "new_settings": {"name": "circle", "tasks": [task]}}
        with pytest.raises(InvalidParameterValue, match=f"job {first} would run itself"):
            local.request("POST", "/api/2.2/jobs/reset", body=body)


def test_a_job_that_is_not_there_fails_the_task_that_runs_it(start, finished):
    run = finished(start(run_job("call", 2**60)))

    assert task_of(run, "call").state.state_message == f"Job {2**60} does not exist."


@pytest.fixture
def loop(notebook_task) -> TaskOf:
    """A task that runs a notebook for each of `inputs`."""

    def make(inputs: str, concurrency: int | None = None, **parameters: str) -> dict[str, Any]:
        nested = notebook_task("each", **parameters)
        del nested["depends_on"]
        own = {"inputs": inputs, "task": nested}
        return {
            "task_key": "loop",
            "for_each_task": own | ({"concurrency": concurrency} if concurrency else {}),
        }

    return make


def test_a_task_runs_for_each_input_of_a_reference(local, notebook_task, loop, start, finished, page_of):
    rows = [{"name": "a", "n": 1}, {"name": "b", "n": [2]}]
    given = {"all": "{{input}}", "name": "{{ input.name }}", "n": "{{input.n}}", "of": "{{job.run_id}}"}
    each = loop("{{tasks.first.values.rows}}", seen="{{tasks.first.values.seen}}", **given)
    each["depends_on"] = [{"task_key": "first"}]
    first = notebook_task("first", set_values=json.dumps({"rows": rows, "seen": "yes"}))
    run = finished(start(first, each, notebook_task("last", "loop")))

    task = task_of(run, "loop")
    iterations = local.client.jobs.get_run(task.run_id).iterations
    found = [exit_value(local, iteration.run_id) for iteration in iterations]
    assert results(run) == {"first": "SUCCESS", "loop": "SUCCESS", "last": "SUCCESS"}
    assert [value["name"] for value in found] == ["a", "b"]
    assert [value["n"] for value in found] == ["1", "[2]"]
    assert [json.loads(value["all"]) for value in found] == rows
    assert {value["of"] for value in found} == {str(run.run_id)}
    assert {value["seen"] for value in found} == {"yes"}
    assert {iteration.task_key for iteration in iterations} == {"each"}
    counts = task.for_each_task.stats.task_run_stats
    assert (counts.total_iterations, counts.succeeded_iterations, counts.active_iterations) == (2, 2, 0)
    assert task.for_each_task.inputs == "{{tasks.first.values.rows}}"
    page = page_of(f"/runs/{run.run_id}")
    assert "<code>{&#34;name&#34;: &#34;a&#34;, &#34;n&#34;: 1}</code>" in page
    assert f'<a href="/runs/{run.run_id}">run {run.run_id}</a>' in page_of(f"/runs/{iterations[0].run_id}")


def test_as_many_inputs_go_at_once_as_the_task_allows(
    local, loop, start, finished, eventually, tmp_path: Path
):
    go = tmp_path / "go"
    run_id = start(loop("[1, 2, 3]", concurrency=2, until=str(go), touch=f"{tmp_path}/{{{{input}}}}"))
    eventually(lambda: (tmp_path / "1").exists() and (tmp_path / "2").exists())
    counts = task_of(local.client.jobs.get_run(run_id), "loop").for_each_task.stats.task_run_stats
    go.touch()

    assert (counts.scheduled_iterations, counts.active_iterations, counts.total_iterations) == (2, 2, 3)
    assert results(finished(run_id)) == {"loop": "SUCCESS"}
    assert (tmp_path / "3").exists()


def test_a_repair_runs_the_inputs_that_have_failed_alone(local, loop, start, finished, tmp_path: Path):
    mark = f"{tmp_path}/{{{{input}}}}"
    (tmp_path / "1").touch()
    (tmp_path / "3").touch()
    run = finished(start(loop("[1, 2, 3]", fail_unless=mark)))
    local.client.jobs.repair_run(run.run_id, rerun_all_failed_tasks=True)
    repaired = finished(run.run_id)

    failed, again = [task for task in repaired.tasks if task.task_key == "loop"]
    first, second = (
        [iteration.run_id for iteration in local.client.jobs.get_run(task.run_id).iterations]
        for task in (failed, again)
    )
    assert "1 of 3 iterations did not succeed" in failed.state.state_message
    errors = failed.for_each_task.stats.error_message_stats
    assert [(each.count, each.termination_category) for each in errors] == [(1, "RUN_EXECUTION_ERROR")]
    assert again.state.result_state == RunResultState.SUCCESS
    assert [one == two for one, two in zip(first, second, strict=True)] == [True, False, True]


def test_the_runs_of_inputs_end_and_go_with_theirs(local, loop, start, eventually):
    client = local.client.jobs
    run_id = start(loop("[1, 2]", do="sleep"))
    task_run_id = client.get_run(run_id).tasks[0].run_id
    eventually(lambda: bool(client.get_run(task_run_id).iterations))
    (iteration,) = client.get_run(task_run_id).iterations
    client.cancel_run(run_id)
    eventually(lambda: client.get_run(run_id).state.result_state == RunResultState.CANCELED)

    assert client.get_run(iteration.run_id).state.result_state == RunResultState.CANCELED
    client.delete_run(run_id)
    with pytest.raises(ResourceDoesNotExist, match=f"Run {iteration.run_id} does not exist"):
        client.get_run(iteration.run_id)


@pytest.mark.parametrize(
    ("inputs", "message"),
    [
        ("{{job.parameters.list}}", "inputs must be a JSON array, such as [1, 2]; they are 'no list'"),
        ('{"a": 1}', "inputs must be a JSON array"),
        ('[{"name": "a"}]', 'the input {"name": "a"} has no field \'missing\''),
    ],
)
def test_what_cannot_be_gone_through_fails_with_the_reason(loop, start, finished, inputs, message):
    each = loop(inputs, x="{{input.missing}}")
    run = finished(start(each, parameters=[{"name": "list", "default": "no list"}]))

    assert run.state.result_state == RunResultState.FAILED
    assert message in task_of(run, "loop").state.state_message


def test_no_input_is_no_failure(loop, start, finished):
    assert results(finished(start(loop("[]")))) == {"loop": "SUCCESS"}


@pytest.fixture
def program(cluster_id: str, local) -> TaskOf:
    """A task that runs a file of the workspace, or a wheel."""
    local.client.workspace.mkdirs("/Shared/programs")
    local.client.workspace.upload(
        "/Shared/programs/main.py", b"print('hello')\n", format=ImportFormat.AUTO, overwrite=True
    )

    def make(kind: str, **own: Any) -> dict[str, Any]:
        return {"task_key": "main", "existing_cluster_id": cluster_id, kind: own}

    return make


def told(local, run: Run) -> dict[str, Any]:
    """What the process of a run's last task was told."""
    folder = local.state.runs / str(run.tasks[-1].run_id)
    return json.loads((folder / "task.json").read_text()) | {
        "source": (folder / "notebook.source").read_text()
    }


MAIN = "/Workspace/Shared/programs/main.py"


def test_a_python_file_is_called_with_its_parameters(local, program, start, finished, page_of):
    own = {"python_file": MAIN, "parameters": ["--day", "{{job.parameters.day}}", "it's"]}
    run = finished(
        start(program("spark_python_task", **own), parameters=[{"name": "day", "default": "monday"}])
    )

    assert run.state.result_state == RunResultState.SUCCESS, run.tasks[0].state.state_message
    found = told(local, run)
    assert found["words"] == ["--day", "monday", "it's"]
    assert found["parameters"] == {}
    assert found["notebook_path"] == "/Shared/programs/main.py"
    assert f"run_file('{MAIN}', ['--day', 'monday', \"it's\"])" in found["source"]
    output = local.client.jobs.get_run_output(run.tasks[0].run_id)
    assert (output.logs, output.logs_truncated, output.notebook_output) == ("", False, None)
    page = page_of(f"/runs/{run.run_id}")
    assert '<a href="/workspace/Shared/programs/main.py">' in page
    assert "3 parameters" in page


def test_the_words_of_a_run_replace_those_of_the_task(local, program, create, finished):
    job_id = create(program("spark_python_task", python_file=MAIN, parameters=["a", "b"]))
    run = finished(local.client.jobs.run_now(job_id, python_params=["{{job.id}}"]).run_id)

    assert told(local, run)["words"] == [str(job_id)]
    assert run.overriding_parameters.python_params == ["{{job.id}}"]


def test_named_parameters_of_a_wheel_are_options_and_the_job_wins(local, program, create, finished):
    own = {"package_name": "mine", "entry_point": "run", "named_parameters": {"a": "task", "b": "task"}}
    declared = [{"name": "b", "default": "job"}, {"name": "c", "default": "job"}]
    job_id = create(program("python_wheel_task", **own), parameters=declared)
    run = finished(local.client.jobs.run_now(job_id, python_named_params={"c": "run"}).run_id)

    words = ["--a=task", "--b=job", "--c=run"]
    assert told(local, run)["words"] == words
    assert f"run_entry_point('mine', 'run', {words!r})" in told(local, run)["source"]


def test_job_parameters_are_not_pushed_to_a_wheel_with_a_list_of_parameters(local, program, start, finished):
    wheel = program("python_wheel_task", package_name="mine", entry_point="run", parameters=["x"])
    run = finished(start(wheel, parameters=[{"name": "b", "default": "job"}]))

    assert told(local, run)["words"] == ["x"]


@pytest.mark.parametrize(
    ("path", "message"),
    [
        ("/Shared/programs/none.py", "Unable to access the file: Path (/Workspace/Shared/programs/none.py)"),
        ("/Shared/job", "python_file /Workspace/Shared/job is a NOTEBOOK, not a file; a notebook_task runs"),
        ("dbfs:/none.py", "Unable to access the file: File dbfs:/none.py does not exist"),
    ],
)
def test_a_file_that_is_not_there_fails_the_task(program, notebook, start, finished, path, message):
    run = finished(start(program("spark_python_task", python_file=path)))

    assert message in run.tasks[0].state.state_message


def test_settings_come_back_as_the_client_has_sent_them(local, cluster_id: str, page_of):
    wheel = jobs.PythonWheelTask("mine", "run", named_parameters={"a": "1"})
    libraries = [compute.Library(whl="/Workspace/Shared/mine-1-py3-none-any.whl")]
    nested = Task("each", python_wheel_task=wheel, existing_cluster_id=cluster_id, libraries=libraries)
    outcome = jobs.TaskDependency("check", outcome="true")
    file = jobs.SparkPythonTask(
        "/Workspace/Shared/main.py", ["{{job.parameters.day}}"], jobs.Source.WORKSPACE
    )
    tasks = [
        Task("check", condition_task=jobs.ConditionTask(jobs.ConditionTaskOp.EQUAL_TO, "1", "1")),
        Task("file", spark_python_task=file, environment_key="default", depends_on=[outcome]),
        Task("loop", for_each_task=jobs.ForEachTask("[1]", nested, concurrency=3)),
        Task("call", run_job_task=jobs.RunJobTask(2**50, job_parameters={"a": "{{job.id}}"})),
    ]
    environment = jobs.JobEnvironment(
        "default", compute.Environment(environment_version="4", dependencies=["./mine-1-py3-none-any.whl"])
    )
    rule = jobs.JobsHealthRule(
        jobs.JobsHealthMetric.RUN_DURATION_SECONDS, jobs.JobsHealthOperator.GREATER_THAN, 9
    )
    every_day = jobs.PeriodicTriggerConfiguration(1, jobs.PeriodicTriggerConfigurationTimeUnit.DAYS)
    git = jobs.GitSource("https://git.example/x", jobs.GitProvider.GIT_HUB, git_branch="main")
    settings = {
        "tasks": tasks,
        "environments": [environment],
        "parameters": [jobs.JobParameterDefinition("day", "monday")],
        "health": jobs.JobsHealthRules([rule]),
        "continuous": jobs.Continuous(pause_status=jobs.PauseStatus.PAUSED),
        "trigger": jobs.TriggerSettings(pause_status=jobs.PauseStatus.PAUSED, periodic=every_day),
        "git_source": git,
        "queue": jobs.QueueSettings(True),
        "email_notifications": jobs.JobEmailNotifications(on_failure=["a@example.com"]),
        "webhook_notifications": jobs.WebhookNotifications(on_failure=[jobs.Webhook("1")]),
    }
    job_id = local.client.jobs.create(name="round trip", **settings).job_id

    kept = local.client.jobs.get(job_id).settings
    sent = jobs.JobSettings(name="round trip", **settings).as_dict()
    assert {name: kept.as_dict()[name] for name in sent} == sent
    page = page_of(f"/jobs/{job_id}")
    assert "<dt>Git source</dt><dd>https://git.example/x, branch main</dd>" in page
    assert "no run follows by itself when one has ended here" in page
    assert "for each of [1], 3 at once · mine, entry point run" in page
    assert "check is true" in page


NESTED = {"task_key": "each", "condition_task": {"op": "EQUAL_TO", "left": "{{input}}", "right": ""}}


@pytest.mark.parametrize(
    ("task", "error", "reason"),
    [
        ({"dbt_task": {"commands": ["dbt run"]}}, NotImplementedHere, "'main': dbt_task is not part"),
        ({"pipeline_task": {}}, InvalidParameterValue, "a pipeline_task needs a pipeline_id, not None"),
        ({"sql_task": {"query": {"query_id": "1"}}}, NotImplementedHere, "'main': query is not part"),
        ({"sql_task": {"file": {"path": "/a"}}}, InvalidParameterValue, "needs a warehouse_id"),
        (
            {"sql_task": {"warehouse_id": "1"}},
            InvalidParameterValue,
            "a sql_task needs a file, not None",
        ),
        ({}, InvalidParameterValue, "it needs a notebook_task, or one of"),
        ({"condition_task": {}, "run_job_task": {}}, InvalidParameterValue, "it has .'condition_task'"),
        ({"condition_task": {"op": "LIKE"}}, InvalidParameterValue, "op 'LIKE' is not one of .'EQUAL_TO'"),
        ({"condition_task": {"op": "EQUAL_TO", "left": 1}}, InvalidParameterValue, "left .* a text, not 1"),
        (condition("main", "EQUAL_TO", "{{input}}{{job.nothing}}", ""), InvalidParameterValue, "job.nothing"),
        ({"run_job_task": {"job_id": "x"}}, InvalidParameterValue, "needs the job_id of a job, not 'x'"),
        ({"run_job_task": {"job_id": 1, "jar_params": ["a"]}}, NotImplementedHere, "jar_params is not part"),
        ({"for_each_task": {"inputs": [1]}}, InvalidParameterValue, "the text of a JSON array .*, not .1."),
        (
            {"for_each_task": {"inputs": "[1]"}},
            InvalidParameterValue,
            "needs a task with a task_key, not None",
        ),
        (
            {"for_each_task": {"inputs": "[1]", "task": NESTED, "concurrency": 101}},
            InvalidParameterValue,
            "concurrency must be a whole number between 1 and 100, not 101",
        ),
        (
            {"for_each_task": {"inputs": "[1]", "task": NESTED | {"for_each_task": {"inputs": ""}}}},
            InvalidParameterValue,
            "cannot be another for_each_task",
        ),
        (
            {"spark_python_task": {}},
            InvalidParameterValue,
            "spark_python_task on serverless .*environment_key",
        ),
        (
            {"python_wheel_task": {}, "environment_key": "e"},
            InvalidParameterValue,
            "needs a package_name, not",
        ),
        (
            {"spark_python_task": {"python_file": "main.py"}, "environment_key": "e"},
            InvalidParameterValue,
            "python_file must be absolute, not 'main.py'",
        ),
        (
            {"spark_python_task": {"python_file": "s3://x/main.py"}, "environment_key": "e"},
            NotImplementedHere,
            "s3://x/main.py is not part of the local workspace; it is in /Workspace",
        ),
        (
            {"spark_python_task": {"python_file": "main.py", "source": "GIT"}, "environment_key": "e"},
            InvalidParameterValue,
            "source GIT needs a git_source of the job, which has none",
        ),
        (
            {"spark_python_task": {"python_file": "/a", "parameters": [1]}, "environment_key": "e"},
            InvalidParameterValue,
            r"parameters must be a list of texts, not \[1\]",
        ),
        (
            condition("main", "EQUAL_TO", "", "") | {"existing_cluster_id": ""} | {"job_cluster_key": "a"},
            InvalidParameterValue,
            "job_cluster_key 'a' is not one of",
        ),
    ],
)
def test_a_task_that_cannot_run_is_refused_with_the_reason(local, task, error, reason):
    environments = [{"environment_key": "e", "spec": {"client": "1"}}]
    body = {"name": "no", "tasks": [{"task_key": "main", **task}], "environments": environments}
    with pytest.raises(error, match=reason):
        local.request("POST", "/api/2.2/jobs/create", body=body)


def test_an_outcome_is_asked_of_conditions_alone(create, notebook_task):
    for outcome, reason in (("true", "'first' is no condition_task"), ("yes", "one of .*, not 'yes'")):
        with pytest.raises(InvalidParameterValue, match=reason):
            create(notebook_task("first"), behind(notebook_task("second"), "first", outcome))


def test_a_condition_runs_on_no_cluster(create, cluster_id: str):
    with pytest.raises(InvalidParameterValue, match="a condition_task runs on no cluster"):
        create(condition("main", "EQUAL_TO", "", "") | {"existing_cluster_id": cluster_id})


def test_a_pipeline_that_is_not_there_or_has_notebooks_ends_its_task_alone(
    local, start, notebook_task, eventually
):
    notebooks = {"name": "old", "libraries": [{"notebook": {"path": "/Shared/old"}}]}
    old = local.request("POST", "/api/2.0/pipelines", body=notebooks)["pipeline_id"]
    tasks = {name: {"task_key": name, "pipeline_task": {"pipeline_id": name}} for name in ("gone", old)}
    run_id = start(notebook_task("main"), *tasks.values())
    eventually(lambda: local.request("GET", "/api/2.2/jobs/runs/get", query={"run_id": run_id})["end_time"])

    run = local.request("GET", "/api/2.2/jobs/runs/get", query={"run_id": run_id})
    ends = {task["task_key"]: task["state"] for task in run["tasks"]}
    assert ends["main"]["result_state"] == "SUCCESS"
    assert "pipeline: The specified pipeline gone was not found." in ends["gone"]["state_message"]
    assert "'/Shared/old'" in ends[old]["state_message"]
    assert "not one of glob and file" in ends[old]["state_message"]


def test_a_notebook_on_a_warehouse_runs_on_no_cluster(create, notebook_task, cluster_id: str):
    task = notebook_task("main")
    task["notebook_task"] |= {"warehouse_id": "1"}
    with pytest.raises(InvalidParameterValue, match="a notebook_task with a warehouse_id runs on no cluster"):
        create(task | {"existing_cluster_id": cluster_id})
    task["notebook_task"] |= {"warehouse_id": 1}
    with pytest.raises(InvalidParameterValue, match="warehouse_id must be text, not 1"):
        create({name: value for name, value in task.items() if name != "existing_cluster_id"})


def test_a_job_with_a_git_source_has_relative_paths_or_says_that_they_are_of_the_workspace(
    create, notebook_task
):
    git_source = {"git_url": "https://git.example/x", "git_provider": "gitHub", "git_branch": "main"}
    with pytest.raises(InvalidParameterValue, match=r"'main': .*relative notebook_path.*, not '/"):
        create(notebook_task("main"), git_source=git_source)
    named = notebook_task("main")
    named["notebook_task"]["source"] = "WORKSPACE"
    assert create(named, git_source=git_source)
    named["notebook_task"]["source"] = "GIT"
    with pytest.raises(InvalidParameterValue, match="source GIT needs a git_source of the job"):
        create(named)
    named["notebook_task"]["source"] = "SVN"
    with pytest.raises(InvalidParameterValue, match="Task 'main': source 'SVN' is not one of WORKSPACE, GIT"):
        create(named)
