"""`databricks.connect` for code that asks it for its session: here that is the session of the run."""

import sys
from collections.abc import Callable, Sequence
from importlib.machinery import ModuleSpec
from importlib.util import spec_from_loader
from types import ModuleType
from typing import Any

NAME = "databricks.connect"
# What chooses a cluster and a sign-in elsewhere; a run has both.
_CHOICES = (
    *("remote", "host", "token", "clusterId", "serverless", "profile", "sdkConfig", "userAgent", "header"),
    *("validateSession", "appName", "config"),
)


class SessionModule:
    """Finds `databricks.connect` where nobody else does: a run may have installed the real one."""

    def __init__(self, open_spark: Callable[[], Any]) -> None:
        self._open_spark = open_spark

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by Python for a module that it found nowhere."""
        return spec_from_loader(name, self) if name == NAME else None  # type: ignore[arg-type]

    def create_module(self, spec: ModuleSpec) -> None:
        """An ordinary module."""

    def exec_module(self, module: ModuleType) -> None:
        """Fills it with the one class that code asks for."""
        builder = _builder(self._open_spark)
        vars(module)["DatabricksSession"] = type("DatabricksSession", (), {"builder": builder})


def provide(open_spark: Callable[[], Any]) -> None:
    """Makes `from databricks.connect import DatabricksSession` work; `open_spark` gives the session."""
    sys.meta_path.append(SessionModule(open_spark))


def _builder(open_spark: Callable[[], Any]) -> Any:
    def chosen(self: Any, *_: Any, **__: Any) -> Any:
        return self

    asked = dict.fromkeys(("getOrCreate", "create"), lambda self: open_spark())
    return type("Builder", (), {**dict.fromkeys(_CHOICES, chosen), **asked})()
