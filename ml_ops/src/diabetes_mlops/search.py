"""Searches the parameters of a model by cross-validation on the training rows, each trial a nested run.

Values are asked for, and their errors told, a batch at a time, wherever the trials run: what is tried next
never depends on which trial ends first, so the driver and workers, few or many, come to the same digits.
"""

import warnings
from collections.abc import Callable, Iterable, Iterator
from contextlib import redirect_stdout
from io import StringIO
from typing import TYPE_CHECKING

import mlflow
import numpy as np
import pandas as pd
import pyarrow as pa
from diabetes.evaluation import PRIMARY
from diabetes.measuring import cross_validate, validate
from diabetes.splitting import assign_folds
from diabetes.training import SEARCH_SPACE
from pyspark.sql import SparkSession

from diabetes_mlops.telemetry import say

if TYPE_CHECKING:
    from optuna import Study

ALPHA = "alpha"
FOLDS = 5
# A batch is 40 fits, enough for most clusters; a larger one would learn less from the one before.
BATCH = 8

# Takes values of alpha and gives the cross-validated error of each, the primary metric, in their order.
Evaluate = Callable[[list[float]], Iterable[float]]


def find_alpha(evaluate: Evaluate, *, first: float, trials: int, seed: int) -> float:
    """Return the alpha with the lowest error among `trials` of them.

    The first trial is `first` where the search space has it, so that a search does not end worse than no
    search. The same rows, seed and versions try the same values. Raises what `evaluate` raises.
    """
    study = _make_study(first, seed)
    for start in range(0, trials, BATCH):
        asked = [study.ask() for _ in range(start, min(start + BATCH, trials))]
        alphas = [trial.suggest_float(ALPHA, *SEARCH_SPACE[ALPHA], log=True) for trial in asked]
        for trial, alpha, error in zip(asked, alphas, evaluate(alphas), strict=True):
            study.tell(trial, error)
            _log_trial(trial.number + 1, {ALPHA: alpha, "seed": seed}, error)
            found = f"alpha {alpha:.4g}, cross-validated {PRIMARY} {error:.4g}"
            say(f"trial {trial.number + 1} of {trials}: {found}")
    say(f"best of {trials} trials: alpha {study.best_params[ALPHA]:.4g}")
    mlflow.log_metric(f"cv_{PRIMARY}", study.best_value)
    return float(study.best_params[ALPHA])


def on_driver(train: pd.DataFrame, *, seed: int) -> Evaluate:
    """Give the function that evaluates one value after another in this process."""

    def evaluate(alphas: list[float]) -> Iterator[float]:
        return (cross_validate(train, alpha=alpha, folds=FOLDS, seed=seed) for alpha in alphas)

    return evaluate


def on_workers(spark: SparkSession, train: pd.DataFrame, *, seed: int) -> Evaluate:
    """Give the function that evaluates all its values at once, each fold of each a task of Spark.

    The rows travel with the task, so it is for fits that are slow, not for rows that are many. A worker
    needs neither MLflow nor the source of the data.
    """
    folds = assign_folds(train, folds=FOLDS, seed=seed)

    def evaluate(alphas: list[float]) -> list[float]:
        def fit_pairs(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
            for batch in batches:
                pairs = [divmod(number, FOLDS) for number in batch.column("id").to_pylist()]
                errors = [validate(train, folds == fold, alpha=alphas[trial]) for trial, fold in pairs]
                yield pa.record_batch({"id": batch.column("id"), "error": pa.array(errors)})

        say(f"fitting {len(alphas)} trials, {FOLDS} folds each, in the Spark workers")
        fits = len(alphas) * FOLDS
        measured = spark.range(0, fits, numPartitions=fits).mapInArrow(fit_pairs, "id bigint, error double")
        # Sorted here, since a sort in Spark would first fit everything once to see what there is to sort.
        errors = [error for _, error in sorted(measured.collect())]
        return [float(np.mean(errors[start : start + FOLDS])) for start in range(0, fits, FOLDS)]

    return evaluate


def _make_study(first: float, seed: int) -> "Study":
    # Only a search needs it, and it costs a second.
    import optuna

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    with warnings.catch_warnings():
        # Optuna 4 calls the liar an experiment; without him, the trials of a batch crowd at one place.
        warnings.simplefilter("ignore", optuna.exceptions.ExperimentalWarning)
        sampler = optuna.samplers.TPESampler(seed=seed, constant_liar=True)
    study = optuna.create_study(sampler=sampler)
    low, high = SEARCH_SPACE[ALPHA]
    if low <= first <= high:
        study.enqueue_trial({ALPHA: first})
    return study


def _log_trial(number: int, params: dict[str, float], error: float) -> None:
    # MLflow prints two addresses a run, which would bury the progress.
    with redirect_stdout(StringIO()), mlflow.start_run(run_name=f"trial {number}", nested=True):
        mlflow.log_params(params)
        mlflow.log_metric(f"cv_{PRIMARY}", error)
