"""Which versions a target names: checked before MLflow is imported, which takes seconds."""

from collections.abc import Callable

from deployment.errors import DeploymentError

LISTED = "`make models` lists them"


def require_number(text: str, describe: Callable[[], str] = lambda: LISTED) -> str:
    """The number of a version as it was typed; anything else is an error, which ends in what there is."""
    if not text:
        raise DeploymentError(f"which version? `make promote VERSION=3`; {LISTED}")
    if not (text.isascii() and text.isdigit()):
        raise DeploymentError(f"VERSION takes the number of a version; got '{text}'. {_or_where(describe)}")
    return text


def refuse_number(text: str) -> None:
    """An error where a version is named though nobody chooses it."""
    if text:
        raise DeploymentError(
            "rollback takes no VERSION, it goes back to the champion before; "
            f"`make promote VERSION={text}` makes that version the champion"
        )


def refuse_both(code: str, model: str) -> None:
    """An error where a roll-back of the code is told both the code and a version of the model."""
    if code and model:
        raise DeploymentError(
            "rollback-code takes VERSION, of the code, or MODEL_VERSION, of the model that it trained; "
            f"got VERSION='{code}' and MODEL_VERSION='{model}'. Give one of them"
        )


def require_two(a: str, b: str) -> tuple[str, str]:
    """Two versions, each by its number or alias; one alone is an error."""
    if not (a and b):
        raise DeploymentError("which two versions? `make compare A=champion B=3`, by number or alias")
    return a, b


def _or_where(describe: Callable[[], str]) -> str:
    """What there is, or how to see it where the workspace does not tell."""
    try:
        return describe()
    except DeploymentError:
        return LISTED
