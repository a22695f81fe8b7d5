"""What the process of a task is given: the parameters of a notebook, or the words of a command line."""

from local_workspace.errors import DoesNotExist, InvalidParameter
from local_workspace.jobs.run_context import Context
from local_workspace.jobs.task_kinds import NOTEBOOK, PYTHON_FILE, SQL, WHEEL, kind_of
from local_workspace.notebooks.languages import PYTHON
from local_workspace.notebooks.notebook_formats import NotebookSource
from local_workspace.notebooks.workspace_tree import WorkspaceObjects, canonical
from local_workspace.spark.sql_text import statements
from local_workspace.store.database import Document
from local_workspace.store.state import StateFolder

# The field of a task's named parameters, and that of those of one run.
_NAMED = {
    NOTEBOOK: ("base_parameters", "notebook_params"),
    WHEEL: ("named_parameters", "python_named_params"),
    SQL: ("parameters", "sql_params"),
}
_OUTSIDE = ("dbfs:", "/dbfs/", "/Volumes/")


def parameters_of(task: Document, context: Context) -> dict[str, str]:
    """The widget values of a notebook or of SQL, or the named parameters of a wheel.

    First the task's own, then the job's parameters, then those of this run.
    """
    kind = kind_of(task)
    if kind == PYTHON_FILE or (kind == WHEEL and not task[WHEEL].get("named_parameters")):
        return {}
    own, of_run = _NAMED[kind]
    overriding = context.run["overriding_parameters"].get(of_run, {})
    merged = (task[kind].get(own) or {}) | context.job_parameters | overriding
    return {str(name): context.resolve(text, task) for name, text in merged.items()}


def words_of(task: Document, context: Context) -> list[str]:
    """The words that a program is called with; those of a run replace the task's own."""
    if named := parameters_of(task, context):
        return [f"--{name}={value}" for name, value in named.items()]
    own = task[kind_of(task)].get("parameters") or []
    words = context.run["overriding_parameters"].get("python_params") or own
    return [context.resolve(word, task) for word in words]


def path_of_file(task: Document, context: Context, root: str = "") -> str:
    """Where the file of a `spark_python_task` is, with its root, such as `/Workspace` or `dbfs:`.

    `root` is the folder in which the path begins.
    """
    path = root + context.resolve(task[PYTHON_FILE]["python_file"], task)
    return path if path.startswith(_OUTSIDE) else f"/Workspace{canonical(path)}"


def cell_that_runs(task: Document, words: list[str], path: str) -> NotebookSource:
    """The notebook of one cell that runs a program, as it is shown above what the program prints."""
    own = task[kind_of(task)]
    called = (
        f"run_file({path!r}, {words!r})"
        if kind_of(task) == PYTHON_FILE
        else f"run_entry_point({own['package_name']!r}, {own['entry_point']!r}, {words!r})"
    )
    return _source(called)


def cells_of_sql(text: str) -> NotebookSource:
    """The notebook of a file of SQL: a cell for each statement, whose result is shown below it."""
    cells = [
        "\n".join(f"# MAGIC {line}" for line in f"%sql\n{statement}".splitlines())
        for statement in statements(text)
    ]
    return _source(PYTHON.separator.join(cells))


def _source(cells: str) -> NotebookSource:
    return NotebookSource(f"{PYTHON.header}\n{cells}\n".encode(), PYTHON.name, "SOURCE")


def check_file(path: str, objects: WorkspaceObjects, state: StateFolder) -> None:
    """Raise DoesNotExist for a path without a file, and InvalidParameter for that of a notebook."""
    if path.startswith("/Workspace/"):
        found = objects.describe(path)
        if found["object_type"] != "FILE":
            raise InvalidParameter(
                f"python_file {path} is a {found['object_type']}, not a file; a notebook_task runs notebooks"
            )
    elif not state.local_path(path).is_file():
        raise DoesNotExist(f"File {path} does not exist.")


def place_in_workspace(path: str) -> str:
    """The workspace path of a program, in whose folder it works; empty for one outside of the workspace."""
    return path.removeprefix("/Workspace") if path.startswith("/Workspace/") else ""
