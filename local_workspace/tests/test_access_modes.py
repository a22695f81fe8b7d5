"""A cluster's access mode decides which Spark a notebook gets; both are one real Spark."""

import json
import os
import signal
import time
from pathlib import Path

import pytest
from real_workspace import DEDICATED, FOLDER, SERVERLESS, STANDARD, RealWorkspace, make_wheel

on_both = pytest.mark.parametrize("mode", [DEDICATED, STANDARD], ids=["classic", "connect"])

WORKS = """# Databricks notebook source
import json, sys
import pandas as pd
from pyspark.sql import SparkSession
from pyspark.sql import functions as F

@F.udf("long")
def plus_one(value):
    return value + 1

def twice(batches):
    for batch in batches:
        yield batch

rows = spark.range(3)
found = {
    "kind": type(rows).__module__,
    "version": spark.version,
    "udf": [row[0] for row in rows.select(plus_one("id")).collect()],
    "arrow": rows.mapInArrow(twice, "id long").toPandas()["id"].tolist(),
    "pandas": spark.createDataFrame(pd.DataFrame({"a": [1, 2]})).count(),
    "one session": SparkSession.builder.getOrCreate() is spark,
    "timezone": spark.conf.get("spark.sql.session.timeZone"),
}
rows.write.saveAsTable("works")
rows.write.mode("overwrite").option("replaceWhere", "id >= 0").saveAsTable("works")
found["history"] = spark.sql("DESCRIBE HISTORY works").count()
spark.sql("DROP TABLE works")
display(rows)

# COMMAND ----------

# MAGIC %sql SELECT 41 + 1 AS answer

# COMMAND ----------

found["sql"] = _sqldf.first().answer
dbutils.notebook.exit(json.dumps(found))
"""


@on_both
def test_what_a_notebook_does_with_spark_works_on_both(real_workspace: RealWorkspace, mode: str):
    found = real_workspace.result_of("works", WORKS, on=mode)

    assert found.pop("kind") == f"pyspark.sql.{'classic' if mode == DEDICATED else 'connect'}.dataframe"
    assert found == {
        "version": "4.1.4",
        "udf": [1, 2, 3],
        "arrow": [0, 1, 2],
        "pandas": 2,
        "one session": True,
        "timezone": "UTC",
        "history": 2,
        "sql": 42,
    }


ON_CLASSIC = """# Databricks notebook source
import json, threading
from pyspark.sql import SparkSession

spark.stop()
sc.stop()
hits = sc.accumulator(0)
sc.parallelize([1, 2]).foreach(hits.add)
of_threads = []
thread = threading.Thread(target=lambda: of_threads.append(len(sc.getJobTags())))
thread.start()
thread.join()
java = sc._jvm.org.apache.spark.sql.classic.SparkSession
found = {
    "rows after the stop": spark.range(3).count(),
    "rdd": sc.parallelize([1, 2]).map(lambda value: value + 1).collect(),
    "accumulator": hits.value,
    "one context": sc is spark.sparkContext and sqlContext.sparkSession is spark,
    "tags of another thread": of_threads,
    "is everybody's": java.getDefaultSession().get().equals(spark._jsparkSession),
}
dbutils.notebook.exit(json.dumps(found))
"""


def test_classic_has_its_context_and_a_stop_stops_it_for_nobody(real_workspace: RealWorkspace):
    assert real_workspace.result_of("on_classic", ON_CLASSIC) == {
        "rows after the stop": 3,
        "rdd": [2, 3],
        "accumulator": 3,
        "one context": True,
        "tags of another thread": [1],
        "is everybody's": False,
    }


# Two of these run at once; each waits until the other has come as far.
KEEPS_TO_ITSELF = """# Databricks notebook source
import json, pathlib, time

name, other = dbutils.widgets.get("name"), dbutils.widgets.get("other")
meeting = pathlib.Path(dbutils.widgets.get("meeting"))
spark.conf.set("spark.sql.shuffle.partitions", dbutils.widgets.get("partitions"))
spark.range(int(dbutils.widgets.get("partitions"))).createOrReplaceTempView("mine")
spark.range(1).createOrReplaceTempView(f"only_{name}")
(meeting / name).touch()
while not (meeting / other).exists():
    time.sleep(0.1)
found = [
    spark.conf.get("spark.sql.shuffle.partitions"),
    spark.table("mine").count(),
    spark.catalog.tableExists(f"only_{other}"),
]
dbutils.notebook.exit(json.dumps(found))
"""


