"""Nobody gets into the whole workspace, MLflow, Spark and real runs; nothing secret comes out of it."""

import base64
import ipaddress
import time
from pathlib import Path
from typing import Any
from urllib.parse import quote

import psutil
import pytest
import requests
from databricks.sdk.service.jobs import Run
from workspace_under_test import WorkspaceUnderTest, command_lines

SCOPE = "azure-databricks-mlops-mlflow"
SECRET = "pl4nted+Secret/" + "of the test"  # in two parts, so that a search of this file does not find it
SHOWN = "s3cret-" + "value-of-the-test"
FORMS = {
    "plain": SECRET,
    "reversed": SECRET[::-1],
    "base64": base64.b64encode(SECRET.encode()).decode(),
    "hexadecimal": SECRET.encode().hex(),
    "url-encoded": quote(SECRET, safe=""),
    "letter by letter": "\n".join(SECRET),
    "first half": SECRET[:9],
    "second half": SECRET[9:],
}
LEAKS = [
    f'value = dbutils.secrets.get("{SCOPE}", "planted"); print(value)',
    "import time; wait = lambda: time.sleep(0.5)  # until what is written past Python has arrived",
    "value",
    "display({'key': [value]})",
    "print(value[::-1])",
    "import base64; print(base64.b64encode(value.encode()), base64.urlsafe_b64encode(value.encode()))",
    "print(value.encode().hex())",
    "import urllib.parse; print(urllib.parse.quote(value, safe=''))",
    "for letter in value: print(letter)",
    "import sys; print(value[:9], end='', flush=True); print(value[9:], end='', file=sys.stderr, flush=True)",
    "import os; os.write(1, value[:9].encode()); wait(); os.write(1, value[9:].encode()); wait()",
    "print(value[:9], end=''); display(1); print(value[9:], end='')",
    "print(value[:9], end='')",
    "print(value[9:])",
    "import logging; logging.warning('read %s', value); print(repr(value), file=sys.__stderr__, flush=True)",
    "import subprocess; subprocess.run(['cat'], input=value.encode(), check=True); wait()",
    "displayHTML(f'<b>{value}</b>')",
    "raise ValueError(f'not allowed: {value}')",
]


@pytest.fixture
def workspace(demo) -> WorkspaceUnderTest:
    return demo.workspace


def processes(workspace: WorkspaceUnderTest) -> list[psutil.Process]:
    """The server and all that it started."""
    server = psutil.Process(int((workspace.state / "workspace.pid").read_text().split()[0]))
    return [server, *server.children(recursive=True)]


def follow(workspace: WorkspaceUnderTest, run_id: int) -> tuple[Run, set[str]]:
    """Waits for a run, and notes the command lines of all processes of this machine meanwhile."""
    seen: set[str] = set()
    deadline = time.monotonic() + 120
    while (run := workspace.client.jobs.get_run(run_id)).state.result_state is None:
        assert time.monotonic() < deadline, run.state
        seen.update(command_lines())
        time.sleep(0.1)
    return run, seen


def test_nothing_shows_a_secret_that_a_run_prints_in_every_way(workspace):
    workspace.client.secrets.put_secret(SCOPE, "planted", string_value=SECRET)
    run, command_lines = follow(workspace, workspace.submit("leaks", *LEAKS))

    output = workspace.client.jobs.get_run_output(run.tasks[0].run_id)
    page = requests.get(run.run_page_url, headers=bearer(workspace), timeout=30).text
    shown = {"command lines": "\n".join(command_lines), "error": str(output.as_dict()), "page": page}
    files = [path for path in workspace.state.rglob("*") if path.is_file() and not path.is_symlink()]

    assert output.error == "ValueError: not allowed: [REDACTED]"
    assert page.count("[REDACTED]") >= len(LEAKS) - 3
    for name, form in FORMS.items():
        assert not [where for where, text in shown.items() if form in text], name
        assert not [path for path in files if form.encode() in path.read_bytes()], name
    assert SECRET.replace(" ", "") not in "".join(page.split())


@pytest.fixture(scope="module")
def told(demo) -> dict[str, Any]:
    """What a run exits with that prints a secret and its token, and asks for what its token must not get."""
    demo.workspace.client.secrets.put_secret(SCOPE, "test-key", string_value=SHOWN)
    return demo.workspace.run_cells(
        f'value = dbutils.secrets.get("{SCOPE}", "test-key"); print("it is", value)',
        "import os; token = os.environ['DATABRICKS_TOKEN']; print(token, dict(os.environ))",
        "import json, requests",
        "codes = os.environ['DATABRICKS_HOST'] + '/api/2.0/local-workspace/sign-in-codes'",
        "refused = requests.post(codes, headers={'Authorization': f'Bearer {token}'}, timeout=10)",
        "own = [token.startswith('run-'), refused.status_code]",
        "dbutils.notebook.exit(json.dumps({'secret': [value, len(value)], 'own': own, 'token': token}))",
    )


def test_secrets_are_hidden_in_what_a_run_shows(workspace, told):
    assert told["secret"] == ["[REDACTED]", len(SHOWN)]
    runs = workspace.state / "runs"
    assert not [path for path in runs.rglob("*.ipynb") if SHOWN in path.read_text()]


