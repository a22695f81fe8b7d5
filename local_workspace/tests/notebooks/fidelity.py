# Databricks notebook source
# MAGIC %md
# MAGIC # What a notebook can rely on
# MAGIC Each cell has a **title**, by which a test finds what it put out. | `dbutils` | magics |

# COMMAND ----------

# DBTITLE 1,widgets text
dbutils.widgets.text("alpha", "0.1", "Regularisation")
dbutils.widgets.text("beta", "0.2")
print(dbutils.widgets.get("alpha"), dbutils.widgets.get("beta"))

# COMMAND ----------

# DBTITLE 1,widgets dropdown
dbutils.widgets.dropdown("colour", "red", ["red", "blue"])
print(dbutils.widgets.get("colour"))
try:
    dbutils.widgets.dropdown("shape", "ring", ["square", "round"])
except ValueError as error:
    print(error)

# COMMAND ----------

# DBTITLE 1,widgets combobox
dbutils.widgets.combobox("size", "any", ["small", "large"])
print(dbutils.widgets.get("size"))

# COMMAND ----------

# DBTITLE 1,widgets multiselect
dbutils.widgets.multiselect("wards", "east,west", ["east", "west", "north"])
print(dbutils.widgets.get("wards"))
try:
    dbutils.widgets.multiselect("floors", "1,9", ["1", "2"])
except ValueError as error:
    print(error)

# COMMAND ----------

# DBTITLE 1,widgets get
try:
    dbutils.widgets.get("gamma")
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,widgets getArgument
print(getArgument("alpha"), dbutils.widgets.getArgument("gamma", "no such widget"))

# COMMAND ----------

# DBTITLE 1,widgets getAll
print(sorted(dbutils.widgets.getAll().items()))

# COMMAND ----------

# DBTITLE 1,widgets remove
dbutils.widgets.remove("size")
print("size" in dbutils.widgets.getAll(), "wards" in dbutils.widgets.getAll())

# COMMAND ----------

# DBTITLE 1,widgets removeAll
dbutils.widgets.removeAll()
print(dbutils.widgets.getAll())
dbutils.widgets.text("alpha", "0.1")
print(dbutils.widgets.get("alpha"))

# COMMAND ----------

# DBTITLE 1,fs put and head
dbutils.fs.put("dbfs:/fidelity/a.txt", "first\nsecond\n", True)
print(dbutils.fs.head("/fidelity/a.txt"), dbutils.fs.head("/fidelity/a.txt", 5))
try:
    dbutils.fs.put("/fidelity/a.txt", "again")
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,fs ls
dbutils.fs.mkdirs("/fidelity/sub")
for entry in dbutils.fs.ls("/fidelity"):
    print(entry.path, entry.name, entry.size, entry.isDir())
print(dbutils.fs.ls("dbfs:/fidelity/a.txt")[0].path)

# COMMAND ----------

# DBTITLE 1,fs cp
dbutils.fs.cp("dbfs:/fidelity/a.txt", "dbfs:/fidelity/sub")
dbutils.fs.cp("/fidelity/sub", "/Volumes/main/default/copied", True)
dbutils.fs.cp("dbfs:/fidelity/a.txt", "file:" + __import__("os").getcwd() + "/here.txt")
print(dbutils.fs.head("/Volumes/main/default/copied/a.txt"), open("here.txt").read())
try:
    dbutils.fs.cp("/fidelity/sub", "/fidelity/other")
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,fs mv
dbutils.fs.mv("/fidelity/a.txt", "/fidelity/b.txt")
print([entry.name for entry in dbutils.fs.ls("/fidelity")])

# COMMAND ----------

# DBTITLE 1,fs rm
print(dbutils.fs.rm("/fidelity/b.txt"), dbutils.fs.rm("/fidelity/b.txt"))
try:
    dbutils.fs.rm("/fidelity/sub")
except Exception as error:
    print(type(error).__name__, error)
print(dbutils.fs.rm("/fidelity/sub", True), dbutils.fs.ls("/fidelity"))