@on_both
def test_two_runs_at_once_have_views_and_settings_of_their_own(
    real_workspace: RealWorkspace, mode: str, tmp_path: Path
):
    real_workspace.upload(f"{FOLDER}/keeps_to_itself", KEEPS_TO_ITSELF)
    values = {"meeting": str(tmp_path)}
    tasks = [
        real_workspace.task("keeps_to_itself", "a", on=mode, name="a", other="b", partitions="5", **values),
        real_workspace.task("keeps_to_itself", "b", name="b", other="a", partitions="6", **values),
    ]
    run = real_workspace.finished(real_workspace.submit(*tasks))

    outputs = [real_workspace.client.jobs.get_run_output(task["run_id"]) for task in run["tasks"]]
    found = [json.loads(output.notebook_output.result) for output in outputs]
    assert found == [["5", 5, False], ["6", 6, False]]


BUSY = """# Databricks notebook source
import os, pathlib, signal
from pyspark.sql import functions as F

@F.udf("long")
def slow(value):
    import time
    time.sleep(1)
    return value

place = pathlib.Path({place!r})
sc.setJobGroup("a group of its own", "")
place.write_text(str(os.getpid()))
try:
    spark.range(2000, numPartitions=2).select(slow("id")).collect()
finally:
    place.with_name("cleaned").write_text(str(spark.range(7).count()))
"""
COUNTS_JOBS = """# Databricks notebook source
import json, time

deadline = time.monotonic() + 30
while (active := sc.statusTracker().getActiveJobsIds()) and time.monotonic() < deadline:
    time.sleep(0.2)
dbutils.notebook.exit(json.dumps([list(active), spark.range(3).count()]))
"""


def begin_to_be_busy(workspace: RealWorkspace, place: Path, eventually) -> int:
    """Starts a run with jobs that take a quarter of an hour, and waits until it has begun with them."""
    workspace.upload(f"{FOLDER}/is_busy", BUSY.format(place=str(place)))
    run_id = workspace.submit(workspace.task("is_busy"))
    eventually(lambda: place.exists() and place.read_text(), seconds=100)
    time.sleep(1)
    return run_id


def test_a_cancelled_run_cleans_up_with_spark_and_leaves_no_job_in_it(
    real_workspace: RealWorkspace, tmp_path: Path, eventually
):
    run_id = begin_to_be_busy(real_workspace, tmp_path / "pid", eventually)
    real_workspace.client.jobs.cancel_run_and_wait(run_id)

    assert real_workspace.result_of("counts_jobs", COUNTS_JOBS) == [[], 3]
    assert (tmp_path / "cleaned").read_text() == "7"


def test_the_jobs_of_a_kernel_that_is_killed_end_and_spark_goes_on(
    real_workspace: RealWorkspace, tmp_path: Path, eventually
):
    java = (real_workspace.state / "spark" / "server.pid").read_text()
    run_id = begin_to_be_busy(real_workspace, tmp_path / "pid", eventually)
    os.kill(int((tmp_path / "pid").read_text()), signal.SIGKILL)
    run = real_workspace.finished(run_id)

    assert run["state"]["result_state"] == "FAILED"
    assert real_workspace.result_of("counts_jobs", COUNTS_JOBS) == [[], 3]
    assert (real_workspace.state / "spark" / "server.pid").read_text() == java


CHILD = """# Databricks notebook source
dbutils.notebook.exit(type(spark).__module__)
"""
PARENT = """# Databricks notebook source
import json
dbutils.notebook.exit(json.dumps([dbutils.notebook.run("./is_run", 0), type(spark).__module__]))
"""


