"""The errors that an operator can act on; the command line prints their text and nothing else."""


class DeploymentError(Exception):
    """Something is wrong with the settings, the workspace or a run; the text says what and what to do."""


class CliError(DeploymentError):
    """The `databricks` program failed; the text is the program's own."""


class RunFailedError(DeploymentError):
    """A job run did not end in SUCCESS; the text carries the notebook's own error."""
