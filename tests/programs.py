"""The `databricks` programs of this machine, with which the tests call."""

import os
import shutil
from functools import cache

import pytest
from deployment.command_lines import COMMAND_LINES
from deployment.databricks_cli import DatabricksCli
from deployment.workspace import Workspace


@cache
def find_program(kind: type[DatabricksCli]) -> str | None:
    """Where a command line is; DATABRICKS_GO_CLI may name the Databricks CLI, which is in no registry."""
    named = shutil.which(os.environ.get("DATABRICKS_GO_CLI", ""))
    return named if named and kind.recognizes(named) else kind.find()


def require_program(kind: type[DatabricksCli]) -> str:
    """Where a command line is; skips the test where it is not."""
    return find_program(kind) or pytest.skip(
        f"{kind.title} is not on the PATH, and DATABRICKS_GO_CLI names none"
    )


def any_kind() -> type[DatabricksCli]:
    """A command line for the tests to which it is all one: that of requirements.txt, where there is one."""
    return COMMAND_LINES[-1]


def any_program() -> str:
    """Where that command line is."""
    return require_program(any_kind())


def any_cli(workspace: Workspace) -> DatabricksCli:
    """That command line, signed in to a workspace."""
    return any_kind()(workspace, any_program())
