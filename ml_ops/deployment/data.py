"""Uploads the sample data, or a file of one's own, to where the jobs read it."""

import re
from collections.abc import Sequence
from pathlib import Path, PurePosixPath
from tempfile import TemporaryDirectory
from urllib.parse import quote

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError, refuse_existing
from deployment.progress import ShownFile
from deployment.settings import ROOT
from deployment.workspace import NotAllowedError, RefusedError, RestError, Workspace

FILES = (ROOT / "ml_data" / "data_raw.csv", ROOT / "ml_data" / "data_batch_input.csv")
# The targets whose data is the sample; elsewhere files of these names may be a team's own.
SAMPLE_TARGETS = ("local", "dev")
# A volume answers when it has stored the whole file, which may be of gigabytes.
UPLOAD_SECONDS = 900
_MOUNT = re.compile(r"(?:dbfs:)?/mnt/[^/]+")


def upload_data(
    cli: DatabricksCli,
    data_root: str,
    *,
    mount_source: str = "",
    key_source: str = "",
    files: Sequence[Path] = FILES,
    overwrite: bool = True,
) -> None:
    """Writes the files to `data_root`: a volume, a storage account (also behind a mount), or DBFS.

    `key_source` is the file with the storage account's key, or `-` for standard input; without one the person
    who is signed in to Azure uploads. Without `overwrite` nothing is written where one of the files is there.
    """
    if missing := [file for file in files if not file.is_file()]:
        raise DeploymentError(
            f"The data file ml_data/{missing[0].name} is missing; ml_data/README.md says how it is made."
        )
    address = address_of(data_root, mount_source)
    if address.startswith("abfss://"):
        from deployment.storage_account import StorageFolder, read_key, upload_files  # takes a second

        upload_files(files, StorageFolder.parse(address), read_key(key_source), overwrite=overwrite)
    elif address.startswith("/Volumes/"):
        _upload_to_volume(cli.workspace, address, files, overwrite)
    elif address.startswith("dbfs:/"):
        _copy_to_dbfs(cli, address, files, overwrite)
    else:
        raise DeploymentError(
            f"no upload to {data_root!r}; DATA_ROOT is /Volumes/..., abfss://..., dbfs:/..., or "
            "/mnt/<name>/... with its MOUNT_SOURCE"
        )


def upload_file(
    cli: DatabricksCli,
    data_root: str,
    file: str,
    to: str,
    *,
    mount_source: str = "",
    key_source: str = "",
    overwrite: bool = True,
) -> str:
    """Writes one file below `data_root`, as `to` says; gives the path by which the jobs know it there.

    `to` is a path below that, or with a slash at its end a folder; without it the file keeps its name.
    """
    source = _require_file(file)
    path = _path_below(to, source.name)
    with TemporaryDirectory() as folder:
        named = source
        if path.name != source.name:
            named = Path(folder) / path.name  # an upload takes the name of the file
            named.symlink_to(source.resolve())
        upload_data(
            cli,
            f"{data_root.rstrip('/')}/{path.parent}".removesuffix("/."),
            mount_source=mount_source,
            key_source=key_source,
            files=[named],
            overwrite=overwrite,
        )
    return str(path)


def _require_file(file: str) -> Path:
    if not file.strip():
        raise DeploymentError("make upload needs FILE=<path>: the file that is to be uploaded")
    source = Path(file).expanduser()
    if not source.exists():
        raise DeploymentError(f"there is no file {file!r}; FILE is a path from {Path.cwd()}, or a whole one")
    if not source.is_file():
        raise DeploymentError(f"FILE={file} is not a file; upload its files one by one")
    return source


def _path_below(to: str, name: str) -> PurePosixPath:
    path = PurePosixPath(f"{to}{name}" if to.endswith("/") or not to else to)
    if path.is_absolute() or ".." in path.parts or ":" in to:
        raise DeploymentError(
            f"TO is a path below data_root, such as night/{name} or night/; TO={to} leads elsewhere. "
            "DATA_ROOT=... names another data_root"
        )
    return path


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


