"""Keeps what a model predicts as SQL, where that is the same as what its pipeline predicts."""

import mlflow
import numpy as np
import pandas as pd
from diabetes.tabular.columns import Schema
from diabetes.tabular.features import select_features
from diabetes.tabular.scoring import predict_features
from diabetes.tabular.sql import NoSqlError, SqlModel, write_sql
from pyspark.sql import SparkSession
from pyspark.sql.types import DoubleType, IntegerType, StringType, StructField, StructType
from sklearn.pipeline import Pipeline

from diabetes_mlops.data import native
from diabetes_mlops.runs.telemetry import say

# How far a prediction may be from the pipeline's, as a share of it, or as a number where that is below 1.
TOLERANCE = 1e-9
FILE = "scoring.sql"
_ROW = "_row"


def find_sql(spark: SparkSession, schema: Schema, model: Pipeline, rows: pd.DataFrame) -> SqlModel | None:
    """Write a pipeline as SQL, and log the statement into the active run; None where that cannot be done.

    It is held against the pipeline on some rows, such as those held out, as they are and each feature once
    missing. What cannot be written, or differs by more than `TOLERANCE`, is told, and is no error: batch
    scoring runs the pipeline itself then.
    """
    try:
        sql = write_sql(schema, model)
    except NoSqlError as error:
        say(f"batch scoring runs this model in Python: {error}")
        return None
    if (difference := measure_difference(spark, schema, model, sql, rows)) > TOLERANCE:
        say(f"batch scoring runs this model in Python: as SQL its predictions differ by {difference:.2g}")
        return None
    mlflow.log_text(sql.select(schema, "my_table"), FILE)
    return sql


def measure_difference(
    spark: SparkSession, schema: Schema, model: Pipeline, sql: SqlModel, rows: pd.DataFrame
) -> float:
    """Give the largest difference between what SQL and what the pipeline predicts, as a share from 1 on.

    Rows that SQL leaves out are not compared: batch scoring gives these to the pipeline.
    """
    features = _with_gaps(select_features(schema, rows)).reset_index(drop=True)
    outputs = _predict_in_spark(spark, schema, sql, features)
    told = ~np.isnan(outputs).any(axis=1)
    if not told.any():
        return 0.0
    expected = predict_features(model, features[told], schema.classes).reshape(told.sum(), -1)
    return float(np.max(np.abs(outputs[told] - expected) / np.maximum(np.abs(expected), 1)))


def _with_gaps(features: pd.DataFrame) -> pd.DataFrame:
    """Add a row for each feature that lacks it."""
    lacking = [features.head(1).assign(**{str(name): np.nan}) for name in features.columns]
    kinds = features.dtypes.to_dict()
    return pd.concat([features, *(row.astype(kinds) for row in lacking)])


def _predict_in_spark(
    spark: SparkSession, schema: Schema, sql: SqlModel, features: pd.DataFrame
) -> np.ndarray:
    """Give what SQL predicts, float64 of shape (n, outputs), NaN where it does not."""
    kinds = {
        column.name: StringType() if column.kind == "category" else DoubleType() for column in schema.features
    }
    columns = [StructField(name, kind) for name, kind in ({_ROW: IntegerType()} | kinds).items()]
    values = features.assign(**{_ROW: np.arange(len(features), dtype=np.int32)})[[_ROW, *kinds]]
    rows = values.astype(object).where(values.notna(), None).to_numpy().tolist()
    predicted = native.predict(sql, spark.createDataFrame(rows, StructType(columns)))
    found = predicted.select(_ROW, *native.list_outputs(sql)).collect()
    outputs = np.full((len(features), len(sql.outputs)), np.nan)
    for row in found:
        outputs[row[_ROW]] = [np.nan if value is None else value for value in row[1:]]
    return outputs
