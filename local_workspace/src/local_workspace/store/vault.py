"""Encrypts secrets with a key that lies in a file of its own, for the owner's eyes only."""

import base64
import os
import secrets
from pathlib import Path

from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM

from local_workspace.errors import InvalidState

KEY_BYTES = 32
NONCE_BYTES = 12


class Vault:
    """AES-256-GCM with the key in `key_file`, which is made when something is first encrypted."""

    def __init__(self, key_file: Path) -> None:
        self._key_file = key_file

    def encrypt(self, value: bytes, name: str) -> str:
        """`value` as text that only `decrypt` with the same name and key reads."""
        if not self._key_file.exists():
            self._make_key()
        nonce = secrets.token_bytes(NONCE_BYTES)
        return base64.b64encode(nonce + self._cipher(name).encrypt(nonce, value, name.encode())).decode()

    def decrypt(self, text: str, name: str) -> bytes:
        """What was encrypted under `name`; InvalidState when the key is missing or another one."""
        data = base64.b64decode(text)
        try:
            return self._cipher(name).decrypt(data[:NONCE_BYTES], data[NONCE_BYTES:], name.encode())
        except InvalidTag as error:
            raise self._unreadable(name, "it was encrypted with another key") from error

    def _cipher(self, name: str) -> AESGCM:
        try:
            return AESGCM(base64.b64decode(self._key_file.read_text(), validate=True))
        except FileNotFoundError as error:
            raise self._unreadable(name, "the key is missing") from error
        except ValueError as error:
            raise self._unreadable(name, f"the key is not {KEY_BYTES} bytes in base64") from error

    def _unreadable(self, name: str, reason: str) -> InvalidState:
        return InvalidState(
            f"secret {name} cannot be read with {self._key_file.name} of the state folder: {reason}. "
            "Bring the file back, or delete it and put the secrets again."
        )

    def _make_key(self) -> None:
        """Writes a new key in one step; of two at the same moment the first one's stays."""
        partial = self._key_file.with_name(f"{self._key_file.name}.{secrets.token_hex(8)}")
        key = base64.b64encode(AESGCM.generate_key(KEY_BYTES * 8))
        with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600), "wb") as file:
            file.write(key)
            file.flush()
            os.fsync(file.fileno())
        try:
            self._key_file.hardlink_to(partial)
        except FileExistsError:
            return
        finally:
            partial.unlink()
