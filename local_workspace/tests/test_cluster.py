"""A cluster whose Spark dies: a stand-in for Java listens where Spark would, but for the last test."""

import json
import os
import sys
from collections.abc import Iterator
from contextlib import nullcontext
from pathlib import Path
from typing import Any

import psutil
import pyspark
import pytest
from databricks.sdk.errors import OperationFailed
from local_workspace.jobs.run_documents import has_ended, new_run
from local_workspace.jobs.runs import RunManager
from local_workspace.processes.processes import has_ended as has_ended_process
from local_workspace.processes.processes import recall
from local_workspace.spark.cluster import (
    PID_FILE,
    ClusterError,
    SparkCluster,
    free_port,
)
from local_workspace.spark.server_settings import CARRIED_BY_SPARK, DELTA_PACKAGE, delta_is_here
from local_workspace.store.database import Database
from local_workspace.store.state import StateFolder
from real_workspace import (
    DEDICATED,
    FOLDER,
    STANDARD,
    RealWorkspace,
    command_lines,
    kill_process_of,
    make_wheel,
)
from test_start_and_stop import JAVA

USER = """
import sys, time
from pathlib import Path
(Path(sys.argv[1]) / "uses_cluster").touch()
time.sleep(600)
"""


@pytest.fixture
def state(tmp_path: Path) -> StateFolder:
    state = StateFolder(tmp_path / "state")
    state.create()
    (state.workspace_files / "job").write_text("# Databricks notebook source\n")
    return state


