"""Files and standard input that hold secrets, and what a secret may look like. No message repeats one."""

import os
import stat
import sys
from pathlib import Path

from deployment.errors import DeploymentError

QUOTES = "\"'`"


def read_secret_file(setting: str, path: str) -> str:
    """The text of the file that a setting names; raises DeploymentError for one that is open to others."""
    file = Path(path).expanduser()
    try:
        with file.open("rb") as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise DeploymentError(
                    f"{setting}={path} is open to others (mode {mode & 0o777:04o}); "
                    f"`chmod 600 {path}` closes it"
                )
            return opened.read().decode("utf-8-sig")
    except OSError as error:
        raise DeploymentError(f"{setting}={path} cannot be read: {error.strerror}") from error
    except UnicodeDecodeError:
        # Without the cause, which holds the content.
        raise DeploymentError(f"{setting}={path} is not UTF-8 text; save it as such") from None


def read_standard_input(*, first_line: bool = False) -> str:
    """The text that standard input brings: to its end, or its first line alone."""
    try:
        return (sys.stdin.readline() if first_line else sys.stdin.read()).removeprefix("\ufeff")
    except UnicodeDecodeError:
        raise DeploymentError("standard input is not UTF-8 text") from None


def fault_of(value: str) -> str:
    """What makes it doubtful that a value is a secret and nothing else, empty where nothing does."""
    if not value:
        return "is empty"
    if value != value.strip():
        return "begins or ends with white space"
    if not all(" " <= sign <= "~" for sign in value):
        return "has a control character, or one that is not ASCII"
    if value[0] in QUOTES or value[-1] in QUOTES:
        return "begins or ends with a quote, which would be part of it"
    if value[0] == "#" or " #" in value:
        return "has a comment, which would be part of it"
    return ""
