"""What a notebook finds in its kernel: `spark`, `dbutils`, `display` and the magics; an IPython extension.

It is loaded again each time the kernel restarts.
"""

import ast
import faulthandler
import inspect
import json
import logging
import os
import re
import shlex
import subprocess
import sys
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeVar

import sqlparse
from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell
from IPython.core.magic import MAGIC_NO_VAR_EXPAND_ATTR
from IPython.display import Markdown
from sqlparse.lexer import tokenize
from sqlparse.tokens import Name

from local_workspace.compute import SERVERLESS
from local_workspace.notebook import classic, fs_magic, serverless
from local_workspace.notebook.dbutils import DbUtils, source_of
from local_workspace.notebook.display import display, display_html
from local_workspace.notebook.environment import has_own_packages
from local_workspace.notebook.memory import limit_memory
from local_workspace.notebook.pip_words import without_comment, words_for_pip
from local_workspace.notebook.source import read_notebook
from local_workspace.run_processes import uses_cluster

OTHER_LANGUAGES = ("scala", "r")
_Magic = TypeVar("_Magic", bound=Callable[..., Any])
_WHOLE_CELL_MAGICS = ("sql", "sh", "md", "python", "fs", *OTHER_LANGUAGES)


def _as_written(magic: _Magic) -> _Magic:
    """Keeps IPython from filling variables into a line, where `$alpha="0.5"` is a parameter."""
    setattr(magic, MAGIC_NO_VAR_EXPAND_ATTR, True)
    return magic


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Prepares the kernel for the task that `LOCAL_WORKSPACE_TASK` names."""
    limit_memory()
    _show_outputs_only()
    sys.dont_write_bytecode = True  # modules that lie beside the notebook leave no folders there
    task = json.loads(Path(os.environ["LOCAL_WORKSPACE_TASK"]).read_text())
    os.environ["MLFLOW_RUN_CONTEXT"] = json.dumps(_mlflow_tags(task))
    is_on_classic = classic.IS_HERE_BY in os.environ
    if is_on_classic:
        classic.prepare()
    dbutils = DbUtils(task["parameters"], task["notebook_path"], task.get("compute", {}))
    if task.get("access_mode") == SERVERLESS:
        serverless.prepare()
        dbutils.fs = serverless.file_system()
    magics = Magics(shell, dbutils, is_on_classic)
    shell.push({"dbutils": dbutils, "display": display, "displayHTML": display_html})
    shell.push({"getArgument": dbutils.widgets.getArgument})
    shell.events.register("pre_run_cell", magics.open_session_when_named)
    shell.input_transformers_cleanup.append(_to_cell_magic)
    for name in ("pip", "run", "restart_python"):
        shell.register_magic_function(getattr(magics, name), magic_name=name)
    for name in ("sql", "sh", "md", "python", "fs"):
        shell.register_magic_function(getattr(magics, name), magic_kind="cell", magic_name=name)
    for name in OTHER_LANGUAGES:
        shell.register_magic_function(magics.refuse, magic_kind="cell", magic_name=name)


class Magics:
    """The magics of one kernel."""

    def __init__(self, shell: InteractiveShell, dbutils: DbUtils, is_on_classic: bool) -> None:
        self.shell = shell
        self.dbutils = dbutils
        self.is_on_classic = is_on_classic

    def open_session_when_named(self, info: ExecutionInfo) -> None:
        """Connects to Spark before the first cell that names it: connecting costs time.

        On Spark Classic functions of Spark, such as `col`, need a session too: there the first import counts.
        """
        if self.is_on_classic:
            classic.interrupt_own_jobs()
        source = info.raw_cell or ""
        if "spark" not in self.shell.user_ns and _wants_spark(source, self.is_on_classic):
            self.spark()

    def spark(self) -> Any:
        """The session of this kernel, opened when first asked for."""
        if "spark" not in self.shell.user_ns:
            session = open_session(self.is_on_classic)
            self.shell.push({"spark": session})
            if self.is_on_classic:
                context = classic.sql_context(session)
                self.shell.push({"sc": session.sparkContext, "sqlContext": context})
        return self.shell.user_ns["spark"]

    @_as_written
    def sql(self, line: str, cell: str) -> None:
        """Runs SQL statements and shows the table of the last, which stays at hand as `_sqldf`.

        A `:name` in a statement takes the value of the widget of that name.
        """
        table = None
        for statement in _statements(f"{line}\n{cell}"):
            table = self.spark().sql(_with_values(statement, self.dbutils.widgets.getAll()))
        if table is not None:
            self.shell.push({"_sqldf": table})
            display(table)

    @_as_written
    def sh(self, line: str, cell: str) -> None:
        """Runs a shell script; with `-e` after the magic it stops, and fails the cell, at the first error."""
        option, _, rest = f"{line}\n{cell}".lstrip().partition("\n")
        strict = option.strip() == "-e"
        script = rest if strict else f"{line}\n{cell}"
        code = _run_and_print(["bash", *(["-e"] if strict else []), "-c", script])
        if code != 0 and strict:
            raise ShellError(f"%sh -e ended with exit code {code}; its output is above")

    @_as_written
    def md(self, line: str, cell: str) -> None:
        """Shows Markdown."""
        display(Markdown(f"{line}\n{cell}"))

    @_as_written
    def python(self, line: str, cell: str) -> None:
        """Runs Python, which a Python notebook does anyway."""
        self._run_inside(f"{line}\n{cell}")

    @_as_written
    def fs(self, line: str, cell: str) -> None:
        """Calls `dbutils.fs`: `%fs ls /path`."""
        result = fs_magic.call(self.dbutils.fs, f"{line} {cell}")
        if result is not None:
            display(result)

    def refuse(self, line: str, cell: str) -> NoReturn:
        """Says that a language is not here."""
        names = ", ".join(f"%{name}" for name in OTHER_LANGUAGES)
        raise NotImplementedError(
            f"cells of {names} do not run here; there are %python, %sql, %sh, %fs and %md"
        )

    def pip(self, line: str) -> None:
        """Installs packages for this run alone; paths of the workspace's file systems are understood.

        As on Databricks, `$name` is the variable of the notebook: an index may need a token.
        """
        with TemporaryDirectory() as folder:
            words = words_for_pip(line, Path(folder))
            code = _run_and_print([sys.executable, "-m", "pip", "--disable-pip-version-check", *words])
        if code != 0:
            raise PipError(f"%pip {line} ended with exit code {code}; its output is above")
        if self.is_on_classic:
            classic.use_own_packages()  # an import before this cell may have opened the session

    def restart_python(self, line: str) -> None:
        """Starts a new Python process."""
        self.dbutils.library.restartPython()

    @_as_written
    def run(self, line: str) -> None:
        """Runs the cells of another notebook in this kernel: `%run ./other $alpha="0.5"`."""
        name, *words = shlex.split(without_comment(line)) or [""]
        if not name:
            raise ValueError("%run takes the path of a notebook, such as ./other")
        path = self.dbutils.notebook._resolve(name)
        notebook = read_notebook(source_of(path), "SOURCE")
        with self.dbutils.widgets._called_with(_arguments(words)), self.dbutils.notebook._inside(path):
            for cell in notebook.cells:
                if cell.cell_type == "code":
                    self._run_inside(cell.source)

    def _run_inside(self, source: str) -> None:
        """Runs a cell inside the one that is running, which shows the error if there is one."""
        show, self.shell._showtraceback = self.shell._showtraceback, lambda *_: None
        try:
            result = self.shell.run_cell(source)
        finally:
            self.shell._showtraceback = show
        result.raise_error()


class PipError(Exception):
    """`%pip` did not install what it was asked for."""


class ShellError(Exception):
    """A script of `%sh -e` did not succeed."""


def open_session(is_on_classic: bool) -> Any:
    """A Spark session on the workspace's cluster, whose workers use this run's packages if it has any."""
    _uses_cluster().touch()
    return classic.open_session() if is_on_classic else _open_connect_session()


def _uses_cluster() -> Path:
    return uses_cluster(Path(os.environ["LOCAL_WORKSPACE_TASK"]).parent)


def _open_connect_session() -> Any:
    from pyspark.sql import SparkSession

    # MLflow's import switches on what pyspark has switched off: each error once more, as JSON.
    logging.getLogger("pyspark.sql.connect.logging").setLevel(logging.CRITICAL)
    _release_in_one_thread()
    session: Any = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    _uses_cluster().write_text(session.session_id)
    if has_own_packages(Path(sys.prefix)):
        set_any = inspect.unwrap(type(session.conf).set)  # serverless compute refuses it to notebooks
        set_any(session.conf, "spark.sql.execution.pyspark.python", sys.executable)
    return session


def _release_in_one_thread() -> None:
    """Starts the thread in which Spark's client tells the server which results it has read.

    Else the client starts several, each while it holds a lock. Where garbage is collected in one that is just
    starting, and a query that failed is part of it, both wait for each other for ever (SPARK-55362).
    """
    from pyspark.sql.connect.client.reattach import ExecutePlanResponseReattachableIterator

    pool = ThreadPoolExecutor(max_workers=1)
    pool.submit(int).result()
    ExecutePlanResponseReattachableIterator._release_thread_pool_instance = pool


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


def _mlflow_tags(task: dict[str, Any]) -> dict[str, str]:
    """What every MLflow run of this notebook is tagged with, by Databricks' names of these tags."""
    tags = {
        "mlflow.source.name": task["notebook_path"],
        "mlflow.source.type": "NOTEBOOK",
        "mlflow.databricks.notebookPath": task["notebook_path"],
        "mlflow.databricks.jobID": task.get("job_id"),
        "mlflow.databricks.jobRunID": task.get("run_id"),
    }
    return {name: str(value) for name, value in tags.items() if value is not None}


