"""The kernel that a person works in, started as an editor starts it: what a run has, cell by cell."""

import json
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_workspace.kernel.kernel_spec import kernel_spec, write_kernel_spec
from local_workspace.processes.environment import create_environment, has_own_packages, working_copies
from own_kernels import OwnKernel, own_kernel
from real_workspace import DEDICATED, FOLDER, STANDARD, RealWorkspace, make_wheel

PASSWORD = "a-password-of-own-kernels"
NOTEBOOKS = {DEDICATED: "own_on_classic", STANDARD: "own_on_connect"}
WIDGETS = {"colour": "green", "run": "{{job.run_id}}"}


@pytest.fixture(scope="module")
def workspace(real_workspace: RealWorkspace) -> RealWorkspace:
    """A workspace with a job for a notebook on each Spark, a secret and a wheel."""
    for mode, name in NOTEBOOKS.items():
        real_workspace.upload(f"{FOLDER}/{name}", "# Databricks notebook source\n1\n")
        settings = {"name": f"job of {name}", "tasks": [real_workspace.task(name, on=mode, **WIDGETS)]}
        real_workspace.request("POST", "/api/2.2/jobs/create", body=settings)
    real_workspace.client.secrets.create_scope("own-kernels")
    real_workspace.client.secrets.put_secret("own-kernels", "password", string_value=PASSWORD)
    make_wheel(real_workspace.state / "dbfs" / "own-kernels", "made_up_for_own_kernels", "1.4")
    return real_workspace


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Where the notebooks lie, and what is beside them."""
    folder = tmp_path_factory.mktemp("notebooks of one's own")
    (folder / "beside_own.py").write_text("# Databricks notebook source\nshared = colour * 2\n")
    (folder / "imported_own.py").write_text("def doubled(value):\n    return value * 2\n")
    return folder


@pytest.fixture(scope="module")
def on_connect(workspace: RealWorkspace, folder: Path) -> Iterator[OwnKernel]:
    """A kernel whose job's cluster has Spark Connect."""
    with own_kernel(workspace.state, folder, f"{NOTEBOOKS[STANDARD]}.py") as kernel:
        kernel.run("greeted = True")
        yield kernel


@pytest.fixture(scope="module")
def on_classic(workspace: RealWorkspace, folder: Path) -> Iterator[OwnKernel]:
    """A kernel whose job's cluster has Spark Classic."""
    with own_kernel(workspace.state, folder, f"{NOTEBOOKS[DEDICATED]}.py") as kernel:
        kernel.run("greeted = True")
        yield kernel


@pytest.fixture(params=["on_connect", "on_classic"])
def kernel(request: pytest.FixtureRequest, workspace: RealWorkspace) -> OwnKernel:
    """Either of them, on the one workspace."""
    found: OwnKernel = request.getfixturevalue(request.param)
    return found


def test_the_first_cell_says_whose_widget_values_there_are(workspace: RealWorkspace, folder: Path):
    with own_kernel(workspace.state, folder, f"{NOTEBOOKS[STANDARD]}.py") as kernel:
        first, second = kernel.run("1 + 1"), kernel.run("dbutils.widgets.getAll()")

    assert "Widgets have the values of job 'job of own_on_connect'." in first.text
    assert second.data[0]["text/plain"] == "{'colour': 'green'}"
    assert second.texts == []


def test_spark_is_that_of_the_jobs_cluster_and_has_the_same_tables(
    workspace: RealWorkspace, on_connect: OwnKernel, on_classic: OwnKernel
):
    on_connect.value("spark.range(4).write.mode('overwrite').saveAsTable('own_kernels')")

    assert on_classic.value("spark.table('own_kernels').count(), type(spark).__module__") == (
        "(4, 'pyspark.sql.session')"
    )
    assert on_connect.value("type(spark).__module__") == "'pyspark.sql.connect.session'"
    counted = "# Databricks notebook source\ndbutils.notebook.exit(str(spark.table('own_kernels').count()))"
    assert workspace.result_of("counts_own_kernels", counted) == 4


