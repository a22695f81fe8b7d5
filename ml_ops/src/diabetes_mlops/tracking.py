"""Opens the MLflow run of a job and writes on it what the job worked with."""

from collections.abc import Iterator
from contextlib import contextmanager
from importlib.metadata import version

import mlflow
from mlflow.data.spark_dataset_source import SparkDatasetSource

from diabetes_mlops.settings import is_file


@contextmanager
def open_run(experiment_name: str, job: str, git_commit: str) -> Iterator[mlflow.ActiveRun]:
    """Open a run named after its job; an error inside leaves it FAILED and goes on to the caller."""
    mlflow.set_experiment(experiment_name)
    with mlflow.start_run(run_name=job, tags=describe_code(git_commit)) as run:
        yield run


def describe_code(git_commit: str) -> dict[str, str]:
    """Give the tags that say which code ran: both wheels' versions, and the commit where it is known."""
    wheels = {f"{wheel}_version": version(wheel) for wheel in ("diabetes", "diabetes_mlops")}
    return wheels | ({"git_commit": git_commit} if git_commit else {})


def dataset_source(source: str) -> SparkDatasetSource:
    """Describe a file or a table as where a dataset comes from."""
    return SparkDatasetSource(path=source) if is_file(source) else SparkDatasetSource(table_name=source)
