"""Has plain Python find what is in `/Workspace`, `/Volumes` and `/dbfs`: the machine has these elsewhere.

That is `open`, the functions of `os`, and with them those of `pathlib`, `shutil`, pandas and most others, and
`import` where such a folder is on `sys.path`. What opens files by itself, in C or in a shell, does not.
"""

import builtins
import io
import os
import posixpath
import sys
from collections.abc import Callable, Mapping, Sequence
from functools import partial, wraps
from importlib.machinery import SOURCE_SUFFIXES, FileFinder, SourceFileLoader
from pathlib import Path
from types import ModuleType
from typing import Any

from IPython.core.interactiveshell import InteractiveShell

from local_workspace.kernel.after_import import after_import
from local_workspace.kernel.file_system import own_state

_ONE_PATH = (
    *("access", "chdir", "chmod", "chown", "listdir", "lstat", "mkdir", "open", "readlink", "remove"),
    *("rmdir", "scandir", "stat", "statvfs", "truncate", "unlink", "utime"),
    *("getxattr", "listxattr", "removexattr", "setxattr"),  # on Linux
)
_NAMES = {"dst", "file", "path", "source", "src", "where"}
# What opens files in C: functions of pandas and pyarrow that take a path first, or behind a table.
_OPEN_BY_THEMSELVES = {
    "pandas.io.parquet": ("_get_path_or_handle",),
    "pyarrow.parquet": ("read_table", "write_table"),
}
_TWO_PATHS = ("link", "rename", "replace", "symlink")


class Places:
    """Where the roots of the workspace's file systems lie on this machine."""

    def __init__(self, roots: Mapping[str, Path]) -> None:
        self._roots = {root: str(place) for root, place in roots.items()}

    def found(self, path: Any) -> Any:
        """The path on this machine, where `path` names something of the workspace; else `path` itself."""
        plain = os.fspath(path) if isinstance(path, str | os.PathLike) else path
        if not isinstance(plain, str) or not plain.startswith(tuple(self._roots)):
            return path
        plain = posixpath.normpath(plain)
        for root, place in self._roots.items():
            if plain == root or plain.startswith(f"{root}/"):
                return place + plain.removeprefix(root)
        return path


def prepare(shell: InteractiveShell, has_dbfs: bool) -> None:
    """Puts all of them in place; `/dbfs` is there on a dedicated cluster alone, as on Databricks.

    A root that the machine itself has stays its own.
    """
    state = own_state()
    roots = {"/Workspace": state.workspace_files}
    if has_dbfs:
        roots |= {"/dbfs/Volumes": state.volumes, "/dbfs": state.dbfs}
    roots["/Volumes"] = state.volumes
    places = Places({root: place for root, place in roots.items() if not Path(root).exists()})
    for name in filter(vars(os).get, _ONE_PATH):
        setattr(os, name, _with_found(getattr(os, name), places, 1))
    for name in _TWO_PATHS:
        setattr(os, name, _with_found(getattr(os, name), places, 2))
    opened = _with_found(builtins.open, places, 1)
    for module in (io, builtins):
        vars(module)["open"] = opened
    for module_name, names in _OPEN_BY_THEMSELVES.items():
        after_import(module_name, partial(_let_find, names, places))
    shell.push({"open": _with_found(shell.user_ns["open"], places, 1)}, interactive=False)
    sys.path_hooks.insert(0, lambda entry: _finder(entry, places))


def _let_find(names: Sequence[str], places: Places, module: ModuleType) -> None:
    """Has functions of a module find paths of the workspace, which they give to C."""
    for name in names:
        setattr(module, name, _with_found(getattr(module, name), places, 2))


def _with_found(function: Callable[..., Any], places: Places, count: int) -> Callable[..., Any]:
    @wraps(function)
    def call(*arguments: Any, **options: Any) -> Any:
        named = {name: places.found(value) if name in _NAMES else value for name, value in options.items()}
        return function(*map(places.found, arguments[:count]), *arguments[count:], **named)

    # os.supports_fd and its like are sets of functions, which callers look theirs up in.
    for group in (os.supports_dir_fd, os.supports_fd, os.supports_follow_symlinks, os.supports_effective_ids):
        if function in group:
            group.add(call)
    return call


def _finder(entry: str, places: Places) -> FileFinder:
    """Finds modules in a folder of the workspace; ImportError says that another finder is to look."""
    found = places.found(entry)
    if found == entry:
        raise ImportError(f"{entry} is not in the workspace")
    return FileFinder(found, (SourceFileLoader, SOURCE_SUFFIXES))
