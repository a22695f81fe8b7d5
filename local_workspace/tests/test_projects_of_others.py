"""What notebooks of other people's projects ask for, a kind a test, on both Sparks where it is used."""

import json
from pathlib import Path
from typing import Any

import pytest
from databricks.sdk.service.workspace import ImportFormat
from real_workspace import DEDICATED, STANDARD, RealWorkspace, make_wheel

on_both = pytest.mark.parametrize("mode", [DEDICATED, STANDARD], ids=["classic", "connect"])
FOLDER = "/Shared/others"

OF_SPARK = """
from pyspark.sql import SparkSession

spark = SparkSession.builder.appName("of a file").getOrCreate()
"""
HELPER = """
VALUE = 1

def plus(number):
    return number + VALUE
"""
BESIDE = """# Databricks notebook source
import json, os, sys
import helper, of_spark

found = {"kind": type(of_spark.spark.range(1)).__module__, "rows": of_spark.spark.range(3).count()}

# COMMAND ----------

from pyspark.sql import functions as F

found["one session"] = of_spark.spark is spark
plus = F.udf(helper.plus, "long")
found["in the workers"] = [row[0] for row in spark.range(2).select(plus("id")).collect()]

# COMMAND ----------

path = dbutils.notebook.entry_point.getDbutils().notebook().getContext().notebookPath().get()
folder = "/Workspace/" + os.path.dirname(path)

# COMMAND ----------

# MAGIC %cd $folder

# COMMAND ----------

# MAGIC %cd src

# COMMAND ----------

# MAGIC %pip install --quiet --no-index --find-links /Volumes/main/default/wheels -r ../requirements.txt

# COMMAND ----------

sys.path.append(f"/Workspace{os.path.dirname(path)}/src")
import inner, of_others

found["by its path"] = inner.NAME, of_others.VERSION
found["files"] = json.load(open(f"{folder}/settings.json")), sorted(os.listdir(f"{folder}/src"))
with open("/Volumes/main/default/wheels/written.txt", "w") as file:
    file.write("by plain Python")
found["volume"] = dbutils.fs.head("/Volumes/main/default/wheels/written.txt"), os.path.exists("/dbfs")
import io, contextlib, pandas, pyarrow.parquet
table = "/Volumes/main/default/wheels/table.parquet"
pandas.DataFrame({"a": [1, 2]}).to_parquet(table)
spark.read.parquet(table).write.mode("overwrite").parquet(f"{table}s")
read = pandas.read_parquet(f"{table}s").a.sum(), pyarrow.parquet.read_table(source=table).num_rows
found["parquet"] = [int(each) for each in read]
told = io.StringIO()
with contextlib.redirect_stderr(told):
    try:
        spark.sql("SELECT nope FROM range(1)").collect()
    except Exception:
        found["told beside the error"] = told.getvalue()
name = F.udf(lambda _: __import__("inner").NAME)
found["inner in the workers"] = spark.range(1).select(name("id")).first()[0]
dbutils.notebook.exit(json.dumps(found))
"""


@pytest.fixture(scope="module")
def others(real_workspace: RealWorkspace) -> RealWorkspace:
    """The workspace with a folder as somebody's bundle deploys it."""
    make_wheel(real_workspace.state / "volumes" / "main" / "default" / "wheels", "of_others", "2.1")
    files = {
        "helper.py": HELPER,
        "of_spark.py": OF_SPARK,
        "settings.json": '{"a": 1}',
        "requirements.txt": "of_others\n",
        "src/inner.py": "NAME = 'inner'",
    }
    for name, text in files.items():
        put(real_workspace, f"{FOLDER}/{name}", text)
    return real_workspace


def put(workspace: RealWorkspace, path: str, text: str, **form: Any) -> None:
    """Puts a file or notebook where it is told by its name what it is."""
    workspace.client.workspace.mkdirs(path.rpartition("/")[0])
    options = {"format": ImportFormat.AUTO, "overwrite": True} | form
    workspace.client.workspace.upload(path, text.encode(), **options)


def run(workspace: RealWorkspace, path: str, mode: str, **parameters: str) -> tuple[dict[str, Any], Any]:
    """A notebook's run when it has ended, and its output."""
    task = {
        "task_key": "main",
        "notebook_task": {"notebook_path": path, "base_parameters": parameters},
        "existing_cluster_id": workspace.cluster_id(mode),
    }
    ended = workspace.finished(workspace.submit(task))
    return ended, workspace.client.jobs.get_run_output(ended["tasks"][0]["run_id"])


def result(workspace: RealWorkspace, name: str, source: str, mode: str, **parameters: str) -> Any:
    """What a notebook in the folder exits with, which is JSON."""
    put(workspace, f"{FOLDER}/{name}.py", source)
    _, output = run(workspace, f"{FOLDER}/{name}", mode, **parameters)
    assert output.notebook_output and output.notebook_output.result, output.error_trace
    return json.loads(output.notebook_output.result)


