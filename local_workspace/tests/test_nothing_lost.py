"""What was acknowledged is there after `kill -9`, whole; what was not is there whole or not at all."""

import base64
import json
import os
import random
import shutil
import signal
import socket
import subprocess
import sys
import threading
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from local_workspace.jobs.task_processes import outcome_of
from local_workspace.notebooks.workspace_tree import WorkspaceObjects
from local_workspace.processes.processes import has_ended
from local_workspace.processes.run_processes import end_processes
from local_workspace.recovery import losses, recover
from local_workspace.store.database import Database
from local_workspace.store.sqlite_file import UnreadableDatabase
from local_workspace.store.state import StateFolder
from real_workspace import free_port

KILLS = 12


class Starter:
    """The process whose children are the servers."""

    def __init__(self, folder: Path, *before: str) -> None:
        self.log = folder / "server.log"
        script = Path(__file__).with_name("servers_to_kill.py")
        with self.log.open("w") as log:
            self.process = subprocess.Popen(
                [*before, sys.executable, str(script)],
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=log,
                text=True,
            )

    def start(self, state: StateFolder, port: int, stand_in: Path) -> int:
        print(json.dumps([str(state.root), port, str(stand_in)]), file=self.process.stdin, flush=True)
        return int(self.process.stdout.readline())

    def close(self) -> None:
        self.process.stdin.close()
        self.process.stdout.close()
        self.process.wait(10)


class Server:
    """A workspace in a process of its own, killed and started again as often as wanted."""

    def __init__(self, folder: Path, starter: Starter, stand_in: Path) -> None:
        self.state = StateFolder(folder / "state")
        self.port = free_port()
        self._starter, self._stand_in = starter, stand_in
        self.pid = 0

    def start(self) -> None:
        self.pid = self._starter.start(self.state, self.port, self._stand_in)
        for _ in range(1000):
            with socket.socket() as connection:
                if connection.connect_ex(("127.0.0.1", self.port)) == 0:
                    return
            time.sleep(0.02)
        pytest.fail(f"the server did not come up:\n{self._starter.log.read_text()}")

    def kill(self) -> None:
        os.kill(self.pid, signal.SIGKILL)

    def close(self) -> None:
        self.kill()
        end_processes(self.state.runs)

    def call(self, method: str, path: str, **options: Any) -> Any:
        answer = requests.request(method, f"http://127.0.0.1:{self.port}/api/{path}", timeout=30, **options)
        assert answer.ok, f"{path}: {answer.status_code} {answer.text}"
        return answer.json() if answer.content[:1] == b"{" else answer.content


@pytest.fixture(scope="module")
def starter(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Starter]:
    starter = Starter(tmp_path_factory.mktemp("starter"))
    yield starter
    starter.close()


@pytest.fixture
def server(tmp_path: Path, starter: Starter, stand_in: Path) -> Iterator[Server]:
    server = Server(tmp_path, starter, stand_in)
    yield server
    server.close()


class Promises:
    """What a client may expect of each name: the value last acknowledged, or one sent since then."""

    def __init__(self) -> None:
        self.allowed: dict[str, list[Any]] = {}
        self.acknowledged: set[str] = set()

    def keep(self, name: str, value: Any, send: Callable[[], Any]) -> None:
        self.allowed.setdefault(name, []).append(value)
        send()
        self.allowed[name] = [value]
        self.acknowledged.add(name)

    def check(self, found: dict[str, Any]) -> None:
        assert self.acknowledged <= found.keys() <= self.allowed.keys()
        for name, value in found.items():
            assert value in self.allowed[name], f"{name} is not one of what was sent"
            self.allowed[name] = [value]
            self.acknowledged.add(name)


class Client:
    """One who writes one kind of thing, and can tell afterwards whether it is all there."""

    def __init__(self, server: Server, seed: int) -> None:
        self.server = server
        self.random = random.Random(seed)
        self.promises = Promises()
        self.failures: list[AssertionError] = []
        self.count = 0

    def set_up(self) -> None:
        """Makes what has to be there first."""

    def write(self) -> None:
        raise NotImplementedError

    def check(self) -> None:
        raise NotImplementedError

    def bytes(self) -> bytes:
        self.count += 1
        return f"{self.count:06d}".encode() * self.random.choice([1, 50, 5_000, 60_000])

    def name(self) -> str:
        return f"{type(self).__name__}-{self.random.randrange(4)}"


