"""A real workspace on a free port; a tiny script stands for the process that runs notebooks."""

import os
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
import uvicorn
from browser import MISSING, SignedIn, find_program, signed_in
from databricks.sdk import WorkspaceClient
from databricks.sdk.service.jobs import Run, RunLifecycleStateV2State
from databricks.sdk.service.workspace import Language
from fastapi import FastAPI
from local_workspace.callers import USER_NAME
from local_workspace.jobs.job_starts import create_scheduled_run
from local_workspace.jobs.runs import RunManager
from local_workspace.jobs.schedules import Scheduler
from local_workspace.rest import (
    clusters,
    dbfs,
    fallback,
    files,
    identity,
    jobs,
    permissions,
    pipeline_updates,
    pipelines,
    policies,
    runtimes,
    scim,
    secrets,
    tokens,
    warehouses,
    workspace,
    workspace_settings,
)
from local_workspace.rest.body_limit import BodyLimit
from local_workspace.rest.error_responses import add_handlers
from local_workspace.store.database import Database
from local_workspace.store.principals import Principals
from local_workspace.store.state import StateFolder
from local_workspace.web import access, addresses, openapi, pages
from real_workspace import FidelityRun, RealWorkspace, free_port, run_fidelity, started
from recordings import Recorder

STAND_IN = """
import json, os, signal, subprocess, sys, time
from pathlib import Path
folder = Path(sys.argv[1])
task = json.loads((folder / "task.json").read_text())
wanted = task["parameters"]
print("the stand-in runs", task["task_key"], flush=True)
if wanted.get("do") == "die":
    sys.exit("the stand-in died")
if wanted.get("do") == "stay":
    signal.signal(signal.SIGTERM, signal.SIG_IGN)  # its child inherits this
if wanted.get("do") in ("sleep", "stay"):
    child = subprocess.Popen(["sleep", "600"], start_new_session=True)
    (folder / "child.pid").write_text(str(child.pid))
    time.sleep(600)
if "touch" in wanted:
    Path(wanted["touch"]).touch()
if "set_values" in wanted:
    (folder / "task_values.json").write_text(wanted["set_values"])
if "fail_unless" in wanted and not Path(wanted["fail_unless"]).exists():
    Path(wanted["fail_unless"]).touch()
    wanted["do"] = "fail"
if wanted.get("do") == "cling":
    signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1.5), sys.exit(1)))
    (folder / "clings").touch()
    time.sleep(600)
while "until" in wanted and not Path(wanted["until"]).exists():
    time.sleep(0.02)
failed = {"status": "FAILED", "exit_value": None, "error": "ValueError: no BMI", "error_trace": "Traceback"}
value = wanted.get("exit", json.dumps(wanted)) * int(wanted.get("times", 1))
success = {"status": "SUCCESS", "exit_value": value, "error": "", "error_trace": ""}
(folder / "result.json").write_text(json.dumps(failed if wanted.get("do") == "fail" else success))
"""


@dataclass
class Workspace:
    """A running workspace and the clients that use it."""

    host: str
    state: StateFolder
    home: Path
    spark: dict[str, str]
    keyring: access.Keyring
    recorder: Recorder
    client: WorkspaceClient = field(init=False)

    def __post_init__(self) -> None:
        self.client = WorkspaceClient(host=self.host, token="x", auth_type="pat")

    def cli(self, *arguments: str, ok: bool = True) -> str:
        """What the pip CLI prints, run as a person would run it."""
        environment = {k: v for k, v in os.environ.items() if k.lower() not in ("no_proxy", "http_proxy")}
        environment |= {"http_proxy": self.host, "DATABRICKS_HOST": self.host, "DATABRICKS_TOKEN": "x"}
        environment |= {"HOME": str(self.home), "DATABRICKS_CLI_DO_NOT_EXECUTE_NEWER_VERSION": "1"}
        program = Path(sys.executable).with_name("databricks")
        if not program.is_file():
            pytest.skip("databricks-cli is not installed here")
        command = [str(program), *arguments]
        done = subprocess.run(command, env=environment, capture_output=True, text=True, timeout=60)
        if (done.returncode == 0) != ok:
            pytest.fail(f"{command} exited {done.returncode}: {done.stdout}{done.stderr}")
        return done.stdout

    def request(self, method: str, path: str, **options: Any) -> Any:
        """The JSON reply to a plain request; an error is raised as the SDK raises it."""
        return self.client.api_client.do(method, path, **options)


