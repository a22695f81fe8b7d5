"""Calls to a workspace that is slow, busy or gone for a while, and a sign-in that outlives its token."""

import json
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import quote

import pytest
from deployment import data, workspace
from deployment.data import upload_data, upload_file
from deployment.errors import DeploymentError
from deployment.settings import Settings
from deployment.workspace import PATIENCE, Workspace, open_workspace
from programs import any_cli

RESET = 0
FILES_API = "/api/2.0/fs/files"
VOLUME = "/Volumes/main/diabetes/data"
# As the tests wait: how often, and not how long, is what they look at.
QUICK = PATIENCE.new(backoff_factor=0.001)


@dataclass
class Server:
    """Answers with the codes of `statuses`, one a call, then with 200; RESET breaks the connection off."""

    host: str = ""
    statuses: list[int] = field(default_factory=list)
    headers: dict[str, str] = field(default_factory=dict)
    calls: list[tuple[str, str]] = field(default_factory=list)
    tokens: list[str] = field(default_factory=list)
    given: int = 0
    """How many tokens were given out."""
    lives: int = 3600
    """How many seconds one lives."""
    seconds: float = 0
    """How long it waits before it takes a file, and again before it answers."""
    kept: dict[str, int] = field(default_factory=dict)
    """The length of each file."""
    drops: int = 0
    """How many files get no answer."""
    loses: int = 0
    """How many bytes of each file get lost."""
    forbids: bool = False
    """Whether nobody may look at a file; the answer to HEAD has no words for that."""


class Handler(BaseHTTPRequestHandler):
    state: Server

    def do_GET(self) -> None:
        self.note()
        status = self.state.statuses.pop(0) if self.state.statuses else 200
        if status == RESET:
            self.connection.close()
        elif self.path.startswith("/oidc/.well-known"):
            self.answer(200, {"token_endpoint": f"{self.state.host}/token", "authorization_endpoint": ""})
        else:
            refusal = {"error": "busy", "message": "come again"}, self.state.headers
            self.answer(status, *({200: ({"userName": "ada@example.com"}, {})}.get(status, refusal)))

    def do_POST(self) -> None:
        self.rfile.read(int(self.headers.get("Content-Length") or 0))
        if self.path != "/token" or self.state.statuses:
            self.do_GET()
        else:
            self.state.given += 1
            token = {"access_token": f"token-{self.state.given}", "token_type": "Bearer"}
            self.answer(200, token | {"expires_in": self.state.lives})

    def do_PUT(self) -> None:
        self.note()
        if self.path.startswith(FILES_API):
            time.sleep(self.state.seconds)
        length = int(self.headers.get("Content-Length") or 0)
        if len(self.rfile.read(length)) < length:
            return  # whom it took too long
        if self.path.startswith(FILES_API) and self.state.drops:
            self.state.drops -= 1
            return
        if self.path.startswith(FILES_API):
            time.sleep(self.state.seconds)
            self.state.kept[self.path.partition("?")[0]] = length - self.state.loses
        self.answer(204)

    def do_HEAD(self) -> None:
        self.note()
        length = self.state.kept.get(self.path)
        if self.state.forbids:
            return self.answer(403)
        self.answer(404 if length is None else 200, headers={"Content-Length": str(length or 0)})

    def note(self) -> None:
        self.state.calls.append((self.command, self.path))
        self.state.tokens.append(self.headers.get("Authorization", "").removeprefix("Bearer "))

    def answer(self, status: int, body: Any = None, headers: dict[str, str] | None = None) -> None:
        content = json.dumps(body).encode() if body is not None else b""
        own = {"Content-Length": str(len(content)), "Content-Type": "application/json"}
        self.send_response(status)
        for name, value in (own | (headers or {})).items():
            self.send_header(name, value)
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *_: Any) -> None:
        """Says nothing."""


@pytest.fixture
def server(monkeypatch: pytest.MonkeyPatch) -> Iterator[Server]:
    monkeypatch.setattr(workspace, "PATIENCE", QUICK)
    state = Server()
    with ThreadingHTTPServer(("127.0.0.1", 0), type("Handler", (Handler,), {"state": state})) as http:
        state.host = f"http://127.0.0.1:{http.server_port}"
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield state
        http.shutdown()


def at(host: str, profile: str = "dev") -> Workspace:
    return Workspace(profile, None, host, lambda: "token")


# Gaps


@pytest.mark.parametrize("gap", [429, 500, 502, 503, 504, RESET])
def test_what_only_reads_is_asked_again_until_it_is_answered(server: Server, gap: int) -> None:
    server.statuses = [gap, gap]

    assert at(server.host).user_name() == "ada@example.com"
    assert len(server.calls) == 3


def test_the_workspace_says_how_long_it_wants_to_be_left_alone(server: Server) -> None:
    server.statuses, server.headers = [429], {"Retry-After": "1"}
    start = time.monotonic()

    assert at(server.host).user_name() == "ada@example.com"
    assert time.monotonic() - start >= 1


