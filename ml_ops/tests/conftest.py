"""What the tests run on: a real Spark with Delta, and a real MLflow store."""

import re
import sqlite3
from collections.abc import Callable, Iterator
from dataclasses import replace
from pathlib import Path
from typing import Any
from unittest.mock import patch

import mlflow
import pytest
from azurite import Azurite
from diabetes_mlops.data import small_batch
from ingestion import Ingestion, open_ingestion
from job_runs import Jobs
from pyspark.sql import SparkSession
from sparks import CLASSIC, Sessions, find_java, open_spark
from sqlalchemy import event
from sqlalchemy.pool import Pool


@pytest.fixture(scope="session", autouse=True)
def batches_are_large() -> Iterator[None]:
    """Batches of tests have few rows; Spark scores them, as large ones, unless a test says otherwise."""
    with patch.object(small_batch, "MOST_BYTES", -1):
        yield


@pytest.fixture(params=["spark"] if CLASSIC else ["spark", "driver"])
def each_way(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    """What scores: Spark, and then the driver, which is the same whatever Spark there is."""
    if request.param == "driver":
        monkeypatch.setattr(small_batch, "MOST_BYTES", 1024**2)
    return str(request.param)


@pytest.fixture(scope="session")
def sessions(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Sessions]:
    """Opens sessions of one Spark."""
    with open_spark(tmp_path_factory.mktemp("spark")) as opened:
        yield opened


@pytest.fixture(scope="session")
def spark(sessions: Sessions) -> Iterator[SparkSession]:
    """The session that the tests share."""
    with sessions() as session:
        yield session


@pytest.fixture
def own_session(sessions: Sessions) -> Iterator[SparkSession]:
    """A session that no other test has."""
    with sessions() as session:
        yield session


@pytest.fixture
def java_home() -> str:
    """The home of the Java that the tests' Spark runs on."""
    return str(Path(find_java()).resolve().parents[1])


@pytest.fixture(scope="session")
def azurite(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Azurite]:
    """A Blob service with an empty container `data`."""
    with Azurite(tmp_path_factory.mktemp("azurite")).running() as azurite:
        azurite.service.create_container("data")
        yield azurite


@event.listens_for(Pool, "connect")
def _do_not_wait_for_the_disk(connection: sqlite3.Connection, _record: object) -> None:
    """MLflow's stores of the tests need not outlive the machine; sqlite waits for the disk at each change."""
    connection.execute("PRAGMA synchronous=OFF")


@pytest.fixture(scope="session")
def tracking(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Path]:
    """A fresh MLflow store, and the folder that its artifacts go to."""
    folder = tmp_path_factory.mktemp("mlflow")
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    mlflow.set_tracking_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.set_registry_uri(f"sqlite:///{folder}/mlflow.db")
    yield folder
    mlflow.set_tracking_uri(before[0])
    mlflow.set_registry_uri(before[1])


@pytest.fixture(scope="session")
def make_jobs(
    spark: SparkSession, tracking: Path, tmp_path_factory: pytest.TempPathFactory
) -> Callable[[str], Jobs]:
    def make(name: str) -> Jobs:
        mlflow.create_experiment(f"/tests/{name}", artifact_location=(tracking / name).as_uri())
        return Jobs(spark, tmp_path_factory.mktemp(name), name)

    return make


@pytest.fixture
def jobs(make_jobs: Callable[[str], Jobs], request: pytest.FixtureRequest) -> Jobs:
    """Jobs with nothing trained and nothing scored."""
    return make_jobs(re.sub(r"\W+", "_", request.node.name).strip("_"))


@pytest.fixture(scope="session")
def ingestion() -> Iterator[Ingestion]:
    """The endpoint that `trained` and `scored` send their telemetry to."""
    with open_ingestion() as ingestion:
        yield ingestion


@pytest.fixture(scope="session")
def trained(make_jobs: Callable[[str], Jobs], ingestion: Ingestion) -> tuple[Jobs, dict[str, Any]]:
    """Jobs whose champion is version 1, and what its training reported."""
    jobs = replace(make_jobs("trained"), target=ingestion.target())
    return jobs, jobs.train(git_commit="0123abc")


@pytest.fixture(scope="session")
def scored(trained: tuple[Jobs, dict[str, Any]]) -> tuple[Jobs, dict[str, Any]]:
    """The same jobs after they scored the patients' batch, and what that scoring reported."""
    return trained[0], trained[0].score()
