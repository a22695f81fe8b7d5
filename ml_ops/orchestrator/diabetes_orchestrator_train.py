# Databricks notebook source
# /// script
# [tool.databricks.environment]
# environment_version = "5"
# ///
# MAGIC %md
# MAGIC # Train the diabetes model
# MAGIC Reads the labelled table, fits and evaluates one pipeline, registers it in MLflow and takes it to the gate:
# MAGIC where it passes, it becomes the champion. The work is in `diabetes_mlops.train`; the exit value has the
# MAGIC metrics, the model version, its alias and the decision. The run in MLflow has `report.html`.

# COMMAND ----------

dbutils.widgets.text("data_root", "", "Folder of the data")
dbutils.widgets.dropdown("data_credential", "", ["", "account-key", "service-principal"], "Credential of data_root")
dbutils.widgets.text("mount_source", "", "Mount below /mnt: abfss://container@account...; empty: none")
dbutils.widgets.text("secret_scope", "", "Secret scope of credentials and telemetry")
dbutils.widgets.text("training_data", "", "Labelled data: file or table")
dbutils.widgets.text("experiment_name", "", "MLflow experiment")
dbutils.widgets.text("model_name", "", "Model: catalog.schema.name")
dbutils.widgets.text("model_params", "", "Parameters: name=value, ...; empty: training.py's defaults")
dbutils.widgets.text("search_trials", "0", "Sets of parameters to try; 0: only the ones above")
dbutils.widgets.dropdown("search_on", "driver", ["driver", "workers"], "Where they are tried")
dbutils.widgets.text("seed", "0", "Seed of everything random")
dbutils.widgets.text("thresholds", "", "Gate: metric<=number, metric>=number, ...; empty: evaluation.py's")
dbutils.widgets.text("margin", "", "Gate: how much above the champion's the error may be; empty: evaluation.py's")
dbutils.widgets.text("max_slice_ratio", "", "Gate: largest error of a slice, in errors of all rows; empty: likewise")
dbutils.widgets.dropdown("promotion", "automatic", ["automatic", "manual", "deployment-job"], "What passes the gate")
dbutils.widgets.text("wheel_dir", "", "Folder of the wheels")
dbutils.widgets.text("git_commit", "", "Commit of the deployed code")
dbutils.widgets.text("job_id", "", "Ids that telemetry carries: the job")
dbutils.widgets.text("job_run_id", "", "Its run")
dbutils.widgets.text("task_run_id", "", "The run of its task")

# COMMAND ----------

wheel_dir = dbutils.widgets.get("wheel_dir").strip()
assert wheel_dir, "wheel_dir must not be empty: it is the folder of the deployed wheels"

# COMMAND ----------

# MAGIC %pip install --quiet --no-index --upgrade --find-links $wheel_dir diabetes diabetes_mlops

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

import json

from diabetes import PROBLEM
from diabetes_mlops import train
from diabetes_mlops.runs import telemetry
from diabetes_mlops.data.access import open_data_root
from diabetes_mlops.runs.settings import AccessSettings, TrainingSettings

open_data_root(spark, dbutils, AccessSettings.from_widgets(dbutils.widgets))
settings = TrainingSettings.from_widgets(dbutils.widgets, PROBLEM)
result = train.run(spark, settings, PROBLEM, telemetry.find_target(dbutils))

# COMMAND ----------

dbutils.notebook.exit(json.dumps(result))
