"""What telemetry needs and the runtime lacks, brought to the cluster beside the wheels: TELEMETRY=1."""

import json
import subprocess
import sys
import tomllib
from pathlib import Path

from deployment.errors import DeploymentError
from deployment.settings import read_flag

# Azure Monitor's exporter and what it stands on, as far as that is of Python alone: the rest, such as psutil
# and cryptography, is part of the runtime. What the runtime has in a version that fits, `%pip` leaves alone.
PACKAGES = (
    "azure-core",
    "azure-identity",
    "azure-monitor-opentelemetry-exporter",
    "isodate",
    "msal",
    "msal-extensions",
    "msrest",
    "oauthlib",
    "opentelemetry-api",
    "opentelemetry-sdk",
    "opentelemetry-semantic-conventions",
    "pyjwt",
    "requests-oauthlib",
)


def are_wanted() -> bool:
    """Whether this deployment is to send telemetry."""
    return read_flag("TELEMETRY")


def require(pyproject: Path) -> None:
    """Makes what the extra `telemetry` names a requirement, which `%pip` installs without being told."""
    text = pyproject.read_text()
    extra = tomllib.loads(text)["project"]["optional-dependencies"]["telemetry"]
    before, start, after = text.partition("\ndependencies = [\n")
    pyproject.write_text(f"{before}{start}{''.join(f'{json.dumps(name)},' for name in extra)}\n{after}")


def download(root: Path, folder: Path) -> None:
    """Puts the wheels of PACKAGES into a folder, in the versions of requirements.txt."""
    pure = ["--only-binary", ":all:", "--platform", "any", "--implementation", "py", "--abi", "none"]
    versions = ["--constraint", str(root / "requirements.txt"), "--python-version", "3.12"]
    command = [sys.executable, "-m", "pip", "download", "--quiet", "--no-deps", "--dest", str(folder)]
    downloaded = subprocess.run(
        [*command, *pure, *versions, *PACKAGES], capture_output=True, text=True, check=False
    )
    if downloaded.returncode != 0:
        raise DeploymentError(
            f"TELEMETRY=1 needs packages that could not be downloaded; is the package index reachable?\n"
            f"{downloaded.stderr}"
        )
