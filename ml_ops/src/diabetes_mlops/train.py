"""The training job: reads the table, fits the pipeline, evaluates it, registers it and names the champion."""

import warnings
from typing import Any

import mlflow
import pandas as pd
from diabetes.evaluation import describe_features, evaluate
from diabetes.features import select_features
from diabetes.schema import TARGET, check_table
from diabetes.scoring import predict
from diabetes.splitting import split_by_id
from diabetes.training import fit
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession
from sklearn.pipeline import Pipeline

from diabetes_mlops import plots, registry
from diabetes_mlops.settings import TrainingSettings
from diabetes_mlops.storage import read_table
from diabetes_mlops.tracking import dataset_source, describe_code, open_run

JOB = "diabetes_model_training"


def run(spark: SparkSession, settings: TrainingSettings) -> dict[str, Any]:
    """Train one model version; returns what the job reports, as values that JSON has.

    Whatever stops the job leaves its MLflow run FAILED and is raised as it is.
    """
    with open_run(settings.experiment_name, JOB, settings.git_commit) as active:
        mlflow.log_params({"alpha": settings.alpha, "training_data": settings.training_data})
        train, holdout = read(spark, settings.training_data)
        _log_inputs(train, holdout, settings.training_data)
        _log_features(train)

        model = fit(train, alpha=settings.alpha)
        metrics = evaluate(model, holdout)
        print(f"evaluated on {len(holdout)} holdout rows: {_show(metrics)}")
        _log_evaluation(model, holdout)

        version = _log_and_register(model, train, metrics, settings)
        alias = choose_alias(version, metrics["rmse"], holdout)
        print(f"registered {version.name} version {version.version} as {alias}")
        return {
            "model_name": version.name,
            "model_version": str(version.version),
            "alias": alias,
            "metrics": metrics,
            "run_id": active.info.run_id,
            "experiment_id": active.info.experiment_id,
            "rows_train": len(train),
            "rows_holdout": len(holdout),
        }


def read(spark: SparkSession, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labelled table, check it, and split it into rows to train on and rows to hold out."""
    table = read_table(spark, source).toPandas()
    check_table(table, labelled=True)
    train, holdout = split_by_id(table)
    print(f"read {len(table)} rows of {source}: {len(train)} to train on, {len(holdout)} held out")
    return train, holdout


def choose_alias(version: ModelVersion, rmse: float, holdout: pd.DataFrame) -> str:
    """Make a version champion unless the present one is better on the same holdout; returns its alias."""
    client = MlflowClient()
    champion = registry.find_champion(client, version.name)
    if champion is not None:
        best = evaluate(registry.load(champion).pipeline, holdout)["rmse"]
        print(f"champion is version {champion.version}, its rmse on the same rows is {best:.4g}")
        if rmse > best:
            return registry.CHALLENGER
    registry.promote(client, version)
    return registry.CHAMPION


def _log_inputs(train: pd.DataFrame, holdout: pd.DataFrame, source: str) -> None:
    for rows, context in ((train, "training"), (holdout, "holdout")):
        name = f"diabetes_{context}"
        dataset = from_pandas(rows, source=dataset_source(source), targets=TARGET, name=name)
        with warnings.catch_warnings():
            # Its advice on integer columns is for signatures, and the signature here has doubles only.
            warnings.filterwarnings("ignore", "Hint: Inferred schema contains integer")
            mlflow.log_input(dataset, context=context)
        mlflow.log_metric(f"rows_{context}", len(rows))


def _log_features(train: pd.DataFrame) -> None:
    mlflow.log_table(describe_features(train).reset_index(), "feature_statistics.json")
    mlflow.log_figure(plots.draw_features(train), "plots/features.png")


def _log_evaluation(model: Pipeline, holdout: pd.DataFrame) -> None:
    actual, predicted = holdout[TARGET].to_numpy(dtype=float), predict(model, holdout)
    mlflow.log_figure(plots.draw_predicted_vs_actual(actual, predicted), "plots/predicted_vs_actual.png")
    mlflow.log_figure(plots.draw_residuals(actual, predicted), "plots/residuals.png")


def _log_and_register(
    model: Pipeline, train: pd.DataFrame, metrics: dict[str, float], settings: TrainingSettings
) -> ModelVersion:
    logged = registry.log_model(model, select_features(train).head(5))
    mlflow.log_metrics(metrics, model_id=logged.model_id)
    tags = describe_code(settings.git_commit)
    return registry.register(MlflowClient(), logged, settings.model_name, tags)


def _show(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
