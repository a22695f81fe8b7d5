"""Gaps: a workspace that is busy or does not answer for a moment, and what may be sent to it once more."""

import json
from dataclasses import dataclass

from urllib3.exceptions import InvalidHeader
from urllib3.util import Retry

GAPS = (429, 500, 502, 503, 504)
# Seconds before each further try of what writes; the workspace may ask for longer ones.
PAUSES = (1.0, 3.0, 9.0)
LONGEST = 60.0
LOOK_FIRST = (
    "It may have taken effect all the same, so it is not sent a second time: look in the workspace whether "
    "it has, before you give the command again"
)


@dataclass(frozen=True)
class Refusal:
    """A call that was answered by an error, or, with status 0, by nothing."""

    method: str
    path: str
    status: int
    said: str
    retry_after: str = ""

    @property
    def is_gap(self) -> bool:
        """Whether the same call may succeed a moment later."""
        reached_nobody = "NewConnectionError" in self.said or "Connection refused" in self.said
        return self.status in GAPS or (self.status == 0 and not reached_nobody)

    def seconds_until_again(self, pause: float) -> float:
        """This pause, or the longer one that the workspace asks for."""
        try:
            asked = Retry(0).parse_retry_after(self.retry_after)
        except InvalidHeader:
            asked = 0.0
        return min(max(pause, asked), LONGEST)

    def __str__(self) -> str:
        answer = f"was answered by HTTP {self.status}" if self.status else "was not answered"
        said = read_said(self.said)
        return f"{self.method} {self.path} {answer}" + (f" ({said})" if said else "")


def read_said(text: str) -> str:
    """What an answer says for people, on one line: its message, or its first words, and nothing of a page."""
    try:
        answer = json.loads(text)
    except ValueError:
        return "" if text.lstrip().startswith("<") else " ".join(text.split())[:200]
    if not isinstance(answer, dict):
        return ""
    return ": ".join(str(answer[name]) for name in ("error_code", "message") if answer.get(name))
