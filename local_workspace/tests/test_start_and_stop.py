"""The command line with the real server and MLflow; a stand-in for Java listens where Spark would.

What Spark itself does is tested where the whole loop runs on it.
"""

import os
import re
import signal
import socket
import sqlite3
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from pathlib import Path

import local_workspace.__main__ as command_line
import psutil
import pytest
import requests
from fastapi import FastAPI, Request
from fastapi.responses import PlainTextResponse
from local_workspace.processes.processes import has_ended, recall, remember
from local_workspace.server import listen
from local_workspace.spark.cluster import PID_FILE
from local_workspace.spark.spark_rights import PARTS
from local_workspace.store.profile import read_profile
from local_workspace.store.state import StateFolder
from real_workspace import free_port

JAVA = f"""#!{sys.executable}
import os, socket, struct, sys, threading
from pathlib import Path
if "-version" in sys.argv:
    sys.exit('openjdk version "17.0.1"')
if "org.codehaus.janino.SimpleCompiler" in sys.argv:
    Path(sys.argv[sys.argv.index("Compile") + 1], "{PARTS[-1]}.class").touch()
    sys.exit()

def answer(connection):
    # To whoever drives Java each name is a class, a package or a method, each result an object.
    with connection, connection.makefile("rw") as file:
        for line in file:
            if line == "A\\n":
                words = [line, file.readline()]  # a secret
            else:
                words = [line.strip(), *iter(lambda: file.readline().strip(), "e")]
            name = "".join(words[2:3])
            kind = "ym" if words[1] == "m" else "yp" if name.islower() else f"yc{{name}}"
            answers = {{"r": kind, "c": "yro0"}}
            file.write(f"!{{answers.get(words[0], 'yv')}}\\n")
            file.flush()

def serve(listener):
    while True:
        threading.Thread(target=answer, args=[listener.accept()[0]], daemon=True).start()

gateway = socket.create_server(("127.0.0.1", 0))
threading.Thread(target=serve, args=[gateway], daemon=True).start()
announced = Path(os.environ["_PYSPARK_DRIVER_CONN_INFO_PATH"])
whole = announced.with_suffix(".new")
whole.write_bytes(struct.pack("!ii", gateway.getsockname()[1], 6) + b"secret")
whole.rename(announced)
port = next(int(word.rpartition("=")[2]) for word in sys.argv if "binding.port=" in word)
listener = socket.create_server(("127.0.0.1", port))
while True:
    listener.accept()[0].close()
"""


class CommandLine:
    """`python -m local_workspace` with a state folder and a port of its own."""

    def __init__(self, folder: Path) -> None:
        java = folder / "java" / "bin" / "java"
        java.parent.mkdir(parents=True)
        java.write_text(JAVA)
        java.chmod(0o700)
        self.state = StateFolder(folder / "state")
        self.port = free_port()
        self.environment = os.environ | {"JAVA_HOME": str(folder / "java")}

    def begin(self, command: str, *options: str) -> subprocess.Popen[str]:
        words = ["--state", str(self.state.root), "--port", str(self.port), *options]
        return subprocess.Popen(
            [sys.executable, "-m", "local_workspace", command, *words],
            env=self.environment,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            # Ctrl-C ends a program of a terminal; where the tests run in the background it may be ignored.
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )

    def run(self, command: str, *options: str) -> tuple[int, str]:
        process = self.begin(command, *options)
        output, _ = process.communicate(timeout=120)
        return process.returncode, output

    def call(self, method: str, path: str, **options: object) -> requests.Response:
        profile = read_profile(self.state.config_file)
        headers = {"Authorization": f"Bearer {profile.token}"}
        address = f"{profile.host}/api/2.0/{path}"
        return requests.request(method, address, headers=headers, timeout=60, **options)

    def servers(self) -> list[psutil.Process]:
        words = ["serve", "--state", str(self.state.root)]
        return [p for p in psutil.process_iter(["cmdline"]) if (p.info["cmdline"] or [])[3:] == words]


@pytest.fixture(scope="module")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[CommandLine, list[tuple[int, str]]]]:
    """A workspace that two commands started at the same moment, over a pid file that names a stranger."""
    line = CommandLine(tmp_path_factory.mktemp("command_line"))
    line.state.create()
    line.state.pid_file.write_text(f"{os.getpid()} 1.0")
    (line.state.mlflow_artifacts / "1").mkdir()
    both = [line.begin("start"), line.begin("start")]
    ends = [(process.communicate(timeout=120)[0], process.returncode) for process in both]
    yield line, [(code, output) for output, code in ends]
    line.run("stop")


@pytest.fixture
def line(started: tuple[CommandLine, list[tuple[int, str]]]) -> CommandLine:
    return started[0]


def test_of_two_starts_at_the_same_moment_one_starts_it_and_both_end_well(started):
    line, ends = started

    assert [code for code, _ in ends] == [0, 0], ends
    assert sum("Starting the local workspace" in output for _, output in ends) == 1
    assert sum("is running already" in output for _, output in ends) == 1
    assert len(line.servers()) == 1
    assert any("mlflow.db is missing, and with it the experiments and models" in text for _, text in ends)


def test_a_deleted_pid_file_hides_no_server(line: CommandLine):
    line.state.pid_file.unlink()
    code, output = line.run("status")

    assert code == 0
    assert f"(process {line.servers()[0].pid})" in output
    assert recall(line.state.pid_file) == line.servers()[0]


