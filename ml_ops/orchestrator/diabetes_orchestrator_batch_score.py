# Databricks notebook source
# MAGIC %md
# MAGIC # Score a batch with the diabetes model
# MAGIC Checks the rows, scores them in the Spark workers and writes them to a Delta table, one batch at a time.
# MAGIC The work is in `diabetes_mlops.batch_score`; the exit value has the rows read, scored and rejected.

# COMMAND ----------

dbutils.widgets.text("data_root", "", "Folder of the data")
dbutils.widgets.text("input_data", "data_batch_input.csv", "Rows to score: file or table")
dbutils.widgets.text("output_table", "", "Delta table to write: catalog.schema.table")
dbutils.widgets.text("model_name", "", "Model: catalog.schema.name")
dbutils.widgets.text("model_version", "", "Version or alias; empty: the champion")
dbutils.widgets.text("batch_id", "", "Batch id; empty: derived from the rows")
dbutils.widgets.text("experiment_name", "", "MLflow experiment")
dbutils.widgets.text("wheel_dir", "", "Folder of the wheels")
dbutils.widgets.text("git_commit", "", "Commit of the deployed code")

# COMMAND ----------

wheel_dir = dbutils.widgets.get("wheel_dir")

# COMMAND ----------

# MAGIC %pip install --quiet --no-index --upgrade --find-links $wheel_dir diabetes diabetes_mlops

# COMMAND ----------

dbutils.library.restartPython()

# COMMAND ----------

import json

from diabetes_mlops import batch_score
from diabetes_mlops.settings import ScoringSettings

result = batch_score.run(spark, ScoringSettings.from_widgets(dbutils.widgets))

# COMMAND ----------

dbutils.notebook.exit(json.dumps(result))
