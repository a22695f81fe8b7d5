# Databricks notebook source
# /// script
# [tool.databricks.environment]
# environment_version = "5"
# ///
# MAGIC %md
# MAGIC # Monitor the diabetes model
# MAGIC Reads what was scored, the drift and the rejected rows that each scoring run found, the scoring runs that failed
# MAGIC and, where labels have arrived, the true error of each model version. The work is in `diabetes_mlops.monitor`;
# MAGIC the exit value has the status and why. The run in MLflow has `monitoring.html`. With `fail_on` the job fails
# MAGIC when things are that bad.

# COMMAND ----------

dbutils.widgets.text("data_root", "", "Folder of the data")
dbutils.widgets.dropdown("data_credential", "", ["", "account-key", "service-principal"], "Credential of data_root")
dbutils.widgets.text("mount_source", "", "Mount below /mnt: abfss://container@account...; empty: none")
dbutils.widgets.text("secret_scope", "", "Secret scope of credentials and telemetry")
dbutils.widgets.text("output_table", "", "Name of the scored rows: catalog.schema.table")
dbutils.widgets.text("labels_data", "", "True labels, by ID: file or table; empty: there are none")
dbutils.widgets.text("lookback_days", "7", "Days judged, counted back from the newest scoring run")
dbutils.widgets.text("rejected_share_warn", "0.05", "Warn: share of a batch's rows that is rejected, if larger")
dbutils.widgets.text("max_error_ratio", "", "Alert: largest true error, in the holdout's; empty: evaluation.py's")
dbutils.widgets.dropdown("fail_on", "", ["", "warn", "alert"], "Status at which the job fails; empty: at none")
dbutils.widgets.text("experiment_name", "", "MLflow experiment of the scoring runs")
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
from diabetes_mlops import monitor
from diabetes_mlops.runs import telemetry
from diabetes_mlops.data.access import open_data_root
from diabetes_mlops.runs.settings import AccessSettings, MonitoringSettings

open_data_root(spark, dbutils, AccessSettings.from_widgets(dbutils.widgets))
settings = MonitoringSettings.from_widgets(dbutils.widgets, PROBLEM)
result = monitor.run(spark, settings, PROBLEM, telemetry.find_target(dbutils))

# COMMAND ----------

dbutils.notebook.exit(json.dumps(result))
