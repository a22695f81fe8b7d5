"""Lets databricks-cli say which call was answered by which error: it prints the text of an answer alone.

The Python of that program imports this at its start, whichever that is; nothing else of here is known to it.
"""

import json
import sys
from typing import Any

import requests

SAID = 500
send = requests.Session.send


def tell(request: requests.PreparedRequest, **told: Any) -> None:
    """Writes one line for the program's caller, without anything of what was sent."""
    line = json.dumps({"method": request.method, "path": request.path_url.partition("?")[0], **told})
    print("databricks-reply", line, file=sys.stderr, flush=True)


def send_and_tell(
    self: requests.Session, request: requests.PreparedRequest, **options: Any
) -> requests.Response:
    """As `Session.send`."""
    try:
        reply = send(self, request, **options)
    except requests.RequestException as error:
        tell(request, status=0, said=f"{type(error).__name__}: {error}"[:SAID])
        raise
    if not reply.ok:
        after = reply.headers.get("Retry-After", "")
        tell(request, status=reply.status_code, retry_after=after, said=reply.text[:SAID])
    return reply


requests.Session.send = send_and_tell  # type: ignore[method-assign]
