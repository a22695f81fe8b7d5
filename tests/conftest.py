"""The demo, run once for all tests that look at what it leaves behind."""

import subprocess
from collections.abc import Iterator
from dataclasses import dataclass

import pytest
from workspace_under_test import ROOT, WorkspaceUnderTest, command_lines

# Fixtures that are a workspace with its own Spark.
SHARED = {"demo", "real_workspace"}


@dataclass
class Demo:
    """A workspace on which `make demo` ran, and what it printed."""

    workspace: WorkspaceUnderTest
    finished: subprocess.CompletedProcess[str]


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a Spark or a workspace in one process, and those of other files by file.

    First, because pytest-xdist looks at the marks in a hook of the same name.

    Without the folder local_workspace there is nothing here to run the whole loop on.
    """
    for item in items:
        folder = item.path.relative_to(ROOT).parts[0]
        shared = SHARED.intersection(getattr(item, "fixturenames", ()))
        alone = folder if folder in ("ml_source", "ml_ops") else str(item.path)
        item.add_marker(pytest.mark.xdist_group(shared.pop() if shared else alone))
    if not (ROOT / "local_workspace").exists():
        for item in items:
            if "demo" in getattr(item, "fixturenames", ()) or item.path.name == "test_end_to_end.py":
                item.add_marker(pytest.mark.skip(reason="the folder local_workspace is deleted"))


@pytest.fixture(scope="session")
def demo(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Demo]:
    """The demo; that stopping its workspace leaves nothing behind is looked at when all tests are done."""
    workspace = WorkspaceUnderTest(tmp_path_factory.mktemp("workspace"))
    try:
        finished = workspace.make("demo", timeout=400)
        assert finished.returncode == 0, finished.stdout + finished.stderr
        yield Demo(workspace, finished)
    finally:
        stopped = workspace.make("local-workspace-stop")
    assert stopped.returncode == 0, stopped.stdout + stopped.stderr
    assert not [arguments for arguments in command_lines() if str(workspace.folder) in arguments]
    assert list(workspace.temporary.iterdir()) == []
