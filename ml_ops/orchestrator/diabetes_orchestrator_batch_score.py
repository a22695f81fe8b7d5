# Databricks notebook source
# /// script
# [tool.databricks.environment]
# environment_version = "5"
# ///
# MAGIC %md
# MAGIC # Score a batch with the diabetes model
# MAGIC Reads a batch once, rejects rows that cannot be scored, with their reasons, scores the others in the Spark
# MAGIC workers, and publishes both in one commit each. The work is in `diabetes_mlops.batch_score`; the exit value
# MAGIC has the rows read, scored and rejected, and the drift.

# COMMAND ----------

dbutils.widgets.text("data_root", "", "Folder of the data")
dbutils.widgets.dropdown("data_credential", "", ["", "account-key", "service-principal"], "Credential of data_root")
dbutils.widgets.text("mount_source", "", "Mount below /mnt: abfss://container@account...; empty: none")
dbutils.widgets.text("secret_scope", "", "Secret scope of credentials and telemetry")
dbutils.widgets.text("input_data", "", "Rows to score: files, folder or table")
dbutils.widgets.dropdown("input_format", "", ["", "csv", "parquet", "delta"], "Format; empty: told by name or folder")
dbutils.widgets.text("carry_columns", "", "Columns to carry into the output, between commas")
dbutils.widgets.text("output_table", "", "Name of the scored rows: catalog.schema.table")
dbutils.widgets.text("model_name", "", "Model: catalog.schema.name")
dbutils.widgets.text("model_version", "", "Version or alias; empty: the champion")
dbutils.widgets.text("batch_id", "", "Batch id; empty: derived from the rows")
dbutils.widgets.text("max_rejected_share", "0.1", "Largest share of rejected rows")
dbutils.widgets.text("psi_warn", "0.1", "Drift: smallest PSI that warns")
dbutils.widgets.text("psi_alert", "0.25", "Drift: smallest PSI that alerts")
dbutils.widgets.text("drift_significance", "0.01", "Drift: chance of a false warning, all columns together")
dbutils.widgets.text("experiment_name", "", "MLflow experiment")
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
from diabetes_mlops import batch_score
from diabetes_mlops.runs import telemetry
from diabetes_mlops.data.access import open_data_root
from diabetes_mlops.runs.settings import AccessSettings, ScoringSettings

open_data_root(spark, dbutils, AccessSettings.from_widgets(dbutils.widgets))
settings = ScoringSettings.from_widgets(dbutils.widgets, PROBLEM)
result = batch_score.run(spark, settings, PROBLEM, telemetry.find_target(dbutils))

# COMMAND ----------

dbutils.notebook.exit(json.dumps(result))
