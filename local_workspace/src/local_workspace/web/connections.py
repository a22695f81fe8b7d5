"""What one connection may take before anybody knows who is there: bytes of a header, time, a place."""

import asyncio
from typing import ClassVar

from uvicorn.protocols.http.httptools_impl import HttpToolsProtocol

LARGEST_HEADER = 64 * 1024
HEADER_SECONDS = 10
MOST_WAITING = 100


class BoundedProtocol(HttpToolsProtocol):
    """uvicorn's connection that ends when a header is too long or too slow, or too many others wait too."""

    _waiting: ClassVar[dict["BoundedProtocol", asyncio.TimerHandle]] = {}
    _arrived = 0

    def connection_made(self, transport: asyncio.Transport) -> None:  # type: ignore[override]
        """Waits for the first header."""
        super().connection_made(transport)
        self._wait()

    def connection_lost(self, exc: Exception | None) -> None:
        """Waits no more."""
        self._wait_no_more()
        super().connection_lost(exc)

    def data_received(self, data: bytes) -> None:
        """Counts what arrives until a header is complete."""
        self._arrived += len(data)
        super().data_received(data)
        if self in self._waiting and self._arrived > LARGEST_HEADER:
            self.transport.abort()

    def on_message_begin(self) -> None:
        """Waits for the header of the next request."""
        super().on_message_begin()
        self._wait()

    def on_headers_complete(self) -> None:
        """The request may take its time from here on."""
        self._wait_no_more()
        super().on_headers_complete()

    def _wait(self) -> None:
        if self in self._waiting:
            return
        self._arrived = 0
        self._waiting[self] = self.loop.call_later(HEADER_SECONDS, self.transport.abort)
        if len(self._waiting) > MOST_WAITING:
            longest = next(iter(self._waiting))
            longest._wait_no_more()
            longest.transport.abort()

    def _wait_no_more(self) -> None:
        if (timer := self._waiting.pop(self, None)) is not None:
            timer.cancel()