def test_nobody_is_asked_for_ever(server: Server) -> None:
    server.statuses = [503] * 100

    with pytest.raises(DeploymentError, match="HTTP 503: come again"):
        at(server.host).user_name()

    assert len(server.calls) == 9
    pauses = [min(PATIENCE.backoff_max, 2**n) for n in range(1, 8)]
    assert sum(pauses) <= 150 and PATIENCE.backoff_factor == 1 and PATIENCE.retry_after_max <= 60


@pytest.mark.parametrize("gap", [429, 503, RESET])
def test_what_may_have_taken_effect_is_not_sent_again(server: Server, gap: int) -> None:
    server.statuses = [gap]

    with pytest.raises(DeploymentError, match=r"come again|does not answer"):
        at(server.host).call("POST", "/api/2.1/jobs/run-now", json={"job_id": 1})

    assert server.calls == [("POST", "/api/2.1/jobs/run-now")]


@pytest.mark.parametrize("gap", [429, 503, RESET])
def test_what_ends_the_same_each_time_is_sent_again_and_says_so(
    server: Server, gap: int, capsys: pytest.CaptureFixture[str]
) -> None:
    server.statuses = [gap]

    any_cli(at(server.host)).write_file("/a.whl", b"content")

    assert len(server.calls) == 2
    assert "POST /api/2.0/workspace/import was" in capsys.readouterr().out


