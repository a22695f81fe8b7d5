"""Looks at built wheels before they are deployed: whether they hold every file, compile and import."""

import json
import os
import re
import subprocess
import sys
import zipfile
from collections.abc import Iterator, Sequence
from email.parser import Parser
from pathlib import Path
from typing import Any

from deployment.errors import DeploymentError
from deployment.workspace import without_sign_in

PROGRAM = Path(__file__).with_name("importing.py")
RUNTIME = Path(__file__).with_name("runtime_18_lts_ml.txt")
SECONDS = 300


def check_wheels(root: Path, wheels: Sequence[Path], sources: Sequence[str], scratch: Path) -> None:
    """Raises DeploymentError unless the wheels hold every file of the sources, compile and import.

    Likewise where a notebook among the sources does not compile, or imports what the wheels do not have.
    A package that the wheels or the runtime name may be missing on this machine: what needs it is then told.
    """
    site = scratch / "site"
    for wheel in wheels:
        with zipfile.ZipFile(wheel) as archive:
            archive.extractall(site)
    packaged = {name.partition("/src/")[2]: name for name in sources if "/src/" in name}
    if lost := [name for inside, name in packaged.items() if not (site / inside).is_file()]:
        raise DeploymentError(
            f"{lost[0]} is not in the wheel, with which the jobs run; name it in package-data of "
            f"{lost[0].partition('/')[0]}/pyproject.toml, or take it out of the folder src"
        )
    notebooks = [name for name in sources if name.endswith(".py") and "/src/" not in name]
    found = _look(site, [str(root / name) for name in notebooks], scratch)
    if "said" in found:
        names = {str(site / inside): name for inside, name in packaged.items()}
        names |= {str(root / name): name for name in notebooks}
        raise DeploymentError(
            f"{names.get(found['file'], found['file'])}, line {found['line']}: {found['said']}; "
            "the jobs would not run, and nothing is deployed"
        )
    if found["passed_over"]:
        print(f"Not imported, for a package that only the jobs have: {', '.join(found['passed_over'])}")


def _look(site: Path, notebooks: Sequence[str], scratch: Path) -> dict[str, Any]:
    """What the program finds, in a process that knows neither the checkout nor a sign-in."""
    result = scratch / "found.json"
    task = {
        "site": str(site),
        "notebooks": notebooks,
        "brought": sorted(_brought(site)),
        "result": str(result),
    }
    try:
        looked = subprocess.run(
            [sys.executable, "-I", "-B", str(PROGRAM)],
            input=json.dumps(task),
            cwd=scratch,
            env=without_sign_in(os.environ),
            capture_output=True,
            text=True,
            timeout=SECONDS,
            check=False,
        )
    except subprocess.TimeoutExpired as error:
        raise DeploymentError(
            f"the modules of the wheels are not imported after {SECONDS} s; nothing is deployed"
        ) from error
    if not result.is_file():
        last = (looked.stderr.strip() or f"exit code {looked.returncode}").splitlines()[-1]
        raise DeploymentError(f"the process that imports the wheels ended: {last}; nothing is deployed")
    return dict(json.loads(result.read_text()))


def _brought(site: Path) -> Iterator[str]:
    """The names of the packages that the jobs' machines have, or that a wheel asks for."""
    required = [
        line
        for metadata in site.glob("*.dist-info/METADATA")
        for line in Parser().parsestr(metadata.read_text("utf-8")).get_all("Requires-Dist") or []
    ]
    for line in [*required, *RUNTIME.read_text().splitlines()]:
        if found := re.match(r"[\w.-]+", line):
            yield re.sub(r"[._]", "-", found[0]).lower()