def test_a_run_has_a_token_of_its_own_and_shows_neither(workspace, told):
    token = workspace.profile["token"]
    files = [path for path in workspace.state.rglob("*") if path.is_file() and not path.is_symlink()]

    assert told["own"] == [True, 403]
    assert told["token"] == "[REDACTED]"
    assert [path.name for path in files if token.encode() in path.read_bytes()] == ["databrickscfg"]


def test_every_socket_that_listens_is_on_loopback(workspace):
    cells = ("spark.range(4).repartition(2).count()", "import time; time.sleep(600)")
    run_id = workspace.submit("listening", *cells)
    notebook = workspace.state / "runs"
    deadline = time.monotonic() + 60
    while not any('"running"' in path.read_text() for path in notebook.rglob("notebook.ipynb")):
        assert time.monotonic() < deadline
        time.sleep(0.2)

    listening = [
        (process.name(), connection.laddr)
        for process in processes(workspace)
        for connection in process.net_connections("inet")
        if connection.status in (psutil.CONN_LISTEN, psutil.CONN_NONE)
    ]
    workspace.client.jobs.cancel_run_and_wait(run_id)

    outside = [entry for entry in listening if not is_loopback(ipaddress.ip_address(entry[1].ip))]
    assert outside == []
    assert workspace.port in {address.port for _, address in listening}
    assert any("java" in name for name, _ in listening)


def is_loopback(address: ipaddress.IPv4Address | ipaddress.IPv6Address) -> bool:
    mapped = getattr(address, "ipv4_mapped", None)
    return (mapped or address).is_loopback


MLFLOW = (
    "/ajax-api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow/experiments/search?max_results=1",
    "/api/2.0/mlflow-artifacts/artifacts?path=.",
    "/api/3.0/mlflow/server-info",
    "/get-artifact?path=x&run_uuid=1",
    "/graphql",
    "/static-files/static/js/main.js",
    "/version",
    "/v1/traces",
    "/ajax-api/3.0/mlflow/assistant/config",
)


@pytest.mark.parametrize("path", MLFLOW)
def test_mlflow_stands_behind_the_same_check(workspace, path):
    host = workspace.profile["host"]
    link = f"{host}/api/2.0/local-workspace/sign-in-codes"
    code = requests.post(link, headers=bearer(workspace), timeout=10).json()["code"]
    browser = requests.Session()
    browser.get(f"{host}/login?code={code}", timeout=10, allow_redirects=False)

    answers = {
        "no token": requests.get(host + path, timeout=10),
        "a name made to lead here": requests.get(
            host + path, headers=bearer(workspace) | {"Host": "evil.example"}, timeout=10
        ),
        "another site": browser.get(host + path, headers={"Origin": "http://127.0.0.1:8888"}, timeout=10),
        "another site's form": browser.post(host + path, headers={"Origin": "null"}, timeout=10),
    }

    assert {name: answer.status_code for name, answer in answers.items()} == {
        "no token": 401,
        "a name made to lead here": 403,
        "another site": 403,
        "another site's form": 403,
    }


def test_mlflows_page_works_for_a_browser_that_signed_in(workspace):
    host = workspace.profile["host"]
    browser = requests.Session()
    browser.post(f"{host}/login", data={"token": workspace.profile["token"], "next": "/"}, timeout=10)

    page = browser.get(f"{host}/mlflow", timeout=10)
    found = browser.post(
        f"{host}/ajax-api/2.0/mlflow/experiments/search",
        json={"max_results": 5},
        headers={"Origin": host},
        timeout=10,
    )

    assert "<title>MLflow</title>" in page.text
    assert page.headers["X-Content-Type-Options"] == "nosniff"
    assert found.json()["experiments"]


@pytest.mark.parametrize("path", ["../../databrickscfg", "..%2f..%2fdatabrickscfg", "%2e%2e/databrickscfg"])
def test_artifacts_do_not_lead_out_of_their_root(workspace, path):
    host, token = workspace.profile["host"], workspace.profile["token"]
    search = {"experiment_ids": ["1"], "max_results": 1}
    found = requests.post(
        f"{host}/api/2.0/mlflow/runs/search", json=search, headers=bearer(workspace), timeout=10
    )
    run_id = found.json()["runs"][0]["info"]["run_id"]

    for address in (
        f"/get-artifact?run_uuid={run_id}&path={path}",
        f"/get-artifact?run_uuid={run_id}&path={quote(path, safe='')}",
        f"/ajax-api/2.0/mlflow/artifacts/list?run_id={run_id}&path={path}",
        f"/api/2.0/mlflow-artifacts/artifacts/{path}",
        f"/static-files/{path}",
        f"/local-static/{path}",
    ):
        answer = requests.get(host + address, headers=bearer(workspace), timeout=10)
        assert answer.status_code >= 400 or answer.json().get("files", []) == [], address
        assert token not in answer.text, address


def test_what_opens_the_workspace_is_for_the_owner_alone(workspace):
    modes = {name: mode(workspace.state / name) for name in ("databrickscfg", "secrets.key", "workspace.db")}

    assert modes == dict.fromkeys(modes, 0o600)
    assert mode(workspace.state) == 0o700


def mode(path: Path) -> int:
    return path.stat().st_mode & 0o777


def bearer(workspace: WorkspaceUnderTest) -> dict[str, str]:
    return {"Authorization": f"Bearer {workspace.profile['token']}"}
