"""The folder of a task run: what its process finds there, and what it leaves behind."""

from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class TaskFolder:
    """The folder at `path`, and the files in it that more than one part of the workspace reads."""

    path: Path

    @property
    def task(self) -> Path:
        """What is to be done, as JSON."""
        return self.path / "task.json"

    @property
    def notebook(self) -> Path:
        """The notebook with its outputs, as far as it has got."""
        return self.path / "notebook.ipynb"

    @property
    def result(self) -> Path:
        """How it ended, as JSON."""
        return self.path / "result.json"
