"""A Python environment of its own for each run: what a cluster carries, plus what the run's `%pip` adds."""

import importlib
import os
import sys
import sysconfig
import venv
from collections.abc import Sequence
from pathlib import Path
from types import ModuleType
from typing import Any

import local_workspace

BASE = "base-environment.pth"
# Modules that lie in a folder of the workspace leave no `__pycache__` there.
_LEAVE_NOTHING = "import sys; sys.dont_write_bytecode = True"
FOLDERS, FIRST = "workspace-folders.pth", "first-folders.pth"


def create_environment(folder: Path, first: Sequence[Path] = ()) -> Path:
    """Makes a virtual environment that sees the packages installed beside this one; returns its Python.

    Packages that are installed in editable form stay out of sight, because a `.pth` file is read only in an
    environment's own folder: a run uses the wheels that were deployed, never a developer's working copy.
    What lies in the folders `first` goes before all that is installed, also later.
    """
    venv.EnvBuilder(with_pip=False, symlinks=True).create(folder)
    site_packages = packages_of(folder)
    here = Path(local_workspace.__file__).parents[1]
    (site_packages / BASE).write_text(f"{sysconfig.get_paths()['purelib']}\n{here}\n")
    if first:
        (site_packages / FIRST).write_text(f"import sys; sys.path[:0] = {list(map(str, first))}\n")
    return python_of(folder)


def working_copies() -> list[Path]:
    """The folders from which this environment imports the packages that are installed in editable form."""
    found = Path(sysconfig.get_paths()["purelib"]).glob("*.pth")
    lines = [line for file in sorted(found) for line in file.read_text().splitlines()]
    return [Path(line) for line in lines if Path(line).is_dir()]


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
    """Whether the environment in `folder` imports anything that others do not."""
    return any(path.name.endswith((".dist-info", FOLDERS, FIRST)) for path in packages_of(folder).iterdir())


def is_of_a_run(folder: Path) -> bool:
    """Whether the environment in `folder` is one that was made for a run."""
    return (packages_of(folder) / BASE).exists()


def share_folders(folder: Path, folders: list[str]) -> None:
    """Has interpreters of the environment in `folder` that start from now on find modules in folders too."""
    times = _times_shared(folder) + 1
    lines = (f"# {times}", _LEAVE_NOTHING, *folders)
    (packages_of(folder) / FOLDERS).write_text("".join(f"{line}\n" for line in lines))


def shared_folders(folder: Path) -> list[str]:
    """Those folders."""
    file = packages_of(folder) / FOLDERS
    return file.read_text().splitlines()[2:] if file.exists() else []


def python_of_workers(folder: Path) -> str:
    """The interpreter in `folder`, as Spark is told of it.

    Spark keeps its workers by the path of their Python: spelled otherwise it is one that has the folders of
    now.
    """
    return str(folder) + "/." * _times_shared(folder) + "/bin/python"


def _times_shared(folder: Path) -> int:
    file = packages_of(folder) / FOLDERS
    return int(file.read_text().partition("\n")[0].strip("# ")) if file.exists() else 0