@pytest.fixture
def cluster(state: StateFolder, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[SparkCluster]:
    java = tmp_path / "bin" / "java"
    java.parent.mkdir()
    java.write_text(JAVA)
    java.chmod(0o700)
    monkeypatch.setenv("JAVA_HOME", str(tmp_path))
    cluster = SparkCluster(state.spark, state.dbfs, state.volumes, state.logs / "spark.log")
    yield cluster
    cluster.stop()


@pytest.mark.skipif(sys.platform != "linux", reason="Linux tells which ports it gives by itself")
def test_the_port_is_none_that_a_connection_gets_while_spark_starts():
    first = int(Path("/proc/sys/net/ipv4/ip_local_port_range").read_text().split()[0])

    assert all(1024 < free_port() < first for _ in range(50))


def test_nothing_is_started_on_a_cluster_that_was_stopped(cluster: SparkCluster, state: StateFolder):
    cluster.ensure_running()
    cluster.stop()

    with pytest.raises(ClusterError):
        cluster.ensure_running()
    cluster.warm_up()

    assert cluster.state() == "TERMINATED"
    assert not (state.spark / PID_FILE).exists()


def test_a_run_that_comes_first_has_the_machine_for_itself(
    cluster: SparkCluster, monkeypatch: pytest.MonkeyPatch
):
    cluster.ensure_running()
    monkeypatch.setattr(cluster, "_start_warm_up", lambda _: pytest.fail("the warm-up began beside a run"))

    cluster.end_warm_up()
    cluster.warm_up()


def test_a_warm_up_that_has_ended_keeps_neither_a_run_nor_the_stop_from_its_work(
    cluster: SparkCluster, state: StateFolder, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr(cluster, "attached", lambda *_: nullcontext({}))
    monkeypatch.setattr(cluster, "_start_warm_up", lambda _: psutil.Popen([sys.executable, "-c", ""]))
    cluster.ensure_running()
    java = recall(state.spark / PID_FILE)
    cluster.warm_up()

    cluster.end_warm_up()
    cluster.stop()

    assert java is not None
    assert has_ended_process(java)


def submit(runs: RunManager, database: Database) -> int:
    task = {"task_key": "main", "existing_cluster_id": "c1", "notebook_task": {"notebook_path": "/job"}}
    run_id: int = new_run(database, 1, "SUBMIT_RUN", {"tasks": [task]}, "me")["run_id"]
    runs.submit(run_id)
    return run_id


def test_delta_is_there_once_ivy_has_downloaded_it(tmp_path: Path):
    jars = tmp_path / ".ivy2.5.2" / "jars"
    jars.mkdir(parents=True)
    before = delta_is_here(tmp_path)
    (jars / f"io.delta_delta-spark_4.1_2.13-{DELTA_PACKAGE.rpartition(':')[2]}.jar").touch()

    assert (before, delta_is_here(tmp_path)) == (False, True)


@pytest.mark.parametrize("left_out", CARRIED_BY_SPARK)
def test_what_is_not_downloaded_with_delta_is_a_part_of_spark(left_out: str):
    jars = Path(pyspark.__path__[0]) / "jars"

    assert list(jars.glob(f"{left_out.partition(':')[2]}-[0-9]*.jar")) != []


def test_a_run_on_a_spark_that_dies_says_so_and_the_next_one_finds_a_new_spark(
    state: StateFolder, cluster: SparkCluster, tmp_path: Path, eventually
):
    def environment(_run: Any) -> dict[str, str]:
        cluster.ensure_running()
        return dict(os.environ) | cluster.environment

    script = tmp_path / "user.py"
    script.write_text(USER)
    database = Database(state.database)
    database.put("cluster", "c1", {"cluster_id": "c1", "terminated": False})
    command = (sys.executable, str(script))
    runs = RunManager(database, state, environment, "", command, cluster_end=cluster.find_end)
    first = submit(runs, database)
    eventually(lambda: list(state.runs.glob("*/uses_cluster")) != [])
    address = cluster.environment["SPARK_REMOTE"]
    java = recall(state.spark / PID_FILE)
    java.kill()
    eventually(lambda: has_ended(runs.find(first)))
    second = submit(runs, database)
    eventually(lambda: len(list(state.runs.glob("*/uses_cluster"))) == 2)
    ended = runs.find(first)
    runs.shutdown()

    message = "the cluster's Spark ended while the run used it (signal 9); the next run starts it again"
    assert ended["tasks"][0]["state"]["life_cycle_state"] == "INTERNAL_ERROR"
    assert ended["tasks"][0]["state"]["state_message"] == message
    assert message in ended["state"]["state_message"]
    assert ended["status"]["termination_details"]["code"] == "DRIVER_ERROR"
    assert runs.find(second)["state"]["state_message"] == "the workspace was stopped while it ran"
    assert cluster.environment["SPARK_REMOTE"] != address
    assert cluster.state() == "RUNNING"
    assert psutil.pid_exists(recall(state.spark / PID_FILE).pid)
    database.close()


BUSY = """# Databricks notebook source
import pathlib, time
spark.sql("CREATE TABLE kept AS SELECT 7 AS n")
pathlib.Path({made!r}).touch()
time.sleep(600)
"""
READS = """# Databricks notebook source
rows = str(spark.table("kept").collect()[0].n)
spark.sql("DROP TABLE kept")
dbutils.notebook.exit(rows)
"""


PACKAGED = """# Databricks notebook source
# MAGIC %pip install --quiet --no-index --find-links /dbfs/worker-wheels made_up_worker_package

# COMMAND ----------

import json
from pyspark.sql.functions import udf

@udf
def seen_by_a_worker(number):
    import sys
    is_warm = "sklearn" in sys.modules
    import json, os, time, made_up_worker_package, numpy
    time.sleep(0.5)  # so that another worker gets the other row
    return json.dumps(
        [made_up_worker_package.VERSION, sys.executable, is_warm, os.getpid(), numpy.random.rand()]
    )

rows = spark.range(2, numPartitions=2).select(seen_by_a_worker("id")).collect()
dbutils.notebook.exit(json.dumps([json.loads(row[0]) for row in rows]))
"""


@pytest.mark.parametrize("mode", [DEDICATED, STANDARD], ids=["classic", "connect"])
def test_workers_are_forked_with_the_packages_of_their_run_and_end_with_it(
    real_workspace: RealWorkspace, mode: str
):
    make_wheel(real_workspace.state / "dbfs" / "worker-wheels", "made_up_worker_package", "2.3")
    real_workspace.upload(f"{FOLDER}/packaged", PACKAGED)
    for _ in range(2):
        run = real_workspace.finished(real_workspace.submit(real_workspace.task("packaged", on=mode)))
        output = real_workspace.client.jobs.get_run_output(run["tasks"][0]["run_id"])
        versions, pythons, warm, pids, numbers = zip(*json.loads(output.notebook_output.result), strict=True)

        folder = real_workspace.state / "runs" / str(run["tasks"][0]["run_id"])
        assert set(versions) == {"2.3"}
        assert set(pythons) == {f"{folder}/python/bin/python"}
        assert set(warm) == {sys.platform == "linux"}
        assert len(set(pids)) == len(set(numbers)) == 2, "each worker draws numbers of its own"
        running = {process.pid for process in psutil.process_iter(["cmdline"]) if process.info["cmdline"]}
        assert running.isdisjoint(pids)
        assert [line for line in command_lines() if str(folder) in line] == []


COUNTS_THREADS = """# Databricks notebook source
import json, threading

started, start = [], threading.Thread.start
threading.Thread.start = lambda thread: started.append(thread.name) or start(thread)
rows = [len(spark.range(3).collect()) for _ in range(3)]
threading.Thread.start = start
dbutils.notebook.exit(json.dumps([rows, [name for name in started if "ThreadPool" in name]]))
"""


def test_sparks_client_starts_no_thread_while_it_holds_a_lock(real_workspace: RealWorkspace):
    real_workspace.upload(f"{FOLDER}/counts_threads", COUNTS_THREADS)
    run = real_workspace.finished(real_workspace.submit(real_workspace.task("counts_threads", on=STANDARD)))
    output = real_workspace.client.jobs.get_run_output(run["tasks"][0]["run_id"])

    assert json.loads(output.notebook_output.result) == [[3, 3, 3], []]


OPENS = """# Databricks notebook source
import json
spark.range(3).collect()
dbutils.notebook.exit(json.dumps(spark.session_id))
"""
COMES_BACK = """# Databricks notebook source
import json, os
from pyspark.sql import SparkSession
try:
    again = SparkSession.builder.remote(os.environ["SPARK_REMOTE"] + ";session_id={session}").create()
    told = again.range(3).collect()
except Exception as error:
    told = error
dbutils.notebook.exit(json.dumps(str(told)))
"""


def test_a_session_of_spark_connect_ends_with_its_run(real_workspace: RealWorkspace):
    session = real_workspace.result_of("opens", OPENS, on=STANDARD)
    told = real_workspace.result_of("comes_back", COMES_BACK.format(session=session), on=STANDARD)

    assert "SESSION_CLOSED" in told


def test_a_real_spark_that_is_killed_fails_its_run_and_the_next_one_finds_its_tables(
    real_workspace: RealWorkspace, tmp_path: Path, eventually
):
    made = tmp_path / "made"
    real_workspace.upload(f"{FOLDER}/busy", BUSY.format(made=str(made)))
    real_workspace.upload(f"{FOLDER}/reads", READS)
    busy = real_workspace.submit(real_workspace.task("busy"))
    eventually(made.exists, seconds=200)
    kill_process_of(real_workspace.state / "spark" / "server.pid")
    with pytest.raises(
        OperationFailed, match=r"the cluster's Spark ended while the run used it \(signal 9\)"
    ):
        real_workspace.finished(busy)
    reads = real_workspace.finished(real_workspace.submit(real_workspace.task("reads")))

    run = real_workspace.client.jobs.get_run(busy)
    assert run.state.life_cycle_state.value == "INTERNAL_ERROR"
    assert run.status.termination_details.code.value == "DRIVER_ERROR"
    output = real_workspace.client.jobs.get_run_output(reads["tasks"][0]["run_id"])
    assert output.notebook_output.result == "7"
