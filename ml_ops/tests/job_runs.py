"""Runs the jobs for a test."""

import inspect
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
import problems
import pytest
from diabetes.tabular import Problem
from diabetes_mlops import batch_score, deploy, train
from diabetes_mlops.runs.settings import DeploymentSettings, ScoringSettings, TrainingSettings
from diabetes_mlops.runs.telemetry import Target
from mlflow.entities import Run
from pyspark.sql import DataFrame, SparkSession

CATALOG = "spark_catalog"
# That of the runtime for machine learning does not.
MLFLOW_KNOWS_SKOPS = "skops_trusted_types" in inspect.signature(mlflow.sklearn.log_model).parameters
needs_skops = pytest.mark.skipif(
    not MLFLOW_KNOWS_SKOPS, reason=f"MLflow {mlflow.__version__} saves with pickle only"
)


@dataclass(frozen=True)
class Jobs:
    """Runs the jobs for one test: with a folder, an experiment, a model and a table of its own."""

    spark: SparkSession
    folder: Path
    name: str
    target: Target | None = None
    problem: Problem = problems.PATIENTS

    @property
    def model_name(self) -> str:
        return f"{CATALOG}.tests.{self.name}"

    @property
    def table(self) -> str:
        return f"{CATALOG}.tests.scored_{self.name}"

    def write(self, table: pd.DataFrame, name: str) -> str:
        path = self.folder / name
        if name.endswith(".parquet"):
            table.to_parquet(path, coerce_timestamps="us")  # pandas 2 writes nanoseconds, which Spark refuses
        else:
            table.to_csv(path, index=False)
        return str(path)

    def train(self, **widgets: str) -> dict[str, Any]:
        settings = {"training_data": str(problems.data_folder() / "data_raw.csv")}
        given = TrainingSettings.from_widgets(self._common() | settings | widgets, self.problem)
        return train.run(self.spark, given, self.problem, self.target)

    def deploy(self, task: str, version: str, **widgets: str) -> dict[str, Any]:
        settings = {"task": task, "model_version": version, "job_run_id": "7"}
        given = DeploymentSettings.from_widgets(self._common() | settings | widgets, self.problem)
        return deploy.run(self.spark, given, self.problem, self.target)

    def score(self, **widgets: str) -> dict[str, Any]:
        data = problems.data_folder() / "data_batch_input.csv"
        settings = {"input_data": str(data), "output_table": self.table}
        settings |= {"max_rejected_share": "1"}
        given = ScoringSettings.from_widgets(self._common() | settings | widgets, self.problem)
        return batch_score.run(self.spark, given, self.problem, self.target)

    def rows(self, batch_id: str, table: str = "") -> DataFrame:
        return self.spark.table(table or self.table).where(f"batch_id = '{batch_id}'")

    def last_run(self) -> Run:
        client = mlflow.MlflowClient()
        experiment = client.get_experiment_by_name(f"/tests/{self.name}")
        return client.search_runs([experiment.experiment_id], order_by=["attributes.start_time DESC"])[0]

    def _common(self) -> dict[str, str]:
        data_root = str(self.folder)
        return {
            "data_root": data_root,
            "experiment_name": f"/tests/{self.name}",
            "model_name": self.model_name,
        }
