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
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any, NoReturn, TypeVar

import zmq
from IPython.core.interactiveshell import ExecutionInfo, InteractiveShell
from IPython.core.magic import MAGIC_NO_VAR_EXPAND_ATTR
from IPython.display import Markdown

from local_workspace.kernel import (
    catalog_statements,
    databricks_connect,
    fs_magic,
    machine_paths,
    pipelines,
    programs,
    runtime_modules,
    serverless,
    sql_cells,
)
from local_workspace.kernel.dbutils import DbUtils, notebook_at, source_of
from local_workspace.kernel.display import display, display_html
from local_workspace.kernel.memory import limit_memory
from local_workspace.kernel.pip_words import without_comment, words_for_pip
from local_workspace.kernel.sessions import Sessions
from local_workspace.notebooks.source import read_notebook
from local_workspace.spark import classic
from local_workspace.spark.access_modes import SERVERLESS

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
    _lose_no_output(shell)
    _show_outputs_only()
    sys.dont_write_bytecode = True  # modules that lie beside the notebook leave no folders there
    task = json.loads(Path(os.environ["LOCAL_WORKSPACE_TASK"]).read_text())
    os.environ["MLFLOW_RUN_CONTEXT"] = json.dumps(_mlflow_tags(task))
    is_on_classic = classic.IS_HERE_BY in os.environ
    if is_on_classic:
        classic.prepare()
    dbutils = DbUtils(task)
    if task.get("access_mode") == SERVERLESS:
        serverless.prepare()
        dbutils.fs = serverless.file_system()
    sessions = Sessions(is_on_classic)
    sessions.open_before_others()
    magics = Magics(shell, dbutils, sessions)
    shell.push({"dbutils": dbutils, "display": display, "displayHTML": display_html})
    shell.push({"getArgument": dbutils.widgets.getArgument})
    runtime_modules.prepare(dbutils, magics.spark, is_on_classic)
    catalog_statements.prepare()
    if "LOCAL_WORKSPACE_STATE" in os.environ:
        machine_paths.prepare(shell, has_dbfs=is_on_classic)
    shell.events.register("pre_run_cell", magics.open_session_when_named)
    databricks_connect.provide(magics.spark)
    if task.get("is_program"):
        programs.prepare(shell)
        pipelines.prepare(shell, magics.spark)
    shell.input_transformers_cleanup.append(_to_cell_magic)
    for name in ("pip", "run", "restart_python"):
        shell.register_magic_function(getattr(magics, name), magic_name=name)
    for name in ("sql", "sh", "md", "python", "fs"):
        shell.register_magic_function(getattr(magics, name), magic_kind="cell", magic_name=name)
    for name in OTHER_LANGUAGES:
        shell.register_magic_function(magics.refuse, magic_kind="cell", magic_name=name)


def _lose_no_output(shell: InteractiveShell) -> None:
    """Has outputs wait for a client that is behind; by itself ZeroMQ leaves out what is above a thousand."""
    thread = shell.kernel.iopub_thread
    thread.schedule(lambda: thread.socket.setsockopt(zmq.XPUB_NODROP, 1))


class Magics:
    """The magics of one kernel."""

    def __init__(self, shell: InteractiveShell, dbutils: DbUtils, sessions: Sessions) -> None:
        self.shell = shell
        self.dbutils = dbutils
        self.sessions = sessions

    def open_session_when_named(self, info: ExecutionInfo) -> None:
        """Connects to Spark before the first cell that names it: connecting costs time.

        On Spark Classic functions of Spark, such as `col`, need a session too: there the first import counts.
        """
        if self.sessions.is_on_classic:
            classic.interrupt_own_jobs()
        self.sessions.share_folders()
        source = info.raw_cell or ""
        if "spark" not in self.shell.user_ns and _wants_spark(source, self.sessions.is_on_classic):
            self.spark()

    def spark(self) -> Any:
        """The session of this kernel, opened when first asked for."""
        if "spark" not in self.shell.user_ns:
            session = self.sessions.open()
            self.shell.push({"spark": session})
            if self.sessions.is_on_classic:
                context = classic.sql_context(session)
                self.shell.push({"sc": session.sparkContext, "sqlContext": context})
        return self.shell.user_ns["spark"]

    @_as_written
    def sql(self, line: str, cell: str) -> None:
        """Runs SQL statements and shows the table of the last, which stays at hand as `_sqldf`."""
        table = sql_cells.run(f"{line}\n{cell}", self.dbutils.widgets, self._query)
        if table is not None:
            self.shell.push({"_sqldf": table})
            display(table)

    def _query(self, statement: str) -> Any:
        return self.spark().sql(statement)

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
        if isinstance(result, str):
            print(result)
        elif result is not None:
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
        self.sessions.use_own_packages()  # an import before this cell may have opened the session

    def restart_python(self, line: str) -> None:
        """Starts a new Python process."""
        self.dbutils.library.restartPython()

    @_as_written
    def run(self, line: str) -> None:
        """Runs the cells of another notebook in this kernel: `%run ./other $alpha="0.5"`."""
        name, *words = shlex.split(without_comment(line)) or [""]
        if not name:
            raise ValueError("%run takes the path of a notebook, such as ./other")
        path = notebook_at(self.dbutils.notebook._resolve(name))
        source, language = source_of(path)
        notebook = read_notebook(source, "SOURCE", language)
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
    if task.get("is_program"):
        name = f"jobs/{task['job_id']}/run/{task['run_id']}"
        of_job = {"source.name": name, "source.type": "JOB", "databricks.notebookPath": None}
        tags |= {f"mlflow.{tag}": value for tag, value in of_job.items()}
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
