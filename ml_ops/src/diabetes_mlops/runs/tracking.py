"""Opens the MLflow run of a job and writes on it what the job worked with."""

import platform
import re
from collections.abc import Iterator
from contextlib import contextmanager
from hashlib import sha256
from importlib.metadata import version

import mlflow
import pandas as pd
from mlflow import MlflowClient
from mlflow.data.dataset import Dataset
from mlflow.data.spark_dataset_source import SparkDatasetSource
from mlflow.exceptions import MlflowException

from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.spark_errors import is_of_spark, reason_of
from diabetes_mlops.runs.widgets import is_path

WHEELS = ("diabetes", "diabetes_mlops")
SCORING_JOB = "diabetes_batch_scoring"
ERROR = "error"
LONGEST_ERROR = 500


class SparkFailedError(RuntimeError):
    """Spark could not do what a job asked it for; the message has the cause."""


@contextmanager
def open_run(experiment_name: str, job: str, git_commit: str) -> Iterator[mlflow.ActiveRun]:
    """Open a run named after its job; an error inside leaves it FAILED and goes on to the caller.

    MLflow keeps no errors: the tag `error` has the type and the first line of it. An error of Spark's whose
    cause is not in that line goes on as a SparkFailedError.
    """
    mlflow.set_experiment(experiment_name)
    with mlflow.start_run(run_name=job, tags=describe_code(git_commit)) as run:
        telemetry.describe(run_id=run.info.run_id)
        try:
            yield run
        except BaseException as error:
            told = _tell_cause(error)
            MlflowClient().set_tag(run.info.run_id, ERROR, describe_error(told))
            if told is error:
                raise
            raise told from error


def describe_error(error: BaseException) -> str:
    """Give an error's type and the first line of its message, cut where that is long."""
    first = str(error).partition("\n")[0]
    return f"{type(error).__name__}: {first}".removesuffix(": ")[:LONGEST_ERROR]


def _tell_cause(error: BaseException) -> BaseException:
    """Give an error of Spark's whose first line lacks the last cause as one sentence that has it."""
    if not is_of_spark(error):
        return error
    first, cause = next(filter(None, map(str.strip, str(error).splitlines())), ""), reason_of(error)
    return error if cause in first else SparkFailedError(f"{_shorten(first)} Cause: {cause}")


def _shorten(text: str) -> str:
    """Leave the room for a cause."""
    return text if len(text) <= LONGEST_ERROR // 2 else f"{text[: LONGEST_ERROR // 2]}..."


def describe_code(git_commit: str) -> dict[str, str]:
    """Give the tags that say which code ran, in which environment.

    The versions of both wheels and of Python, MLflow and scikit-learn; where the commit is known,
    `git_commit`; where the wheels were built from a checkout, `git_dirty`: did it differ from its commit?
    """
    wheels = {f"{wheel}_version": version(wheel) for wheel in WHEELS}
    environment = {
        "python_version": platform.python_version(),
        "mlflow_version": mlflow.__version__,
        "sklearn_version": version("scikit-learn"),
    }
    dirty = {"git_dirty": text} if (text := describe_dirtiness(*wheels.values())) else {}
    return wheels | environment | dirty | ({"git_commit": git_commit} if git_commit else {})


def describe_dirtiness(*wheel_versions: str) -> str:
    """Say "true" when a wheel's version has a digest of differences (0.1.0+g1a2b3c4.d9f8e7d6c).

    "false" when all have a commit alone (0.1.0+g1a2b3c4), empty when one has none.
    """
    found = [re.search(r"\+g[0-9a-f]+(\.d[0-9a-f]+)?", text) for text in wheel_versions]
    if any(match is None for match in found):
        return ""
    return str(any(match[1] for match in found if match)).lower()


def digest_rows(table: pd.DataFrame) -> str:
    """Give 16 hexadecimal digits of the column names and all values, in the order of the rows."""
    total = sha256(repr(list(table.columns)).encode())
    total.update(pd.util.hash_pandas_object(table, index=False).to_numpy().tobytes())
    return total.hexdigest()[:16]


def dataset_source(source: str) -> SparkDatasetSource:
    """Describe a file or a table as where a dataset comes from."""
    return SparkDatasetSource(path=source) if is_path(source) else SparkDatasetSource(table_name=source)


def log_input(dataset: Dataset, context: str) -> None:
    """Log a dataset as an input of the active run."""
    try:
        mlflow.log_input(dataset, context=context)
    except MlflowException as error:
        # Two runs that log the same dataset at the same moment collide in its SQL store; it is there then.
        if "UNIQUE constraint" not in str(error):
            raise
        mlflow.log_input(dataset, context=context)