def test_what_is_sent_again_is_the_whole_file(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_bytes(b"ID\n1\n")
    server.drops = 1

    upload(server, tmp_path / "a.csv")

    assert server.kept == {f"{FILES_API}{VOLUME}/a.csv": 5}
    assert [method for method, _ in server.calls] == ["PUT", "PUT", "PUT", "HEAD"]


def test_a_refusal_is_told_at_once(server: Server) -> None:
    server.statuses = [404]

    with pytest.raises(DeploymentError, match="HTTP 404: come again"):
        at(server.host).user_name()

    assert len(server.calls) == 1


def test_a_local_workspace_that_is_gone_is_told_at_once() -> None:
    start = time.monotonic()

    with pytest.raises(DeploymentError, match="does not answer; start it with `make local-workspace-start`"):
        at("http://127.0.0.1:9", "local").user_name()

    assert time.monotonic() - start < 2


# A token of an hour


@pytest.fixture
def signed_in(server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Workspace:
    """A workspace that a service principal is signed in to, as the SDK does that."""
    given = {"HOST": server.host, "CLIENT_ID": "id", "CLIENT_SECRET": "secret", "AUTH_TYPE": "oauth-m2m"}
    given |= {"DISCOVERY_URL": f"{server.host}/oidc/.well-known/oauth-authorization-server"}
    for name in ("TOKEN", "CONFIG_PROFILE"):
        monkeypatch.delenv(f"DATABRICKS_{name}", raising=False)
    for name, value in (given | {"CONFIG_FILE": str(tmp_path / "none")}).items():
        monkeypatch.setenv(f"DATABRICKS_{name}", value)
    return open_workspace(Settings("staging", "staging", ".local_workspace"))


def test_a_token_whose_time_is_up_is_renewed_for_calls_and_for_the_program(
    server: Server, signed_in: Workspace
) -> None:
    server.lives = 1
    for _ in range(3):
        signed_in.user_name()

    *_, second, third = server.tokens
    assert second != third == f"token-{server.given}"
    for _ in range(2):
        assert any_cli(signed_in).environment()["DATABRICKS_TOKEN"] == f"token-{server.given}"
    assert third != f"token-{server.given}"


def test_a_token_that_is_good_is_kept(server: Server, signed_in: Workspace) -> None:
    for _ in range(3):
        signed_in.user_name()

    assert server.tokens[-3:] == ["token-1"] * 3
    assert server.given == 1


def test_a_renewal_that_fails_ends_in_one_message(server: Server, signed_in: Workspace) -> None:
    server.lives = 1
    signed_in.user_name()
    server.statuses = [400]

    with pytest.raises(DeploymentError, match=r"cannot sign in with DATABRICKS_HOST: .*busy"):
        signed_in.user_name()


# Files


@pytest.fixture
def file(tmp_path: Path) -> Path:
    """More than the buffers between two programs of this machine hold."""
    file = tmp_path / "data.csv"
    file.write_bytes(b"x" * 24 * 2**20)
    return file


def upload(server: Server, *files: Path, overwrite: bool = True) -> None:
    upload_data(any_cli(at(server.host)), VOLUME, files=files, overwrite=overwrite)


def test_a_volume_may_take_its_time_to_store_a_large_file(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(workspace.Workspace.request, "__defaults__", (0.3,))
    monkeypatch.setattr(data, "UPLOAD_SECONDS", 5)
    server.seconds = 1

    upload(server, file)

    assert server.kept == {f"{FILES_API}{VOLUME}/data.csv": file.stat().st_size}
    assert [method for method, _ in server.calls] == ["PUT", "PUT", "HEAD"]


def test_a_volume_that_takes_too_long_is_told(
    server: Server, file: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(data, "UPLOAD_SECONDS", 0.3)
    server.seconds = 1

    with pytest.raises(DeploymentError, match="does not answer"):
        upload(server, file)


def test_a_file_that_did_not_arrive_whole_is_told(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.csv").write_text("ID\n1\n")
    server.loses = 2

    with pytest.raises(DeploymentError, match=rf"{VOLUME}/a.csv has 3 bytes, and .*a.csv 5; upload it again"):
        upload(server, tmp_path / "a.csv")


def test_nothing_is_written_where_one_of_the_files_is_there(server: Server, tmp_path: Path) -> None:
    files = [tmp_path / name for name in ("a.csv", "b.csv")]
    for each in files:
        each.touch()
    server.kept = {f"{FILES_API}{VOLUME}/b.csv": 7}

    with pytest.raises(DeploymentError, match=rf"over {VOLUME}/b.csv; nothing was uploaded.*OVERWRITE=1"):
        upload(server, *files, overwrite=False)

    assert server.kept == {f"{FILES_API}{VOLUME}/b.csv": 7}
    upload(server, *files)
    assert set(server.kept.values()) == {0}


@pytest.mark.parametrize(
    ("to", "path"),
    [("", "a b.csv"), ("night/", "night/a b.csv"), ("night/labels.csv", "night/labels.csv"), ("b", "b")],
)
def test_a_file_of_ones_own_goes_below_the_data(
    server: Server, file: Path, capsys: pytest.CaptureFixture[str], to: str, path: str
) -> None:
    own = file.rename(file.with_name("a b.csv"))

    assert upload_file(any_cli(at(server.host)), f"{VOLUME}/", str(own), to) == path

    assert server.kept == {f"{FILES_API}{quote(f'{VOLUME}/{path}')}": own.stat().st_size}
    *tenths, uploaded = capsys.readouterr().out.splitlines()
    name = path.rpartition("/")[2]
    assert uploaded == f"Uploaded {name} (25,165,824 bytes) to {VOLUME}/{path}"
    assert len(tenths) == 10 and tenths[-1] == f"  {name}: 25 of 25 MB"


def test_a_file_of_ones_own_goes_over_none_that_is_there(server: Server, file: Path) -> None:
    server.kept = {f"{FILES_API}{VOLUME}/data.csv": 7}

    with pytest.raises(DeploymentError, match=rf"the upload would go over {VOLUME}/data.csv; nothing"):
        upload_file(any_cli(at(server.host)), VOLUME, str(file), "", overwrite=False)


@pytest.mark.parametrize(
    ("name", "to", "said"),
    [
        ("", "", "make upload needs FILE=<path>"),
        ("missing.csv", "", "there is no file '.*missing.csv'; FILE is a path from "),
        (".", "", "is not a file; upload its files one by one"),
        (
            "data.csv",
            "../out.csv",
            "TO is a path below data_root, such as night/data.csv or night/; TO=../out",
        ),
        ("data.csv", "/mnt/out/", "TO=/mnt/out/ leads elsewhere. DATA_ROOT=... names another"),
        ("data.csv", "dbfs:/out.csv", "TO=dbfs:/out.csv leads elsewhere"),
    ],
)
def test_an_upload_of_nothing_or_to_elsewhere_is_refused_before_anything_is_asked(
    server: Server, file: Path, name: str, to: str, said: str
) -> None:
    given = str(file.parent / name) if name else ""

    with pytest.raises(DeploymentError, match=said):
        upload_file(any_cli(at(server.host)), VOLUME, given, to)

    assert server.calls == []


def test_where_none_of_the_files_is_they_are_uploaded(server: Server, tmp_path: Path) -> None:
    (tmp_path / "a.csv").touch()

    upload(server, tmp_path / "a.csv", overwrite=False)

    assert server.kept == {f"{FILES_API}{VOLUME}/a.csv": 0}


@pytest.mark.parametrize("overwrite", [True, False])
def test_a_right_that_is_missing_on_a_volume_is_named(
    server: Server, tmp_path: Path, overwrite: bool
) -> None:
    (tmp_path / "a.csv").touch()
    server.forbids = True

    with pytest.raises(DeploymentError) as refused:
        upload(server, tmp_path / "a.csv", overwrite=overwrite)

    said = str(refused.value)
    assert said.startswith(
        f"you may not look whether {VOLUME}/a.csv is there (HTTP 403): ask for READ VOLUME"
    )
    assert "WRITE VOLUME on volume 'main.diabetes.data'" in said and "token" not in said


def test_a_refused_token_is_told_as_that_also_where_a_file_is_looked_for(
    server: Server, tmp_path: Path
) -> None:
    (tmp_path / "a.csv").touch()
    server.forbids, server.statuses = True, [403]

    with pytest.raises(DeploymentError, match="refuses the token"):
        upload(server, tmp_path / "a.csv", overwrite=False)
