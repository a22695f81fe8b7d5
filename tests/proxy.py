"""A proxy before a workspace, which answers some calls itself: as one that is busy, away or refuses."""

import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any
from urllib.parse import urlsplit

import requests

DROP = 0


@dataclass
class Proxy:
    """Passes calls on to a workspace, but for those that it answers itself."""

    upstream: str
    host: str = ""
    gap: int = 503
    headers: dict[str, str] = field(default_factory=dict)
    body: str = "{}"
    gaps: dict[int, int] = field(default_factory=dict)
    """How often each POST, by its place in the line, gets no answer of the workspace."""
    first_of_each: bool = False
    """Whether the first POST to each path gets none."""
    only: str = ""
    """What the path of those has in it."""
    passes_on: bool = False
    """Whether what is not answered takes effect."""
    posts: list[str] = field(default_factory=list)
    moments: list[float] = field(default_factory=list)

    def is_in_gap(self, path: str) -> bool:
        """Whether this POST, which is counted, gets no answer of the workspace."""
        if self.only not in path:
            return False
        is_first = path not in self.posts
        self.posts.append(path)
        self.moments.append(time.monotonic())
        left = next((place for place in self.gaps if place <= len(self.posts) and self.gaps[place]), None)
        if left is not None:
            self.gaps[left] -= 1
        return left is not None or (self.first_of_each and is_first)


class Handler(BaseHTTPRequestHandler):
    proxy: Proxy
    protocol_version = "HTTP/1.1"

    def do_GET(self) -> None:
        body = self.rfile.read(int(self.headers.get("Content-Length") or 0))
        parts = urlsplit(self.path)  # databricks-cli sends the whole address
        in_gap = self.command == "POST" and self.proxy.is_in_gap(parts.path)
        if not in_gap or self.proxy.passes_on:
            reply = self.passed_on(parts.path + (f"?{parts.query}" if parts.query else ""), body)
        if not in_gap:
            self.answer(reply.status_code, reply.content, {"Content-Type": reply.headers["Content-Type"]})
        elif self.proxy.gap == DROP:
            self.close_connection = True
            self.connection.close()
        else:
            self.answer(self.proxy.gap, self.proxy.body.encode(), self.proxy.headers)

    do_POST = do_PUT = do_PATCH = do_HEAD = do_DELETE = do_GET

    def passed_on(self, path: str, body: bytes) -> requests.Response:
        kept = ("authorization", "content-type", "range")
        headers = {name: value for name, value in self.headers.items() if name.lower() in kept}
        with requests.Session() as session:
            session.trust_env = False
            return session.request(self.command, self.proxy.upstream + path, data=body, headers=headers)

    def answer(self, status: int, content: bytes, headers: dict[str, str]) -> None:
        self.send_response(status)
        for name, value in {**headers, "Content-Length": str(len(content))}.items():
            self.send_header(name, value)
        with suppress(BrokenPipeError, ConnectionResetError):  # who asked may have gone
            self.end_headers()
            self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@contextmanager
def serve(proxy: Proxy) -> Iterator[Proxy]:
    """Lets the proxy listen, and gives it its host."""
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"proxy": proxy})) as http:
        proxy.host = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield proxy
        http.shutdown()