@on_both
def test_a_notebook_that_is_run_by_another_has_the_same_spark(real_workspace: RealWorkspace, mode: str):
    real_workspace.upload(f"{FOLDER}/is_run", CHILD)

    child, parent = real_workspace.result_of("runs_another", PARENT, on=mode)

    assert child == parent == f"pyspark.sql.{'' if mode == DEDICATED else 'connect.'}session"


SAID = """# Databricks notebook source
import json

def said(call):
    try:
        call()
    except Exception as error:
        return f"{type(error).__name__}: {error}".partition("\\n")[0]
    return "nothing"
"""


def told(real_workspace: RealWorkspace, name: str, *calls: str) -> list[str]:
    """What a notebook without a cluster is told of each of these calls."""
    asked = ", ".join(f"said(lambda: {call})" for call in calls)
    found: list[str] = real_workspace.result_of(
        name, f"{SAID}\ndbutils.notebook.exit(json.dumps([{asked}]))\n", on=SERVERLESS
    )
    return found


# What a notebook calls, and what is not supported then by its name.
WITHOUT_SERVERLESS = {
    "spark.range(1).persist()": "PERSIST TABLE",
    "spark.range(1).cache()": "PERSIST TABLE",
    "spark.range(1).unpersist()": "UNPERSIST TABLE",
    "spark.catalog.cacheTable('t')": "CACHE TABLE",
    "spark.catalog.uncacheTable('t')": "UNCACHE TABLE",
    "spark.catalog.clearCache()": "CLEAR CACHE",
    "spark.catalog.refreshTable('t')": "REFRESH TABLE",
    "spark.sql('CACHE TABLE one AS SELECT 1')": "CACHE TABLE",
    "spark.sql('-- a comment\\n cache lazy  table t')": "CACHE TABLE",
    "spark.sql('UNCACHE TABLE IF EXISTS t')": "UNCACHE TABLE",
    "spark.sql('CLEAR CACHE')": "CLEAR CACHE",
    "spark.sql('REFRESH TABLE t')": "REFRESH TABLE",
    "spark.range(1).createOrReplaceGlobalTempView('v')": "GLOBAL TEMPORARY VIEW",
    "spark.sql('CREATE GLOBAL TEMPORARY VIEW v AS SELECT 1')": "GLOBAL TEMPORARY VIEW",
    "dbutils.fs.mount('abfss://c@a.dfs.core.windows.net', '/mnt/c')": "dbutils.fs.mount",
    "dbutils.fs.mounts()": "dbutils.fs.mounts",
    "dbutils.fs.unmount('/mnt/c')": "dbutils.fs.unmount",
    "dbutils.fs.updateMount('abfss://c@a.dfs.core.windows.net', '/mnt/c')": "dbutils.fs.updateMount",
    "dbutils.fs.refreshMounts()": "dbutils.fs.refreshMounts",
}


def test_serverless_has_no_cache_no_mounts_and_no_global_views(real_workspace: RealWorkspace):
    found = told(real_workspace, "no_cache", *WITHOUT_SERVERLESS)

    assert dict(zip(WITHOUT_SERVERLESS, found, strict=True)) == {
        call: f"{'ExecutionError' if call.startswith('dbutils') else 'AnalysisException'}: "
        f"[NOT_SUPPORTED_WITH_SERVERLESS] {what} is not supported on serverless compute. SQLSTATE: 0A000"
        for call, what in WITHOUT_SERVERLESS.items()
    }


