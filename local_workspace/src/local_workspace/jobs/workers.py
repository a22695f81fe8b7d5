"""Threads that carry out what is put before them, in the order in which it came."""

import logging
import queue
import threading
import time
from collections.abc import Callable

_END = None


class Workers:
    """`count` threads that call `work` with each number that is put."""

    def __init__(self, count: int, work: Callable[[int], None]) -> None:
        self._work = work
        self._others: list[threading.Thread] = []
        self._waiting: queue.SimpleQueue[int | None] = queue.SimpleQueue()
        # Daemons: a thread that waits for a cluster that never comes up must not keep the process alive.
        self._threads = [threading.Thread(target=self._run, daemon=True) for _ in range(count)]
        for thread in self._threads:
            thread.start()

    def put(self, number: int, at_once: bool = False) -> None:
        """Have `number` worked on when it is its turn; or at once, by a thread of its own."""
        if not at_once:
            self._waiting.put(number)
            return
        thread = threading.Thread(target=self._do, args=(number,), daemon=True)
        self._others = [other for other in self._others if other.is_alive()] + [thread]
        thread.start()

    def stop(self, seconds: float) -> None:
        """Take nothing new after what was put, and wait for the threads to end, not longer than `seconds`."""
        for _ in self._threads:
            self._waiting.put(_END)
        deadline = time.monotonic() + seconds
        for thread in (*self._threads, *self._others):
            thread.join(max(0, deadline - time.monotonic()))

    def _run(self) -> None:
        while (number := self._waiting.get()) is not _END:
            self._do(number)

    def _do(self, number: int) -> None:
        try:
            self._work(number)
        except Exception:
            # The thread is needed for the next one.
            logging.getLogger(__name__).exception("the work on %s failed", number)
