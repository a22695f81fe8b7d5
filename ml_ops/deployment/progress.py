"""Shows how far the upload of a large file has come."""

import io
from collections.abc import Callable
from pathlib import Path

# What is smaller is there before anybody asks.
LARGE = 8 * 2**20


def show_tenths(name: str) -> Callable[[int, int | None], None]:
    """What shows each tenth of a file, called with the bytes that were sent and those of the whole."""
    shown = 0

    def show(sent: int, total: int | None) -> None:
        nonlocal shown
        if total and (tenth := 10 * sent // total) > shown:
            shown = tenth
            print(f"  {name}: {sent / 1e6:,.0f} of {total / 1e6:,.0f} MB", flush=True)

    return show


class ShownFile(io.FileIO):
    """A file that shows each tenth of itself as it is read; one that is small shows nothing."""

    def __init__(self, file: Path) -> None:
        super().__init__(file)
        self._total = file.stat().st_size
        self._show = show_tenths(file.name)

    def read(self, size: int | None = -1, /) -> bytes:
        """The next bytes."""
        found = super().read(-1 if size is None else size) or b""
        if self._total >= LARGE:
            self._show(self.tell(), self._total)
        return found
