"""The order that `depends_on` gives to the tasks of a job."""

from local_workspace.errors import InvalidParameter
from local_workspace.store.database import Document


def in_order(tasks: list[Document]) -> list[Document]:
    """The tasks, each behind those it depends on; raises InvalidParameter for a circle."""
    waiting, ordered, done = list(tasks), [], set[str]()
    while waiting:
        ready = [task for task in waiting if done.issuperset(upstream(task))]
        if not ready:
            circle = [task["task_key"] for task in waiting]
            raise InvalidParameter(f"the tasks {circle} depend on one another in a circle")
        ordered += ready
        done |= {task["task_key"] for task in ready}
        waiting = [task for task in waiting if task not in ready]
    return ordered


def upstream(task: Document) -> list[str]:
    """The keys of the tasks that a task depends on."""
    return [str(dependency["task_key"]) for dependency in task.get("depends_on") or []]
