"""Uploads files to a container of an Azure storage account, as the person signed in or by its key."""

import base64
import getpass
import logging
import os
import re
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path

from azure.core.exceptions import AzureError, ClientAuthenticationError, HttpResponseError
from azure.identity import DefaultAzureCredential
from azure.storage.blob import ContainerClient, ExponentialRetry

from deployment.errors import DeploymentError, refuse_existing
from deployment.progress import show_tenths
from deployment.secret_files import read_secret_file, read_standard_input

# A larger file is sent in blocks of this many bytes, and is there when the list of its blocks is.
BLOCK = 4 * 2**20
_ADDRESS = re.compile(r"abfss://([a-z0-9$-]+)@([a-z0-9]+)\.dfs\.core\.windows\.net(?:/(.*))?")
# What to do about the errors of the Blob service.
_ADVICE = {
    "AuthenticationFailed": "the key is not one of the account's, or the sign-in has expired",
    "InvalidAuthenticationInfo": "sign in again with `az login`, in the tenant of the storage account",
    "AuthorizationPermissionMismatch": "you need the role Storage Blob Data Contributor on the container; "
    "a new assignment takes some minutes",
    "AuthorizationFailure": "the key is not one of the account's, or its firewall keeps this machine out",
    "KeyBasedAuthenticationNotPermitted": "leave STORAGE_KEY_FILE out, and sign in with `az login`",
    "ContainerNotFound": "make the container first; an upload makes none",
}


@dataclass(frozen=True)
class StorageFolder:
    """A folder of a container, as an `abfss://` address names it."""

    account: str
    container: str
    path: str

    @classmethod
    def parse(cls, address: str) -> "StorageFolder":
        """Take an address apart; raises DeploymentError."""
        found = _ADDRESS.fullmatch(address)
        if found is None:
            raise DeploymentError(
                f"{address!r} is not of the form abfss://<container>@<account>.dfs.core.windows.net[/<folder>]"
            )
        return cls(account=found[2], container=found[1], path=(found[3] or "").strip("/"))

    @property
    def endpoint(self) -> str:
        """The Blob service of the account; STORAGE_ENDPOINT names another one, such as Azurite."""
        return os.environ.get("STORAGE_ENDPOINT") or f"https://{self.account}.blob.core.windows.net"


def read_key(source: str) -> str:
    """The key in the file `source`, or with `-` that of standard input; empty without a source."""
    if not source:
        return ""
    if source == "-":
        key = (
            getpass.getpass("storage account key (not shown): ")
            if sys.stdin.isatty()
            else read_standard_input(first_line=True)
        )
    else:
        key = read_secret_file("STORAGE_KEY_FILE", source)
    try:
        if not base64.b64decode(key.strip(), validate=True):
            raise ValueError
    except ValueError:
        raise DeploymentError(
            f"there is no account key, which is base64, in STORAGE_KEY_FILE={source}"
        ) from None
    return key.strip()


def upload_files(
    files: Sequence[Path], folder: StorageFolder, key: str = "", *, overwrite: bool = True
) -> None:
    """Writes each file into the folder, in place of one of its name; without a key as the person signed in.

    A file is replaced at once, or not at all. Without `overwrite` nothing is written where one of the files
    is there. Raises DeploymentError.
    """
    names = {file: f"{folder.path}/{file.name}".lstrip("/") for file in files}
    with _explained(folder), _open(folder, key) as container:
        if not overwrite:
            blobs = [container.get_blob_client(name) for name in names.values()]
            refuse_existing([blob.url for blob in blobs if blob.exists()])
        for file, name in names.items():
            _upload(container, file, name)


def _open(folder: StorageFolder, key: str) -> ContainerClient:
    return ContainerClient(
        folder.endpoint,
        folder.container,
        credential={"account_name": folder.account, "account_key": key} if key else _signed_in(),
        max_single_put_size=BLOCK,
        max_block_size=BLOCK,
        retry_policy=ExponentialRetry(initial_backoff=1, increment_base=2, random_jitter_range=1),
    )


def _signed_in() -> DefaultAzureCredential:
    """The person signed in to Azure; asked for here, because an upload would retry for long."""
    # Where nobody is signed in it tells of each of its many ways, in as many lines.
    logging.getLogger("azure.identity").setLevel(logging.ERROR)
    credential = DefaultAzureCredential()
    credential.get_token("https://storage.azure.com/.default")
    return credential


def _upload(container: ContainerClient, file: Path, name: str) -> None:
    size = file.stat().st_size
    with file.open("rb") as content:
        blob = container.upload_blob(
            name,
            content,
            length=size,
            overwrite=True,
            validate_content=True,  # the service compares the MD5 of each block
            max_concurrency=4,
            progress_hook=show_tenths(file.name) if size > BLOCK else None,
        )
    arrived = blob.get_blob_properties().size
    if arrived != size:
        raise DeploymentError(f"{blob.url} has {arrived} bytes, and {file} {size}; upload it again")
    print(f"Uploaded {file.name} ({size:,} bytes) to {blob.url}", flush=True)


@contextmanager
def _explained(folder: StorageFolder) -> Iterator[None]:
    where = f"container '{folder.container}' of storage account '{folder.account}'"
    try:
        yield
    except ClientAuthenticationError as error:
        raise DeploymentError(f"{where}: {_explain(error, _NOBODY)}") from error
    except HttpResponseError as error:
        raise DeploymentError(f"{where}: {_explain(error, 'the upload failed')}") from error
    except AzureError as error:
        raise DeploymentError(
            f"{where} does not answer at {folder.endpoint}: is the account's name right, and does its "
            f"firewall, or the VPN, let this machine in? ({_first_line(error)})"
        ) from error


_NOBODY = (
    "sign in with `az login`, or name the account's key: STORAGE_KEY_FILE=<file>, or - for standard input"
)


def _explain(error: HttpResponseError, otherwise: str) -> str:
    code = getattr(error, "error_code", None)
    return f"{_ADVICE.get(str(getattr(code, 'value', code)), otherwise)} ({_first_line(error)})"


def _first_line(error: AzureError) -> str:
    return str(error.message).partition("\n")[0].strip()
