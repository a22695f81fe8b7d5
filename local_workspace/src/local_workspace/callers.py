"""Who asks: the user or service principal of the request that is being answered."""

from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar

# The user that a workspace begins with: an administrator, of the metastore too.
USER_NAME = "local.user@localhost"
_CALLER: ContextVar[str] = ContextVar("caller")


def caller() -> str:
    """The name of who asks; a LookupError outside of a request."""
    return _CALLER.get()


@contextmanager
def asked_by(name: str) -> Iterator[None]:
    """Answers a request as one of `name`."""
    token = _CALLER.set(name)
    try:
        yield
    finally:
        _CALLER.reset(token)