# COMMAND ----------

# DBTITLE 1,fs mkdirs
print(
    dbutils.fs.mkdirs("/fidelity/x/y"),
    dbutils.fs.mkdirs("/fidelity/x/y"),
    dbutils.fs.ls("/fidelity/x")[0].path,
)

# COMMAND ----------

for mount in dbutils.fs.mounts():
    dbutils.fs.unmount(mount.mountPoint)

# COMMAND ----------

# DBTITLE 1,fs mount
dbutils.fs.mount("abfss://wards@account.dfs.core.windows.net/", "/mnt/wards", extra_configs={"key": "unused"})
spark.range(3).write.mode("overwrite").parquet("/mnt/wards/rows")
print(dbutils.fs.mounts())
try:
    dbutils.fs.mount("abfss://wards@account.dfs.core.windows.net/", "/mnt/again")
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,fs unmount
dbutils.fs.unmount("/mnt/wards")
print(dbutils.fs.mounts())
try:
    dbutils.fs.ls("/mnt/wards")
except Exception as error:
    print(type(error).__name__, error)
dbutils.fs.updateMount("abfss://wards@account.dfs.core.windows.net/", "/mnt/hospital")
print(spark.read.parquet("dbfs:/mnt/hospital/rows").count())
dbutils.fs.refreshMounts()

# COMMAND ----------

# DBTITLE 1,secrets get
password = dbutils.secrets.get("fidelity", "password")
print(password, len(password))

# COMMAND ----------

# DBTITLE 1,secrets getBytes
key = dbutils.secrets.getBytes("fidelity", "key")
print(type(key).__name__, len(key), key[0])

# COMMAND ----------

# DBTITLE 1,secrets list
print([secret.key for secret in dbutils.secrets.list("fidelity")])

# COMMAND ----------

# DBTITLE 1,secrets listScopes
print("fidelity" in [scope.name for scope in dbutils.secrets.listScopes()])

# COMMAND ----------

# DBTITLE 1,notebook run
print(dbutils.notebook.run("helpers/child", 120, {"who": "parent"}))

# COMMAND ----------

# DBTITLE 1,notebook run that fails
try:
    dbutils.notebook.run("./helpers/child", 0, {"who": "nobody"})
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,notebook run that takes too long
try:
    dbutils.notebook.run("helpers/child", 1, {"who": "sleeper"})
except Exception as error:
    print(type(error).__name__, error)

# COMMAND ----------

# DBTITLE 1,notebook run inside notebook run
print(dbutils.notebook.run("helpers/child", 120, {"who": "grandparent"}))

# COMMAND ----------

# DBTITLE 1,taskValues set
dbutils.jobs.taskValues.set("rows", {"kept": 3, "names": ["a", "b"]})
dbutils.jobs.taskValues.set(key="nothing", value=None)
try:
    dbutils.jobs.taskValues.set("long", "x" * 50_000)
except ValueError as error:
    print(error)

# COMMAND ----------

# DBTITLE 1,%run
# MAGIC %run ./helpers/shared $greeting="good day" $who="you"

# COMMAND ----------

# DBTITLE 1,after %run
print(greet(), depth, dbutils.widgets.get("alpha"))

# COMMAND ----------

# DBTITLE 1,%sh
# MAGIC %sh
# MAGIC echo "one from the shell"
# MAGIC false
# MAGIC echo "two" | tr a-z A-Z

# COMMAND ----------

# DBTITLE 1,%sql
# MAGIC %sql
# MAGIC CREATE OR REPLACE TEMP VIEW numbers AS SELECT id, id * id AS square, 'a;b' AS text FROM range(4);
# MAGIC -- the last one is shown
# MAGIC SELECT * FROM numbers WHERE id < CAST(:alpha AS DOUBLE) * 4 ORDER BY id;

# COMMAND ----------

# DBTITLE 1,_sqldf
print(_sqldf.count(), _sqldf.columns)

# COMMAND ----------

