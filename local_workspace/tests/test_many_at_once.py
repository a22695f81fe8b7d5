"""Many clients and many runs at once, and runs that do not go quietly."""

import base64
import shutil
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

import psutil
import pytest
import requests
from local_workspace.processes import run_processes
from local_workspace.processes.run_processes import Members

CLIENTS = 8
RUNS = 200


def call(local: Any, method: str, path: str, **options: Any) -> requests.Response:
    address = f"{local.host}/api/{path}"
    return requests.request(method, address, headers={"Authorization": "Bearer x"}, timeout=60, **options)


def at_once(work: Callable[[int], Any]) -> list[Any]:
    """What `work` gives to each of the clients, who all begin at the same moment."""
    gate = threading.Barrier(CLIENTS)

    def begin(client: int) -> Any:
        gate.wait()
        return work(client)

    with ThreadPoolExecutor(CLIENTS) as pool:
        return list(pool.map(begin, range(CLIENTS)))


def test_clients_that_upload_delete_and_list_at_once_see_whole_files_and_whole_listings(local):
    contents = [bytes([65 + client]) * (30_000 * (client + 1)) for client in range(CLIENTS)]
    sizes = {len(content) for content in contents}

    def work(client: int) -> set[Any]:
        seen: set[Any] = set()
        for _ in range(4):
            for name in ("shared", f"own-{client}"):
                form = {"path": f"/crowd/{name}", "overwrite": "true"}
                put = call(local, "POST", "2.0/dbfs/put", data=form, files={"file": contents[client]})
                assert put.ok, put.text
            listed = call(local, "GET", "2.0/dbfs/list", params={"path": "/crowd"})
            seen |= {(file["path"], file["file_size"]) for file in listed.json()["files"]}
            query = {"path": "/crowd/shared", "length": 1024 * 1024}
            data = base64.b64decode(call(local, "GET", "2.0/dbfs/read", params=query).json()["data"])
            seen.add(("/crowd/shared", len(data), len(set(data))))
            gone = call(local, "POST", "2.0/dbfs/delete", json={"path": f"/crowd/own-{client}"})
            assert gone.ok, gone.text
        return seen

    seen = set.union(*at_once(work))
    names = {"/crowd/shared", *(f"/crowd/own-{client}" for client in range(CLIENTS))}
    assert {entry[0] for entry in seen} <= names
    assert {entry[1] for entry in seen} <= sizes
    assert {entry[2] for entry in seen if len(entry) == 3} == {1}  # never a piece of two files


def test_of_clients_that_want_the_same_free_name_one_gets_it(local):
    for name in ("a", "b", "c"):
        form = {"path": f"/first/{name}"}
        files = at_once(
            lambda client, form=form: call(
                local, "POST", "2.0/dbfs/put", data=form, files={"file": b"%d" % client}
            )
        )
        volumes = at_once(
            lambda client, name=name: call(
                local, "PUT", f"2.0/fs/files/Volumes/first/s/v/{name}", data=b"%d" % client
            )
        )

        for answers, refused in ((files, 400), (volumes, 409)):
            codes = [answer.status_code for answer in answers]
            assert sorted(codes) in ([200] + [refused] * 7, [204] + [refused] * 7)
        winner = [answer.ok for answer in files].index(True)
        assert (local.state.dbfs / "first" / name).read_bytes() == b"%d" % winner


def test_notebooks_that_are_imported_and_listed_at_once_are_whole(local):
    local.client.workspace.mkdirs("/Shared/crowd")

    def work(client: int) -> None:
        for number in range(4):
            source = f"# Databricks notebook source\nclient = {client * 1000}\n" + "#" * 2000 * client
            body = {"format": "SOURCE", "language": "PYTHON", "overwrite": True}
            body |= {"content": base64.b64encode(source.encode()).decode()}
            for path in ("/Shared/crowd/shared", f"/Shared/crowd/own-{client}-{number}"):
                put = call(local, "POST", "2.0/workspace/import", json=body | {"path": path})
                assert put.ok, put.text
            gone = {"path": f"/Shared/crowd/own-{client}-{number}"}
            listed = call(local, "GET", "2.0/workspace/list", params={"path": "/Shared/crowd"})
            assert {each["object_type"] for each in listed.json()["objects"]} == {"NOTEBOOK"}
            assert call(local, "POST", "2.0/workspace/delete", json=gone).ok

    at_once(work)
    assert [each.path for each in local.client.workspace.list("/Shared/crowd")] == ["/Shared/crowd/shared"]


