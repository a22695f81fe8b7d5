# Databricks notebook source
# MAGIC %md
# MAGIC # Train the diabetes model
# MAGIC Reads the labelled table, fits and evaluates one pipeline, registers it in MLflow and names the champion.
# MAGIC The work is in `diabetes_mlops.train`; the exit value has the metrics, the model version and its alias.

# COMMAND ----------

dbutils.widgets.text("data_root", "", "Folder of the data")
dbutils.widgets.text("training_data", "data_raw.csv", "Labelled data: file or table")
dbutils.widgets.text("experiment_name", "", "MLflow experiment")
dbutils.widgets.text("model_name", "", "Model: catalog.schema.name")
dbutils.widgets.text("alpha", "0.5", "Strength of the ridge penalty")
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

from diabetes_mlops import train
from diabetes_mlops.settings import TrainingSettings

result = train.run(spark, TrainingSettings.from_widgets(dbutils.widgets))

# COMMAND ----------

dbutils.notebook.exit(json.dumps(result))
