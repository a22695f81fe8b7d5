"""A process that another process forks on request: how it is asked for, watched and ended; Linux only."""

import os
import select
import signal
import socket
import threading
from collections.abc import Sequence

READY = b"ready"


class Fork:
    """What is used of a `Popen`, for a process that is not a child of this one."""

    stdin = stdout = stderr = None

    def __init__(self, pid: int, descriptor: int, ended: int) -> None:
        self.pid = pid
        self._descriptor = descriptor
        self._ended = ended  # a pipe, in which its parent says how it ended
        self._code: int | None = None
        self._lock = threading.Lock()
        self._poll = select.poll()
        self._poll.register(descriptor, select.POLLIN)

    def __del__(self) -> None:
        os.close(self._descriptor)
        os.close(self._ended)

    def poll(self) -> int | None:
        """None while it runs, then its exit code, or minus the signal that ended it."""
        with self._lock:
            if self._code is None and self._poll.poll(0):
                self._code = int(os.read(self._ended, 16) or b"1")  # nothing: its parent was killed
            return self._code

    def wait(self) -> int:
        """Waits until it has ended, and tells how."""
        while (code := self.poll()) is None:
            self._poll.poll()
        return code

    def send_signal(self, number: int) -> None:
        """Sends it a signal; ProcessLookupError when it has ended."""
        signal.pidfd_send_signal(self._descriptor, number)


def ask_for_fork(
    requests: socket.socket, message: bytes, descriptors: Sequence[int] = (), seconds: float = 30
) -> Fork:
    """Has the process at the other end fork a child, which gets the message and the files.

    OSError when there is nobody, the message is too large, or no answer comes within so many seconds.
    """
    requests.settimeout(seconds)
    socket.send_fds(requests, [message], descriptors)
    pid, received, _, _ = socket.recv_fds(requests, 32, 2)
    if not pid or len(received) != 2:
        raise BrokenPipeError("the process that forks has ended, or no file can be opened")
    return Fork(int(pid), *received)


def wait_until_ready(requests: socket.socket, seconds: float) -> bool:
    """Waits until the process at the other end says that it is ready; False when it ends, or does not."""
    requests.settimeout(seconds)
    try:
        return requests.recv(len(READY)) == READY
    except OSError:
        return False
