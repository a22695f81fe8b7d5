"""Has something done to a module right after it was imported, whoever imports it first."""

import sys
from collections.abc import Callable, Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec
from types import ModuleType

Action = Callable[[ModuleType], None]


def after_import(name: str, action: Action) -> None:
    """Calls `action` with the module of that name: now if it is there already, else when it has come."""
    if name in sys.modules:
        action(sys.modules[name])
        return
    for finder in sys.meta_path:
        if isinstance(finder, _Waiting) and finder.name == name:
            finder.actions.append(action)
            return
    sys.meta_path.insert(0, _Waiting(name, action))


class _Waiting(MetaPathFinder):
    """Asked before all other finders, it adds its actions to what the one does that knows the module."""

    def __init__(self, name: str, action: Action) -> None:
        self.name = name
        self.actions = [action]

    def find_spec(
        self, fullname: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Called by Python for each module that is looked for."""
        if fullname != self.name:
            return None
        others = (finder for finder in sys.meta_path if finder is not self)
        spec = next(filter(None, (finder.find_spec(fullname, path, target) for finder in others)), None)
        if spec is not None and spec.loader is not None:
            execute = spec.loader.exec_module

            def execute_and_act(module: ModuleType) -> None:
                execute(module)
                for action in self.actions:
                    action(module)

            vars(spec.loader)["exec_module"] = execute_and_act
        return spec
