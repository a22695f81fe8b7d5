"""What a notebook finds in its kernel while the workspace is stopped: one message; an IPython extension."""

import os

from IPython.core.interactiveshell import InteractiveShell

from local_workspace.kernel.own_kernel import REFUSAL
from local_workspace.kernel.own_session import NoWorkspaceError


def load_ipython_extension(shell: InteractiveShell) -> None:
    """Has every cell say which command starts the workspace."""
    shell.push({"_refuse": refuse})
    shell.input_transformers_cleanup.append(lambda lines: ["_refuse()\n"] if lines else lines)


def refuse() -> None:
    """Raises what the kernel was told when it began."""
    raise NoWorkspaceError(f"{os.environ[REFUSAL]}, then restart this kernel")
