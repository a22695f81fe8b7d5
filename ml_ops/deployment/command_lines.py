"""The command lines that the deployment knows, and which of them it uses."""

import shutil

from deployment import (
    go_cli,  # only: go-cli
    pip_cli,  # only: pip-cli
)
from deployment.databricks_cli import DatabricksCli
from deployment.errors import CliError
from deployment.workspace import Workspace

# In the order in which they are looked for.
COMMAND_LINES: list[type[DatabricksCli]] = [
    go_cli.GoCli,  # only: go-cli
    pip_cli.PipCli,  # only: pip-cli
]


def open_cli(workspace: Workspace, wanted: str = "") -> DatabricksCli:
    """The program `wanted`; without one that of the first command line that this machine has."""
    if wanted:
        return _open_named(workspace, wanted)
    for kind in COMMAND_LINES:
        program = kind.find()
        if program:
            return kind(workspace, program)
    raise CliError("the PATH has no Databricks CLI; install it, or name it with DATABRICKS_CLI=<program>")


def _open_named(workspace: Workspace, wanted: str) -> DatabricksCli:
    program = shutil.which(wanted)
    if program is None:
        raise CliError(f"DATABRICKS_CLI names no program: {wanted}")
    for kind in COMMAND_LINES:
        if kind.recognizes(program):
            return kind(workspace, program)
    known = " or ".join(kind.title for kind in COMMAND_LINES)
    raise CliError(f"DATABRICKS_CLI is {program}, which is not {known}")