class DbfsFiles(Client):
    def set_up(self) -> None:
        self.server.call("POST", "2.0/dbfs/mkdirs", json={"path": "/data"})

    def write(self) -> None:
        name, content = self.name(), self.bytes()
        form = {"path": f"/data/{name}", "overwrite": "true"}
        self.promises.keep(
            name,
            content,
            lambda: self.server.call("POST", "2.0/dbfs/put", data=form, files={"file": content}),
        )

    def check(self) -> None:
        files = self.server.call("GET", "2.0/dbfs/list", params={"path": "/data"})["files"]
        contents = {file["path"].rpartition("/")[2]: self.read(file["path"]) for file in files}
        assert [len(content) for content in contents.values()] == [file["file_size"] for file in files]
        self.promises.check(contents)

    def read(self, path: str) -> bytes:
        query = {"path": path, "length": 1024 * 1024}
        return base64.b64decode(self.server.call("GET", "2.0/dbfs/read", params=query)["data"])


class StreamedFiles(DbfsFiles):
    """Files sent block by block beside those of the other client, in its folder."""

    def write(self) -> None:
        name, content = self.name(), self.bytes()
        self.promises.keep(name, content, lambda: self.stream(f"/streamed/{name}", content))

    def stream(self, path: str, content: bytes) -> None:
        body = {"path": f"/Volumes{path}", "overwrite": True}
        handle = self.server.call("POST", "2.0/dbfs/create", json=body)["handle"]
        for start in range(0, len(content), 100_000):
            data = base64.b64encode(content[start : start + 100_000]).decode()
            self.server.call("POST", "2.0/dbfs/add-block", json={"handle": handle, "data": data})
        self.server.call("POST", "2.0/dbfs/close", json={"handle": handle})

    def check(self) -> None:
        folder = self.server.state.volumes / "streamed"
        paths = sorted(folder.iterdir()) if folder.exists() else []
        self.promises.check({path.name: self.read(f"/Volumes/streamed/{path.name}") for path in paths})


class VolumeFiles(Client):
    def set_up(self) -> None:
        self.server.call("PUT", "2.0/fs/directories/Volumes/c/s/v")

    def write(self) -> None:
        name, content = self.name(), self.bytes()
        address = f"2.0/fs/files/Volumes/c/s/v/{name}?overwrite=true"
        self.promises.keep(name, content, lambda: self.server.call("PUT", address, data=content))

    def check(self) -> None:
        listed = self.server.call("GET", "2.0/fs/directories/Volumes/c/s/v")["contents"]
        contents = {e["name"]: self.server.call("GET", f"2.0/fs/files{e['path']}") for e in listed}
        assert [len(content) for content in contents.values()] == [entry["file_size"] for entry in listed]
        self.promises.check(contents)


class Notebooks(Client):
    """Notebooks whose form changes each time: record and file must fit together."""

    def write(self) -> None:
        name, source = self.name(), self.bytes().decode()
        cells = [{"cell_type": "code", "source": source, "metadata": {}, "outputs": []}]
        jupyter = {"cells": cells, "metadata": {}, "nbformat": 4, "nbformat_minor": 5}
        form = self.random.choice(["SOURCE", "JUPYTER"])
        content = source if form == "SOURCE" else json.dumps(jupyter)
        body = {"path": f"/Shared/{name}", "format": form, "language": "PYTHON", "overwrite": True}
        body["content"] = base64.b64encode(content.encode()).decode()
        self.promises.keep(name, source, lambda: self.server.call("POST", "2.0/workspace/import", json=body))

    def check(self) -> None:
        found = self.server.call("GET", "2.0/workspace/list", params={"path": "/Shared"})["objects"]
        notebooks = [each for each in found if each["path"].startswith("/Shared/Notebooks-")]
        assert {each["object_type"] for each in notebooks} <= {"NOTEBOOK"}
        sources = {each["path"].rpartition("/")[2]: self.source(each["path"]) for each in notebooks}
        self.promises.check(sources)

    def source(self, path: str) -> str:
        query = {"path": path, "format": "JUPYTER"}
        exported = self.server.call("GET", "2.0/workspace/export", params=query)
        (cell,) = json.loads(base64.b64decode(exported["content"]))["cells"]
        return "".join(cell["source"])


class Secrets(Client):
    def set_up(self) -> None:
        self.server.call("POST", "2.0/secrets/scopes/create", json={"scope": "scope"})

    def write(self) -> None:
        name, value = self.name(), self.bytes()[:5000].decode()
        body = {"scope": "scope", "key": name, "string_value": value}
        self.promises.keep(name, value, lambda: self.server.call("POST", "2.0/secrets/put", json=body))

    def check(self) -> None:
        keys = self.server.call("GET", "2.0/secrets/list", params={"scope": "scope"})["secrets"]
        self.promises.check({key["key"]: self.value(key["key"]) for key in keys})

    def value(self, key: str) -> str:
        query = {"scope": "scope", "key": key}
        return base64.b64decode(self.server.call("GET", "2.0/secrets/get", params=query)["value"]).decode()


