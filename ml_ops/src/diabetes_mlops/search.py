"""Searches the parameters of a model by cross-validation on the training rows, each trial a nested run."""

import mlflow
import pandas as pd
from diabetes.training import SEARCH_SPACE, cross_validate

ALPHA = "alpha"


def find_alpha(train: pd.DataFrame, *, first: float, trials: int, seed: int) -> float:
    """Return the alpha with the lowest cross-validated rmse among `trials` of them.

    The first trial is `first` where the search space has it, so that a search does not end worse than no
    search. The same rows, seed and versions try the same values. Raises what a trial raises.
    """
    # Only a search needs it, and it costs a second.
    import optuna

    def try_alpha(trial: optuna.Trial) -> float:
        alpha = trial.suggest_float(ALPHA, *SEARCH_SPACE[ALPHA], log=True)
        with mlflow.start_run(run_name=f"trial {trial.number + 1}", nested=True):
            mlflow.log_params({ALPHA: alpha, "seed": seed})
            rmse = cross_validate(train, alpha=alpha, seed=seed)
            mlflow.log_metric("cv_rmse", rmse)
        print(f"trial {trial.number + 1} of {trials}: alpha {alpha:.4g}, cross-validated rmse {rmse:.4g}")
        return rmse

    optuna.logging.set_verbosity(optuna.logging.WARNING)
    study = optuna.create_study(sampler=optuna.samplers.TPESampler(seed=seed))
    low, high = SEARCH_SPACE[ALPHA]
    if low <= first <= high:
        study.enqueue_trial({ALPHA: first})
    study.optimize(try_alpha, n_trials=trials)
    print(f"best of {trials} trials: alpha {study.best_params[ALPHA]:.4g}")
    mlflow.log_metric("cv_rmse", study.best_value)
    return float(study.best_params[ALPHA])
