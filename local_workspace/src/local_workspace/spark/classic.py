"""Spark Classic, as a notebook has it on a dedicated cluster: it attaches to Spark's own Java process."""

import signal
import sys
import warnings
from collections.abc import Callable
from functools import wraps
from pathlib import Path
from typing import Any, NoReturn

from local_workspace.processes.environment import has_own_packages, python_of_workers

# A run on Spark Classic has the way to it in its environment, and no other has.
IS_HERE_BY = "PYSPARK_GATEWAY_PORT"
# By these a process would go to Spark Connect.
OF_CONNECT = ("SPARK_REMOTE", "SPARK_CONNECT_AUTHENTICATE_TOKEN")


def prepare() -> None:
    """Has PySpark attach to the run's own session, whoever asks for one first, and stop it for nobody."""
    from pyspark import SparkContext
    from pyspark.sql import SparkSession

    for builder in (SparkSession.Builder, SparkContext):
        vars_of: Any = builder
        method = vars_of.__dict__["getOrCreate"]
        vars_of.getOrCreate = (
            classmethod(_after_opening(method.__func__))
            if isinstance(method, classmethod)
            else _after_opening(method)
        )
    for owner in (SparkSession, SparkContext):
        owner.stop = _stop  # type: ignore[method-assign]


def open_session() -> Any:
    """The session that this run has had since it began; Spark's workers use the run's packages, if any."""
    from pyspark.sql import SparkSession

    if SparkSession._instantiatedSession is None:
        _attach()
    return SparkSession._instantiatedSession


def sql_context(session: Any) -> Any:
    """The older name of a session."""
    from pyspark.sql import SQLContext

    with warnings.catch_warnings():
        warnings.simplefilter("ignore", FutureWarning)  # whoever uses it is warned, not whoever has it
        return SQLContext(session.sparkContext, session)


def use_own_packages() -> None:
    """Has Spark's workers use the packages that this run has installed so far, if any."""
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is not None and has_own_packages(Path(sys.prefix)):
        context.pythonExec = python_of_workers(Path(sys.prefix))


def interrupt_own_jobs() -> None:
    """Has the signal that interrupts a cell end the Spark jobs of this run too.

    Spark's own handler would end those of all runs.
    """
    signal.signal(signal.SIGINT, _interrupt)


def _attach() -> None:
    from pyspark import SparkConf, SparkContext
    from pyspark.java_gateway import launch_gateway
    from pyspark.sql import SparkSession

    handler = signal.getsignal(signal.SIGINT)
    gateway = launch_gateway()  # type: ignore[no-untyped-call]
    own = gateway.jvm.org.apache.spark.sql.classic.SparkSession.getActiveSession().get()
    java_context = gateway.jvm.JavaSparkContext.fromSparkContext(own.sparkContext())
    context = SparkContext(gateway=gateway, jsc=java_context, conf=SparkConf(_jconf=java_context.getConf()))
    signal.signal(signal.SIGINT, handler)
    use_own_packages()
    # A first session would become the one that Java gives to everybody who has none.
    SparkSession._should_update_active_session = staticmethod(lambda: False)  # type: ignore[method-assign]
    session = SparkSession(context, own)
    SparkSession._instantiatedSession = SparkSession._activeSession = session


def _after_opening(method: Callable[..., Any]) -> Callable[..., Any]:
    @wraps(method)
    def opened(*arguments: Any, **options: Any) -> Any:
        open_session()
        return method(*arguments, **options)

    return opened


def _stop(self: Any) -> None:
    """Does nothing: others use the same Spark."""
    warnings.warn(
        f"{type(self).__name__}.stop() does nothing here: all notebooks of the cluster share its Spark. On "
        "Databricks it breaks the cluster for them; leave it out",
        stacklevel=2,
    )


def _interrupt(number: int, frame: Any) -> NoReturn:
    from pyspark import SparkContext

    context = SparkContext._active_spark_context
    if context is not None and context._gateway is not None:
        # The answer to what this thread has asked is still to come: later questions need another connection.
        connection = context._gateway._gateway_client.get_thread_connection()
        if connection is not None:
            connection.close()
        for tag in context.getJobTags():
            context.cancelJobsWithTag(tag)
    raise KeyboardInterrupt