class Jobs(Client):
    """Jobs that are made once and reset again and again."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__(server, seed)
        self.ids: list[str] = []

    def set_up(self) -> None:
        body = {"spark_version": "18"}
        self.cluster = self.server.call("POST", "2.0/clusters/create", json=body)["cluster_id"]
        for _ in range(3):
            job = self.server.call("POST", "2.1/jobs/create", json=self.settings("0"))["job_id"]
            self.promises.keep(str(job), "0", lambda: None)

    def write(self) -> None:
        self.count += 1
        job, value = self.random.choice(sorted(self.promises.allowed)), str(self.count)
        body = {"job_id": int(job), "new_settings": self.settings(value)}
        self.promises.keep(job, value, lambda: self.server.call("POST", "2.1/jobs/reset", json=body))

    def settings(self, value: str) -> dict[str, Any]:
        task = {"task_key": "t", "existing_cluster_id": self.cluster}
        task |= {"notebook_task": {"notebook_path": "/Shared/job", "base_parameters": {"value": value}}}
        return {"name": value, "tasks": [task]}

    def check(self) -> None:
        jobs = self.server.call("GET", "2.1/jobs/list", params={"expand_tasks": "true"})["jobs"]
        for job in jobs:
            parameters = job["settings"]["tasks"][0]["notebook_task"]["base_parameters"]
            assert parameters == {"value": job["settings"]["name"]}
        self.promises.check({str(job["job_id"]): job["settings"]["name"] for job in jobs})


class Runs(Client):
    """Short runs, now and then one that is still busy when the server is killed."""

    def __init__(self, server: Server, seed: int) -> None:
        super().__init__(server, seed)
        self.acknowledged: list[int] = []
        self.ended: dict[int, dict[str, Any]] = {}
        self.unanswered: str | None = None
        self.busy = True  # the first one ends

    def set_up(self) -> None:
        body = {"spark_version": "18"}
        self.cluster = self.server.call("POST", "2.0/clusters/create", json=body)["cluster_id"]
        body = {"path": "/Shared/job", "language": "PYTHON", "content": "", "format": "SOURCE"}
        self.server.call("POST", "2.0/workspace/import", json=body)

    def write(self) -> None:
        self.count += 1
        self.unanswered = self.unanswered or str(self.count)
        what = "sleep" if not self.busy and self.random.random() < 0.3 else "end"
        self.busy |= what == "sleep"
        run_id = self.submit({"do": what})
        self.acknowledged.append(run_id)
        self.unanswered = None
        while what == "end" and "result_state" not in (run := self.get(run_id))["state"]:
            time.sleep(0.01)
        if what == "end":
            self.ended[run_id] = run

    def submit(self, parameters: dict[str, str]) -> int:
        notebook_task = {"notebook_path": "/Shared/job", "base_parameters": parameters}
        task = {"task_key": "t", "existing_cluster_id": self.cluster, "notebook_task": notebook_task}
        body = {"run_name": self.unanswered, "tasks": [task], "idempotency_token": self.unanswered}
        return self.server.call("POST", "2.1/jobs/runs/submit", json=body)["run_id"]

    def get(self, run_id: int) -> dict[str, Any]:
        return self.server.call("GET", "2.1/jobs/runs/get", params={"run_id": run_id})

    def check(self) -> None:
        self.busy = False
        runs = {run_id: self.get(run_id) for run_id in self.acknowledged}
        for run_id, run in runs.items():
            if run_id in self.ended:
                assert run == self.ended[run_id]
            elif run["tasks"][0]["notebook_task"]["base_parameters"]["do"] == "sleep":
                assert run["state"]["life_cycle_state"] == "INTERNAL_ERROR"
                assert run["state"]["state_message"] == "the workspace was restarted while it ran"
            if run["state"]["result_state"] == "SUCCESS":
                output = self.server.call("GET", "2.1/jobs/runs/get-output", params={"run_id": run_id})
                assert output["notebook_output"]["result"] == '{"do": "end"}'
        notes = [note.read_text() for note in self.server.state.runs.glob("*/child.pid")]
        assert not [pid for pid in notes if pid and is_alive(int(pid))]

    def names(self) -> list[str]:
        listed, offset = [], 0
        while True:
            query = {"limit": 25, "offset": offset}
            page = self.server.call("GET", "2.1/jobs/runs/list", params=query)
            listed += [run["run_name"] for run in page["runs"]]
            offset += 25
            if not page["has_more"]:
                return listed


def is_alive(pid: int) -> bool:
    try:
        return not has_ended(psutil.Process(pid))
    except psutil.NoSuchProcess:
        return False


def keep_writing(client: Client) -> None:
    try:
        while True:
            client.write()
    except requests.RequestException:
        return  # the server was killed
    except AssertionError as error:
        client.failures.append(error)


def test_no_kill_loses_or_tears_what_was_acknowledged(server: Server):
    moments = random.Random(6)
    kinds = (DbfsFiles, StreamedFiles, VolumeFiles, Notebooks, Secrets, Jobs, Runs)
    clients = [kind(server, seed) for seed, kind in enumerate(kinds)]
    server.start()
    for client in clients:
        client.set_up()
        client.write()
    for _ in range(KILLS):
        threads = [threading.Thread(target=keep_writing, args=(client,)) for client in clients]
        for thread in threads:
            thread.start()
        time.sleep(moments.uniform(0.05, 0.6))
        server.kill()
        for thread in threads:
            thread.join()
        server.start()

        assert list(server.state.arriving.iterdir()) == []
        for client in clients:
            assert client.failures == []
            client.check()

    assert all(client.count > KILLS for client in clients[:-1])
    runs = clients[-1]
    assert isinstance(runs, Runs)
    assert "SUCCESS" in {run["state"]["result_state"] for run in runs.ended.values()}
    assert len(set(runs.names())) == len(runs.names())


@pytest.mark.parametrize("moment", ["before", "after"])
def test_a_kill_between_a_notebook_and_its_record_leaves_one_of_the_two_notebooks(
    tmp_path: Path, moment: str
):
    state = StateFolder(tmp_path / "state")
    killed = subprocess.run([sys.executable, "-c", KILLED_PUT, str(state.root), moment])
    database = Database(state.database)
    recover(database, state)
    notebook = WorkspaceObjects(database, state).notebook("/Shared/nb")

    assert killed.returncode == -signal.SIGKILL
    assert (notebook.content, notebook.format) == (
        (b"old", "SOURCE") if moment == "before" else (b"{}", "JUPYTER")
    )
    assert list(state.arriving.iterdir()) == []
    database.close()


KILLED_PUT = """
import os, sys
from pathlib import Path
from local_workspace.notebooks import workspace_tree
from local_workspace.store.database import Database
from local_workspace.notebooks.notebook_formats import NotebookSource
from local_workspace.store.state import StateFolder, move_into_place
state = StateFolder(Path(sys.argv[1]))
state.create()
workspace = workspace_tree.WorkspaceObjects(Database(state.database), state)
workspace.put("/Shared/nb", b"", NotebookSource(b"old", "PYTHON", "SOURCE"), False)
def killed(temporary, target):
    if sys.argv[2] == "after":
        move_into_place(temporary, target)
    os.kill(os.getpid(), 9)
