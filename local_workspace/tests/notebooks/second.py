# Databricks notebook source
# DBTITLE 1,taskValues get
print(dbutils.jobs.taskValues.get("first", "rows"))
print(dbutils.jobs.taskValues.get(taskKey="first", key="absent", default=7, debugValue=8))
for task, key in (("first", "absent"), ("nobody", "rows")):
    try:
        dbutils.jobs.taskValues.get(task, key)
    except ValueError as error:
        print(error)

# COMMAND ----------

# DBTITLE 1,a table survives
print(sorted(row.name for row in spark.table("survivors").collect()))
try:
    spark.table("numbers").count()
except Exception as error:
    print("the temporary view is gone:", "TABLE_OR_VIEW_NOT_FOUND" in str(error))

# COMMAND ----------

# DBTITLE 1,%sh -e
# MAGIC %sh -e
# MAGIC echo before
# MAGIC false
# MAGIC echo after
