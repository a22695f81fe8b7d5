"""Starts, stops and looks at the local workspace: `python -m local_workspace start|stop|status|logs`."""

import argparse
import os
import secrets
import socket
import subprocess
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any

import psutil
import requests

from local_workspace.processes.processes import (
    end_process_tree,
    find,
    has_ended,
    interrupts_held_back,
    recall,
    remember,
    wait_for,
)
from local_workspace.processes.run_processes import end_processes
from local_workspace.recovery import losses
from local_workspace.spark.cluster import PID_FILE, end_left_over
from local_workspace.spark.java import NoJavaError, find_java
from local_workspace.spark.server_settings import delta_is_here
from local_workspace.store.locks import locked
from local_workspace.store.profile import (
    ADDRESS,
    DEFAULT_PORT,
    PROOF,
    Profile,
    proof,
    proof_key,
    read_profile,
    renew_profile,
)
from local_workspace.store.sqlite_file import UnreadableDatabase
from local_workspace.store.state import StateFolder

if TYPE_CHECKING:
    from local_workspace.kernel.redaction import Redactor

START_SECONDS = 300
STOP_SECONDS = 30


class LocalWorkspaceError(Exception):
    """The workspace could not be started or reached; the message says why and what to do."""


def main() -> int:
    """Runs the command line; returns the exit code."""
    parser = argparse.ArgumentParser(prog="local_workspace", description=__doc__)
    parser.add_argument("command", choices=sorted(_COMMANDS))
    parser.add_argument("--state", type=Path, default=Path(".local_workspace"), help="the state folder")
    parser.add_argument("--port", type=_port, help="the loopback port (default: the last one, or 5115)")
    arguments = parser.parse_args()
    try:
        _COMMANDS[arguments.command](StateFolder(arguments.state.resolve()), arguments.port)
    except (LocalWorkspaceError, NoJavaError, UnreadableDatabase, OSError) as error:
        print(f"local workspace: {error}", file=sys.stderr)
        return 1
    except KeyboardInterrupt:
        print("local workspace: interrupted", file=sys.stderr)
        return 130
    return 0


def start(state: StateFolder, port: int | None) -> None:
    """Starts the workspace in the background and waits until MLflow and Spark answer.

    One that is interrupted, or that does not become ready, leaves nothing behind.
    """
    state.create()
    started = None
    try:
        # Of two commands at once one starts it, and both wait for it.
        with locked(state.lock_file), interrupts_held_back():
            process = _server(state)
            if process is None:
                process = started = _start(state, port)
        if started is None:
            _say_that_it_runs(process, _profile(state), port)
        _wait_until_ready(state, process)
    except (LocalWorkspaceError, KeyboardInterrupt):
        if started is not None:
            _clean_up(state, started)
        raise


def stop(state: StateFolder, _port: int | None) -> None:
    """Ends the workspace with all that it started, also while it is being started."""
    if not state.root.is_dir():
        print("The local workspace is not running.")
        return
    with locked(state.lock_file):
        process = _server(state)
        state.pid_file.unlink(missing_ok=True)
        if process is not None:
            with suppress(psutil.NoSuchProcess):
                process.terminate()  # it ends its runs and Spark itself
            if wait_for([process], STOP_SECONDS):
                end_process_tree(process)
        end_processes(state.runs)  # of a workspace that was killed
        end_left_over(state.spark)
    print("The local workspace is stopped." if process else "The local workspace is not running.")


def status(state: StateFolder, _port: int | None) -> None:
    """Says where the workspace listens and how its cluster is, and prints a link that signs a browser in."""
    process = _server(state)
    if process is None:
        spark = recall(state.spark / PID_FILE)
        left = f"; it was killed, and its Spark (process {spark.pid}) runs until `stop`" if spark else ""
        raise LocalWorkspaceError(f"not running (state folder {state.root}){left}")
    profile = _profile(state)
    print(f"The local workspace is running at {profile.host} (process {process.pid}).")
    print(f"Cluster: {_cluster_state(profile)}")
    print(f"Open in a browser (signs in once, within an hour): {sign_in_link(profile)}")


