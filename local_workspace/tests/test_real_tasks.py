"""Programs and tasks that steer others, for real: with both Sparks, wheels, and a job of every kind."""

import json
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import requests
from databricks.sdk.errors import DatabricksError, OperationFailed
from databricks.sdk.service.jobs import RunType
from databricks.sdk.service.pipelines import UpdateInfoState
from databricks.sdk.service.workspace import ImportFormat
from real_workspace import DEDICATED, SERVERLESS, STANDARD, RealWorkspace

FOLDER = "/Shared/real_tasks"
HELPER = "NAME = 'beside'\n"
MAIN = """
import json
import os
import sys

from helper import NAME
from pyspark.sql import SparkSession

def main():
    own = SparkSession.builder.getOrCreate()
    from databricks.connect import DatabricksSession
    same = DatabricksSession.builder.serverless(True).getOrCreate()
    own.range(3).createOrReplaceTempView("three")
    found = {
        "words": sys.argv[1:],
        "helper": NAME,
        "rows": same.table("three").count(),
        "kind": type(own).__module__,
        "folder": os.path.basename(os.getcwd()),
        "file": os.path.basename(__file__),
    }
    print("RESULT", json.dumps(found))

if __name__ == "__main__":
    main()
"""
BREAKS = """
import sys
print("before it breaks")
print("to the other stream", file=sys.stderr)
raise ValueError("no BMI in the table")
"""
EXITS = """
import sys
print("nearly there")
sys.exit(int(sys.argv[1]))
"""
TASK_VALUE = """
dbutils.jobs.taskValues.set("days", [{"day": "monday", "rows": 1}, {"day": "friday", "rows": 5}])
dbutils.jobs.taskValues.set("rows", spark.range(6).count())
"""
DAY = """
import sys
day, rows = sys.argv[1:]
print(f"{day} {spark.range(int(rows)).count()}")
"""
SQL = """
-- Two statements; the second has a ; in a text.
CREATE OR REPLACE TEMPORARY VIEW real_tasks_numbers AS SELECT explode(sequence(1, 4)) AS number;
SELECT count(*) AS many, ';' AS mark FROM real_tasks_numbers WHERE number > :least AND :day = "it's";
"""
WHEEL = """
import sys

def main():
    from pyspark.sql import SparkSession
    print("WHEEL", VERSION, sys.argv[1:], SparkSession.builder.getOrCreate().range(4).count())

def other():
    print("OTHER", sys.argv[1:])
"""


@pytest.fixture(scope="module")
def workspace(real_workspace: RealWorkspace, tmp_path_factory: pytest.TempPathFactory) -> RealWorkspace:
    """The workspace of all tests, with the programs of these in it."""
    real_workspace.client.workspace.mkdirs(FOLDER)
    programs = {"helper": HELPER, "main": MAIN, "breaks": BREAKS, "exits": EXITS, "day": DAY}
    for name, source in programs.items():
        _put(real_workspace, f"{FOLDER}/{name}.py", source.encode())
    _put(real_workspace, f"{FOLDER}/query.sql", SQL.encode())
    real_workspace.upload(f"{FOLDER}/first", TASK_VALUE)
    for version in ("1", "2"):
        wheel = _wheel(tmp_path_factory.mktemp("wheels"), "real_tasks_wheel", version)
        _put(real_workspace, f"{FOLDER}/{wheel.name}", wheel.read_bytes())
    return real_workspace


def _put(workspace: RealWorkspace, path: str, content: bytes) -> None:
    workspace.client.workspace.upload(path, content, format=ImportFormat.AUTO, overwrite=True)


