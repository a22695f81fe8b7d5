"""What kinds of tasks there are: what a process carries out, and what only steers the others."""

from local_workspace.store.database import Document

NOTEBOOK, PYTHON_FILE, WHEEL = "notebook_task", "spark_python_task", "python_wheel_task"
SQL, PIPELINE = "sql_task", "pipeline_task"
CONDITION, RUN_JOB, FOR_EACH = "condition_task", "run_job_task", "for_each_task"
# What has no notebook of its own: what it prints is its output.
PROGRAMS = (PYTHON_FILE, WHEEL)
# What needs neither compute nor a process.
CONTROL = (CONDITION, RUN_JOB, FOR_EACH)
KINDS = (NOTEBOOK, *PROGRAMS, SQL, PIPELINE, *CONTROL)


def kind_of(task: Document) -> str:
    """The field that says what a task does; empty for a task without one that is known here."""
    return next((kind for kind in KINDS if task.get(kind) is not None), "")