# What a notebook calls, and the path of DBFS that it would come to.
IN_DBFS = {
    "spark.read.csv('/mnt/wards/rows.csv').count()": "/mnt/wards/rows.csv",
    "spark.read.format('csv').option('path', 'dbfs:/mnt/wards').load().count()": "/mnt/wards",
    "spark.read.text('rows.txt').columns": "/rows.txt",
    "spark.range(1).write.save('dbfs:/out')": "/out",
    "spark.range(1).write.option('path', '/out').saveAsTable('t')": "/out",
    "spark.sql('SELECT * FROM delta.`/mnt/wards`')": "/mnt/wards",
    "spark.sql(\"CREATE TABLE t (a INT) LOCATION 'dbfs:/t'\")": "/t",
    "spark.sql(\"ALTER TABLE t /* LOCATION '/Volumes/a' */ SET LOCATION '/mnt/t'\")": "/mnt/t",
    "spark.sql(\"CREATE TABLE t USING csv OPTIONS (header 'true', 'path' = '/rows')\")": "/rows",
    "spark.sql(\"CREATE TEMPORARY VIEW v USING csv OPTIONS (path '/rows')\")": "/rows",
    "spark.sql(\"INSERT OVERWRITE DIRECTORY 'dbfs:/out' USING csv SELECT 1\")": "/out",
    "spark.sql(\"INSERT OVERWRITE DIRECTORY USING csv OPTIONS (path 'dbfs:/out') SELECT 1\")": "/out",
    "spark.sql(\"COPY INTO t FROM 'dbfs:/rows' FILEFORMAT = CSV\")": "/rows",
    "spark.sql(\"COPY INTO t FROM (SELECT a FROM '/rows') FILEFORMAT = CSV\")": "/rows",
    "spark.read.format('csv').options(PATH='/mnt/wards').load().count()": "/mnt/wards",
    "spark.range(1).write.format('csv').option('path', 'dbfs:/out').save()": "/out",
    "spark.range(1).writeTo('t').using('csv').option('path', 'dbfs:/out').create()": "/out",
    "spark.catalog.createTable('t', source='csv', path='/rows')": "/rows",
    "spark.catalog.createTable('t', source='csv', **{'path': '/rows'})": "/rows",
    "dbutils.fs.ls('/mnt/wards')": "/mnt/wards",
    "dbutils.fs.put('dbfs:/FileStore/a.txt', 'text')": "/FileStore/a.txt",
    "dbutils.fs.cp('/Volumes/main/default/v/a', to='/a')": "/a",
    "dbutils.fs.head('/Volumes/../mnt/a')": "/mnt/a",
}


def test_serverless_has_no_dbfs(real_workspace: RealWorkspace):
    found = told(real_workspace, "no_dbfs", *IN_DBFS)

    assert dict(zip(IN_DBFS, found, strict=True)) == {
        call: f"{'ExecutionError' if call.startswith('dbutils') else 'AnalysisException'}: [DBFS_DISABLED] "
        f"Public DBFS root is disabled. Access is denied on path: {path} SQLSTATE: 56038"
        for call, path in IN_DBFS.items()
    }


# Statements that ask for nothing of DBFS, though words of them could be taken for that; and what Spark says.
NOT_IN_DBFS = {
    "SELECT location '/mnt/a' FROM VALUES (1) AS t (location)": "ParseException",
    "SELECT 'LOCATION', '/mnt/a' -- LOCATION '/mnt/a'": "nothing",
    "SELECT 1 /* INSERT OVERWRITE DIRECTORY '/mnt/a' */ WHERE 'path' = '/mnt/a'": "nothing",
    "CREATE TEMPORARY VIEW v AS SELECT \"it's LOCATION '/mnt/a'\" AS `LOCATION '/mnt/a'`": "nothing",
    "CREATE TEMPORARY VIEW w AS SELECT 'delta.`/mnt/a`, OPTIONS ( path \"/mnt/a\" )' AS a": "nothing",
    "SELECT 1 AS a /* CACHE TABLE t */": "nothing",
    "SELECT 'SET spark.sql.adaptive.enabled = false'": "nothing",
}


def test_serverless_takes_no_text_and_no_comment_for_a_path(real_workspace: RealWorkspace):
    calls = (f"spark.sql({statement!r})" for statement in NOT_IN_DBFS)
    found = told(real_workspace, "not_in_dbfs", *calls)

    assert [said.partition(":")[0] for said in found] == list(NOT_IN_DBFS.values()), found