@on_both
def test_a_notebook_finds_what_is_beside_it_by_plain_python_and_in_the_workers(others, mode):
    found = result(others, "beside", BESIDE, mode)

    assert found.pop("kind") == f"pyspark.sql.{'classic' if mode == DEDICATED else 'connect'}.dataframe"
    assert found == {
        "rows": 3,
        "one session": True,
        "in the workers": [1, 2],
        "by its path": ["inner", "2.1"],
        "files": [{"a": 1}, ["inner.py"]],
        "volume": ["by plain Python", mode == DEDICATED],
        "parquet": [3, 2],
        "told beside the error": "",
        "inner in the workers": "inner",
    }
    file = others.state / "volumes" / "main" / "default" / "wheels" / "written.txt"
    assert file.read_text() == "by plain Python"


CONTEXT = """# Databricks notebook source
import json, os
from databricks.sdk.runtime import *
from databricks.sdk.runtime import dbutils as of_runtime, spark as session, displayHTML as shown
from pyspark.dbutils import DBUtils

context = dbutils.notebook.entry_point.getDbutils().notebook().getContext()
told = json.loads(context.toJson())
found = {
    "path": [context.notebookPath().get(), told["extraContext"]["notebook_path"]],
    "token": context.apiToken().getOrElse(None) == os.environ["DATABRICKS_TOKEN"],
    "url": context.apiUrl().get() == os.environ["DATABRICKS_HOST"],
    "user": [context.userName().get(), context.tags().get("user").get(), context.tags().apply("user")],
    "job": context.tags().get("jobId").isDefined(),
    "run": told["tags"]["runId"] == str(context.currentRunId().get().id()),
    "id": int(context.notebookId().get()) > 0,
    "no token": os.environ["DATABRICKS_TOKEN"] in context.safeToJson(),
    "same": [of_runtime is dbutils, session is spark, DBUtils(spark) is dbutils, shown is displayHTML],
    "sql": [list(row) for row in sql("select current_user(), session_user()").collect()],
    "rows": table("others_rows").count(),
}
found["by SDK"] = __import__("databricks.sdk").sdk.WorkspaceClient().current_user.me().user_name
spark.range(2).display()
print(context.toJson())
dbutils.notebook.exit(json.dumps(found))
"""


@on_both
def test_a_notebook_knows_its_path_its_user_and_its_run(others, mode):
    source = CONTEXT.replace(
        "import *", "import *\nspark.range(2).write.mode('overwrite').saveAsTable('others_rows')"
    )

    found = result(others, "context", source, mode)

    user = others.client.current_user.me().user_name
    assert found == {
        "path": [f"{FOLDER}/context"] * 2,
        "token": True,
        "url": True,
        "user": [user] * 3,
        "job": True,
        "run": True,
        "id": True,
        "no token": False,
        "same": [True] * 4,
        "sql": [[user, user]],
        "rows": 2,
        "by SDK": user,
    }


MODEL = """# Databricks notebook source
import json
import mlflow, mlflow.sklearn
import pandas as pd
from sklearn.linear_model import LinearRegression

mlflow.set_experiment("/Shared/others-model")
rows = pd.DataFrame({"a": [1.0, 2.0, 3.0]})
with mlflow.start_run():
    model = LinearRegression().fit(rows, rows["a"] * 2)
    mlflow.sklearn.log_model(
        model,
        name="model",
        registered_model_name="main.default.of_others",
        input_example=rows,
        pip_requirements=["scikit-learn"],
        skops_trusted_types=["numpy.dtype"],
    )
version = mlflow.MlflowClient().search_model_versions("name = 'main.default.of_others'")[0].version
predict = mlflow.pyfunc.spark_udf(spark, f"models:/main.default.of_others/{version}", env_manager="local")
scored = spark.createDataFrame(rows).withColumn("prediction", predict("a"))
dbutils.notebook.exit(json.dumps([round(row.prediction, 6) for row in scored.orderBy("a").collect()]))
"""


@on_both
def test_a_registered_model_scores_in_the_workers(others, mode):
    assert result(others, "model", MODEL, mode) == [2.0, 4.0, 6.0]


SQL = """-- Databricks notebook source
-- MAGIC %md
-- MAGIC # In SQL

-- COMMAND ----------

-- DBTITLE 1,widgets
-- what it takes
CREATE WIDGET TEXT part DEFAULT "east, west";
CREATE WIDGET DROPDOWN size DEFAULT '1' CHOICES SELECT * FROM VALUES ('1'), ('2');

-- COMMAND ----------

CREATE OR REPLACE TEMP VIEW parts AS SELECT :part AS part, ${size} AS size, 9007199254740993L AS n;

-- COMMAND ----------

-- DBTITLE 1,shown
SELECT part, size, n FROM parts

-- COMMAND ----------

-- MAGIC %run ./of_python

-- COMMAND ----------

-- MAGIC %python
-- MAGIC dbutils.notebook.exit(_sqldf.first().part + by_python)
"""


@on_both
def test_a_notebook_in_sql_runs(others, mode):
    put(others, f"{FOLDER}/in_sql.sql", SQL)
    put(others, f"{FOLDER}/of_python.py", "# Databricks notebook source\nby_python = '!'")

    ended, output = run(others, f"{FOLDER}/in_sql", mode, size="2")

    assert output.notebook_output.result == "east, west!", output.error_trace
    shown = others.executed(ended["tasks"][0]["run_id"])["shown"]
    assert "<td>east, west</td><td>2</td><td>9007199254740993</td>" in shown


