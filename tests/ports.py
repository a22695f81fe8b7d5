"""Ports for the servers of the tests."""

import random
import socket
from contextlib import suppress


def free_port() -> int:
    """A port that nobody listens on, below those that the system gives to connections: it is taken later."""
    while True:
        port = random.randrange(20_000, 32_000)
        with socket.socket() as probe, suppress(OSError):
            probe.bind(("127.0.0.1", port))
            return port