@pytest.mark.skipif(sys.platform != "linux", reason="elsewhere the system itself keeps times of day")
def test_a_step_of_the_clock_hides_no_process(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    monkeypatch.chdir(tmp_path)
    remember(psutil.Process(), tmp_path / "pid")
    booted = psutil.boot_time()
    monkeypatch.setattr("psutil._pslinux.boot_time", lambda: booted + 3600)

    assert recall(tmp_path / "pid") == psutil.Process()


def test_a_number_that_another_process_has_taken_over_is_nobody(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.chdir(tmp_path)
    remember(psutil.Process(), tmp_path / "pid")
    (tmp_path / "pid").write_text((tmp_path / "pid").read_text()[:-1])

    assert recall(tmp_path / "pid") is None


def test_a_program_that_listens_in_the_place_of_the_server_gets_no_token(
    line: CommandLine, served: Callable[[FastAPI], AbstractContextManager[str]]
):
    heard: list[dict[str, str]] = []
    app = FastAPI()

    @app.api_route("/{path:path}", methods=["GET", "POST"])
    def listen_to(request: Request) -> PlainTextResponse:
        heard.append(dict(request.headers))
        return PlainTextResponse("ok")

    with served(app) as host:
        kept = line.state.config_file.read_text()
        line.state.config_file.write_text(re.sub("http://.*", host, kept))
        code, output = line.run("status")
        line.state.config_file.write_text(kept)

    assert (code, "another program listens" in output) == (1, True)
    assert heard
    assert not [headers for headers in heard if "authorization" in headers]


def test_the_logs_are_shown_without_the_secrets_that_are_kept(line: CommandLine):
    secret = "pl4nted-in-a-log"
    line.call("POST", "secrets/scopes/create", json={"scope": "logs"})
    line.call("POST", "secrets/put", json={"scope": "logs", "key": "k", "string_value": secret})
    with (line.state.logs / "spark.log").open("a") as log:
        log.write(f"ValueError in a UDF: {secret}\n")

    code, output = line.run("logs")

    assert (code, secret in output) == (0, False)
    assert "ValueError in a UDF: [REDACTED]" in output


def test_a_folder_is_served_once(line: CommandLine):
    code, output = line.run("serve")

    assert code == 1
    assert f"process {line.servers()[0].pid} serves {line.state.root} already" in output
    assert line.call("GET", "clusters/list").ok


def test_an_answer_does_not_wait_for_the_acknowledgement_of_its_first_part():
    with listen(0) as listener, socket.create_connection(listener.getsockname()):
        accepted, _ = listener.accept()
        with accepted:
            assert accepted.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)


def test_mlflows_database_that_is_removed_while_it_is_open_is_put_back(line: CommandLine):
    made = line.call("POST", "mlflow/experiments/create", json={"name": "kept"}).json()
    line.state.mlflow_database.unlink()
    found = line.call("GET", "mlflow/experiments/get-by-name", params={"experiment_name": "kept"})
    more = line.call("POST", "mlflow/experiments/create", json={"name": "more"})

    assert found.json()["experiment"]["experiment_id"] == made["experiment_id"]
    assert more.ok
    with sqlite3.connect(line.state.mlflow_database) as file:
        names = {name for (name,) in file.execute("SELECT name FROM experiments")}
    assert {"kept", "more"} <= names


def test_stop_after_a_kill_ends_what_the_server_left_behind(line: CommandLine):
    java = recall(line.state.spark / PID_FILE)
    assert java is not None
    line.servers()[0].kill()
    code, output = line.run("stop")

    assert (code, output) == (0, "The local workspace is not running.\n")
    assert has_ended(java)
    assert line.servers() == []
    assert [
        p for p in psutil.process_iter(["cmdline"]) if str(line.state.root) in str(p.info["cmdline"])
    ] == []


def test_stop_ends_a_start_that_is_under_way(tmp_path: Path):
    line = CommandLine(tmp_path)
    starting = line.begin("start")
    deadline = time.monotonic() + 30
    while not line.state.pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    code, output = line.run("stop")
    what_start_said, _ = starting.communicate(timeout=60)

    assert (code, output) == (0, "The local workspace is stopped.\n")
    assert starting.returncode == 1
    assert "it was stopped while it started" in what_start_said
    assert line.servers() == []
    assert recall(line.state.spark / PID_FILE) is None


def test_a_start_over_a_broken_database_says_which_file_it_is(tmp_path: Path):
    line = CommandLine(tmp_path)
    line.state.create()
    line.state.database.write_bytes(b"no database" * 1000)
    code, output = line.run("start")

    assert code == 1
    assert f"{line.state.database} cannot be read (file is not a database)" in output
    assert "Traceback" not in output
    assert not line.state.pid_file.exists()


def test_a_start_that_is_interrupted_leaves_nothing_behind(tmp_path: Path):
    line = CommandLine(tmp_path)
    starting = line.begin("start")
    deadline = time.monotonic() + 30
    while not line.state.pid_file.exists() and time.monotonic() < deadline:
        time.sleep(0.02)
    starting.send_signal(signal.SIGINT)
    output, _ = starting.communicate(timeout=60)

    assert starting.returncode == 130, output
    assert line.servers() == []


def test_an_interrupt_at_the_moment_of_the_start_leaves_nothing_behind(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    def remember_and_be_interrupted(process: psutil.Process, pid_file: Path) -> None:
        os.kill(os.getpid(), signal.SIGINT)
        remember(process, pid_file)

    line = CommandLine(tmp_path)
    monkeypatch.setenv("JAVA_HOME", line.environment["JAVA_HOME"])
    monkeypatch.setattr(command_line, "remember", remember_and_be_interrupted)
    with pytest.raises(KeyboardInterrupt):
        command_line.start(line.state, line.port)

    assert line.servers() == []
    assert not line.state.pid_file.exists()