def logs(state: StateFolder, _port: int | None) -> None:
    """Prints the last lines of the workspace's and of Spark's log, without the secrets that it keeps.

    Spark's workers and its reader of SQL write errors there, with whatever stands in them.
    """
    redactor = _redactor(state)
    for name in ("server.log", "spark.log"):
        print(f"==> {state.logs / name}")
        print(redactor.clean(_last_lines(state.logs / name, 40)))


def serve_here(state: StateFolder, port: int | None) -> None:
    """Serves in this process, until it is asked to end."""
    state.create()
    with locked(state.lock_file):
        other = _server(state)
        if other is not None and other.pid != os.getpid():
            raise LocalWorkspaceError(f"process {other.pid} serves {state.root} already; stop it first")
        os.chdir(state.root)
        remember(psutil.Process(), state.pid_file)
        profile = renew_profile(state.config_file, port)
    from local_workspace.server import serve

    serve(state, profile)


def sign_in_link(profile: Profile) -> str:
    """An address that signs one browser in, once."""
    code = _call(profile, "POST", "/api/2.0/local-workspace/sign-in-codes")["code"]
    return f"{profile.host}/login?code={code}"


def _redactor(state: StateFolder) -> "Redactor":
    from local_workspace.errors import InvalidState
    from local_workspace.kernel.redaction import Redactor
    from local_workspace.store.database import Database
    from local_workspace.store.vault import Vault

    redactor, vault = Redactor(), Vault(state.secrets_key)
    if profile := read_profile(state.config_file):
        redactor.add(profile.token)
    if not state.database.exists():
        return redactor
    database = Database(state.database)
    for secret in database.all("secret"):
        name = f"{secret['scope']}/{secret['key']}"
        try:
            redactor.add(vault.decrypt(secret["encrypted"], name).decode(errors="surrogateescape"))
        except InvalidState as error:
            print(f"It cannot be hidden in what follows: {error}")
    database.close()
    return redactor


def _server(state: StateFolder) -> psutil.Process | None:
    """The process that serves this folder, also when its pid file was deleted."""
    process = recall(state.pid_file)
    if process is None and (process := find(_serve_command(state)[1:])):
        remember(process, state.pid_file)
    return process


def _serve_command(state: StateFolder) -> list[str]:
    return [sys.executable, "-m", "local_workspace", "serve", "--state", str(state.root)]


def _start(state: StateFolder, port: int | None) -> psutil.Process:
    find_java()
    kept, lost = read_profile(state.config_file), losses(state)
    _check_port(port or (kept.port if kept else DEFAULT_PORT))
    profile = renew_profile(state.config_file, port)
    print(f"Starting the local workspace at {profile.host} (log: {state.logs / 'server.log'})")
    for loss in lost:
        print(f"  {loss}")
    with (state.logs / "server.log").open("wb") as log:
        process = psutil.Popen(
            _serve_command(state),
            stdin=subprocess.DEVNULL,
            stdout=log,
            stderr=log,
            env=os.environ | {"TMPDIR": str(state.tmp), "PYTHONUNBUFFERED": "1"},
            cwd=state.root,
            start_new_session=True,
        )
    remember(process, state.pid_file)
    return process


def _say_that_it_runs(process: psutil.Process, profile: Profile, port: int | None) -> None:
    if port not in (None, profile.port):
        raise LocalWorkspaceError(f"it listens on port {profile.port}, not {port}; stop it first")
    print(f"The local workspace is running already at {profile.host} (process {process.pid}).")


def _clean_up(state: StateFolder, started: psutil.Process) -> None:
    """Ends the server that this command started, unless it was stopped and started again meanwhile."""
    with locked(state.lock_file), interrupts_held_back():
        if recall(state.pid_file) in (started, None):
            end_process_tree(started, STOP_SECONDS)
            end_left_over(state.spark)
            state.pid_file.unlink(missing_ok=True)


def _wait_until_ready(state: StateFolder, process: psutil.Process) -> None:
    try:
        _wait(state, process)
    except LocalWorkspaceError as error:
        if not state.pid_file.exists():  # `stop` takes it away first
            raise LocalWorkspaceError("it was stopped while it started") from error
        raise


