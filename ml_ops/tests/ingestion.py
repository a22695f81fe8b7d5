"""An ingestion endpoint of Application Insights on loopback: keeps what the real exporter sends."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from gzip import decompress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Any

from diabetes_mlops.runs.telemetry import Target

KEY = "11111111-2222-3333-4444-555555555555"


@dataclass
class Ingestion:
    """What was accepted so far; `answers` are the status codes of the next requests, then it is 200."""

    port: int = 0
    answers: list[int] = field(default_factory=list)
    seconds_to_answer: float = 0.0
    items: list[dict[str, Any]] = field(default_factory=list)
    requests: list[str] = field(default_factory=list)

    def target(self, job_run_id: str = "20") -> Target:
        connection_string = f"InstrumentationKey={KEY};IngestionEndpoint=http://127.0.0.1:{self.port}/"
        return Target(connection_string, job_id="10", job_run_id=job_run_id, task_run_id="30")

    def of(self, kind: str, **properties: str) -> list[dict[str, Any]]:
        """The items of a kind, such as Request, that have these properties, without their envelopes."""
        found = [item["data"]["baseData"] for item in self.items if item["name"].endswith(f".{kind}")]
        return [item for item in found if properties.items() <= item["properties"].items()]

    def take(self, path: str, body: bytes) -> tuple[int, dict[str, Any]]:
        """Answer as the service does: 200 for all items, 206 for all but the first, else for none."""
        time.sleep(self.seconds_to_answer)
        self.requests.append(path)
        items = (
            json.loads(body) if body.startswith(b"[") else [json.loads(line) for line in body.splitlines()]
        )
        status = self.answers.pop(0) if self.answers else 200
        accepted = {200: items, 206: items[1:]}.get(status, [])
        self.items += accepted
        errors = [] if status == 200 else [{"index": 0, "statusCode": 500, "message": "not now"}]
        return status, {"itemsReceived": len(items), "itemsAccepted": len(accepted), "errors": errors}


@contextmanager
def open_ingestion(**options: Any) -> Iterator[Ingestion]:
    """Serve an endpoint while the block runs."""
    ingestion = Ingestion(**options)

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_POST(self) -> None:
            body = self.rfile.read(int(self.headers["Content-Length"]))
            zipped = self.headers.get("Content-Encoding") == "gzip"
            status, answer = ingestion.take(self.path, decompress(body) if zipped else body)
            content = json.dumps(answer).encode()
            self.send_response(status)
            self.send_header("Content-Type", "application/json")
            if status == 429:
                self.send_header("Retry-After", "1")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    ingestion.port = server.server_port
    Thread(target=server.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
    try:
        yield ingestion
    finally:
        server.shutdown()
        server.server_close()
