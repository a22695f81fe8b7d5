"""A cluster's access mode decides which Spark a notebook gets; both are one real Spark."""

import pytest
from real_workspace import DEDICATED, STANDARD, RealWorkspace

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
