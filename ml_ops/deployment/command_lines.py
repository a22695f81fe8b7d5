"""The command lines that the deployment knows, and which of them it uses.

A project made from this template may have one of them alone. Where a feature is left out, the lines from
`# only: <feature>` to `# end only` go.
"""

import shutil

from deployment import (
    # only: go-cli
    go_cli,
    # end only
    # only: pip-cli
    pip_cli,
    # end only
)
from deployment.databricks_cli import DatabricksCli
from deployment.errors import CliError
from deployment.workspace import Workspace

# In the order in which they are looked for.
COMMAND_LINES: list[type[DatabricksCli]] = [
    # only: go-cli
    go_cli.GoCli,
    # end only
    # only: pip-cli
    pip_cli.PipCli,
    # end only
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
