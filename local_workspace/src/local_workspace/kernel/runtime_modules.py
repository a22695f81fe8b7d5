"""What modules have on a cluster and not elsewhere: the notebook's own `dbutils`, `spark` and `display`."""

import sys
from collections.abc import Callable
from functools import wraps
from types import ModuleType
from typing import Any

from local_workspace.kernel.after_import import after_import
from local_workspace.kernel.dbutils import DbUtils
from local_workspace.kernel.display import display, display_html
from local_workspace.spark import classic

# What a module gets from the session when it is asked for; to open one costs time.
_OF_SESSION: dict[str, Callable[[Any], Any]] = {
    "spark": lambda spark: spark,
    "sql": lambda spark: spark.sql,
    "table": lambda spark: spark.table,
}
_OF_CLASSIC: dict[str, Callable[[Any], Any]] = {
    "sc": lambda spark: spark.sparkContext,
    "sqlContext": classic.sql_context,
}


def prepare(dbutils: DbUtils, open_session: Callable[[], Any], is_on_classic: bool) -> None:
    """Has the modules that notebooks and files beside them import hand out what the notebook has."""
    sys.modules["pyspark.dbutils"] = _with_dbutils(dbutils)

    def complete(runtime: ModuleType) -> None:
        _complete_runtime(runtime, dbutils, open_session, is_on_classic)

    after_import("databricks.sdk.runtime", complete)
    after_import("pyspark.sql.dataframe", _let_tables_display)
    if not is_on_classic:
        after_import("mlflow.pyfunc", _load_models_from_disk)


def _with_dbutils(dbutils: DbUtils) -> ModuleType:
    """The module `pyspark.dbutils`, whose `DBUtils(spark)` is the notebook's own."""
    module = ModuleType("pyspark.dbutils", "The notebook's own `dbutils`.")
    members = {"__new__": lambda cls, *_: dbutils, "__doc__": DbUtils.__doc__}
    vars(module)["DBUtils"] = type("DBUtils", (), members)
    return module


def _complete_runtime(
    runtime: ModuleType, dbutils: DbUtils, open_session: Callable[[], Any], is_on_classic: bool
) -> None:
    """Puts the notebook's own things in the place of those that the SDK has for other places."""
    of_session = _OF_SESSION | (_OF_CLASSIC if is_on_classic else {})
    for name in of_session:
        vars(runtime).pop(name, None)

    def find(name: str) -> Any:
        if name not in of_session:
            raise AttributeError(f"module {runtime.__name__!r} has no attribute {name!r}")
        return of_session[name](open_session())

    vars(runtime).update(
        dbutils=dbutils,
        display=display,
        displayHTML=display_html,
        getArgument=dbutils.widgets.getArgument,
        is_local_implementation=False,
        __getattr__=find,
    )


def _let_tables_display(module: ModuleType) -> None:
    """Gives Spark's tables `.display()`."""
    module.DataFrame.display = display


def _load_models_from_disk(pyfunc: Any) -> None:
    """Has the workers of Spark Connect load a model from where the notebook has put it.

    By themselves they would ask the workspace for it, and they have no sign-in. MLflow does so where it knows
    that both see one disk, as on Spark Classic here and on a cluster of Databricks.
    """
    original = pyfunc.spark_udf

    @wraps(original)
    def spark_udf(*arguments: Any, **options: Any) -> Any:
        is_connect, pyfunc.is_spark_connect_mode = pyfunc.is_spark_connect_mode, lambda: False
        try:
            return original(*arguments, **options)
        finally:
            pyfunc.is_spark_connect_mode = is_connect

    pyfunc.spark_udf = spark_udf
