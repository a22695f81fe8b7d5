"""The training job: reads the table, fits and assesses a pipeline, registers it and takes it to the gate."""

import warnings
from collections.abc import Mapping, Sequence
from typing import Any

import mlflow
import pandas as pd
from diabetes.tabular.checking import check_table
from diabetes.tabular.columns import Column, Schema
from diabetes.tabular.drift import Profile, to_arrays
from diabetes.tabular.features import select_features, select_labelled
from diabetes.tabular.fitting import check_kind, fit, make
from diabetes.tabular.measuring import describe_features
from diabetes.tabular.parameters import Value, fill_in, list_short, show_short
from diabetes.tabular.problem import LOGGED, Problem
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_table
from diabetes.tabular.sql import SqlModel
from matplotlib.figure import Figure
from mlflow import MlflowClient
from mlflow.data.pandas_dataset import from_pandas
from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession
from sklearn.pipeline import Pipeline

from diabetes_mlops.data import delta_tables
from diabetes_mlops.data.places import reaching
from diabetes_mlops.data.reading import read_table
from diabetes_mlops.models import as_sql, assessment, model_files, registry, search
from diabetes_mlops.models.approval import DEPLOYMENT_JOB
from diabetes_mlops.models.promotion import Verdict, find_champion_columns, settle
from diabetes_mlops.reports import plots, report
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.settings import Promotion, Thresholds, TrainingSettings
from diabetes_mlops.runs.telemetry import say, step
from diabetes_mlops.runs.tracking import dataset_source, describe_code, digest_rows, log_input, open_run

JOB = "diabetes_model_training"


def run(
    spark: SparkSession,
    settings: TrainingSettings,
    problem: Problem,
    target: telemetry.Target | None = None,
) -> dict[str, Any]:
    """Train one model version; returns what the job reports, as values that JSON has.

    Whatever stops the job leaves its MLflow run FAILED and is raised, as `open_run` does. Telemetry goes to
    `target`.
    """
    with (
        telemetry.job(JOB, target, model_name=settings.model_name),
        open_run(settings.experiment_name, JOB, settings.git_commit) as active,
    ):
        _log_settings(settings, problem)
        delta_tables.ensure_schema(spark, settings.model_name)  # Unity Catalog makes none for a model
        with step("read"):
            extra = find_champion_columns(MlflowClient(), settings.model_name, problem.schema)
            train, holdout, of_champion = read(spark, settings.training_data, problem, extra)
            data = describe_data(train, holdout, settings.training_data)
            mlflow.set_tags(data)
            _log_inputs(problem.schema, train, holdout, settings.training_data, data)
            _log_features(problem.schema, train)

        with step("fit"):
            params = choose_params(spark, train, settings, problem)
            model = fit(problem, train, params)
        with step("evaluate"):
            measured = assessment.assess(problem, model, train, holdout, seed=settings.seed)
            figures = plots.draw_assessment(problem, measured)
            assessment.log(measured, figures)
            say(f"evaluated on {len(holdout)} holdout rows: {list_short(measured.metrics)}")

        tags = describe_code(settings.git_commit) | data
        with step("register"):
            sql = as_sql.find_sql(spark, problem.schema, model, holdout)
            version = _log_and_register(problem, model, sql, train, measured, settings.model_name, tags)
            telemetry.describe(model_version=str(version.version))
        chosen = {name: show_short(value) for name, value in params.items()}
        verdict = None
        if settings.promotion != DEPLOYMENT_JOB:
            with step("gate"):
                verdict = take_to_gate(
                    problem,
                    version,
                    measured,
                    figures,
                    holdout.join(of_champion),
                    thresholds=settings.thresholds,
                    promotion=settings.promotion,
                    seed=settings.seed,
                    origin={"run": active.info.run_id} | chosen | {"seed": str(settings.seed)} | tags,
                )
        alias = verdict.alias if verdict else ""
        say(f"registered {version.name} version {version.version}, alias {alias or 'none'}")
        if settings.promotion == DEPLOYMENT_JOB:
            say(
                f"version {version.version} starts the deployment job of the model: `make models` shows when "
                f"it waits for `make promote VERSION={version.version}`"
            )
        return {
            "model_name": version.name,
            "model_version": str(version.version),
            "alias": alias,
            "metrics": assessment.defined(measured.metrics),
            "decision": verdict.as_json() if verdict else {},
            "model_params": params,
            "run_id": active.info.run_id,
            "experiment_id": active.info.experiment_id,
            "rows_train": len(train),
            "rows_holdout": len(holdout),
        }


