"""What is kept beside each version of the code in a workspace: who deployed it, when, and its contract."""

import json
import subprocess
import sys
from base64 import b64decode
from collections.abc import Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from diabetes_mlops.models.contract import Contract

from deployment.databricks_cli import DatabricksCli
from deployment.targets import Target
from deployment.workspace import Workspace

RECORD = "deployment.json"
CONTRACT = "contract"
FILES = "files"
# Run with the wheels on its path; what the schema imports stays out of this process.
READ_CONTRACT = """
import sys
sys.path[:0] = sys.argv[1:]
from diabetes import PROBLEM
from diabetes_mlops.models.contract import Contract
print(Contract.of(PROBLEM.schema).as_text())
"""


def write_record(cli: DatabricksCli, target: Target, built: Path, files: Mapping[str, str]) -> None:
    """Keeps who deployed a version and when, as the last thing of all: a version without is not finished.

    `built` is the folder of its wheels, `files` has the fingerprint of each of its files in the workspace.
    """
    contract = _read_contract(built)
    record = {
        "git_commit": target.text("git_commit"),
        "deployed_at": f"{datetime.now(UTC):%Y-%m-%d %H:%M:%S}",
        "deployed_by": cli.workspace.user_name(),
        "deployed_with": cli.title,
        FILES: dict(files),
        **({CONTRACT: contract.as_json()} if contract else {}),
    }
    path = f"{target.deployments_folder}/{target.text('version')}/{RECORD}"
    cli.write_file(path, json.dumps(record, indent=2).encode())


def read_record(workspace: Workspace, target: Target, version: str) -> dict[str, Any]:
    """What is kept of a version's deployment, {} where it was not finished or cannot be read any more."""
    path = f"{target.deployments_folder}/{version}/{RECORD}"
    kept = workspace.find("/api/2.0/workspace/export", path=path, format="AUTO")
    try:
        record = json.loads(b64decode(kept["content"])) if kept else {}
    except ValueError:
        return {}
    return record if isinstance(record, dict) else {}


def read_files(record: Mapping[str, Any]) -> dict[str, str]:
    """The fingerprint of each file of a version, {} where its record has none, as those of long ago."""
    files = record.get(FILES)
    return files if isinstance(files, dict) else {}


def find_versions(workspace: Workspace, target: Target) -> list[str]:
    """The versions of the code that the workspace has, finished or not."""
    found = workspace.find("/api/2.0/workspace/list", path=target.deployments_folder) or {}
    return [item["path"].rpartition("/")[2] for item in found.get("objects", [])]


def _read_contract(built: Path) -> Contract | None:
    """What built code asks of a model; None, and a word on it, where its schema cannot be imported here."""
    command = [sys.executable, "-c", READ_CONTRACT, *map(str, sorted(built.glob("*.whl")))]
    done = subprocess.run(command, capture_output=True, text=True, check=False)
    if done.returncode != 0:
        said = (done.stderr.strip().splitlines() or [f"exit code {done.returncode}"])[-1]
        print(f"Note: the schema cannot be imported here, so that no model is compared with it ({said})")
    return Contract.from_text(done.stdout)