def require_serverless_data(data_root: str, credential: str) -> None:
    """Refuses data that serverless compute cannot read: DBFS, and what takes a credential from a job."""
    if not data_root.removeprefix("dbfs:").startswith(("/Volumes/", "abfss://")):
        raise DeploymentError(
            f"serverless compute has no DBFS and no mounts, so its jobs cannot read data_root {data_root!r}; "
            "set it to a volume (/Volumes/...) or an external location (abfss://...), or deploy with "
            "COMPUTE=job"
        )
    if credential:
        raise DeploymentError(
            f"serverless compute takes no credential from a job, and data_credential is {credential!r}; "
            f"leave it empty and make {data_root} an external location, or deploy with COMPUTE=job"
        )


def _upload_to_volume(workspace: Workspace, folder: str, files: Sequence[Path], overwrite: bool) -> None:
    """Through the Files API, because not every `databricks` program knows volumes."""
    paths = {file: f"{folder}/{file.name}" for file in files}
    if not overwrite:
        refuse_existing([path for path in paths.values() if _size_in_volume(workspace, path) is not None])
    _make_folder(workspace, folder)
    for file, path in paths.items():
        with ShownFile(file) as content:
            target, params = f"/api/2.0/fs/files{quote(path)}", {"overwrite": "true"}
            sent = {"data": content, "timeout": UPLOAD_SECONDS}
            workspace.call("PUT", target, params=params, repeats=True, **sent)
        size, arrived = file.stat().st_size, _size_in_volume(workspace, path)
        if arrived != size:
            raise DeploymentError(f"{path} has {arrived} bytes, and {file} {size}; upload it again")
        print(f"Uploaded {file.name} ({size:,} bytes) to {path}", flush=True)


def _make_folder(workspace: Workspace, folder: str) -> None:
    """A workspace says the same of a schema that is not there and of one that the user may not use."""
    try:
        workspace.call("PUT", f"/api/2.0/fs/directories{quote(folder)}", repeats=True)
    except NotAllowedError as error:
        raise DeploymentError(f"{error}, or it is not there yet: run `make databricks-init`") from error


def _size_in_volume(workspace: Workspace, path: str) -> int | None:
    """How many bytes the file has, None when there is none."""
    as_it_is = {"Accept-Encoding": "identity"}  # and not the length of the file compressed
    try:
        found = workspace.request("HEAD", f"/api/2.0/fs/files{quote(path)}", headers=as_it_is)
    except RestError as error:
        if error.status == 404:
            return None
        raise
    except RefusedError as error:
        workspace.user_name()  # which fails where it is the token: an answer to HEAD has no words
        raise DeploymentError(
            f"you may not look whether {path} is there (HTTP 403): ask for READ VOLUME, and for the upload "
            f"WRITE VOLUME on volume '{'.'.join(path.split('/')[2:5])}', with USE SCHEMA on its schema. "
            "Or the volume is not there yet: run `make databricks-init`"
        ) from error
    return int(found.headers["Content-Length"])


def _copy_to_dbfs(cli: DatabricksCli, folder: str, files: Sequence[Path], overwrite: bool) -> None:
    paths = {file: f"{folder}/{file.name}" for file in files}
    if not overwrite:
        refuse_existing([path for path in paths.values() if _is_in_dbfs(cli.workspace, path)])
    cli.make_dbfs_folder(folder)
    for file, path in paths.items():
        cli.copy(file.resolve() if file.is_symlink() else file, path)
        print(f"Uploaded {file.name} ({file.stat().st_size:,} bytes) to {path}", flush=True)


def _is_in_dbfs(workspace: Workspace, path: str) -> bool:
    return workspace.find("/api/2.0/dbfs/get-status", path=path.removeprefix("dbfs:")) is not None