def test_magics_and_utilities_are_those_of_a_run(kernel: OwnKernel):
    table = kernel.run("%sql\nSELECT 41 + 1 AS answer")
    listed = kernel.run("%fs ls dbfs:/own-kernels")
    text = kernel.run("%md\n# A title")
    frame = kernel.run("import pandas as pd\ndisplay(pd.DataFrame({'a': [1]}))")

    assert "42" in table.data[0]["text/html"] and kernel.value("_sqldf.first()[0]") == "42"
    assert "made_up_for_own_kernels-1.4-py3-none-any.whl" in listed.data[0]["text/html"]
    assert text.data[0]["text/markdown"].strip() == "# A title"
    assert "<td>1</td>" in frame.data[0]["text/html"]


def test_mlflow_and_the_sdk_are_signed_in(workspace: RealWorkspace, kernel: OwnKernel):
    source = """
import mlflow
from databricks.sdk import WorkspaceClient
with mlflow.start_run() as run:
    mlflow.log_metric("m", 1.0)
print(run.info.run_id, WorkspaceClient().current_user.me().user_name)
"""
    *_, run_id, user = kernel.value(source).split()

    assert user == "local.user@localhost"
    asked = {"run_id": run_id}
    logged = workspace.request("GET", "/api/2.0/mlflow/runs/get", query=asked)["run"]
    tags = {tag["key"]: tag["value"] for tag in logged["data"]["tags"]}
    assert tags["mlflow.source.type"] == "NOTEBOOK"


def test_a_secret_and_the_own_tokens_are_hidden_in_whatever_is_sent(
    workspace: RealWorkspace, kernel: OwnKernel
):
    shown = [
        kernel.run("secret = dbutils.secrets.get('own-kernels', 'password')\nprint(secret)\nsecret"),
        kernel.run("raise ValueError(secret)"),
        kernel.run("import os\nprint(os.environ['DATABRICKS_TOKEN'])"),
        kernel.run("display(secret)"),
    ]

    for each in shown:
        assert "[REDACTED]" in each.text + each.error, each
        assert PASSWORD not in str(each) and workspace.profile["token"] not in str(each)


def test_a_cell_that_exits_says_its_value_and_the_kernel_goes_on(kernel: OwnKernel):
    ended = kernel.run("dbutils.notebook.exit('{\"rows\": 3}')\nprint('never')")

    assert (ended.status, ended.text) == ("error", 'Notebook exited: {"rows": 3}\n')
    assert kernel.value("1 + 1") == "2"


def test_a_cell_runs_the_file_that_lies_beside_the_notebook_and_imports_another(kernel: OwnKernel):
    kernel.value("colour = 'red'")
    kernel.value("%run ./beside_own")

    assert kernel.value("shared") == "'redred'"
    in_worker = "spark.range(3).select(F.udf(imported_own.doubled, 'long')('id')).collect()[2][0]"
    source = (
        f"import imported_own\nfrom pyspark.sql import functions as F\nimported_own.doubled(4), {in_worker}"
    )
    assert kernel.value(source) == "(8, 4)"


def test_what_is_installed_is_there_after_a_restart_for_this_kernel_and_its_workers_alone(
    workspace: RealWorkspace, kernel: OwnKernel
):
    kernel.value("left = 1\ndbutils.widgets.text('size', 'small')")
    kernel.value("%pip install --quiet --no-index --find-links /dbfs/own-kernels made_up_for_own_kernels")
    restarted = kernel.run("dbutils.library.restartPython()\nprint('never')")

    assert restarted.status == "ok" and restarted.text.startswith("Python began anew")
    assert kernel.value("'left' in globals(), dbutils.widgets.get('size')") == "(False, 'small')"
    source = """
from pyspark.sql import functions as F
@F.udf("string")
def of_worker(_):
    import made_up_for_own_kernels
    return made_up_for_own_kernels.VERSION
import made_up_for_own_kernels
made_up_for_own_kernels.VERSION, spark.range(1).select(of_worker("id")).first()[0]
"""
    assert kernel.value(source) == "('1.4', '1.4')"
    here = "import importlib.util; print(importlib.util.find_spec('made_up_for_own_kernels'))"
    assert subprocess.check_output([sys.executable, "-c", here], text=True).strip() == "None"


def test_a_module_that_was_edited_is_read_again_after_a_restart(on_connect: OwnKernel, folder: Path):
    module = folder / "edited_own.py"
    module.write_text("value = 1\n")
    before = on_connect.value("import numpy, edited_own\nedited_own.value")
    module.write_text("value = 'edited'\n")
    on_connect.value("%restart_python")

    after = on_connect.value("import numpy, edited_own\nedited_own.value, int(numpy.arange(3).sum())")
    assert (before, after) == ("1", "('edited', 3)")
    assert on_connect.value("spark.range(2).count()") == "2"


