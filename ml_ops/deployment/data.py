"""Uploads the sample data to where the jobs read it."""

import re
from collections.abc import Sequence
from pathlib import Path
from urllib.parse import quote

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT
from deployment.workspace import Workspace

FILES = (ROOT / "ml_data" / "data_raw.csv", ROOT / "ml_data" / "data_batch_input.csv")
_MOUNT = re.compile(r"(?:dbfs:)?/mnt/[^/]+")


def upload_data(
    cli: DatabricksCli,
    data_root: str,
    *,
    mount_source: str = "",
    key_source: str = "",
    files: Sequence[Path] = FILES,
) -> None:
    """Writes the files to `data_root`: a volume, a storage account (also behind a mount), or DBFS.

    `key_source` is the file with the storage account's key, or `-` for standard input; without one the person
    who is signed in to Azure uploads.
    """
    if missing := [file for file in files if not file.is_file()]:
        raise DeploymentError(
            f"The data file ml_data/{missing[0].name} is missing; ml_data/README.md says how it is made."
        )
    address = address_of(data_root, mount_source)
    if address.startswith("abfss://"):
        from deployment.storage_account import StorageFolder, read_key, upload_files  # takes a second

        upload_files(files, StorageFolder.parse(address), read_key(key_source))
    elif address.startswith("/Volumes/"):
        _upload_to_volume(cli.workspace, address, files)
    elif address.startswith("dbfs:/"):
        _copy_to_dbfs(cli, address, files)
    else:
        raise DeploymentError(
            f"no upload to {data_root!r}; DATA_ROOT is /Volumes/..., abfss://..., dbfs:/..., or "
            "/mnt/<name>/... with its MOUNT_SOURCE"
        )


def address_of(data_root: str, mount_source: str = "") -> str:
    """Where the data of `data_root` lies: that of a mount in its source, which need not be mounted yet."""
    data_root = data_root.rstrip("/")
    mount = _MOUNT.match(data_root)
    if mount_source and mount is None:
        raise DeploymentError(
            f"MOUNT_SOURCE is for a DATA_ROOT below /mnt/<name>; DATA_ROOT is {data_root!r}"
        )
    if mount_source and mount:
        return mount_source.rstrip("/") + data_root[mount.end() :]
    plain = data_root.removeprefix("dbfs:")
    if plain.startswith("/Volumes/"):
        return plain
    return f"dbfs:{data_root}" if data_root.startswith("/") else data_root


def _upload_to_volume(workspace: Workspace, folder: str, files: Sequence[Path]) -> None:
    """Through the Files API, because databricks-cli 0.18 knows no volumes."""
    workspace.call("PUT", f"/api/2.0/fs/directories{quote(folder)}")
    for file in files:
        with file.open("rb") as content:
            target = f"/api/2.0/fs/files{quote(folder)}/{quote(file.name)}"
            workspace.call("PUT", target, params={"overwrite": "true"}, data=content)
    listed = workspace.call("GET", f"/api/2.0/fs/directories{quote(folder)}")["contents"]
    arrived = {entry["name"]: entry.get("file_size") for entry in listed}
    for file in files:
        size = file.stat().st_size
        if arrived.get(file.name) != size:
            raise DeploymentError(
                f"{folder}/{file.name} has {arrived.get(file.name)} bytes, and {file} {size}"
            )
        print(f"Uploaded {file.name} ({size:,} bytes) to {folder}/{file.name}", flush=True)


def _copy_to_dbfs(cli: DatabricksCli, folder: str, files: Sequence[Path]) -> None:
    cli.make_dbfs_folder(folder)
    for file in files:
        cli.copy(file, f"{folder}/{file.name}")
