"""The sign-in to the workspace, kept as an ordinary configuration file of the Databricks tools."""

import configparser
import io
import secrets
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import urlsplit

from local_workspace.whole_files import write_whole

NAME = "local"
ADDRESS = "127.0.0.1"
DEFAULT_PORT = 5115


@dataclass(frozen=True)
class Profile:
    """Where the workspace listens and the token that opens it."""

    port: int
    token: str

    @property
    def host(self) -> str:
        """The workspace's address as clients write it."""
        return f"http://{ADDRESS}:{self.port}"


def read_profile(path: Path) -> Profile | None:
    """The profile kept in `path`, or None when there is none."""
    file = configparser.ConfigParser()
    file.read(path)
    if not file.has_section(NAME):
        return None
    section = file[NAME]
    return Profile(urlsplit(section["host"]).port or DEFAULT_PORT, section["token"])


def ensure_profile(path: Path, port: int | None) -> Profile:
    """The kept profile, made with a new token when there is none, moved to `port` when one is given."""
    kept = read_profile(path)
    token = kept.token if kept else secrets.token_urlsafe(32)
    profile = Profile(port or (kept.port if kept else DEFAULT_PORT), token)
    if profile != kept:
        _write(path, profile)
    return profile


def _write(path: Path, profile: Profile) -> None:
    file = configparser.ConfigParser()
    file[NAME] = {"host": profile.host, "token": profile.token}
    text = io.StringIO()
    file.write(text)
    write_whole(path, text.getvalue())
