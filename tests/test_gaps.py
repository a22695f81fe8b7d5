"""`make deploy` through a proxy that lets a call now and then run into a gap, before a real workspace."""

import re
import threading
import time
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import pytest
import requests
from databricks.sdk.errors import NotFound
from deployment import wheels
from test_deployments import make_checkout
from workspace_under_test import FOLDER, WorkspaceUnderTest

DROP = 0
TARGET = "prod"


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
        self.posts.append(path)
        self.moments.append(time.monotonic())
        left = next((place for place in self.gaps if place <= len(self.posts) and self.gaps[place]), None)
        if left is not None:
            self.gaps[left] -= 1
        return left is not None


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
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@dataclass
class Far:
    """A checkout that deploys to the workspace behind the proxy."""

    workspace: WorkspaceUnderTest
    checkout: Path
    proxy: Proxy

    def make(self, *arguments: str, ok: bool = True) -> str:
        """What a make target prints."""
        self.proxy.posts.clear()
        self.proxy.moments.clear()
        config = self.checkout.parent / "databrickscfg"
        token = self.workspace.profile["token"]
        config.write_text(f"[far]\nhost = {self.proxy.host}\ntoken = {token}\n")
        settings = (f"TARGET={TARGET}", "WORKSPACE=far", "CLUSTER_NAME=azure-databricks-mlops-mlflow")
        settings += ("COMPUTE=existing", "NAME_PREFIX=[far] ")  # else they would be the demo's jobs
        given = {"DATABRICKS_CONFIG_FILE": str(config)}
        done = self.workspace.make(*arguments, *settings, checkout=self.checkout, **given)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def forget_code(self) -> None:
        """Makes the version one that was never deployed."""
        path = f"{FOLDER}/{TARGET}/code/deployments/{wheels.version(self.checkout)}"
        with suppress(NotFound):
            self.workspace.client.workspace.delete(path, recursive=True)


@pytest.fixture(scope="module")
def deployed(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    checkout = make_checkout(tmp_path_factory.mktemp("far") / "checkout")
    proxy = Proxy(demo.workspace.profile["host"])
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"proxy": proxy})) as http:
        proxy.host = f"http://127.0.0.1:{http.server_port}"
        threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        far = Far(demo.workspace, checkout, proxy)
        far.make("deploy")
        yield far
        http.shutdown()


@pytest.fixture
def far(deployed: Far) -> Far:
    deployed.proxy.__init__(deployed.proxy.upstream, deployed.proxy.host)
    return deployed


def test_a_deployment_goes_on_after_a_gap_in_any_of_its_calls(far: Far) -> None:
    far.forget_code()
    far.make("deploy")
    calls = len(far.proxy.posts)
    assert calls >= 8

    for place in range(1, calls + 1):
        gap = far.proxy.gap = (503, 429, DROP)[place % 3]
        far.proxy.gaps = {place: 1}
        far.forget_code()
        told = far.make("deploy")

        assert len(far.proxy.posts) >= calls and far.proxy.gaps == {place: 0}
        said = f"was answered by HTTP {gap}" if gap else "was not answered"
        assert re.search(rf"POST /api/\S+ {said}.*again", told), told


def test_the_workspace_says_how_long_it_wants_to_be_left_alone(far: Far) -> None:
    far.proxy.gap, far.proxy.headers = 429, {"Retry-After": "4"}
    for path in ("/workspace/mkdirs", "/workspace/import", "/jobs/reset"):
        far.forget_code()
        far.proxy.only, far.proxy.gaps = path, {1: 1}
        far.make("deploy")

        assert far.proxy.moments[1] - far.proxy.moments[0] >= 4


def test_a_workspace_that_stays_away_is_named_with_the_call_and_what_it_said(far: Far) -> None:
    far.proxy.body = '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "in repair"}'
    for path in ("/workspace/mkdirs", "/jobs/reset"):
        far.forget_code()
        far.proxy.only, far.proxy.gaps = path, {1: 99}
        told = far.make("deploy", ok=False)

        assert re.search(
            rf"Error: .*POST /api/2\.\d{path} .*HTTP 503 .*TEMPORARILY_UNAVAILABLE: in repair", told
        )
        assert len(far.proxy.posts) == 4


@pytest.mark.parametrize("gap", [503, DROP])
def test_a_job_is_not_created_twice(far: Far, gap: int) -> None:
    jobs = far.workspace.client.jobs
    before = {job.job_id for job in jobs.list()}
    names = re.findall(r"Job '(.*)' \((\d+)\) is updated", far.make("deploy"))
    jobs.delete(int(names[0][1]))
    far.proxy.gap, far.proxy.only, far.proxy.gaps, far.proxy.passes_on = gap, "/jobs/create", {1: 1}, True

    told = far.make("deploy", ok=False)

    said = "was answered by HTTP 503" if gap else "was not answered"
    assert re.search(rf"Error: .*POST /api/2\.1/jobs/create {said}.*look in the workspace whether", told), (
        told
    )
    assert len(far.proxy.posts) == 1
    far.make("deploy")
    assert len({job.job_id for job in jobs.list()}) == len(before)


@pytest.mark.parametrize("gap", [503, 429, DROP])
def test_a_run_is_not_triggered_twice(far: Far, gap: int) -> None:
    far.proxy.gap, far.proxy.only, far.proxy.gaps = gap, "/jobs/run-now", {1: 99}

    told = far.make("run-diabetes-monitoring", "WAIT=0", ok=False)

    said = f"was answered by HTTP {gap}" if gap else "was not answered"
    assert re.search(rf"Error: .*POST /api/2\.\d/jobs/run-now {said}.*look in the workspace whether", told), (
        told
    )
    assert len(far.proxy.posts) == 1
    assert far.workspace.profile["token"] not in told
