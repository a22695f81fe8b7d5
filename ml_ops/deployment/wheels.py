"""Builds both wheels, each version into a folder of its own."""

import os
import re
import shutil
import subprocess
import sys
import tempfile
import tomllib
from pathlib import Path

from uv import find_uv_bin

from deployment import git, telemetry_wheels
from deployment.errors import DeploymentError

PROJECTS = ("ml_source", "ml_ops")
SOURCES = [f"{project}/{part}" for project in PROJECTS for part in ("src", "pyproject.toml")] + [
    "ml_ops/orchestrator"
]


def version(root: Path) -> str:
    """The version of the wheels: that of pyproject.toml, then the commit and the difference from it.

    0.1.0+g1a2b3c4 is a clean checkout, 0.1.0+g1a2b3c4.d9f8e7d6c one whose sources differ from the commit, and
    0.1.0 one without git; 0.1.0+g1a2b3c4.telemetry brings what telemetry needs.
    """
    return _base_version(root) + local_segment(root)


def local_segment(root: Path) -> str:
    """The part of the version from the plus sign on, empty without git and telemetry."""
    parts = []
    if commit := git.commit(root):
        parts = [f"g{commit[:7]}"] + ([f"d{git.digest(root, SOURCES)}"] if git.differs(root, SOURCES) else [])
    if telemetry_wheels.are_wanted():
        parts.append("telemetry")
    return "+" + ".".join(parts) if parts else ""


def commit_of(version: str) -> str:
    """The short id of the commit that a version carries, empty for one that carries none."""
    found = re.search(r"\+g([0-9a-f]+)", version)
    return found[1] if found else ""


def build_wheels(root: Path) -> Path:
    """Builds both wheels and returns their folder, dist/<version>; the sources' folders stay as they are.

    A version says which sources it is made of: one that is built stays as it is.
    """
    segment = local_segment(root)
    target = root / "dist" / (_base_version(root) + segment)
    if segment and len(list(target.glob(f"*-{target.name}-*.whl"))) == len(PROJECTS):
        return target
    target.mkdir(parents=True, exist_ok=True)
    if telemetry_wheels.are_wanted():
        telemetry_wheels.download(root, target)
    with tempfile.TemporaryDirectory(prefix=".build-", dir=root / "dist") as scratch:
        for project in PROJECTS:
            wheel = _build(root / project, Path(scratch) / project, segment)
            wheel.replace(target / wheel.name)  # at once, and last: no reader sees half a wheel or a folder
    return target


def _base_version(root: Path) -> str:
    versions = {
        project: tomllib.loads((root / project / "pyproject.toml").read_text())["project"]["version"]
        for project in PROJECTS
    }
    if len(set(versions.values())) > 1:
        raise DeploymentError(f"both wheels carry one version; the pyproject.toml files say {versions}")
    return str(versions[PROJECTS[0]])


def _build(project: Path, copy: Path, segment: str) -> Path:
    leftovers = shutil.ignore_patterns("__pycache__", "*.egg-info")
    shutil.copytree(project / "src", copy / "src", ignore=leftovers)
    shutil.copy2(project / "pyproject.toml", copy)
    if telemetry_wheels.are_wanted() and project.name == "ml_ops":
        telemetry_wheels.require(copy / "pyproject.toml")
    if segment:
        (copy / "setup.cfg").write_text(f"[egg_info]\ntag_build = {segment}\n")
    options = ("--wheel", "--no-build-isolation", "--no-config", "--no-cache", "--python", sys.executable)
    command = [find_uv_bin(), "build", *options, "--out-dir", str(copy / "out"), str(copy)]
    its_locks = os.environ | {"TMPDIR": str(copy.parent)}
    built = subprocess.run(command, env=its_locks, capture_output=True, text=True, check=False)
    if built.returncode != 0:
        raise DeploymentError(
            f"the wheel of {project.name} could not be built:\n{built.stdout}{built.stderr}"
        )
    (wheel,) = (copy / "out").glob("*.whl")
    return wheel
