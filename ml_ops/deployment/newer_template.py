"""Brings a newer template into this project, by that template's own code."""

import json
import os
import subprocess
import sys
import tempfile
from pathlib import Path

from deployment.errors import DeploymentError

# Written by the template that made the project.
RECORD = ".template.json"


def update_from_template(root: Path, source: str, version: str) -> None:
    """Takes in the template at `source`, an address or a folder; empty: where the project came from.

    `version` is a tag, a branch or a commit of it; empty: what its main branch has.
    """
    source = source or _recorded_source(root)
    with tempfile.TemporaryDirectory() as scratch:
        template = Path(scratch) / "template"
        print(f"Fetching the template from {source}", flush=True)
        _run("git", "clone", "--quiet", source, str(template), cwd=root)
        if version:
            _run("git", "checkout", "--quiet", "--detach", version, cwd=template)
        command = (sys.executable, "-m", "template", "update", str(root))
        _run(*command, cwd=template, PYTHONPATH=str(template))


def _recorded_source(root: Path) -> str:
    file = root / RECORD
    if not file.exists():
        raise DeploymentError(f"there is no {RECORD} here: `make new-project` did not make this folder")
    source = str(json.loads(file.read_text(encoding="utf-8"))["template"])
    if not source:
        raise DeploymentError(f"where is the template? TEMPLATE=<its address or folder>; {RECORD} names none")
    return source


def _run(*command: str, cwd: Path, **environment: str) -> None:
    """Runs a program that says itself what is wrong."""
    finished = subprocess.run(command, cwd=cwd, env=os.environ | environment, check=False)
    if finished.returncode != 0:
        raise DeploymentError("the template was not taken in; see above")