def read(
    spark: SparkSession, source: str, problem: Problem, extra: Sequence[Column] = ()
) -> tuple[pd.DataFrame, pd.DataFrame, pd.DataFrame]:
    """Read the labelled table, check it, and split it into rows to train on and rows to hold out.

    The third table has, for the rows that are held out, those of the `extra` columns that are there.
    """
    schema = problem.schema
    found = read_table(spark, source, schema.columns.values(), welcome=extra)
    with reaching(source):
        table = found.toPandas()
    check_table(schema, table, labelled=True)
    train, holdout = split_table(problem, select_labelled(schema, table))
    telemetry.count(rows_in=len(table))
    say(f"read {len(table)} rows of {source}: {len(train)} to train on, {len(holdout)} held out")
    return train, holdout, table.loc[holdout.index, list(table.columns[len(schema.columns) :])]


def take_to_gate(
    problem: Problem,
    version: ModelVersion,
    measured: assessment.Assessment,
    figures: Mapping[str, Figure],
    holdout: pd.DataFrame,
    *,
    thresholds: Thresholds,
    promotion: Promotion,
    seed: int,
    origin: Mapping[str, str],
) -> Verdict:
    """Let a version meet the gate as `settle` does, and log the report of it into the active run."""
    verdict = settle(
        problem, version, measured, holdout, thresholds=thresholds, promotion=promotion, seed=seed
    )
    mlflow.log_text(
        report.render(problem.evaluation, version, verdict, measured, figures, origin), "report.html"
    )
    return verdict


def describe_data(train: pd.DataFrame, holdout: pd.DataFrame, source: str) -> dict[str, str]:
    """Give the tags that say which rows a version was trained on, and which ones it was held against."""
    return {
        "data_source": source,
        "data_digest": digest_rows(train),
        "holdout_digest": digest_rows(holdout),
    }


def choose_params(
    spark: SparkSession, train: pd.DataFrame, settings: TrainingSettings, problem: Problem
) -> dict[str, Value]:
    """Give the parameters of the settings, or the best that a search finds where they ask for one."""
    params, seed = fill_in(problem.parameters, settings.model_params), settings.seed
    model = make(problem, params)
    model_files.check(problem, model)
    check_kind(problem.schema, model, train)
    if trials := settings.search_trials:
        on_workers = settings.search_on == "workers"
        evaluate = (
            search.on_workers(spark, problem, train, seed=seed)
            if on_workers
            else search.on_driver(problem, train, seed=seed)
        )
        params = search.find_params(problem, evaluate, first=params, trials=trials, seed=seed)
    mlflow.log_params(params)
    return params


def _log_settings(settings: TrainingSettings, problem: Problem) -> None:
    own = {"split": problem.split.describe(problem.schema), "holdout_share": problem.split.holdout_share}
    mlflow.log_params({name: own.get(name) or getattr(settings, name) for name in LOGGED})


def _log_inputs(
    schema: Schema, train: pd.DataFrame, holdout: pd.DataFrame, source: str, data: dict[str, str]
) -> None:
    for rows, context, digest in ((train, "training", "data_digest"), (holdout, "holdout", "holdout_digest")):
        with warnings.catch_warnings():
            # Its advice on integer columns is for signatures, and the signature here has doubles only.
            warnings.filterwarnings("ignore", "Hint: Inferred schema contains integer")
            dataset = from_pandas(
                rows,
                source=dataset_source(source),
                targets=schema.label.name,
                name=f"diabetes_{context}",
                digest=data[digest],
            )
            log_input(dataset, context=context)
        mlflow.log_metric(f"rows_{context}", len(rows))


def _log_features(schema: Schema, train: pd.DataFrame) -> None:
    mlflow.log_table(describe_features(schema, train).reset_index(), "feature_statistics.json")
    mlflow.log_figure(plots.draw_features(schema, train), "plots/features.png")


def _log_and_register(
    problem: Problem,
    model: Pipeline,
    sql: SqlModel | None,
    train: pd.DataFrame,
    measured: assessment.Assessment,
    model_name: str,
    tags: dict[str, str],
) -> ModelVersion:
    schema, metrics = problem.schema, problem.evaluation.metrics
    profile = Profile.describe(schema, *to_arrays(schema, train), predict(schema, model, train))
    logged = model_files.log_model(problem, model, select_features(schema, train).head(5), profile, sql)
    mlflow.log_metrics(assessment.name_metrics(measured), model_id=logged.model_id)
    tags = {registry.METRICS: ",".join(metrics)} | model_files.describe_contract(logged, schema) | tags
    return registry.register(MlflowClient(), logged, model_name, tags)