SETTING = "spark.sql.adaptive.enabled"
CHANGES_OF_A_SETTING = (
    f"spark.conf.set({SETTING!r}, 'false')",
    f"spark.conf.unset({SETTING!r})",
    f"spark.sql('SET {SETTING} = false')",
    f"spark.sql('-- a comment\\nSET {SETTING}=false')",
    f"spark.sql('/* a comment */ set {SETTING} = false;')",
    f"spark.sql('SET `{SETTING}`=false')",
    f"spark.sql('RESET {SETTING}')",
    f"spark.sql('RESET `{SETTING}`;')",
)
WITH_SETTINGS = (
    "spark.conf.set('spark.sql.shuffle.partitions', '3')",
    "spark.conf.unset('spark.sql.shuffle.partitions')",
    "spark.sql('SET spark.sql.ansi.enabled = true')",
    "spark.sql('SET `spark.sql.shuffle.partitions`=3')",
    "spark.sql('RESET spark.sql.shuffle.partitions')",
    f"spark.sql('SET {SETTING}')",
    "spark.sql(\"SET TIME ZONE 'UTC'\")",
    "spark.sql('DECLARE OR REPLACE VARIABLE n INT')",
    "spark.sql('SET VAR n = 1')",
)


def test_serverless_has_six_settings_and_no_context(real_workspace: RealWorkspace):
    calls = (*CHANGES_OF_A_SETTING, *WITH_SETTINGS, "spark.sparkContext")
    *found, context = told(real_workspace, "six_settings", *calls)

    not_available = f"[CONFIG_NOT_AVAILABLE] Configuration {SETTING} is not available. SQLSTATE: 42K0I"
    refused = dict.fromkeys(CHANGES_OF_A_SETTING, f"AnalysisException: {not_available}")
    allowed = dict.fromkeys(WITH_SETTINGS, "nothing")
    assert dict(zip(calls, found, strict=False)) == refused | allowed
    assert context.startswith("PySparkAttributeError: [JVM_ATTRIBUTE_NOT_SUPPORTED] Attribute `sparkContext`")


USES_ENVIRONMENT = """# Databricks notebook source
import json, of_the_environment
from pyspark.sql import functions as F

@F.udf("string")
def of_a_worker(_):
    import of_the_environment
    return of_the_environment.VERSION

version = spark.range(1).select(of_a_worker("id")).first()[0]
dbutils.notebook.exit(json.dumps([of_the_environment.VERSION, version]))
"""


def test_the_dependencies_of_an_environment_are_there_for_the_notebook_and_its_workers(
    real_workspace: RealWorkspace,
):
    make_wheel(real_workspace.state / "volumes" / "main" / "default" / "wheels", "of_the_environment", "1.5")
    real_workspace.upload(f"{FOLDER}/uses_environment", USES_ENVIRONMENT)
    wheel = "/Volumes/main/default/wheels/of_the_environment-1.5-py3-none-any.whl"
    spec = {"environment_version": "5", "dependencies": [wheel]}
    task = real_workspace.task("uses_environment", on=SERVERLESS) | {"environment_key": "default"}
    body = {"tasks": [task], "environments": [{"environment_key": "default", "spec": spec}]}

    run_id = real_workspace.request("POST", "/api/2.2/jobs/runs/submit", body=body)["run_id"]
    run = real_workspace.finished(run_id)

    output = real_workspace.client.jobs.get_run_output(run["tasks"][0]["run_id"])
    assert output.notebook_output, output.error
    assert json.loads(output.notebook_output.result) == ["1.5", "1.5"]


WORKS_SERVERLESS = """# Databricks notebook source
import json

folder = "/Volumes/main/default/serverless"
dbutils.fs.put(f"{folder}/in/rows.csv", "a\\n1\\n2\\n", True)
rows = spark.read.csv(f"dbfs:{folder}/in", header=True)
rows.write.mode("overwrite").save(f"{folder}/out")
rows.write.mode("overwrite").saveAsTable("serverless_works")
found = [
    spark.sql(f"SELECT * FROM delta.`{folder}/out`").count(),
    spark.sql("SELECT '/mnt/a' AS `b/c` FROM serverless_works").count(),
    [file.name for file in dbutils.fs.ls(f"dbfs:{folder}/in")],
]
spark.sql("DROP TABLE serverless_works")
dbutils.notebook.exit(json.dumps(found))
"""


def test_serverless_has_volumes_and_tables(real_workspace: RealWorkspace):
    assert real_workspace.result_of("works_serverless", WORKS_SERVERLESS, on=SERVERLESS) == [
        2,
        2,
        ["rows.csv"],
    ]