def test_a_cell_of_a_language_that_is_not_here_is_refused_by_name(others):
    put(others, f"{FOLDER}/in_scala.scala", "// Databricks notebook source\nprintln(1)")

    _, output = run(others, f"{FOLDER}/in_scala", DEDICATED)

    assert output.error.startswith("NotImplementedError: cells of %scala, %r do not run here")


def jupyter(*cells: str, **metadata: Any) -> str:
    """A notebook as Jupyter writes it, with the mark that some editors of Windows put in front."""
    whole = [{"cell_type": "code", "metadata": {}, "source": cell, "outputs": []} for cell in cells]
    document = {"cells": whole, "metadata": metadata, "nbformat": 4, "nbformat_minor": 4}
    return "\ufeff" + json.dumps(document)


def test_jupyter_notebooks_run_each_other_by_either_name(others):
    put(others, f"{FOLDER}/child.ipynb", jupyter("from_child = 'child'"))
    of_databricks = {"application/vnd.databricks.v1+notebook": {"language": "sql"}}
    put(others, f"{FOLDER}/of_sql.ipynb", jupyter("select 7 as seven", **of_databricks))
    runs = [f"%run {path}" for path in ("./child", "./child.ipynb", f"{FOLDER}/child", "./of_sql")]
    runs.append("from_run = dbutils.notebook.run('child.ipynb', 60)")
    put(
        others,
        f"{FOLDER}/parent.ipynb",
        jupyter(*runs, "dbutils.notebook.exit(from_child + str(_sqldf.first()[0]))"),
    )

    _, output = run(others, f"{FOLDER}/parent", DEDICATED)

    assert output.notebook_output.result == "child7", output.error_trace


def test_a_jupyter_notebook_that_came_to_the_disk_with_a_byte_order_mark_runs(others):
    file: Path = others.state / "workspace_files" / "Shared" / "others" / "on_disk"
    file.write_text(jupyter("dbutils.notebook.exit('read')"))

    _, output = run(others, f"{FOLDER}/on_disk", DEDICATED)

    assert output.notebook_output.result == "read", output.error_trace


WIDGETS = """# Databricks notebook source
import json
dbutils.widgets.dropdown("size", "small", ["small", "large"])
dbutils.widgets.multiselect("wards", "north, upper", ["north, upper", "south"])
dbutils.widgets.combobox("place", "here", ["here", "there"])
dbutils.notebook.exit(json.dumps(dbutils.widgets.getAll()))
"""


def test_a_job_passes_any_value_to_a_widget(others):
    assert result(others, "widgets", WIDGETS, DEDICATED) == {
        "size": "small",
        "wards": "north, upper",
        "place": "here",
    }
    passed = {"size": "huge, or more", "wards": "east,west", "place": ""}
    assert result(others, "widgets", WIDGETS, DEDICATED, **passed) == passed


def test_a_file_is_imported_and_not_run(others):
    put(others, f"{FOLDER}/runs_a_file.py", "# Databricks notebook source\n# MAGIC %run ./helper.py")

    _, output = run(others, f"{FOLDER}/runs_a_file", DEDICATED)

    assert output.error.startswith(f"ValueError: {FOLDER}/helper.py is no notebook; %run takes one")


DELTA = """# Databricks notebook source
import json
from delta.tables import DeltaTable

spark.range(3).write.mode("overwrite").saveAsTable("others_delta")
table = DeltaTable.forName(spark, "others_delta")
new = spark.range(2, 5).alias("new")
table.alias("old").merge(new, "old.id = new.id").whenNotMatchedInsertAll().execute()
table.delete("id = 0")
ids = sorted(row.id for row in table.toDF().collect())
dbutils.notebook.exit(json.dumps([ids, table.history().count()]))
"""


def test_a_delta_table_is_merged_by_its_python_side_on_classic(others):
    assert result(others, "delta", DELTA, DEDICATED) == [[1, 2, 3, 4], 3]


FS = """# Databricks notebook source
dbutils.fs.put("dbfs:/others/d/a.txt", "0123456789abc", True)

# COMMAND ----------

# DBTITLE 1,head
# MAGIC %fs head dbfs:/others/d/a.txt

# COMMAND ----------

# MAGIC %fs cp -r dbfs:/others/d dbfs:/others/e

# COMMAND ----------

# MAGIC %fs rm -r dbfs:/others/d

# COMMAND ----------

import json
dbutils.notebook.exit(json.dumps([entry.name for entry in dbutils.fs.ls("dbfs:/others")]))
"""


def test_the_fs_magic_takes_its_options(others):
    put(others, f"{FOLDER}/fs.py", FS)

    ended, output = run(others, f"{FOLDER}/fs", DEDICATED)

    assert json.loads(output.notebook_output.result) == ["e/"]
    assert others.executed(ended["tasks"][0]["run_id"])["head"] == "0123456789abc\n"
