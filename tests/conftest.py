"""The demo, run once for all tests that look at what it leaves behind."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from workspace_under_test import WorkspaceUnderTest


@dataclass
class Demo:
    """A workspace on which `make demo` ran, and what it printed."""

    workspace: WorkspaceUnderTest
    finished: subprocess.CompletedProcess[str]


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    workspace = WorkspaceUnderTest(tmp_path_factory.mktemp("workspace"))
    try:
        finished = workspace.make("demo", timeout=400)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        yield Demo(workspace, finished)
    finally:
        workspace.make("local-workspace-stop")
