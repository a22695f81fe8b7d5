"""The errors that an operator can act on; the command line prints their text and nothing else."""

from collections.abc import Sequence


class DeploymentError(Exception):
    """Something is wrong with the settings, the workspace or a run; the text says what and what to do."""


class CliError(DeploymentError):
    """The `databricks` program failed; the text is the program's own."""


class RunFailedError(DeploymentError):
    """A job run did not end in SUCCESS; the text carries the notebook's own error."""


def refuse_existing(paths: Sequence[str]) -> None:
    """Raises DeploymentError when there are files that an upload would write over."""
    if paths:
        raise DeploymentError(
            f"the upload would go over {', '.join(paths)}; nothing was uploaded. "
            "If that is wanted: OVERWRITE=1"
        )