workspace_tree.move_into_place = killed
workspace.put("/Shared/nb", b"", NotebookSource(b"{}", "PYTHON", "JUPYTER"), True)
"""


def files_of(server: Server) -> DbfsFiles:
    """A client with one file in the workspace."""
    files = DbfsFiles(server, 0)
    files.write()
    return files


def secret_of(server: Server) -> Secrets:
    """A client with one secret in the workspace."""
    secrets = Secrets(server, 0)
    secrets.set_up()
    secrets.write()
    return secrets


@pytest.mark.parametrize("gone", ["workspace.db", "workspace.db-wal", "workspace.db*"])
def test_a_database_that_is_removed_while_it_is_open_is_put_back_whole(server: Server, gone: str):
    server.start()
    secrets = secret_of(server)
    for path in server.state.root.glob(gone):
        path.unlink()
    secrets.write()
    server.kill()
    server.start()

    secrets.check()
    assert {path.stat().st_mode & 0o777 for path in server.state.root.glob("workspace.db*")} == {0o600}


def test_a_state_folder_that_is_removed_while_it_is_in_use_comes_back_with_what_was_kept_in_the_database(
    server: Server,
):
    server.start()
    jobs = Jobs(server, 0)
    jobs.set_up()
    shutil.rmtree(server.state.root)
    jobs.write()
    files = files_of(server)
    server.kill()
    server.start()

    jobs.check()
    files.check()


def test_without_its_database_a_workspace_starts_with_the_files_and_notebooks_there_are(server: Server):
    server.start()
    files, notebooks, runs = files_of(server), Notebooks(server, 0), Runs(server, 0)
    runs.set_up()
    notebooks.write()
    runs.write()
    server.kill()
    for path in server.state.root.glob("workspace.db*"):
        path.unlink()
    lost = losses(server.state)
    server.start()

    assert lost[0] == (
        f"{server.state.database} is missing, and with it the jobs, runs, clusters and secrets; "
        "files and notebooks are kept."
    )
    files.check()
    notebooks.check()
    for _ in range(8):
        notebooks.write()  # also over those that are there
    runs.acknowledged, runs.ended, runs.count = [], {}, 0
    runs.cluster = server.call("POST", "2.0/clusters/create", json={"spark_version": "18"})["cluster_id"]
    runs.write()  # its number is free on disk
    assert [run["state"]["result_state"] for run in runs.ended.values()] == ["SUCCESS"]


def test_a_file_that_is_no_database_is_named_and_left_alone(tmp_path: Path):
    path = tmp_path / "workspace.db"
    path.write_bytes(b"no database" * 1000)

    with pytest.raises(UnreadableDatabase, match=r"workspace\.db cannot be read \(file is not a database\)"):
        Database(path)

    assert path.read_bytes() == b"no database" * 1000


@pytest.fixture
def small_disk(tmp_path: Path, stand_in: Path) -> Iterator[Server]:
    """A workspace on a disk of 6 MB of its own, which nobody else sees and which ends with it."""
    disk = tmp_path / "state"
    disk.mkdir()
    mount = ["unshare", "-Urm", "sh", "-c", 'mount -t tmpfs -o size=6m tmpfs "$0" && exec "$@"', str(disk)]
    if subprocess.run([*mount, "true"], capture_output=True).returncode:
        pytest.skip("no disk of its own can be mounted here (unshare -Urm)")
    starter = Starter(tmp_path, *mount)
    server = Server(tmp_path, starter, stand_in)
    yield server
    server.close()
    starter.close()


def test_on_a_full_disk_nothing_is_lost_and_all_goes_on_when_there_is_room(
    small_disk: Server, tmp_path: Path, eventually
):
    server, go = small_disk, tmp_path / "go"
    server.start()
    files, secrets, runs = files_of(server), secret_of(server), Runs(server, 0)
    runs.set_up()
    running = runs.submit({"until": str(go)})
    eventually(lambda: runs.get(running)["state"]["life_cycle_state"] == "RUNNING")

    refused = [fill(server, size) for size in (8_000_000, 1_000_000, 100_000, 4_000, 1)]
    files.check()
    secrets.check()
    with pytest.raises(AssertionError, match=r"507.*disk of the workspace is full"):
        for _ in range(1000):  # until the room that the database keeps for itself is used up
            secrets.write()
    go.touch()
    time.sleep(0.5)
    for name in list_of(server, "/filling"):
        server.call("POST", "2.0/dbfs/delete", json={"path": name})
    eventually(lambda: "result_state" in runs.get(running)["state"])

    assert all("The disk of the workspace is full" in text for text in refused)
    assert runs.get(running)["state"]["life_cycle_state"] == "INTERNAL_ERROR"
    assert "full" in runs.get(running)["state"]["state_message"]
    for client in (files, secrets, runs):
        client.write()
        client.check()
    server.kill()
    server.start()
    for client in (files, secrets):
        client.check()


@pytest.mark.parametrize("last_words", ["OSError: [Errno 28] No space left on device", "Killed"])
def test_a_process_that_met_a_full_disk_says_so_also_when_there_is_room_again(
    tmp_path: Path, last_words: str
):
    (tmp_path / "process.log").write_text(f"first\n{last_words}\n")

    outcome = outcome_of(tmp_path)

    assert ("is or was full" in outcome.message) == ("space" in last_words)
    assert last_words in outcome.message


def fill(server: Server, size: int) -> str:
    """Send files of a size until one is refused; gives the refusal."""
    for number in range(10_000):
        form = {"path": f"/filling/{size}-{number}"}
        answer = requests.post(
            f"http://127.0.0.1:{server.port}/api/2.0/dbfs/put", data=form, files={"file": b"x" * size}
        )
        if not answer.ok:
            assert answer.status_code == 507
            assert form["path"] not in list_of(server, "/filling")
            return answer.text
    return "the disk was never full"


def list_of(server: Server, path: str) -> list[str]:
    listed = server.call("GET", "2.0/dbfs/list", params={"path": path})
    return [file["path"] for file in listed["files"]]
