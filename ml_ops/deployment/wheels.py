"""Builds both wheels, each version into a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from dataclasses import dataclass
from fnmatch import fnmatch
from hashlib import sha256
from pathlib import Path, PurePath

from uv import find_uv_bin

from deployment import git, telemetry_wheels
from deployment.errors import DeploymentError
from deployment.wheel_checks import check_wheels

PROJECTS = ("ml_source", "ml_ops")
NOTEBOOKS = "ml_ops/orchestrator"
SOURCES = [*(f"{project}/{part}" for project in PROJECTS for part in ("src", "pyproject.toml")), NOTEBOOKS]
# What Python, setuptools and editors leave behind: it does not count, and is not deployed.
LEFTOVERS = ("__pycache__", "*.egg-info", "*.py[co]", "*~", ".*")
# When every file in a wheel was last changed: the first day that a zip knows.
EPOCH = 315532800


@dataclass(frozen=True)
class Code:
    """What is deployed, as it is now: its commit, and a digest where it is not exactly what that one has."""

    commit: str
    digest: str

    @property
    def local_segment(self) -> str:
        """The part of a version from the plus sign on."""
        parts = [f"g{self.commit[:7]}"] if self.commit else []
        parts += [f"d{self.digest}"] if self.digest else []
        parts += ["telemetry"] if telemetry_wheels.are_wanted() else []
        return "+" + ".".join(parts)


def version(root: Path) -> str:
    """The version of the wheels: that of pyproject.toml, then the commit and the difference from it.

    0.1.0+g1a2b3c4 is exactly what that commit has, 0.1.0+g1a2b3c4.d9f8e7d6c what differs from it, and
    0.1.0+d9f8e7d6c what no commit has; 0.1.0+g1a2b3c4.telemetry brings what telemetry needs.
    """
    return _base_version(root) + read_code(root).local_segment


def read_code(root: Path) -> Code:
    """Which code this is, by the files that are deployed and not by what git tracks or ignores."""
    names = source_files(root)
    commit = git.find_commit(root, _sources())
    committed = {name: content for name, content in commit.files.items() if not _is_leftover(name)}
    if not committed.keys() & set(names):
        return Code("", _digest(root, names))
    if committed.keys() == set(names):
        contents = dict(zip(names, git.content_ids(root, names), strict=True))
    else:
        contents = {}
    return Code(commit.id, "" if contents == committed else _digest(root, names))


def source_files(root: Path) -> list[str]:
    """The files of which the wheels are built, and the notebooks, by their paths below `root`."""
    files = [root / source for source in _sources()]
    for source in SOURCES:
        for folder, folders, names in os.walk(root / source, followlinks=True):
            folders[:] = [name for name in folders if not _is_leftover(name)]
            files += [Path(folder, name) for name in names]
    relative = (file.relative_to(root).as_posix() for file in files if not file.is_dir())
    return sorted(name for name in relative if not _is_leftover(name))


def commit_of(version: str) -> str:
    """The short id of the commit that a version carries, empty for one that carries none."""
    found = re.search(r"\+g([0-9a-f]+)", version)
    return found[1] if found else ""


def build_wheels(root: Path) -> Path:
    """Builds both wheels and returns their folder, dist/<version>; the sources' folders stay as they are.

    A version says which sources it is made of: one that is built stays as it is. What is built is checked,
    and is in the folder only then. Raises DeploymentError.
    """
    segment = read_code(root).local_segment
    target = root / "dist" / (_base_version(root) + segment)
    if len(list(target.glob(f"*-{target.name}-*.whl"))) == len(PROJECTS):
        return target
    target.mkdir(parents=True, exist_ok=True)
    if telemetry_wheels.are_wanted():
        telemetry_wheels.download(root, target)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=root / "dist") as scratch:
        names = source_files(root)
        wheels = [_build(root, names, project, Path(scratch), segment) for project in PROJECTS]
        check_wheels(root, wheels, names, Path(scratch))
        if version(root) != target.name:
            raise DeploymentError("the sources changed while the wheels were built; run it again")
        for wheel in wheels:
            wheel.replace(target / wheel.name)  # at once, and last: no reader sees half a wheel or a folder
    return target


def _sources() -> list[str]:
    # The wheels that TELEMETRY=1 downloads have the versions of requirements.txt.
    return SOURCES + (["requirements.txt"] if telemetry_wheels.are_wanted() else [])


def _is_leftover(name: str) -> bool:
    return any(fnmatch(part, pattern) for part in PurePath(name).parts for pattern in LEFTOVERS)


def _digest(root: Path, names: list[str]) -> str:
    """Eight hexadecimal digits of the names and the contents of files."""
    total = sha256()
    for name in names:
        try:
            content = (root / name).read_bytes()
        except OSError as error:
            raise DeploymentError(f"{name} cannot be read: {error.strerror}") from error
        total.update(os.fsencode(name) + b"\0" + str(len(content)).encode() + b"\0" + content)
    return total.hexdigest()[:8]


def _base_version(root: Path) -> str:
    versions = {
        project: tomllib.loads((root / project / "pyproject.toml").read_text())["project"]["version"]
        for project in PROJECTS
    }
    if len(set(versions.values())) > 1:
        raise DeploymentError(f"both wheels carry one version; the pyproject.toml files say {versions}")
    return str(versions[PROJECTS[0]])


def _build(root: Path, names: list[str], project: str, scratch: Path, segment: str) -> Path:
    copy = scratch / project
    for name in names:
        if name.startswith((f"{project}/src/", f"{project}/pyproject.toml")):
            (scratch / name).parent.mkdir(parents=True, exist_ok=True)
            shutil.copyfile(root / name, scratch / name)
            (scratch / name).chmod(0o644)
    if telemetry_wheels.are_wanted() and project == "ml_ops":
        telemetry_wheels.require(copy / "pyproject.toml")
    (copy / "setup.cfg").write_text(f"[egg_info]\ntag_build = {segment}\n")
    options = ("--wheel", "--no-build-isolation", "--no-config", "--no-cache", "--python", sys.executable)
    command = [find_uv_bin(), "build", *options, "--out-dir", str(copy / "out"), str(copy)]
    # The same sources make the same wheel, whenever and in whichever checkout; the scratch is for uv's locks.
    environment = os.environ | {"TMPDIR": str(scratch), "SOURCE_DATE_EPOCH": str(EPOCH)}
    built = subprocess.run(command, env=environment, umask=0o022, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise DeploymentError(f"the wheel of {project} could not be built:\n{built.stdout}{built.stderr}")
    (wheel,) = (copy / "out").glob("*.whl")
    return wheel
