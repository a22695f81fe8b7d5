"""Azurite, the emulator of Azure's Blob service by its makers: it checks keys and tokens like the service."""

import base64
import os
import secrets
import shutil
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest
import requests
from ports import free_port

# The last version that runs on Node 20.
PACKAGE = "azurite@3.35.0"
# npx keeps it in the user's npm cache, and runs no scripts of it or of what it needs.
NPM = {
    "npm_config_audit": "false",
    "npm_config_fund": "false",
    "npm_config_ignore_scripts": "true",
    "npm_config_update_notifier": "false",
}


@dataclass
class Azurite:
    """A Blob service on loopback with one account; its key is made up for each."""

    folder: Path
    scheme: str = "http"
    account: str = "mlopsdata"
    port: int = field(default_factory=free_port)
    key: str = field(default_factory=lambda: base64.b64encode(secrets.token_bytes(64)).decode())

    @property
    def endpoint(self) -> str:
        return f"{self.scheme}://127.0.0.1:{self.port}/{self.account}"

    @property
    def service(self) -> Any:
        """The official client, signed in with the key."""
        from azure.storage.blob import BlobServiceClient

        credential = {"account_name": self.account, "account_key": self.key}
        return BlobServiceClient(self.endpoint, credential=credential)

    def read(self, container: str, blob: str) -> bytes:
        content: bytes = self.service.get_blob_client(container, blob).download_blob().readall()
        return content

    @contextmanager
    def running(self, *options: str) -> Iterator["Azurite"]:
        """While it runs; skips the test, with the reason, where it cannot be had."""
        program, why_not = find_azurite()
        if why_not:
            pytest.skip(why_not)
        command = [program, "--location", str(self.folder), "--blobHost", "127.0.0.1"]
        command += ["--blobPort", str(self.port), "--silent", "--disableTelemetry", "--skipApiVersionCheck"]
        environment = os.environ | {"AZURITE_ACCOUNTS": f"{self.account}:{self.key}"}
        with (self.folder / "azurite.log").open("wb") as log:
            server = subprocess.Popen([*command, *options], env=environment, stdout=log, stderr=log)
        try:
            self._wait_for(server)
            yield self
        finally:
            server.terminate()
            server.wait(timeout=30)

    def _wait_for(self, server: subprocess.Popen[bytes]) -> None:
        deadline = time.monotonic() + 60
        while not self._answers():
            if server.poll() is not None or time.monotonic() > deadline:
                raise RuntimeError((self.folder / "azurite.log").read_text())
            time.sleep(0.05)

    def _answers(self) -> bool:
        try:
            requests.get(self.endpoint, timeout=5, verify=str(self.folder / "certificate.pem"))
        except (requests.ConnectionError, OSError):
            return False
        return True


def has_client() -> bool:
    """Whether the client of the Blob service is installed; a cluster's runtime has none."""
    try:
        return find_spec("azure.storage.blob") is not None
    except ModuleNotFoundError:
        return False


def find_azurite() -> tuple[str, str]:
    """The program, downloaded where it is not there yet; or nothing, and why."""
    if not has_client():
        return "", "azure-storage-blob is not installed"
    npx = shutil.which("npx")
    if npx is None:
        return "", "Azurite needs Node, and there is no npx on the PATH"
    command = [npx, "--yes", f"--package={PACKAGE}", "-c", "command -v azurite-blob"]
    found = subprocess.run(
        command, env=os.environ | NPM, capture_output=True, text=True, check=False, timeout=300
    )
    if found.returncode != 0:
        return "", f"npx gave no {PACKAGE}: {found.stderr.strip()[-300:]}"
    return found.stdout.strip(), ""