def _wheel(folder: Path, name: str, version: str) -> Path:
    info, path = f"{name}-{version}.dist-info", folder / f"{name}-{version}-py3-none-any.whl"
    with zipfile.ZipFile(path, "w") as wheel:
        wheel.writestr(f"{name}/__init__.py", f"VERSION = {version!r}\n{WHEEL}")
        wheel.writestr(f"{info}/METADATA", f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n")
        wheel.writestr(f"{info}/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
        wheel.writestr(f"{info}/entry_points.txt", f"[console_scripts]\nstart = {name}:main\n")
        wheel.writestr(f"{info}/RECORD", "")
    return path


@pytest.fixture
def run(workspace: RealWorkspace) -> Callable[..., dict[str, Any]]:
    """Runs tasks of these, with an environment that has the second wheel, and gives the run."""

    def start(*tasks: dict[str, Any], **settings: Any) -> dict[str, Any]:
        wheel = f"/Workspace{FOLDER}/real_tasks_wheel-2-py3-none-any.whl"
        spec = {"environment_version": "4", "dependencies": [wheel]}
        plain = {"environment_key": "plain", "spec": {"client": "3"}}
        environments = [{"environment_key": "wheel", "spec": spec}, plain]
        body = {"name": "real tasks", "tasks": list(tasks), "environments": environments, **settings}
        job_id = workspace.request("POST", "/api/2.2/jobs/create", body=body)["job_id"]
        return workspace.finished(workspace.client.jobs.run_now(job_id).run_id)

    return start


@pytest.fixture
def on(workspace: RealWorkspace) -> Callable[[str], dict[str, Any]]:
    """The compute of a task that needs no wheel."""
    return lambda mode: (
        {"environment_key": "plain"}
        if mode == SERVERLESS
        else {"existing_cluster_id": workspace.cluster_id(mode)}
    )


def page_of(workspace: RealWorkspace, done: dict[str, Any]) -> str:
    """The page of a run, as a browser is sent it."""
    headers = {"Authorization": f"Bearer {workspace.profile['token']}", "Accept": "text/html"}
    address = f"{workspace.profile['host']}/runs/{done['run_id']}"
    return requests.get(address, headers=headers, timeout=60).text


def python_file(name: str, *words: str) -> dict[str, Any]:
    return {"spark_python_task": {"python_file": f"/Workspace{FOLDER}/{name}.py", "parameters": list(words)}}


@pytest.mark.parametrize(
    ("mode", "kind"), [(DEDICATED, "session"), (STANDARD, "connect.session"), (SERVERLESS, "connect.session")]
)
def test_a_python_file_runs_with_the_spark_of_its_compute(workspace, run, on, mode, kind):
    done = run({"task_key": "main", **on(mode), **python_file("main", "--day", "it's monday")})

    output = workspace.client.jobs.get_run_output(done["tasks"][0]["run_id"])
    assert done["state"]["result_state"] == "SUCCESS", output.error_trace
    found = json.loads(output.logs.partition("RESULT ")[2])
    assert found.pop("kind") == f"pyspark.sql.{kind}"
    assert found == {
        "words": ["--day", "it's monday"],
        "helper": "beside",
        "rows": 3,
        "folder": "real_tasks",
        "file": "main.py",
    }
    assert output.logs_truncated is False


def test_what_a_file_prints_is_on_its_page_and_its_error_too(workspace, run, on):
    done = run({"task_key": "main", **on(DEDICATED), **python_file("breaks")})

    output = workspace.client.jobs.get_run_output(done["tasks"][0]["run_id"])
    assert done["state"]["result_state"] == "FAILED"
    assert output.error == "ValueError: no BMI in the table"
    assert "before it breaks\n" in output.logs
    assert "to the other stream\n" in output.logs
    assert "breaks.py" in output.error_trace
    page = page_of(workspace, done)
    assert "before it breaks" in page
    assert "ValueError: no BMI in the table" in page


@pytest.mark.parametrize(("code", "result"), [("0", "SUCCESS"), ("3", "FAILED")])
def test_a_program_that_ends_itself_has_the_result_of_its_exit_code(workspace, run, on, code, result):
    done = run({"task_key": "main", **on(STANDARD), **python_file("exits", code)})

    output = workspace.client.jobs.get_run_output(done["tasks"][0]["run_id"])
    assert done["state"]["result_state"] == result
    assert output.logs.startswith("nearly there\n")
    assert ("Databricks may count that as a failure" in output.logs) == (code == "0")
    expected = "ProgramExit: the program ended itself with sys.exit(3)" if code == "3" else None
    assert output.error == expected


def test_entry_points_of_wheels_run_from_libraries_and_from_environments(workspace, run, on):
    wheel = {"package_name": "real_tasks_wheel", "entry_point": "start"}
    first = f"/Workspace{FOLDER}/real_tasks_wheel-1-py3-none-any.whl"
    done = run(
        {
            "task_key": "library",
            **on(DEDICATED),
            "libraries": [{"whl": first}],
            "python_wheel_task": wheel | {"named_parameters": {"day": "monday"}},
        },
        {
            "task_key": "environment",
            "environment_key": "wheel",
            "python_wheel_task": wheel | {"parameters": ["{{task.name}}"]},
        },
        {
            "task_key": "function",
            "environment_key": "wheel",
            "python_wheel_task": wheel | {"entry_point": "other", "parameters": ["x"]},
        },
        {
            "task_key": "missing",
            **on(DEDICATED),
            "python_wheel_task": wheel | {"package_name": "nobody_has_this"},
        },
    )

    outputs = {
        task["task_key"]: workspace.client.jobs.get_run_output(task["run_id"]) for task in done["tasks"]
    }
    assert outputs["library"].logs == "WHEEL 1 ['--day=monday'] 4\n"
    assert outputs["environment"].logs == "WHEEL 2 ['environment'] 4\n"
    assert outputs["function"].logs == "OTHER ['x']\n"
    assert "nobody_has_this" in outputs["missing"].error


def test_a_file_of_sql_shows_the_result_of_each_statement(workspace, run):
    own = {
        "warehouse_id": "1",
        "file": {"path": f"/Workspace{FOLDER}/query.sql"},
        "parameters": {"least": "1"},
    }
    declared = [{"name": "day", "default": "it's"}]
    done = run({"task_key": "main", "sql_task": own}, parameters=declared)

    task_run_id = done["tasks"][0]["run_id"]
    output = workspace.client.jobs.get_run_output(task_run_id)
    assert done["state"]["result_state"] == "SUCCESS", output.error_trace
    assert output.sql_output.query_output.warehouse_id == "1"
    notebook = json.loads((workspace.state / "runs" / str(task_run_id) / "notebook.ipynb").read_text())
    shown = [json.dumps(cell["outputs"]) for cell in notebook["cells"]]
    assert len(shown) == 2
    assert "<td>3</td>" in shown[1]


def test_a_notebook_of_sql_runs_on_a_warehouse(workspace, run):
    source = b"-- Databricks notebook source\nSELECT :least + 1 AS more\n"
    _put(workspace, f"{FOLDER}/on_warehouse.sql", source)
    own = {"notebook_path": f"{FOLDER}/on_warehouse", "warehouse_id": "744f096837fddbb4"}

    done = run({"task_key": "main", "notebook_task": own | {"base_parameters": {"least": "41"}}})

    task_run_id = str(done["tasks"][0]["run_id"])
    assert done["state"]["result_state"] == "SUCCESS"
    notebook = json.loads((workspace.state / "runs" / task_run_id / "notebook.ipynb").read_text())
    assert "<td>42" in json.dumps(notebook["cells"][0]["outputs"])


LATER = """
from pyspark import pipelines as dp
from rules import LEAST

@dp.table
def real_tasks_long():
    return spark.read.table("real_tasks_trips").where(f"miles > {LEAST}")
"""


def test_a_pipeline_makes_its_tables_in_the_order_of_what_they_read(workspace, run):
    folder, catalog = f"{FOLDER}/etl", "main"
    files = {
        "transformations/later.py": LATER,
        "transformations/earlier.sql": "-- Read: made-up rows\nCREATE OR REFRESH MATERIALIZED VIEW"
        " real_tasks_trips AS SELECT trip_distance AS miles FROM samples.nyctaxi.trips;\n",
        "transformations/streamed.py": "import pyspark.pipelines as dp\n\n@dp.table(name='real_tasks_flow')\n"
        "def flow():\n    return spark.readStream.table('main.default.real_tasks_source')\n",
        "rules.py": "LEAST = 5\n",
    }
    for name, source in files.items():
        workspace.client.workspace.mkdirs(f"{folder}/{name}".rpartition("/")[0])
        _put(workspace, f"{folder}/{name}", source.encode())
    workspace.upload(
        f"{FOLDER}/source",
        "spark.range(3).write.mode('append').saveAsTable('main.default.real_tasks_source')",
    )
    glob = {"glob": {"include": f"/Workspace{folder}/transformations/**"}}
    definition = {
        "name": "etl",
        "catalog": catalog,
        "schema": "real_tasks",
        "root_path": folder,
        "libraries": [glob],
    }
    pipeline_id = workspace.request("POST", "/api/2.0/pipelines", body=definition)["pipeline_id"]
    notebook = {"task_key": "source", "notebook_task": {"notebook_path": f"{FOLDER}/source"}}
    refresh = {"task_key": "refresh", "pipeline_task": {"pipeline_id": pipeline_id}}

    ends = [run(notebook, refresh | {"depends_on": [{"task_key": "source"}]})["state"] for _ in range(2)]

    assert [end["result_state"] for end in ends] == ["SUCCESS", "SUCCESS"], ends
    tables = workspace.client.tables.list(catalog, "real_tasks")
    assert {table.name for table in tables} == {"real_tasks_flow", "real_tasks_long", "real_tasks_trips"}
    counts = [
        workspace.client.statement_execution.execute_statement(
            f"SELECT count(*) FROM main.real_tasks.{name}", "default"
        ).result.data_array[0][0]
        for name in ("real_tasks_flow", "real_tasks_trips", "real_tasks_long")
    ]
    assert counts[:2] == ["6", "10000"] and 0 < int(counts[2]) < 10000


def test_an_update_of_a_pipeline_is_started_and_its_end_is_told(workspace, eventually):
    pipelines = workspace.client.pipelines
    good, bad = f"{FOLDER}/updates/good.sql", f"{FOLDER}/updates/bad.sql"
    workspace.client.workspace.mkdirs(f"{FOLDER}/updates")
    _put(workspace, good, b"CREATE MATERIALIZED VIEW real_tasks_one AS SELECT 1 AS one;")
    _put(workspace, bad, b"CREATE MATERIALIZED VIEW real_tasks_none AS SELECT * FROM real_tasks_nowhere;")
    ends, events = [], []
    for path in (good, bad):
        library = {"file": {"path": f"/Workspace{path}"}}
        definition = {"name": path, "catalog": "main", "schema": "real_tasks", "libraries": [library]}
        pipeline_id = workspace.request("POST", "/api/2.0/pipelines", body=definition)["pipeline_id"]
        update_id = pipelines.start_update(pipeline_id).update_id
        with pytest.raises(DatabricksError, match=f"An active update {update_id} already exists"):
            pipelines.start_update(pipeline_id)
        eventually(
            lambda p=pipeline_id, u=update_id: is_over(pipelines.get_update(p, u).update.state), seconds=120
        )
        ends.append(pipelines.get_update(pipeline_id, update_id).update.state.value)
        told = pipelines.list_pipeline_events(
            pipeline_id, filter=f"update_id='{update_id}' AND level='ERROR'"
        )
        events += list(told)

    assert ends == ["COMPLETED", "FAILED"]
    assert [event.event_type for event in events] == ["update_progress"]
    assert "real_tasks_none" in events[0].error.exceptions[0].message
    run = next(iter(workspace.client.jobs.list_runs(expand_tasks=True, run_type=RunType.SUBMIT_RUN)))
    printed = (workspace.state / "runs" / str(run.tasks[0].run_id) / "notebook.ipynb").read_text()
    assert "real_tasks_nowhere" in printed, printed


def is_over(state: UpdateInfoState) -> bool:
    return state.value in ("COMPLETED", "FAILED", "CANCELED")


class Repository:
    """A git repository of a project: a notebook, the module beside it, a file of Python and one of SQL."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        folder.mkdir()
        self._git("init", "--quiet", "--initial-branch=main")
        self.write(
            "jobs/note.py",
            "# Databricks notebook source\n# DBTITLE 1,known\nfrom shared import KNOWN\nprint(KNOWN)\n",
        )
        self.write("jobs/shared.py", "KNOWN = 'first'\n")
        self.write("jobs/main.py", "from shared import KNOWN\nprint('FILE', KNOWN)\n")
        self.write("query.sql", "SELECT 'of the repository' AS text")
        (folder / "jobs" / "leads_out").symlink_to("/etc/passwd")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).parent.mkdir(exist_ok=True)
        (self.folder / path).write_text(text)

    def commit(self) -> str:
        self._git("add", "--all")
        self._git("-c", "user.name=a", "-c", "user.email=a@example.com", "commit", "--quiet", "--message=x")
        return self._git("rev-parse", "HEAD").strip()

    def tag(self, name: str) -> None:
        self._git("tag", name)

    def _git(self, *words: str) -> str:
        return subprocess.run(
            ["git", *words], cwd=self.folder, check=True, capture_output=True, text=True
        ).stdout


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    return Repository(tmp_path / "project")


def test_tasks_run_the_commit_of_a_repository_and_a_later_run_the_next(workspace, run, on, repository):
    sql = {"sql_task": {"warehouse_id": "x", "file": {"path": "query.sql"}}}
    tasks = [
        {"task_key": "note", **on(DEDICATED), "notebook_task": {"notebook_path": "jobs/note"}},
        {"task_key": "file", **on(DEDICATED), "spark_python_task": {"python_file": "jobs/main.py"}},
        {"task_key": "sql", **sql},
        {"task_key": "own", **on(DEDICATED), **python_file("day", "monday", "2")},
    ]
    tasks[3]["spark_python_task"]["source"] = "WORKSPACE"
    source = {"git_url": str(repository.folder), "git_provider": "gitHub", "git_branch": "main"}
    first = repository.commit()
    repository.tag("v1")
    done = run(*tasks, git_source=source)

    assert printed(workspace, done) == {"note": "first\n", "file": "FILE first\n", "own": "monday 2\n"}
    assert done["git_source"]["git_snapshot"] == {"used_commit": first}
    repository.write("jobs/shared.py", "KNOWN = 'second'\n")
    second = repository.commit()
    done = run(*tasks[:1], git_source=source)
    assert printed(workspace, done) == {"note": "second\n"}
    assert done["git_source"]["git_snapshot"] == {"used_commit": second}
    assert second[:12] in page_of(workspace, done)
    for named in ({"git_tag": "v1"}, {"git_commit": first}):
        source = {"git_url": str(repository.folder), "git_provider": "gitHub", **named}
        assert printed(workspace, run(*tasks[:1], git_source=source)) == {"note": "first\n"}


@pytest.mark.parametrize(
    ("named", "path", "reason"),
    [
        ({"git_branch": "none"}, "jobs/note", "has no git_branch 'none'"),
        ({"git_commit": "0" * 40}, "jobs/note", "has no git_commit '000"),
        ({"git_branch": "main"}, "jobs/no_note", "jobs/no_note does not exist"),
        ({"git_branch": "main"}, "../../../note", r"it has '\.\.'"),
    ],
)
def test_what_is_not_in_a_repository_is_told(workspace, run, on, repository, named, path, reason):
    repository.commit()
    source = {"git_url": str(repository.folder), "git_provider": "gitHub", **named}
    task = {"task_key": "a", **on(DEDICATED), "notebook_task": {"notebook_path": path}}

    with pytest.raises(OperationFailed, match=f"INTERNAL_ERROR: .*{reason}"):
        run(task, git_source=source)


def test_a_repository_that_is_not_there_is_told_in_the_words_of_git(workspace, run, on, tmp_path):
    source = {"git_url": str(tmp_path / "gone"), "git_provider": "gitHub", "git_branch": "main"}
    task = {"task_key": "a", **on(DEDICATED), "notebook_task": {"notebook_path": "a"}}

    with pytest.raises(OperationFailed, match=f"git failed: fatal: .*{tmp_path / 'gone'}"):
        run(task, git_source=source)


def printed(workspace: RealWorkspace, done: dict[str, Any]) -> dict[str, str]:
    """What the tasks of a run have printed, of those that print."""
    assert done["state"].get("result_state") == "SUCCESS", done["state"]
    found = {}
    for task in done["tasks"]:
        if task["task_key"] == "note":
            [found["note"]] = workspace.executed(task["run_id"]).values()
        elif task["task_key"] != "sql":
            found[task["task_key"]] = workspace.client.jobs.get_run_output(task["run_id"]).logs
    return found


def test_a_job_of_every_kind_goes_the_way_that_its_values_tell(workspace, run, on):
    body = {
        "name": "called",
        "parameters": [{"name": "rows", "default": "0"}],
        "tasks": [
            {
                "task_key": "day",
                **on(STANDARD),
                **python_file("day", "called", "{{job.parameters.rows}}"),
            }
        ],
    }
    called = workspace.request("POST", "/api/2.2/jobs/create", body=body)["job_id"]
    condition = {"op": "GREATER_THAN", "left": "{{tasks.first.values.rows}}", "right": "5.5"}
    nested = {"task_key": "each", **on(DEDICATED), **python_file("day", "{{input.day}}", "{{input.rows}}")}
    done = run(
        {
            "task_key": "first",
            "notebook_task": {"notebook_path": f"{FOLDER}/first"},
            **on(DEDICATED),
        },
        {"task_key": "many", "condition_task": condition, "depends_on": [{"task_key": "first"}]},
        {
            "task_key": "days",
            "for_each_task": {"inputs": "{{tasks.first.values.days}}", "concurrency": 2, "task": nested},
            "depends_on": [{"task_key": "many", "outcome": "true"}],
        },
        {
            "task_key": "call",
            "run_job_task": {"job_id": called, "job_parameters": {"rows": "{{tasks.first.values.rows}}"}},
            "depends_on": [{"task_key": "days"}],
        },
        {
            "task_key": "never",
            "notebook_task": {"notebook_path": f"{FOLDER}/first"},
            **on(DEDICATED),
            "depends_on": [{"task_key": "many", "outcome": "false"}],
        },
    )

    jobs = workspace.client.jobs
    results = {task["task_key"]: task["state"]["result_state"] for task in done["tasks"]}
    ids = {task["task_key"]: task["run_id"] for task in done["tasks"]}
    assert results == dict.fromkeys(("first", "many", "days", "call"), "SUCCESS") | {"never": "EXCLUDED"}
    iterations = jobs.get_run(ids["days"]).iterations
    assert [jobs.get_run_output(each.run_id).logs for each in iterations] == ["monday 1\n", "friday 5\n"]
    child = jobs.get_run(jobs.get_run_output(ids["call"]).run_job_output.run_id)
    assert jobs.get_run_output(child.tasks[0].run_id).logs == "called 6\n"
