"""Runs a declarative pipeline of Lakeflow in the kernel of its task, by the pipelines of Spark itself."""

import builtins
import sys
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from local_workspace.kernel.file_system import own_state
from local_workspace.spark.sql_text import quoted

_NO_STREAM = "INVALID_FLOW_QUERY_TYPE.BATCH_RELATION_FOR_STREAMING_TABLE"


def prepare(shell: InteractiveShell, open_session: Callable[[], Any]) -> None:
    """Gives the one cell of such a task what it calls."""
    shell.push({"run_pipeline": lambda definition: _run(definition, open_session(), shell.user_ns)})


def _run(definition: Mapping[str, Any], spark: Any, names: Mapping[str, Any]) -> None:
    """Carries out one update, and prints its events; raises what Spark says of a definition that is wrong.

    `definition` has `catalog`, `schema`, `configuration`, `storage` (where Spark keeps how far streams have
    got), `full_refresh`, `folders` (of modules) and `libraries`: paths of files in the workspace, or
    patterns of such.
    """
    __tracebackhide__ = True
    sys.path[:0] = [str(own_state().local_path(folder)) for folder in definition["folders"]]
    # On Databricks the files of a pipeline find these without an import.
    vars(builtins).update(spark=spark, dbutils=names["dbutils"])
    spark.sql(f"CREATE SCHEMA IF NOT EXISTS {quoted(definition['catalog'], definition['schema'])}")
    not_streams: set[str] = set()
    while found := _find_table_without_stream(definition, spark, not_streams):
        not_streams.add(found)


def _find_table_without_stream(definition: Mapping[str, Any], spark: Any, known: set[str]) -> str:
    """Carries out the update, unless a table of the definitions reads no stream: gives its name.

    On Databricks `@dp.table` makes of such a query what Spark calls a materialized view; Spark refuses it,
    before it begins.
    """
    __tracebackhide__ = True
    from pyspark.errors import AnalysisException
    from pyspark.pipelines import spark_connect_pipeline as connect

    graph = connect.create_dataflow_graph(
        spark, definition["catalog"], definition["schema"], definition["configuration"]
    )
    with _materialized(known):
        _register(definition, spark, graph)
    is_full, storage = definition["full_refresh"], definition["storage"]
    events = connect.start_run(spark, graph, None, is_full, None, dry=False, storage=storage)
    try:
        connect.handle_pipeline_events(events)
    except AnalysisException as error:
        name = (error.getMessageParameters() or {}).get("flowIdentifier", "").split(".")[-1].strip("`")
        if error.getCondition() != _NO_STREAM or name in known:
            raise
        return str(name)
    return ""


def _register(definition: Mapping[str, Any], spark: Any, graph: str) -> None:
    from pyspark.pipelines.cli import register_definitions
    from pyspark.pipelines.spark_connect_graph_element_registry import SparkConnectGraphElementRegistry

    registry: Any = SparkConnectGraphElementRegistry(spark, graph)
    for library in definition["libraries"]:
        folder, pattern = _split(library)
        spec: Any = SimpleNamespace(libraries=[SimpleNamespace(include=pattern)])
        register_definitions(folder / "pipeline", registry, spec, spark, graph)


def _split(library: str) -> tuple[Path, str]:
    """The folder of this machine without a wildcard in it, and the pattern of what is below it."""
    parts = library.split("/")
    fixed = next((place for place, part in enumerate(parts) if "*" in part), len(parts) - 1)
    pattern = "/".join(parts[fixed:])
    below = f"{pattern}/*" if pattern.endswith("**") else pattern
    return own_state().local_path("/".join(parts[:fixed])), below


@contextmanager
def _materialized(names: set[str]) -> Iterator[None]:
    """Has `@dp.table` make materialized views of the queries with these names."""
    from pyspark import pipelines as module

    pipelines: Any = module
    table = pipelines.table

    def decorated(query: Any = None, *, name: str | None = None, **options: Any) -> Any:
        def make(function: Any) -> Any:
            called = (name or function.__name__).split(".")[-1].strip("`")
            way = pipelines.materialized_view if called in names else table
            return way(name=name, **options)(function)

        return make if query is None else make(query)

    pipelines.table = decorated
    try:
        yield
    finally:
        pipelines.table = table