def _wait(state: StateFolder, process: psutil.Process) -> None:
    began = time.monotonic()
    download = "" if delta_is_here() else " (its first start downloads 13 MB)"
    waiting: dict[str, Callable[[], bool]] = {
        # The server writes its profile anew when it starts.
        "MLflow and REST": lambda: _answers(_profile(state)),
        f"Spark with Delta{download}": lambda: _spark_is_ready(state, _profile(state)),
    }
    for what, is_ready in waiting.items():
        while not is_ready():
            if has_ended(process):
                log = _last_lines(state.logs / "server.log", 15)
                raise LocalWorkspaceError(f"it ended while it started:\n{log}")
            if time.monotonic() - began > START_SECONDS:
                raise LocalWorkspaceError(f"{what} did not answer within {START_SECONDS} s; see the logs")
            time.sleep(0.3)
        print(f"  {what}: ready ({time.monotonic() - began:.0f} s)", flush=True)


def _answers(profile: Profile) -> bool:
    """Whether the workspace listens: what it answers to a challenge shows that it knows the token."""
    challenge = secrets.token_hex(16)
    try:
        answer = _session().get(profile.host + PROOF, params={"challenge": challenge}, timeout=5)
    except (requests.ConnectionError, requests.Timeout):
        return False
    return answer.text == proof(proof_key(profile.token), profile.host, challenge)


def _spark_is_ready(state: StateFolder, profile: Profile) -> bool:
    cluster = _cluster_state(profile)
    if cluster == "ERROR":
        raise LocalWorkspaceError("Spark did not start:\n" + _spark_failure(state.logs / "spark.log"))
    return cluster == "RUNNING"


def _cluster_state(profile: Profile) -> str:
    return str(_call(profile, "GET", "/api/2.0/local-workspace/cluster")["state"])


def _call(profile: Profile, method: str, path: str) -> dict[str, Any]:
    if not _answers(profile):
        raise LocalWorkspaceError(
            f"{profile.host} does not answer, or another program listens there; "
            "stop the workspace and start it on another port"
        )
    try:
        answer = _session().request(method, profile.host + path, headers=_headers(profile), timeout=10)
        answer.raise_for_status()
    except requests.RequestException as error:
        raise LocalWorkspaceError(f"{profile.host} refused or did not answer: {error}") from error
    reply: dict[str, Any] = answer.json()
    return reply


def _session() -> requests.Session:
    """A session that goes to the workspace itself, whatever proxy the environment names."""
    session = requests.Session()
    session.trust_env = False
    return session


def _spark_failure(log: Path) -> str:
    """The lines of Spark's log that tell why it ended."""
    lines = log.read_text(errors="replace").splitlines()
    telling = [line for line in lines if "unresolved dependency" in line or "Exception in thread" in line]
    return "\n".join(telling[:5]) or _last_lines(log, 15)


def _port(text: str) -> int:
    number = int(text)
    if not 0 < number < 65536:
        raise argparse.ArgumentTypeError(f"a port is a number from 1 to 65535; got {number}")
    return number


def _check_port(port: int) -> None:
    with socket.socket() as probe:
        probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        try:
            probe.bind((ADDRESS, port))
        except OSError as error:
            raise LocalWorkspaceError(
                f"port {port} of {ADDRESS} is taken ({error.strerror}); free it, or choose another one: "
                f"--port {port + 1}, or LOCAL_WORKSPACE_PORT={port + 1} with make"
            ) from error


def _profile(state: StateFolder) -> Profile:
    profile = read_profile(state.config_file)
    if profile is None:
        raise LocalWorkspaceError(
            f"{state.config_file} has no profile; stop the workspace and start it again"
        )
    return profile


def _headers(profile: Profile) -> dict[str, str]:
    return {"Authorization": f"Bearer {profile.token}"}


def _last_lines(path: Path, count: int) -> str:
    if not path.exists():
        return "(no log yet)"
    return "\n".join(path.read_text(errors="replace").splitlines()[-count:])


_COMMANDS: dict[str, Callable[[StateFolder, int | None], None]] = {
    "start": start,
    "stop": stop,
    "status": status,
    "logs": logs,
    "serve": serve_here,
}


if __name__ == "__main__":
    sys.exit(main())
