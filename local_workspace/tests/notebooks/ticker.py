# Databricks notebook source
dbutils.widgets.text("folder", "/nowhere")
dbutils.widgets.text("note", "")
print("\n".join(f"line {number}" for number in range(80)))

# COMMAND ----------

# DBTITLE 1,waits
import time
from pathlib import Path


def wait_for(name):
    while not (Path(dbutils.widgets.get("folder")) / name).exists():
        time.sleep(0.05)


print("waiting", dbutils.widgets.get("note"), flush=True)
wait_for("first")
print("went on", flush=True)
wait_for("second")

# COMMAND ----------

print("the end")
