"""Addresses of Databricks' own pages lead to the pages here."""

import pytest
import requests
from browser import SignedIn
from databricks.sdk.service.workspace import Language


def leads_to(local, address: str) -> str:
    """Where an address leads; its page is not asked for."""
    headers = {"Authorization": "Bearer x"}
    answer = requests.get(local.host + address, headers=headers, allow_redirects=False, timeout=10)
    assert answer.is_redirect, (address, answer.status_code, answer.text[:200])
    return answer.headers["Location"]


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/workflows", "/jobs"),
        ("/workflows/jobs/7?o=1", "/jobs/7"),
        ("/jobs/7/tasks/main?o=1", "/jobs/7"),
        ("/jobs/7/runs", "/runs?job=7"),
        ("/jobs/runs?o=1", "/runs"),
        ("/jobs/runs/12", "/runs/12"),
        ("/compute", "/clusters"),
        ("/compute/clusters/1130-1-abc/configuration?o=1", "/clusters"),
        ("/compute/sql-warehouses", "/clusters"),
        ("/sql/warehouses/0000000000000001", "/clusters"),
        ("/ml/experiments/5/runs/abc", "/mlflow#/experiments/5/runs/abc"),
        ("/ml/models/diab/versions/2", "/mlflow#/models/diab/versions/2"),
        ("/explore/data/models/main/ml/house", "/mlflow#/models/main.ml.house"),
        ("/explore/data/models/main/ml/house/version/3", "/mlflow#/models/main.ml.house/versions/3"),
    ],
)
def test_an_address_of_the_platform_leads_to_the_page_here(local, address: str, page: str):
    assert leads_to(local, address) == page


def test_notebooks_and_folders_are_found_by_their_id(local):
    local.client.workspace.mkdirs("/Shared/by id")
    local.client.workspace.upload("/Shared/by id/nb", b"1", language=Language.PYTHON)
    ids = {
        path: local.client.workspace.get_status(path).object_id for path in ("/Shared/by id/nb", "/Shared")
    }

    assert leads_to(local, f"/editor/notebooks/{ids['/Shared/by id/nb']}") == "/workspace/Shared/by%20id/nb"
    assert leads_to(local, f"/browse/folders/{ids['/Shared']}?o=1") == "/workspace/Shared"
    headers = {"Authorization": "Bearer x"}
    missing = requests.get(f"{local.host}/editor/notebooks/999999", headers=headers, timeout=10)
    assert (missing.status_code, "999999" in missing.text) == (404, True)


def test_a_run_has_its_page_at_the_platforms_address(local, cluster_id, notebook, finished):
    task = {
        "task_key": "main",
        "existing_cluster_id": cluster_id,
        "notebook_task": {"notebook_path": notebook},
    }
    job = local.request("POST", "/api/2.2/jobs/create", body={"name": "linked", "tasks": [task]})["job_id"]
    run = finished(local.client.jobs.run_now(job).run_id)

    page = requests.get(
        f"{local.host}/jobs/{job}/runs/{run.run_id}?o=1", headers={"Authorization": "Bearer x"}, timeout=10
    )
    assert (page.status_code, "linked" in page.text) == (200, True)
    assert leads_to(local, f"/jobs/runs/{run.run_id}") == f"/runs/{run.run_id}"
    assert leads_to(local, f"/runs/{run.tasks[0].run_id}") == f"/jobs/{job}/runs/{run.run_id}"


@pytest.mark.parametrize(
    ("address", "page"),
    [
        ("/#job/7/run/12", "/jobs/7/runs/12"),
        ("/?o=1#job/7", "/jobs/7"),
        ("/#notebook/987654321", "/editor/notebooks/987654321"),
        ("/#setting/clusters/abc/configuration", "/clusters"),
        ("/#workspace/Shared", "/workspace/Shared"),
        ("/#mlflow/experiments/1", "/mlflow#/experiments/1"),
    ],
)
def test_what_stands_behind_the_number_sign_leads_on(signed_in_browser: SignedIn, address: str, page: str):
    with signed_in_browser.page(scripts_may_fail=True) as tab:
        seen: list[str] = []
        tab.on("framenavigated", lambda frame: seen.append(frame.url))
        tab.goto(address)
        tab.wait_for_url(lambda url: not url.endswith(address))
        tab.wait_for_load_state()

    assert any(url.removeprefix(signed_in_browser.host).startswith(page) for url in seen), seen
