"""Files that hold secrets: read only where nobody else may read them."""

import os
import stat
from pathlib import Path

from deployment.errors import DeploymentError


def read_secret_file(setting: str, path: str) -> str:
    """The text of the file that a setting names; raises DeploymentError for one that is open to others."""
    file = Path(path).expanduser()
    try:
        with file.open() as opened:
            mode = os.fstat(opened.fileno()).st_mode
            if stat.S_ISREG(mode) and mode & 0o077:
                raise DeploymentError(
                    f"{setting}={path} is open to others (mode {mode & 0o777:04o}); "
                    f"`chmod 600 {path}` closes it"
                )
            return opened.read()
    except OSError as error:
        raise DeploymentError(f"{setting}={path} cannot be read: {error.strerror}") from error
