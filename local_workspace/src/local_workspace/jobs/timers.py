"""Things to be done later, unless they are called off."""

import threading
from collections.abc import Callable


class Timers:
    """One action a number; actions are carried out with `lock` held, and never after they were called off."""

    def __init__(self, lock: threading.RLock) -> None:
        self._lock = lock
        self._timers: dict[int, threading.Timer] = {}

    def set(self, number: int, seconds: float, action: Callable[[], None]) -> None:
        """Do something after some seconds."""

        def act() -> None:
            with self._lock:
                if self._timers.get(number) is timer:
                    del self._timers[number]
                    action()

        timer = threading.Timer(seconds, act)
        timer.daemon = True
        with self._lock:
            self._timers[number] = timer
        timer.start()

    def call_off(self, *numbers: int) -> None:
        """Do nothing for these numbers; one without an action is no error."""
        with self._lock:
            for number in numbers:
                if timer := self._timers.pop(number, None):
                    timer.cancel()

    def call_off_all(self) -> None:
        """Do nothing any more."""
        self.call_off(*list(self._timers))