def test_a_breakpoint_stops_a_cell_and_lets_it_go_on(on_connect: OwnKernel):
    source = "first = 20\nsecond = first + 1\nprint(second * 2)"
    on_connect.debug("initialize", clientID="test", adapterID="python", pathFormat="path", linesStartAt1=True)
    on_connect.debug("attach")
    place = on_connect.debug("dumpCell", code=source)["body"]["sourcePath"]
    on_connect.debug("setBreakpoints", source={"path": place}, breakpoints=[{"line": 3}])
    on_connect.debug("configurationDone")

    asked = on_connect.client.execute(source)
    thread = on_connect.debug_event("stopped")["body"]["threadId"]
    frame = on_connect.debug("stackTrace", threadId=thread)["body"]["stackFrames"][0]
    value = on_connect.debug("evaluate", expression="second", frameId=frame["id"])["body"]["result"]
    on_connect.debug("continue", threadId=thread)
    shown = on_connect.shown(asked)
    on_connect.debug("disconnect", restart=False, terminateDebuggee=False)

    assert (frame["line"], value) == (3, "21")
    assert shown.text == "42\n"


@pytest.mark.parametrize("is_killed", [False, True])
@pytest.mark.parametrize("mode", NOTEBOOKS)
def test_when_a_kernel_ends_its_session_and_its_packages_go(
    workspace: RealWorkspace, folder: Path, eventually, mode: str, is_killed: bool
):
    with own_kernel(workspace.state, folder, f"{NOTEBOOKS[mode]}.py") as kernel:
        assert kernel.value("spark.range(2).count()").endswith("2")
        [own] = (workspace.state / "sessions").glob(f"{kernel.pid}-*")
        assert (own / "python" / "bin" / "python").exists()
        if is_killed:
            os.kill(kernel.pid, signal.SIGKILL)

    eventually(lambda: not own.exists())


def test_without_a_workspace_each_cell_says_which_command_starts_it(tmp_path: Path):
    with own_kernel(tmp_path / "nothing here", tmp_path) as kernel:
        for cell in ("1 + 1", "%sql\nSELECT 1"):
            shown = kernel.run(cell)

            assert shown.status == "error"
            assert re.fullmatch(
                r"NoWorkspaceError: no local workspace runs in .*nothing here; "
                r"start it with `make local-workspace-start`, then restart this kernel",
                shown.error,
            )


def test_editors_find_the_kernel_in_the_environment(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.setattr(sys, "prefix", str(tmp_path))

    written = write_kernel_spec(tmp_path / "state")

    assert written == tmp_path / "share" / "jupyter" / "kernels" / "local-workspace"
    spec = json.loads((written / "kernel.json").read_text())
    assert spec == kernel_spec(tmp_path / "state")
    assert spec["metadata"]["debugger"] is True and Path(spec["argv"][0]).is_absolute()


def test_working_copies_go_before_what_is_installed(tmp_path: Path):
    python = create_environment(tmp_path / "python", working_copies())
    shows = "import sys, local_workspace; print(sys.path); print(local_workspace.__file__)"
    path, file = subprocess.check_output([python, "-c", shows], text=True, cwd=tmp_path).splitlines()

    copies = [str(folder) for folder in working_copies()]
    assert copies
    found = [each for each in json.loads(path.replace("'", '"')) if each]
    assert found[: len(copies)] == copies and has_own_packages(tmp_path / "python")
    assert file.startswith(tuple(copies))


def test_only_the_owner_gets_a_session_and_for_a_process_of_the_own(workspace: RealWorkspace):
    answer = workspace.client.api_client
    with pytest.raises(Exception, match=r"pid 2147483646 is no process of the user"):
        answer.do("POST", "/api/2.0/local-workspace/sessions", body={"pid": 2147483646})
    asked = workspace.result_of(
        "asks_for_session",
        "# Databricks notebook source\nimport json, os, requests\n"
        "headers = {'Authorization': f\"Bearer {os.environ['DATABRICKS_TOKEN']}\"}\n"
        "address = os.environ['DATABRICKS_HOST'] + '/api/2.0/local-workspace/sessions'\n"
        "reply = requests.post(address, json={'pid': os.getpid()}, headers=headers)\n"
        "dbutils.notebook.exit(json.dumps(reply.status_code))\n",
    )

    assert asked == 403
