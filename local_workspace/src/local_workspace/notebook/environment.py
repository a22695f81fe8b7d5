"""A Python environment of its own for each run: what a cluster carries, plus what the run's `%pip` adds."""

import importlib
import os
import sys
import sysconfig
import venv
from pathlib import Path
from types import ModuleType
from typing import Any

import local_workspace

BASE = "base-environment.pth"


def create_environment(folder: Path) -> Path:
    """Makes a virtual environment that sees the packages installed beside this one; returns its Python.

    Packages that are installed in editable form stay out of sight, because a `.pth` file is read only in an
    environment's own folder: a run uses the wheels that were deployed, never a developer's working copy.
    """
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    site_packages = packages_of(folder)
    here = Path(local_workspace.__file__).parents[1]
    (site_packages / BASE).write_text(f"{sysconfig.get_paths()['purelib']}\n{here}\n")
    return python_of(folder)


def move_to(folder: Path) -> None:
    """Makes this interpreter that of another run, whose folder has an environment without packages too.

    Replaces the old folder wherever a module has kept it, as `sys.path` or the program of new processes.
    """
    left = str(Path(sys.prefix).parent)

    def moved(value: Any) -> Any:
        if isinstance(value, bytes):
            return os.fsencode(moved(os.fsdecode(value)))
        is_inside = isinstance(value, str) and value.startswith(left)
        return f"{folder}{value.removeprefix(left)}" if is_inside else value

    for module in [module for module in sys.modules.values() if isinstance(module, ModuleType)]:
        for name, value in list(vars(module).items()):
            if type(value) is list:
                value[:] = map(moved, value)
            elif isinstance(value, str | bytes):
                vars(module)[name] = moved(value)
    importlib.reload(sysconfig)
    sys.path_importer_cache.clear()


def python_of(folder: Path) -> Path:
    """The interpreter of the environment in `folder`."""
    return folder / "bin" / "python"


def packages_of(folder: Path) -> Path:
    """The folder into which the environment in `folder` installs packages."""
    return Path(sysconfig.get_path("purelib", "venv", {"base": str(folder), "platbase": str(folder)}))


def base_packages_of(folder: Path) -> Path:
    """The folder of the packages that the environment in `folder` shares with all others."""
    return Path((packages_of(folder) / BASE).read_text().splitlines()[0])


def has_own_packages(folder: Path) -> bool:
    """Whether anything was installed into the environment in `folder`."""
    return any(path.name.endswith(".dist-info") for path in packages_of(folder).iterdir())
