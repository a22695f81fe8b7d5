"""The words by which a kernel tells the process around it what is more than output."""

from typing import NoReturn

SECRET_MIME_TYPE = "application/vnd.local-workspace.secret"


class _Signal(BaseException):
    """Ends a cell without an error; not an Exception, so that the notebook's own handlers let it pass."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: drawing a trace that nobody sees would take a third of a second."""
        return []


class NotebookExit(_Signal):
    """Ends the notebook with a value."""


class PythonRestart(_Signal):
    """Asks for a new Python process before the next cell."""


EXIT = NotebookExit.__name__
RESTART = PythonRestart.__name__


def exit_notebook(value: str) -> NoReturn:
    """Ends the notebook that is running with `value`."""
    raise NotebookExit(value)


def restart_python() -> NoReturn:
    """Asks for a new Python process; the state of this one is lost."""
    raise PythonRestart("restart")
