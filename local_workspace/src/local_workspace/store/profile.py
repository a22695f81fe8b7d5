"""The sign-in to the workspace, kept as an ordinary configuration file of the Databricks tools."""

import configparser
import hmac
import io
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local_workspace.store.whole_files import write_whole

NAME = "local"
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5115
# Where a server shows that it knows the token, before a client sends it.
PROOF = "/.well-known/local-workspace"


@dataclass(frozen=True)
class Profile:
    """Where the workspace listens and the token that opens it."""

    port: int
    token: str

    @property
    def host(self) -> str:
        """The workspace's address as clients write it."""
        return f"http://{ADDRESS}:{self.port}"


def proof_key(token: str) -> bytes:
    """What a server proves with that it knows the token."""
    return hmac.digest(token.encode(), b"proof of the server", "sha256")


def proof(key: bytes, host: str, challenge: str) -> str:
    """The answer to a challenge that only who knows the token can give; it holds for this address alone."""
    return hmac.new(key, f"{host} {challenge}".encode(), "sha256").hexdigest()


def read_profile(path: Path) -> Profile | None:
    """The profile kept in `path`, or None when there is none, or none that can be read."""
    file = configparser.ConfigParser(interpolation=None)
    try:
        file.read(path)
        section = file[NAME]
        return Profile(urlsplit(section["host"]).port or DEFAULT_PORT, section["token"])
    except (configparser.Error, KeyError, ValueError):  # the text of a broken line could be the token
        return None


def renew_profile(path: Path, port: int | None) -> Profile:
    """Writes the profile of a server that is about to start, on the port of the last one unless one is given.

    Its token is a new one: while no server ran, a client may have sent the last one to whoever listened on
    the port.
    """
    kept = read_profile(path)
    profile = Profile(port or (kept.port if kept else DEFAULT_PORT), secrets.token_urlsafe(32))
    _write(path, profile)
    return profile


def _write(path: Path, profile: Profile) -> None:
    file = configparser.ConfigParser()
    file[NAME] = {"host": profile.host, "token": profile.token}
    text = io.StringIO()
    file.write(text)
    write_whole(path, text.getvalue())