# DBTITLE 1,Delta
spark.sql("CREATE SCHEMA IF NOT EXISTS fidelity")
spark.sql("CREATE OR REPLACE TABLE fidelity.plain AS SELECT 1 AS a")
spark.sql("UPDATE fidelity.plain SET a = 2")
spark.range(3).write.mode("overwrite").saveAsTable("fidelity.saved")
print([spark.sql(f"DESCRIBE DETAIL fidelity.{name}").first().format for name in ("plain", "saved")])

# COMMAND ----------

# DBTITLE 1,%python
# MAGIC %python
# MAGIC answer = 6 * 7
# MAGIC print(answer)

# COMMAND ----------

# DBTITLE 1,%fs
# MAGIC %fs ls dbfs:/fidelity

# COMMAND ----------

# DBTITLE 1,display of Spark
display(spark.range(1200).selectExpr("id", "concat('<b>', id, '</b>') AS name", "id / 7D AS share"))

# COMMAND ----------

# DBTITLE 1,display of pandas
import pandas as pd

display(pd.DataFrame({"city": ["Aachen", "Bern"], "people": [249_070, None]}))

# COMMAND ----------

# DBTITLE 1,display of a list
display(dbutils.fs.ls("dbfs:/fidelity"))

# COMMAND ----------

# DBTITLE 1,display of matplotlib
import matplotlib.pyplot as plt

figure, axes = plt.subplots(figsize=(5, 2.5))
axes.plot([1, 4, 9, 16], marker="o")
display(figure)

# COMMAND ----------

# DBTITLE 1,a figure that nobody displays
plt.figure(figsize=(5, 2))
plt.bar(["east", "west"], [3, 5])

# COMMAND ----------

# DBTITLE 1,display of plotly
import plotly.graph_objects as go

display(go.Figure(go.Scatter(x=[1, 2, 3], y=[2, 1, 3])).update_layout(height=300))

# COMMAND ----------

# DBTITLE 1,a bare plotly figure
go.Figure(go.Bar(x=["east", "west"], y=[3, 5]))

# COMMAND ----------

# DBTITLE 1,displayHTML
displayHTML(
    '<h3 id="made">Made by the notebook</h3><script>document.title = "script ran"; made.append(" and its script")</script>'
)

# COMMAND ----------

# DBTITLE 1,colours and progress
print("\x1b[31mred\x1b[0m \x1b[1;32mbold green\x1b[0m \x1b[38;5;208morange\x1b[0m")
for percent in range(0, 101, 25):
    print(f"\r{percent}%", end="")

# COMMAND ----------

# DBTITLE 1,help
dbutils.help()
dbutils.fs.help()
dbutils.fs.help("cp")

# COMMAND ----------

# DBTITLE 1,a table is saved
spark.createDataFrame([(1, "a"), (2, "b")], "id INT, name STRING").write.mode("overwrite").saveAsTable(
    "survivors"
)
print(spark.table("survivors").count())

# COMMAND ----------

# DBTITLE 1,an MLflow run
import mlflow

mlflow.set_experiment("/Shared/fidelity")
with mlflow.start_run(run_name="logged by the notebook"):
    mlflow.log_metric("rmse", 12.34567)
    mlflow.log_text("<!doctype html><h1>What was found</h1>", "report.html")

# COMMAND ----------

# DBTITLE 1,%pip
# MAGIC %pip install --quiet --no-index --find-links /dbfs/fidelity-wheels made_up_package

# COMMAND ----------

# DBTITLE 1,library restartPython
dbutils.library.restartPython()

# COMMAND ----------

# DBTITLE 1,after the restart
import made_up_package

print(made_up_package.VERSION, "answer" in globals(), dbutils.widgets.get("alpha"))

# COMMAND ----------

# DBTITLE 1,%restart_python
# MAGIC %restart_python

# COMMAND ----------

# DBTITLE 1,notebook exit
dbutils.notebook.exit({"rows": 3, "status": "warn", "errors": {"rmse": 12.3, "mae": None}})

# COMMAND ----------

# DBTITLE 1,after the exit
print("never reached")