def _wants_spark(source: str, is_on_classic: bool) -> bool:
    names = ("spark", "sc", "sqlContext") if is_on_classic else ("spark",)
    words = (*names, "import") if is_on_classic else names
    try:
        nodes = list(ast.walk(ast.parse(source)))
    except SyntaxError:  # a cell with magics in it
        return re.search(rf"\b({'|'.join(words)})\b", source) is not None
    imports = (ast.Import, ast.ImportFrom) if is_on_classic else ()
    return any(
        isinstance(node, imports) or (isinstance(node, ast.Name) and node.id in names) for node in nodes
    )


def _to_cell_magic(lines: list[str]) -> list[str]:
    """Databricks marks a whole cell with one `%`, IPython with two."""
    magic = re.match(r"%(\w+)(?:\s+(.*)|$)", lines[0].rstrip()) if lines else None
    if magic is None or magic[1] not in _WHOLE_CELL_MAGICS:
        return lines
    return [f"%%{magic[1]}\n", f"{magic[2] or ''}\n", *lines[1:]]


def _statements(text: str) -> list[str]:
    """The statements of a SQL cell; what has only comments in it is none."""
    parts = (part.strip().removesuffix(";") for part in sqlparse.split(text))
    return [part for part in parts if sqlparse.format(part, strip_comments=True).strip()]


def _with_values(statement: str, values: dict[str, str]) -> str:
    """A statement with literals for its `:name` markers; Delta's parser takes no values by itself."""
    return "".join(
        _literal(values[text[1:]])
        if kind in Name.Placeholder and text.startswith(":") and text[1:] in values
        else text
        for kind, text in tokenize(statement)  # type: ignore[no-untyped-call]
    )


def _literal(value: str) -> str:
    escaped = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"'{escaped}'"


def _arguments(words: list[str]) -> dict[str, str]:
    """The `$name="value"` words behind `%run`."""
    pairs = [word.partition("=") for word in words]
    wrong = [name for name, equals, _ in pairs if not name.startswith("$") or not equals]
    if wrong:
        raise ValueError(f'%run takes arguments as $name="value"; got {wrong}')
    return {name.removeprefix("$"): value for name, _, value in pairs}


def _run_and_print(command: list[str]) -> int:
    """Runs a command, shows what it prints as it prints it, and gives back its exit code."""
    with subprocess.Popen(
        command,
        stdin=subprocess.DEVNULL,
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        errors="replace",
    ) as process:
        assert process.stdout is not None
        for output in process.stdout:
            print(output, end="", flush=True)
    return process.returncode