def test_requests_with_one_idempotency_token_at_once_make_one_run(local, cluster_id, notebook):
    for token in ("a", "b", "c", "d", "e"):
        body = submission(cluster_id, notebook) | {"idempotency_token": f"at once {token}"}
        answers = at_once(lambda _, body=body: call(local, "POST", "2.1/jobs/runs/submit", json=body))

        assert len({answer.json()["run_id"] for answer in answers}) == 1


def submission(cluster_id: str, notebook: str, **parameters: str) -> dict[str, Any]:
    notebook_task = {"notebook_path": notebook, "base_parameters": parameters}
    task = {"task_key": "main", "existing_cluster_id": cluster_id, "notebook_task": notebook_task}
    return {"run_name": "many", "tasks": [task]}


@pytest.fixture
def state_of(local) -> Callable[[int], dict[str, Any]]:
    def get(run_id: int) -> dict[str, Any]:
        run = call(local, "GET", "2.1/jobs/runs/get", params={"run_id": run_id}).json()
        return dict(run["state"], start=run["start_time"] + run["setup_duration"])

    return get


def test_two_hundred_runs_wait_in_their_order_and_are_cancelled(
    local, cluster_id, notebook, state_of, eventually, tmp_path: Path
):
    begun = time.monotonic()
    with requests.Session() as session:
        session.headers["Authorization"] = "Bearer x"
        ids = []
        for number in range(RUNS):
            body = submission(cluster_id, notebook, until=str(tmp_path / str(number)))
            answer = session.post(f"{local.host}/api/2.1/jobs/runs/submit", json=body)
            ids.append(answer.json()["run_id"])
    submitted = time.monotonic() - begun

    begun = time.monotonic()
    listed = [run.run_id for run in local.client.jobs.list_runs(limit=25, active_only=True)]
    took_to_list = time.monotonic() - begun
    for number in range(6):
        (tmp_path / str(number)).touch()
    eventually(lambda: all("result_state" in state_of(run_id) for run_id in ids[:6]))
    starts = [state_of(run_id)["start"] for run_id in ids[:6]]
    begun = time.monotonic()
    for run_id in reversed(ids):
        assert call(local, "POST", "2.1/jobs/runs/cancel", json={"run_id": run_id}).ok
    cancelled = time.monotonic() - begun
    eventually(lambda: all("result_state" in state_of(run_id) for run_id in ids))

    assert listed[:RUNS] == ids[::-1]
    assert all(starts[i] <= starts[i + 2] for i in range(4))  # two run at once
    assert {state_of(run_id)["result_state"] for run_id in ids[:6]} == {"SUCCESS"}
    assert {state_of(run_id)["result_state"] for run_id in ids[6:]} == {"CANCELED"}
    eventually(lambda: Members(local.state.runs).find() == [])
    assert max(submitted, took_to_list, cancelled) < 20  # about 1 s each on a quiet machine


def test_processes_that_ignore_being_asked_are_killed(
    local, cluster_id, notebook, state_of, eventually, monkeypatch
):
    monkeypatch.setattr(run_processes, "GRACE_SECONDS", 0.3)
    body = submission(cluster_id, notebook, do="stay")
    run_id = call(local, "POST", "2.1/jobs/runs/submit", json=body).json()["run_id"]
    folder = local.state.runs / str(local.client.jobs.get_run(run_id).tasks[0].run_id)
    eventually(lambda: (folder / "child.pid").exists() and (folder / "child.pid").read_text())
    child = psutil.Process(int((folder / "child.pid").read_text()))
    call(local, "POST", "2.1/jobs/runs/cancel", json={"run_id": run_id})

    eventually(lambda: not child.is_running() and not Members(folder).find())
    eventually(lambda: "result_state" in state_of(run_id))
    assert state_of(run_id)["result_state"] == "CANCELED"


