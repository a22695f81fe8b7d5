"""Writes small files so that a reader finds what they held before or what they hold now, never a part."""

import os
from pathlib import Path


def write_whole(path: Path, text: str) -> None:
    """Put `text` at `path` in one step, readable by its owner alone from the first byte on."""
    partial = path.with_name(path.name + ".partial")
    partial.unlink(missing_ok=True)
    with os.fdopen(os.open(partial, os.O_WRONLY | os.O_CREAT | os.O_TRUNC, 0o600), "w") as file:
        file.write(text)
    partial.replace(path)
