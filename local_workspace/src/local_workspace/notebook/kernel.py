"""What a notebook finds in its kernel: `spark`, `dbutils`, `display` and the magics; an IPython extension.

It is loaded again each time the kernel restarts.
"""

import ast
import faulthandler
import json
import os
import re
import shlex
import subprocess
import sys
from pathlib import Path
from typing import Any

from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell
from IPython.display import HTML
from IPython.display import display as display_in_jupyter

from local_workspace.notebook.dbutils import DbUtils
from local_workspace.notebook.environment import has_own_packages
from local_workspace.notebook.memory import limit_memory
from local_workspace.notebook.source import read_notebook
from local_workspace.run_processes import uses_cluster

DISPLAY_LIMIT = 1000
_WHOLE_CELL_MAGICS = ("%sql", "%sh", "%md")


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Prepares the kernel for the task that `LOCAL_WORKSPACE_TASK` names."""
    limit_memory()
    _show_outputs_only()
    task = json.loads(Path(os.environ["LOCAL_WORKSPACE_TASK"]).read_text())
    dbutils = DbUtils(task["parameters"], task["notebook_path"])
    magics = Magics(shell, dbutils)
    shell.push({"dbutils": dbutils, "display": magics.display, "displayHTML": magics.display_html})
    shell.events.register("pre_run_cell", magics.open_session_when_named)
    shell.input_transformers_cleanup.append(_to_cell_magic)
    shell.register_magic_function(magics.pip, magic_name="pip")
    shell.register_magic_function(magics.run, magic_name="run")
    shell.register_magic_function(magics.sql, magic_kind="cell", magic_name="sql")


class Magics:
    """The magics and display functions of one kernel."""

    def __init__(self, shell: InteractiveShell, dbutils: DbUtils) -> None:
        self.shell = shell
        self.dbutils = dbutils

    def open_session_when_named(self, info: ExecutionInfo) -> None:
        """Connects to Spark before the first cell that names `spark`: connecting costs seconds."""
        source = info.raw_cell or ""
        if "spark" not in self.shell.user_ns and (source.startswith("%%sql") or _names_spark(source)):
            self.spark()

    def spark(self) -> Any:
        """The session of this kernel, opened when first asked for."""
        if "spark" not in self.shell.user_ns:
            self.shell.push({"spark": open_session()})
        return self.shell.user_ns["spark"]

    def display(self, value: Any, *_: Any, **__: Any) -> None:
        """Shows a value; of a Spark table the first 1,000 rows."""
        if type(value).__module__.startswith("pyspark.sql"):
            value = value.limit(DISPLAY_LIMIT).toPandas()
        display_in_jupyter(value)

    def display_html(self, html: str) -> None:
        """Shows a piece of HTML."""
        display_in_jupyter(HTML(html))

    def sql(self, _line: str, cell: str) -> None:
        """Runs one SQL statement and shows its table, which stays at hand as `_sqldf`."""
        table = self.spark().sql(cell)
        self.shell.push({"_sqldf": table})
        self.display(table)

    def pip(self, line: str) -> None:
        """Installs packages for this run alone; paths of the workspace's file systems are understood."""
        words = [_local_path(word) for word in shlex.split(line)]
        command = [sys.executable, "-m", "pip", "--disable-pip-version-check", *words]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True)
        assert process.stdout is not None
        for output in process.stdout:
            print(output, end="")
        if process.wait() != 0:
            raise PipError(f"%pip {line} ended with exit code {process.returncode}; its output is above")

    def run(self, line: str) -> None:
        """Runs the cells of another notebook in this kernel."""
        path = self.dbutils.notebook.resolve(shlex.split(line)[0])
        notebook = read_notebook(self.dbutils.notebook.source_of(path), "SOURCE")
        for cell in notebook.cells:
            if cell.cell_type == "code":
                self.shell.run_cell(cell.source).raise_error()


class PipError(Exception):
    """`%pip` did not install what it was asked for."""


def open_session() -> Any:
    """A Spark session on the workspace's cluster, whose workers use this run's packages if it has any."""
    from pyspark.sql import SparkSession

    uses_cluster(Path(os.environ["LOCAL_WORKSPACE_TASK"]).parent).touch()
    session = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    if has_own_packages(Path(sys.prefix)):
        session.conf.set("spark.sql.execution.pyspark.python", sys.executable)
    return session


def _show_outputs_only() -> None:
    """Stops ipykernel from writing what cells and their children print into the log of the process too.

    There nobody would hide secrets. Only the trace of a crash still goes there: it has no values.
    """
    for stream in (sys.stdout, sys.stderr):
        copy = getattr(stream, "_original_stdstream_copy", None)
        if copy is not None:
            if stream is sys.stderr:
                faulthandler.enable(os.dup(copy))
            with Path(os.devnull).open("wb") as nowhere:
                os.dup2(nowhere.fileno(), copy)


def _names_spark(source: str) -> bool:
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # a cell with magics in it
        return re.search(r"\bspark\b", source) is not None
    return any(isinstance(node, ast.Name) and node.id == "spark" for node in nodes)


def _to_cell_magic(lines: list[str]) -> list[str]:
    """Databricks marks a whole cell with one `%`, IPython with two."""
    if lines and lines[0].split(maxsplit=1)[:1] and lines[0].split(maxsplit=1)[0] in _WHOLE_CELL_MAGICS:
        word, _, rest = lines[0].partition(" ")
        return [f"%{word.strip()}\n", rest, *lines[1:]]
    return lines


def _local_path(word: str) -> str:
    """The laptop's path for a path of the workspace (`/dbfs/…`, `/Volumes/…`, `/Workspace/…`)."""
    folders = json.loads(os.environ["LOCAL_WORKSPACE_FOLDERS"])
    option, separator, value = word.rpartition("=")
    for prefix, folder in folders.items():
        if value.startswith(prefix):
            return f"{option}{separator}{folder}/{value.removeprefix(prefix)}"
    return word
