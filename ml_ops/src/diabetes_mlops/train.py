"""The training job: reads the table, fits and assesses a pipeline, registers it and takes it to the gate."""

import warnings
from typing import Any

import mlflow
import pandas as pd
from diabetes.checking import check_table
from diabetes.drift import Profile, arrays
from diabetes.evaluation import METRICS
from diabetes.features import select_features, select_labelled
from diabetes.measuring import describe_features
from diabetes.schema import FEATURE_NAMES, ID, TARGET
from diabetes.scoring import predict
from diabetes.splitting import split_by_id
from diabetes.training import fit
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession
from sklearn.pipeline import Pipeline

from diabetes_mlops import assessment, models, plots, promotion, registry, report, search, storage, telemetry
from diabetes_mlops.settings import TrainingSettings
from diabetes_mlops.sources import reaching, read_table
from diabetes_mlops.telemetry import say, step
from diabetes_mlops.tracking import dataset_source, describe_code, digest_rows, log_input, open_run

JOB = "diabetes_model_training"


def run(
    spark: SparkSession, settings: TrainingSettings, target: telemetry.Target | None = None
) -> dict[str, Any]:
    """Train one model version; returns what the job reports, as values that JSON has.

    Whatever stops the job leaves its MLflow run FAILED and is raised, as `open_run` does. Telemetry goes to
    `target`.
    """
    with (
        telemetry.job(JOB, target, model_name=settings.model_name),
        open_run(settings.experiment_name, JOB, settings.git_commit) as active,
    ):
        _log_settings(settings)
        storage.ensure_schema(spark, settings.model_name)  # Unity Catalog makes none for a model
        with step("read"):
            train, holdout = read(spark, settings.training_data)
            data = describe_data(train, holdout, settings.training_data)
            mlflow.set_tags(data)
            _log_inputs(train, holdout, settings.training_data, data)
            _log_features(train)

        with step("fit"):
            alpha = choose_alpha(spark, train, settings)
            model = fit(train, alpha=alpha)
        with step("evaluate"):
            measured = assessment.assess(model, train, holdout, seed=settings.seed)
            figures = assessment.draw(measured)
            assessment.log(measured, figures)
            say(f"evaluated on {len(holdout)} holdout rows: {_show(measured.metrics)}")

        tags = describe_code(settings.git_commit) | data
        with step("register"):
            version = _log_and_register(model, train, measured, settings.model_name, tags)
            telemetry.describe(model_version=str(version.version))
        with step("gate"):
            verdict = promotion.settle(
                version,
                measured,
                holdout,
                thresholds=settings.thresholds,
                promotion=settings.promotion,
                seed=settings.seed,
            )
        say(f"registered {version.name} version {version.version}, alias {verdict.alias or 'none'}")

        origin = {"run": active.info.run_id, "alpha": f"{alpha:.4g}", "seed": str(settings.seed)} | tags
        mlflow.log_text(report.render(version, verdict, measured, figures, origin), "report.html")
        return {
            "model_name": version.name,
            "model_version": str(version.version),
            "alias": verdict.alias,
            "metrics": assessment.defined(measured.metrics),
            "decision": verdict.as_json(),
            "alpha": alpha,
            "run_id": active.info.run_id,
            "experiment_id": active.info.experiment_id,
            "rows_train": len(train),
            "rows_holdout": len(holdout),
        }


def read(spark: SparkSession, source: str) -> tuple[pd.DataFrame, pd.DataFrame]:
    """Read the labelled table, check it, and split it into rows to train on and rows to hold out."""
    found = read_table(spark, source, [ID, *FEATURE_NAMES, TARGET])
    with reaching(source):
        table = found.toPandas()
    check_table(table, labelled=True)
    train, holdout = split_by_id(select_labelled(table))
    telemetry.count(rows_in=len(table))
    say(f"read {len(table)} rows of {source}: {len(train)} to train on, {len(holdout)} held out")
    return train, holdout


def describe_data(train: pd.DataFrame, holdout: pd.DataFrame, source: str) -> dict[str, str]:
    """Give the tags that say which rows a version was trained on, and which ones it was held against."""
    return {
        "data_source": source,
        "data_digest": digest_rows(train),
        "holdout_digest": digest_rows(holdout),
    }


def choose_alpha(spark: SparkSession, train: pd.DataFrame, settings: TrainingSettings) -> float:
    """Give the alpha of the settings, or the best that a search finds where they ask for one."""
    alpha, trials, seed = settings.alpha, settings.search_trials, settings.seed
    if trials:
        on_workers = settings.search_on == "workers"
        evaluate = (
            search.on_workers(spark, train, seed=seed) if on_workers else search.on_driver(train, seed=seed)
        )
        alpha = search.find_alpha(evaluate, first=alpha, trials=trials, seed=seed)
    mlflow.log_param("alpha", alpha)
    return alpha


def _log_settings(settings: TrainingSettings) -> None:
    names = ("training_data", "search_trials", "search_on", "seed", "promotion")
    mlflow.log_params({name: getattr(settings, name) for name in names})


def _log_inputs(train: pd.DataFrame, holdout: pd.DataFrame, source: str, data: dict[str, str]) -> None:
    for rows, context, digest in ((train, "training", "data_digest"), (holdout, "holdout", "holdout_digest")):
        with warnings.catch_warnings():
            # Its advice on integer columns is for signatures, and the signature here has doubles only.
            warnings.filterwarnings("ignore", "Hint: Inferred schema contains integer")
            dataset = from_pandas(
                rows,
                source=dataset_source(source),
                targets=TARGET,
                name=f"diabetes_{context}",
                digest=data[digest],
            )
            log_input(dataset, context=context)
        mlflow.log_metric(f"rows_{context}", len(rows))


def _log_features(train: pd.DataFrame) -> None:
    mlflow.log_table(describe_features(train).reset_index(), "feature_statistics.json")
    mlflow.log_figure(plots.draw_features(train), "plots/features.png")


def _log_and_register(
    model: Pipeline,
    train: pd.DataFrame,
    measured: assessment.Assessment,
    model_name: str,
    tags: dict[str, str],
) -> ModelVersion:
    profile = Profile.describe(*arrays(train), predict(model, train))
    tags = {registry.METRICS: ",".join(METRICS)} | models.describe_contract() | tags
    logged = models.log_model(model, select_features(train).head(5), profile)
    mlflow.log_metrics(assessment.name_metrics(measured), model_id=logged.model_id)
    return registry.register(MlflowClient(), logged, model_name, tags)


def _show(metrics: dict[str, float]) -> str:
    return ", ".join(f"{name} {value:.4g}" for name, value in metrics.items())