def test_a_run_whose_folder_is_deleted_says_so(local, cluster_id, notebook, state_of, eventually, tmp_path):
    go = tmp_path / "go"
    body = submission(cluster_id, notebook, until=str(go))
    run_id = call(local, "POST", "2.1/jobs/runs/submit", json=body).json()["run_id"]
    folder = local.state.runs / str(local.client.jobs.get_run(run_id).tasks[0].run_id)
    eventually(lambda: state_of(run_id)["life_cycle_state"] == "RUNNING")
    shutil.rmtree(folder)
    go.touch()
    eventually(lambda: "result_state" in state_of(run_id))

    assert state_of(run_id)["life_cycle_state"] == "INTERNAL_ERROR"
    assert f"somebody deleted its folder {folder}" in state_of(run_id)["state_message"]


def test_a_run_whose_folder_is_deleted_afterwards_stays_successful_and_says_that_its_output_is_gone(
    local, cluster_id, notebook, state_of, eventually
):
    run_id = call(local, "POST", "2.1/jobs/runs/submit", json=submission(cluster_id, notebook)).json()[
        "run_id"
    ]
    eventually(lambda: state_of(run_id).get("result_state") == "SUCCESS")
    folder = local.state.runs / str(local.client.jobs.get_run(run_id).tasks[0].run_id)
    shutil.rmtree(folder)

    output = call(local, "GET", "2.1/jobs/runs/get-output", params={"run_id": run_id}).json()
    assert output["error"] == f"the output of this run was deleted: {folder}"
    assert state_of(run_id)["result_state"] == "SUCCESS"


def test_whoever_comes_second_for_the_same_thing_is_told_in_databricks_words(local, cluster_id, notebook):
    def codes(method: str, path: str, **options: Any) -> list[str]:
        answers = at_once(lambda _: call(local, method, path, **options))
        assert all(answer.status_code < 500 for answer in answers), [answer.text for answer in answers]
        return sorted(answer.json().get("error_code", "") for answer in answers)

    for name in ("one", "two", "three"):
        scope = {"scope": f"crowd-{name}"}
        job = {"name": name, "tasks": submission(cluster_id, notebook)["tasks"]}
        job_id = call(local, "POST", "2.1/jobs/create", json=job).json()["job_id"]
        folder, body = f"/Shared/crowd-{name}", {"format": "AUTO", "content": "MQ=="}
        call(local, "POST", "2.0/workspace/mkdirs", json={"path": folder})
        made = codes("POST", "2.0/secrets/scopes/create", json=scope)
        put = codes("POST", "2.0/secrets/put", json=scope | {"key": "k", "string_value": "v"})
        dropped = codes("POST", "2.0/secrets/delete", json=scope | {"key": "k"})
        removed = codes("POST", "2.0/secrets/scopes/delete", json=scope)
        imported = codes("POST", "2.0/workspace/import", json=body | {"path": f"{folder}/file.txt"})
        changed = codes("POST", "2.1/jobs/update", json={"job_id": job_id, "new_settings": {"name": "new"}})
        gone = codes("POST", "2.1/jobs/delete", json={"job_id": job_id})

        assert made == imported == ["", *["RESOURCE_ALREADY_EXISTS"] * (CLIENTS - 1)]
        assert dropped == removed == ["", *["RESOURCE_DOES_NOT_EXIST"] * (CLIENTS - 1)]
        assert put == changed == [""] * CLIENTS
        assert gone == ["", *["INVALID_PARAMETER_VALUE"] * (CLIENTS - 1)]


def test_permissions_that_are_added_at_once_are_all_kept(local, cluster_id, notebook):
    job = {"name": "shared", "tasks": submission(cluster_id, notebook)["tasks"]}
    job_id = call(local, "POST", "2.1/jobs/create", json=job).json()["job_id"]

    def grant(client: int) -> None:
        for number in range(5):
            entry = {"group_name": f"g{client}-{number}", "permission_level": "CAN_VIEW"}
            added = call(
                local, "PATCH", f"2.0/permissions/jobs/{job_id}", json={"access_control_list": [entry]}
            )
            assert added.ok, added.text

    at_once(grant)
    kept = call(local, "GET", f"2.0/permissions/jobs/{job_id}").json()["access_control_list"]
    assert len([entry for entry in kept if "group_name" in entry]) == CLIENTS * 5
