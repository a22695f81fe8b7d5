"""No process of a run outlives it, also one that knows nothing of the run and belongs to nobody."""

import os
import signal
import sys
import textwrap
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

import psutil
import pytest
from databricks.sdk.errors import OperationFailed
from local_workspace.processes.processes import has_ended, kill_all
from real_workspace import FOLDER, RealWorkspace, make_wheel
from test_notebook_run import execute  # noqa: F401

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="orphans are adopted on Linux only")

# Without its environment, in a session of its own, without its parent, and deaf to being asked to end.
LEAVE = (
    "import subprocess\n"
    'subprocess.run(["env", "-i", "setsid", "/bin/sh", "-c", """sh -c \'trap "" TERM INT HUP; '
    'echo $$ > {file}.new; mv {file}.new {file}; while :; do sleep 1; done\' & """])\n'
    "import pathlib, time\n"
    'while not pathlib.Path("{file}").exists(): time.sleep(0.05)'
)


@pytest.fixture
def escaped(tmp_path: Path) -> Iterator[Path]:
    """Where a process that gets away writes its number; ends it where a run has not."""
    file = tmp_path / "escaped"
    yield file
    if file.exists() and psutil.pid_exists(number := int(file.read_text())):
        os.kill(number, signal.SIGKILL)


def is_over(file: Path) -> bool:
    try:
        return has_ended(psutil.Process(int(file.read_text())))
    except psutil.NoSuchProcess:
        return True


def run_on(workspace: RealWorkspace, *cells: str) -> int:
    source = "\n# COMMAND ----------\n".join(["# Databricks notebook source", *cells])
    workspace.upload(f"{FOLDER}/leaves", source)
    return workspace.submit(workspace.task("leaves"))


def test_a_notebook_that_ends_leaves_nothing(real_workspace, escaped):
    run = real_workspace.finished(run_on(real_workspace, LEAVE.format(file=escaped)))

    assert run["state"]["result_state"] == "SUCCESS"
    assert is_over(escaped)


def test_a_run_that_is_cancelled_leaves_nothing(real_workspace, escaped, eventually):
    run_id = run_on(real_workspace, LEAVE.format(file=escaped), "import time; time.sleep(600)")
    eventually(escaped.exists, seconds=60)

    real_workspace.client.jobs.cancel_run(run_id)

    assert real_workspace.finished(run_id)["state"]["result_state"] == "CANCELED"
    assert is_over(escaped)


def test_a_run_whose_first_process_is_killed_leaves_nothing(real_workspace, escaped):
    kill = "import os, signal, time; time.sleep(3); os.kill(os.getppid(), signal.SIGKILL); time.sleep(600)"

    with suppress(OperationFailed):  # as it is told where nothing could be kept of the run any more
        run = real_workspace.finished(run_on(real_workspace, LEAVE.format(file=escaped), kill))
        assert run["state"]["result_state"] == "FAILED"

    assert is_over(escaped)


def test_a_run_that_was_not_forked_leaves_nothing(execute, escaped):  # noqa: F811
    run = execute(LEAVE.format(file=escaped))

    assert run.result["status"] == "SUCCESS"
    assert is_over(escaped)


def test_a_function_on_sparks_workers_leaves_nothing(real_workspace, escaped):
    make_wheel(real_workspace.state / "dbfs" / "left", "of_this_run_alone", "1.0")
    install = "# MAGIC %pip install --quiet --no-index --find-links /dbfs/left of_this_run_alone"
    leave = textwrap.indent(LEAVE.format(file=escaped), " ")
    apply = f"def leave(rows):\n{leave}\n return rows\nspark.range(1).mapInPandas(leave, 'id long').collect()"

    run = real_workspace.finished(run_on(real_workspace, install, apply))

    assert run["state"]["result_state"] == "SUCCESS"
    assert is_over(escaped)


def test_one_that_starts_others_faster_than_they_are_killed_ends_with_them(
    real_workspace, tmp_path, eventually
):
    mark = f"generation-{tmp_path.name}"
    spread = (
        "import os, subprocess\n"
        f'subprocess.run(["env", "-i", "setsid", "sh", "-c", """g() {{ trap "" TERM; : {mark}; '
        'sleep 0.02; (g &) ; }; (g &)"""])\n'
        "import time; time.sleep(600)"
    )

    def generation() -> list[psutil.Process]:
        everybody = psutil.process_iter(["cmdline"])
        return [
            one for one in everybody if mark in " ".join(one.info["cmdline"] or []) and not has_ended(one)
        ]

    run_id = run_on(real_workspace, spread)
    eventually(generation, seconds=60)
    real_workspace.client.jobs.cancel_run(run_id)
    real_workspace.finished(run_id)
    left = generation()
    kill_all(generation)

    assert left == []
