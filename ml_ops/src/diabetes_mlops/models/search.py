"""Searches the parameters of a model by cross-validation on the training rows, each trial a nested run.

Values are asked for, and their errors told, a batch at a time, wherever the trials run: what is tried next
never depends on which trial ends first, so the driver and workers, few or many, come to the same digits.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING, cast

import mlflow
import pandas as pd
import pyarrow as pa
from diabetes.tabular.measuring import average_folds, cross_validate, validate
from diabetes.tabular.parameters import Parameter, ParameterError, Value, list_short
from diabetes.tabular.problem import Problem
from diabetes.tabular.splitting import assign_folds
from pyspark.sql import SparkSession

from diabetes_mlops.runs.telemetry import say

if TYPE_CHECKING:
    from optuna import Study, Trial

FOLDS = 5
# A batch is 40 fits, enough for most clusters; a larger one would learn less from the one before.
BATCH = 8

Params = dict[str, Value]
# Takes sets of parameters and gives the cross-validated error of each, the primary metric, in their order.
Evaluate = Callable[[list[Params]], Iterable[float]]


class NoOptunaError(ImportError):
    """A search is asked for where Optuna is not installed."""


def find_params(problem: Problem, evaluate: Evaluate, *, first: Params, trials: int, seed: int) -> Params:
    """Return the parameters with the lowest error among `trials` sets of them.

    Those that the problem has searched are tried together, the others stay as in `first`. The first trial is
    `first` where a search may try its values, so that a search does not end worse than no search. The same
    rows, seed and versions try the same values. Raises ParameterError where nothing is to be searched, and
    what `evaluate` raises.
    """
    searched, primary = [each for each in problem.parameters if each.search], problem.evaluation.primary
    if not searched:
        raise ParameterError(
            f"search_trials is {trials}, but no parameter has values to search: "
            "give one its `search` in training.py, or set search_trials to 0"
        )
    study = _make_study(seed)
    _begin_with(study, searched, first)
    for start in range(0, trials, BATCH):
        asked = [study.ask() for _ in range(start, min(start + BATCH, trials))]
        tried = [first | {each.name: _suggest(trial, each) for each in searched} for trial in asked]
        for trial, params, error in zip(asked, tried, evaluate(tried), strict=True):
            study.tell(trial, error)
            _log_trial(trial.number + 1, params | {"seed": seed}, error, primary)
            found = f"{list_short(params)}, cross-validated {primary} {error:.4g}"
            say(f"trial {trial.number + 1} of {trials}: {found}")
    say(f"best of {trials} trials: {list_short(study.best_params)}")
    mlflow.log_metric(f"cv_{primary}", study.best_value)
    return first | study.best_params


def on_driver(problem: Problem, train: pd.DataFrame, *, seed: int) -> Evaluate:
    """Give the function that evaluates one set after another in this process."""

    def evaluate(tried: list[Params]) -> Iterator[float]:
        return (cross_validate(problem, train, params, folds=FOLDS, seed=seed) for params in tried)

    return evaluate


def on_workers(spark: SparkSession, problem: Problem, train: pd.DataFrame, *, seed: int) -> Evaluate:
    """Give the function that evaluates all its sets at once, each fold of each a task of Spark.

    The rows travel with the task, so it is for fits that are slow, not for rows that are many. A worker
    needs neither MLflow nor the source of the data.
    """
    folds = assign_folds(problem.schema, train, folds=FOLDS, seed=seed, split=problem.split)

    def evaluate(tried: list[Params]) -> list[float]:
        def fit_pairs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                pairs = [divmod(number, FOLDS) for number in batch.column("id").to_pylist()]
                errors = [validate(problem, train, folds == fold, tried[trial]) for trial, fold in pairs]
                yield pa.record_batch({"id": batch.column("id"), "error": pa.array(errors)})

        say(f"fitting {len(tried)} trials, {FOLDS} folds each, in the Spark workers")
        fits = len(tried) * FOLDS
        measured = spark.range(0, fits, numPartitions=fits).mapInArrow(fit_pairs, "id bigint, error double")
        # Sorted here, since a sort in Spark would first fit everything once to see what there is to sort.
        errors = [error for _, error in sorted(measured.collect())]
        return [average_folds(errors[start : start + FOLDS]) for start in range(0, fits, FOLDS)]

    return evaluate


def _make_study(seed: int) -> "Study":
    # Only a search needs it, and it costs a second.
    try:
        import optuna
    except ImportError as error:
        raise NoOptunaError(
            "search_trials takes Optuna, which is not installed here, as on serverless compute: take a "
            "cluster with a runtime for machine learning, or search_trials=0"
        ) from error

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Optuna 4 calls the liar an experiment; without him, the trials of a batch crowd at one place.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    return optuna.create_study(sampler=sampler)


def _begin_with(study: "Study", searched: list[Parameter], first: Params) -> None:
    """Have the first trial try what was given, where a search may try it."""
    if all(_is_within(first[parameter.name], parameter) for parameter in searched):
        study.enqueue_trial({parameter.name: first[parameter.name] for parameter in searched})


def _is_within(value: Value, parameter: Parameter) -> bool:
    if not parameter.is_number:
        return value in parameter.search
    low, high = map(float, parameter.search)
    return low <= float(value) <= high


def _suggest(trial: "Trial", parameter: Parameter) -> Value:
    if not parameter.is_number:
        # Optuna may choose among None too, which is not a value here.
        return cast(Value, trial.suggest_categorical(parameter.name, parameter.search))
    low, high = parameter.search
    if isinstance(parameter.default, int):
        return trial.suggest_int(parameter.name, int(low), int(high), log=parameter.scale == "log")
    return trial.suggest_float(parameter.name, float(low), float(high), log=parameter.scale == "log")


def _log_trial(number: int, params: Params, error: float, primary: str) -> None:
    # MLflow prints two addresses a run, which would bury the progress.
    with redirect_stdout(StringIO()), mlflow.start_run(run_name=f"trial {number}", nested=True):
        mlflow.log_params(params)
        mlflow.log_metric(f"cv_{primary}", error)
