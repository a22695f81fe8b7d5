"""How the tests spread over processes, and the demo for all tests that look at what it leaves behind."""

import pytest
from machine import ROOT
from workspace_under_test import demo  # noqa: F401 # only: local-workspace

# Fixtures that are a workspace with its own Spark.
SHARED = {"demo", "real_workspace"}


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Keep the tests that share a Spark or a workspace in one process, and those of other files by file.

    First, because pytest-xdist looks at the marks in a hook of the same name.
    """
    for item in items:
        path = item.path.relative_to(ROOT).parts
        shared = SHARED.intersection(getattr(item, "fixturenames", ()))
        of_a_wheel = path[0] in ("ml_source", "ml_ops") and "deployment" not in path
        alone = path[0] if of_a_wheel else str(item.path)
        item.add_marker(pytest.mark.xdist_group(shared.pop() if shared else alone))