@pytest.fixture(scope="session")
def stand_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The script that stands for the process that runs a notebook."""
    script = tmp_path_factory.mktemp("stand_in") / "execute.py"
    script.write_text(STAND_IN)
    return script


@pytest.fixture(scope="session")
def local(tmp_path_factory: pytest.TempPathFactory, stand_in: Path) -> Iterator[Workspace]:
    """One workspace for all tests; each test uses names of its own."""
    with workspace_in(tmp_path_factory.mktemp("workspace"), stand_in) as one:
        yield one


@pytest.fixture
def own_workspace(tmp_path: Path, stand_in: Path) -> Iterator[Workspace]:
    """A workspace for one test that leaves nothing in its place."""
    with workspace_in(tmp_path, stand_in) as one:
        yield one


@contextmanager
def workspace_in(folder: Path, stand_in: Path) -> Iterator[Workspace]:
    """A workspace that keeps everything in `folder`."""
    state = StateFolder(folder / "state")
    state.create()
    database = Database(state.database)
    spark = {"state": "RUNNING"}
    port = free_port()
    host = f"http://127.0.0.1:{port}"
    command = (sys.executable, str(stand_in))
    runs = RunManager(database, state, lambda run: dict(os.environ), host, command)
    scheduler = Scheduler(database, lambda job: runs.submit(create_scheduled_run(database, job)["run_id"]))
    app = FastAPI()
    add_handlers(app)
    keyring = access.Keyring("x", host)
    app.include_router(access.router(keyring, "session", Principals(database).of_token))
    app.include_router(identity.router(host, database))
    app.include_router(scim.router(database))
    app.include_router(tokens.router(database))
    app.include_router(workspace.router(database, state))
    app.include_router(dbfs.router(state))
    app.include_router(files.router(state))
    app.include_router(runtimes.router())
    app.include_router(clusters.router(database, lambda: spark["state"]))
    app.include_router(jobs.router(database, runs))
    app.include_router(permissions.router(database))
    app.include_router(policies.router(database))
    app.include_router(workspace_settings.router(database))
    app.include_router(pipelines.router(database))
    app.include_router(pipeline_updates.router(database, runs))
    app.include_router(warehouses.router(database, lambda: spark["state"]))
    app.include_router(secrets.router(database, state))
    app.include_router(openapi.router())
    app.include_router(addresses.router(database))
    app.include_router(pages.router(database, state, lambda: spark["state"], lambda _: []))
    app.include_router(fallback.router())

    @app.get("/api/2.0/mlflow/{rest:path}")
    def mlflow(rest: str) -> dict[str, str]:
        return {"answered_by": "mlflow"}

    app.add_middleware(BodyLimit)
    users = {
        "user_of_run": lambda run_id: USER_NAME if run_id == "7" else None,
        "user_of_token": Principals(database).of_token,
    }
    checks = {"keyring": keyring, "cookie_name": "session", **users}
    app.add_middleware(access.AccessCheck, **checks)
    recorder = Recorder(app)
    with serving(recorder, port):
        yield Workspace(host, state, folder / "home", spark, keyring, recorder)
    scheduler.stop()
    runs.shutdown()
    database.close()


@pytest.fixture(scope="session")
def cluster_id(local: Workspace) -> str:
    """A cluster that jobs may run on."""
    return str(local.request("POST", "/api/2.0/clusters/create", body={"spark_version": "18"})["cluster_id"])


@pytest.fixture(scope="session")
def notebook(local: Workspace) -> str:
    """A notebook that jobs may run."""
    content = b"# Databricks notebook source\n1 + 1\n"
    local.client.workspace.upload("/Shared/job", content, language=Language.PYTHON)
    return "/Shared/job"


@contextmanager
def serving(app: Any, port: int) -> Iterator[str]:
    """The app on a real server; gives its address."""
    server = uvicorn.Server(uvicorn.Config(app, port=port, http="httptools", log_level="warning"))
    thread = threading.Thread(target=server.run)
    thread.start()
    try:
        wait_until(lambda: server.started)
        yield f"http://127.0.0.1:{port}"
    finally:
        server.should_exit = True
        thread.join()


@pytest.fixture
def served() -> Callable[[FastAPI], AbstractContextManager[str]]:
    """`serving` on a free port, for tests with an app of their own."""
    return lambda app: serving(app, free_port())


def wait_until(holds: Callable[[], bool], seconds: float = 20) -> None:
    """Wait for something that will be true soon."""
    deadline = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > deadline:
            pytest.fail("what was waited for did not happen")
        time.sleep(0.02)


@pytest.fixture
def eventually() -> Callable[..., None]:
    """`wait_until`, for tests."""
    return wait_until


@pytest.fixture
def finished(local: Workspace, eventually: Callable[..., None]) -> Callable[[int], Run]:
    """Waits for the end of a run and gives it back, with its repairs."""

    def wait(run_id: int) -> Run:
        def has_ended() -> bool:
            return local.client.jobs.get_run(run_id).status.state == RunLifecycleStateV2State.TERMINATED

        eventually(has_ended)
        return local.client.jobs.get_run(run_id, include_history=True)

    return wait


@pytest.fixture(scope="session")
def real_workspace(tmp_path_factory: pytest.TempPathFactory) -> Iterator[RealWorkspace]:
    """A workspace with its own server process and Spark, shared by all tests that need one."""
    with started(tmp_path_factory.mktemp("real")) as workspace:
        yield workspace


@pytest.fixture(scope="session")
def fidelity_run(real_workspace: RealWorkspace) -> FidelityRun:
    """One run of the notebooks that try everything."""
    return run_fidelity(real_workspace)


@pytest.fixture(scope="session")
def signed_in_browser(real_workspace: RealWorkspace) -> Iterator[SignedIn]:
    """A browser that is signed in to the real workspace; without one on this machine the test is skipped."""
    program = find_program()
    if program is None:
        pytest.skip(MISSING)
    with signed_in(real_workspace, program) as browser:
        yield browser


@pytest.fixture
def notebook_task(cluster_id: str, notebook: str) -> Callable[..., dict[str, Any]]:
    """Makes a notebook task behind others; `parameters` tell the stand-in what to do."""

    def make(
        key: str, *after: str, settings: dict[str, Any] | None = None, **parameters: str
    ) -> dict[str, Any]:
        return {
            "task_key": key,
            "existing_cluster_id": cluster_id,
            "notebook_task": {"notebook_path": notebook, "base_parameters": parameters},
            "depends_on": [{"task_key": other} for other in after],
            **(settings or {}),
        }

    return make
