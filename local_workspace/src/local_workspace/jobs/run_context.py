"""What the references in a task stand for: the run it belongs to, and what the tasks before it have set."""

import json
from dataclasses import dataclass
from typing import Any

from local_workspace.jobs import value_references
from local_workspace.jobs.run_documents import latest_attempts
from local_workspace.store.database import Database, Document
from local_workspace.store.state import StateFolder


@dataclass(frozen=True)
class Context:
    """A run, and the task values in it by task key; the run has its `input` where it goes through inputs."""

    run: Document
    values: Document

    @property
    def job_parameters(self) -> dict[str, str]:
        """The values that the job's parameters have in the run."""
        return {each["name"]: each["value"] for each in self.run.get("job_parameters", [])}

    def resolve(self, text: Any, task: Document) -> str:
        """A text of a task with what its references stand for.

        Raises InvalidParameter for a task value that was not set.
        """
        return value_references.resolve(text, self.run, task, self.values)


def context_of(database: Database, state: StateFolder, run: Document) -> Context:
    """The context of a run; that of an iteration is the run whose `for_each_task` goes through the inputs."""
    iteration = run.get("iteration")
    if iteration is None:
        return Context(run, _task_values(state, run))
    whole = database.get("run", str(iteration["run_id"])) or run
    return Context(whole | {value_references.INPUT: iteration["input"]}, _task_values(state, whole))


def _task_values(state: StateFolder, run: Document) -> Document:
    files = {
        key: state.run_folder(task["run_id"]) / "task_values.json"
        for key, task in latest_attempts(run).items()
    }
    return {key: json.loads(file.read_text()) for key, file in files.items() if file.exists()}
