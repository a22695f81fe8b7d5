"""Which columns the input of the scoring job has, where a look at the beginning of one file tells."""

import csv
from base64 import b64decode
from collections.abc import Mapping

from deployment.errors import DeploymentError
from deployment.workspace import Workspace

HEADER_BYTES = 64 * 1024


def find_columns(workspace: Workspace, parameters: Mapping[str, str]) -> list[str] | None:
    """The header of the CSV file that the job's parameters name; None where it cannot be looked at."""
    source, root = parameters.get("input_data", ""), parameters.get("data_root", "")
    path = source if source.startswith(("/", "dbfs:/")) else f"{root.rstrip('/')}/{source}"
    path = path.removeprefix("dbfs:")
    is_csv = parameters.get("input_format", "") in ("", "csv") and path.endswith(".csv")
    if not is_csv or not path.startswith("/") or any(sign in path for sign in "*?[{"):
        return None
    try:
        lines = _read_beginning(workspace, path).split(b"\n")[:-1]  # the last one may go on
        header = next((line for line in lines if line.strip()), b"").decode("utf-8-sig")
    except (DeploymentError, ValueError):  # the job itself says what is wrong with its input
        return None
    return [name.strip() for name in next(csv.reader([header]))] if header else None


def _read_beginning(workspace: Workspace, path: str) -> bytes:
    if path.startswith("/Volumes/"):
        part = {"Range": f"bytes=0-{HEADER_BYTES - 1}"}
        return workspace.request("GET", f"/api/2.0/fs/files{path}", headers=part).content
    wanted = {"path": path, "offset": "0", "length": str(HEADER_BYTES)}
    return b64decode(workspace.call("GET", "/api/2.0/dbfs/read", params=wanted)["data"])
