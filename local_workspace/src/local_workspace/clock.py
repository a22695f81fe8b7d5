"""The time as Databricks' API tells it."""

import time


def now() -> int:
    """Milliseconds since 1970."""
    return int(time.time() * 1000)
