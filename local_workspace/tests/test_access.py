"""Nobody gets in: names, pages and credentials that are refused, and what the workspace takes at most."""

import base64
import http.client
import json
import time
from collections.abc import Iterator
from types import SimpleNamespace
from typing import Any

import pytest
import requests
from fastapi import FastAPI
from local_workspace.jobs import run_documents
from local_workspace.recovery import losses
from local_workspace.rest.body_limit import LARGEST_BODY, LARGEST_UPLOAD, largest_body
from local_workspace.rest.workspace import LARGEST_NOTEBOOK
from local_workspace.store.database import Database
from local_workspace.store.profile import PROOF, proof, proof_key, read_profile, renew_profile
from local_workspace.store.state import StateFolder
from local_workspace.web import access
from local_workspace.web.access import FAILURES_PER_MINUTE, Keyring

from local_workspace import server

HOST = "http://127.0.0.1:1"
TOKEN = {"Authorization": "Bearer x"}
LIST = "/api/2.0/secrets/scopes/list"
CREATE = "/api/2.0/secrets/scopes/create"


@pytest.fixture
def keyring() -> Keyring:
    return Keyring("right", HOST)


class Browser:
    """Keeps cookies, follows nothing."""

    def __init__(self, host: str) -> None:
        self.host = host
        self.session = requests.Session()

    def get(self, path: str, **options: Any) -> requests.Response:
        return self.session.get(self.host + path, allow_redirects=False, timeout=10, **options)

    def post(self, path: str, **options: Any) -> requests.Response:
        return self.session.post(self.host + path, allow_redirects=False, timeout=10, **options)


@pytest.fixture
def browser(keyring: Keyring, served) -> Iterator[Browser]:
    """A browser before a small site of its own, whose wrong tokens no other test feels."""
    app = FastAPI()
    users = {"of-ada": "ada@example.com"}
    app.include_router(access.router(keyring, "session", users.get))

    @app.api_route("/page", methods=["GET", "POST"])
    def page() -> dict[str, str]:
        return {"seen": "yes"}

    known = {"user_of_run": lambda _: None, "user_of_token": users.get}
    app.add_middleware(access.AccessCheck, keyring=keyring, cookie_name="session", **known)
    with served(app) as host:
        yield Browser(host)


def ask(local: Any, path: str, method: str = "GET", **headers: str) -> requests.Response:
    names = {name.replace("_", "-"): value for name, value in headers.items()}
    return requests.request(method, local.host + path, headers=TOKEN | names, timeout=10)


@pytest.mark.parametrize("host", ["evil.example", "127.0.0.1.evil.example", "10.0.0.1", "[::2]", "", "a:b:c"])
def test_a_name_that_is_not_this_machines_is_refused_even_with_the_token(local, host):
    for path in (LIST, "/health", "/login", "/.well-known/databricks-config", "/anything"):
        answer = ask(local, path, Host=host)
        assert (answer.status_code, "Host" in answer.text) == (403, True) or answer.status_code == 400


@pytest.mark.parametrize("host", ["127.0.0.1", "localhost:5115", "LOCALHOST", "[::1]:80"])
def test_this_machines_names_are_let_in_with_and_without_a_port(local, host):
    assert ask(local, LIST, Host=host).status_code == 200


def test_two_host_headers_are_refused(local):
    connection = http.client.HTTPConnection(local.host.removeprefix("http://"), timeout=10)
    connection.putrequest("GET", LIST, skip_host=True)
    for name, value in (("Host", "127.0.0.1"), ("Host", "evil.example"), *TOKEN.items()):
        connection.putheader(name, value)
    connection.endheaders()

    assert connection.getresponse().status in (400, 403)


@pytest.mark.parametrize(
    "origin", ["http://evil.example", "http://127.0.0.1:1", "http://localhost", "null", "http://["]
)
@pytest.mark.parametrize("method", ["GET", "POST", "OPTIONS", "DELETE"])
def test_pages_of_another_site_may_ask_nothing(local, origin, method):
    answer = ask(local, LIST, method, Origin=origin)

    assert (answer.status_code, answer.json()["error_code"]) == (403, "PERMISSION_DENIED")
    assert "Access-Control-Allow-Origin" not in answer.headers


def test_a_page_of_the_workspace_itself_may_ask(local):
    assert ask(local, LIST, Origin=local.host).status_code == 200


@pytest.mark.parametrize(
    ("authorization", "status", "code"),
    [
        (None, 401, "UNAUTHENTICATED"),
        ("Basic eDp4", 401, "UNAUTHENTICATED"),
        ("Bearer", 403, "PERMISSION_DENIED"),
        ("Bearer wrong", 403, "PERMISSION_DENIED"),
        ("Bearer xx", 403, "PERMISSION_DENIED"),
        ("Bearer run-7-0000", 403, "PERMISSION_DENIED"),
        ("Bearer \xe9", 403, "PERMISSION_DENIED"),
    ],
)
def test_every_api_asks_for_the_token(local, authorization, status, code):
    headers = {} if authorization is None else {"Authorization": authorization.encode("latin-1")}
    for path in (LIST, "/api/2.0/dbfs/list?path=/", "/api/2.0/mlflow/x", "/health/x", "/login/x", "/loginx"):
        answer = requests.get(local.host + path, headers=headers, timeout=10)
        assert (answer.status_code, answer.json()["error_code"]) == (status, code), path


def test_the_token_of_a_run_ends_with_it_and_opens_no_browser(local):
    def ask_as(token: str, method: str, path: str) -> tuple[int, str]:
        headers = {"Authorization": f"Bearer {token}"}
        answer = requests.request(method, local.host + path, headers=headers, timeout=10)
        return answer.status_code, answer.json().get("message", "")

    alive, ended = local.keyring.run_token(7), local.keyring.run_token(8)

    assert ask_as(alive, "GET", LIST)[0] == 200
    assert ask_as(ended, "GET", LIST) == (403, "This access token ended with run 8.")
    assert ask_as(alive.replace("run-7", "run-8"), "GET", LIST) == (403, "Invalid access token.")
    assert ask_as(alive, "POST", "/api/2.0/local-workspace/sign-in-codes")[0] == 403
    assert ask_as("x", "POST", "/api/2.0/local-workspace/sign-in-codes")[0] == 200
    assert Keyring("x", HOST).run_of(alive) is None, "another server's"
    assert local.keyring.run_of(f"x{alive}") is None


def test_a_browser_signs_in_with_the_token_and_its_cookie_is_no_scripts_and_no_other_sites(browser):
    refused = browser.post("/login", data={"token": "wrong", "next": "/page"})
    led = browser.get("/page", headers={"Accept": "text/html"})
    signed_in = browser.post("/login", data={"token": "right", "next": "/page"})

    assert (refused.status_code, "wrong" in refused.text) == (403, True)
    assert (led.status_code, led.headers["location"]) == (303, "/login?next=/page")
    assert (signed_in.status_code, signed_in.headers["location"]) == (303, "/page")
    cookie = signed_in.headers["set-cookie"]
    assert "HttpOnly" in cookie
    assert "SameSite=lax" in cookie
    assert "right" not in cookie
    assert browser.get("/page").json() == {"seen": "yes"}


@pytest.mark.parametrize("path", ["//evil.example", "/\\evil.example", "https://evil.example", "evil"])
def test_a_sign_in_leads_nowhere_else(browser, keyring, path):
    with_token = browser.post("/login", data={"token": "right", "next": path})
    with_link = browser.get("/login", params={"code": keyring.new_link_code(), "next": path})

    assert [answer.headers["location"] for answer in (with_token, with_link)] == ["/jobs", "/jobs"]


def test_a_cookie_acts_only_for_a_page_of_the_workspace(browser):
    browser.post("/login", data={"token": "right"})

    assert browser.post("/page").status_code == 403
    assert browser.post("/page", headers={"Sec-Fetch-Site": "same-site"}).status_code == 403
    assert browser.post("/page", headers={"Origin": "http://127.0.0.1:8888"}).status_code == 403
    assert browser.get("/page", headers={"Origin": "http://127.0.0.1:8888"}).status_code == 403
    assert browser.post("/page", headers={"Origin": browser.host}).status_code == 200
    assert browser.post("/page", headers={"Sec-Fetch-Site": "same-origin"}).status_code == 200


def test_a_session_ends_with_its_days_and_with_the_server_and_cannot_be_made_up(keyring, monkeypatch):
    session = keyring.new_session()

    assert keyring.knows_session(session)
    assert not Keyring("right", HOST).knows_session(session), "another server's"
    for made_up in (f"{session}x", session[:-1], "", "1.\xe9"):
        assert not keyring.knows_session(made_up)
    later = time.monotonic() + access.SESSION_SECONDS + 1
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: later))
    assert not keyring.knows_session(session)


def test_somebody_elses_token_is_told_that_it_opens_the_api_and_not_the_pages(browser):
    answers = [browser.post("/login", data={"token": "of-ada"}) for _ in range(FAILURES_PER_MINUTE + 1)]

    assert {answer.status_code for answer in answers} == {403}, "a token that is good is no failure"
    said = answers[-1].text
    assert "for whoever started the workspace" in said and "of ada@example.com, opens the API" in said
    assert "set-cookie" not in answers[-1].headers
    as_ada = {"Authorization": "Bearer of-ada"}
    assert browser.get("/page", headers=as_ada).json() == {"seen": "yes"}


def test_after_ten_wrong_tokens_a_minute_has_to_pass(browser, monkeypatch):
    answers = [browser.post("/login", data={"token": "wrong"}) for _ in range(FAILURES_PER_MINUTE)]
    barred = browser.post("/login", data={"token": "right"})
    later = time.monotonic() + 61
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: later, time=time.time))

    assert {answer.status_code for answer in answers} == {403}
    assert (barred.status_code, "set-cookie" in barred.headers) == (429, False)
    assert browser.post("/login", data={"token": "right"}).status_code == 303


def test_a_link_signs_in_once_and_for_an_hour(keyring, monkeypatch):
    code, late = keyring.new_link_code(), keyring.new_link_code()

    assert [keyring.take_link_code(code) for _ in range(2)] == [True, False]
    later = time.monotonic() + 3601
    monkeypatch.setattr(access, "time", SimpleNamespace(monotonic=lambda: later, time=time.time))
    assert not keyring.take_link_code(late)


def test_a_link_that_was_used_leads_to_the_form(browser, keyring):
    code = keyring.new_link_code()
    first = browser.get("/login", params={"code": code})
    browser.session.cookies.clear()
    second = browser.get("/login", params={"code": code})

    assert (first.status_code, second.status_code) == (303, 403)
    assert 'name="token"' in second.text
    assert "used already" in second.text


def test_a_browser_that_signs_out_has_to_sign_in_again(browser):
    browser.post("/login", data={"token": "right"})
    by_another_page = browser.post("/logout")
    still_in = browser.get("/page")
    signed_out = browser.post("/logout", headers={"Origin": browser.host})

    assert (by_another_page.status_code, still_in.status_code) == (403, 200)
    assert (signed_out.status_code, signed_out.headers["location"]) == (303, "/login")
    assert browser.get("/page").status_code == 401


def test_who_has_copied_a_cookie_is_signed_out_with_it(browser):
    browser.post("/login", data={"token": "right"})
    copied = browser.session.cookies.get_dict()
    browser.post("/logout", headers={"Origin": browser.host})
    browser.session.cookies.update(copied)

    assert browser.get("/page").status_code == 401


def test_the_server_shows_that_it_knows_the_token_for_its_own_address_alone(browser, keyring):
    shown = browser.get(PROOF, params={"challenge": "c"}).text

    assert shown == proof(proof_key("right"), HOST, "c")
    assert shown not in (proof(proof_key("wrong"), HOST, "c"), proof(proof_key("right"), browser.host, "c"))
    assert shown != browser.get(PROOF, params={"challenge": "d"}).text


def test_every_answer_tells_the_browser_what_it_must_not_do(local):
    for path in ("/login", LIST, "/api/2.0/mlflow/experiments/search", "/api/2.0/none"):
        headers = ask(local, path).headers
        assert headers["X-Content-Type-Options"] == "nosniff"
        assert headers["X-Frame-Options"] == "SAMEORIGIN"
        assert headers["Cross-Origin-Resource-Policy"] == "same-origin"
    policy = ask(local, "/login").headers["Content-Security-Policy"]
    assert f"script-src {local.host}/local-static/;" in policy
    assert ask(local, LIST).headers["Cache-Control"] == "no-store"


def test_the_sign_in_is_the_owners_file_with_a_new_token_at_each_start(tmp_path):
    path = tmp_path / "databrickscfg"
    made = renew_profile(path, 5116)
    again = renew_profile(path, None)

    assert len(made.token) >= 43
    assert path.stat().st_mode & 0o777 == 0o600
    assert read_profile(path) == again
    assert (again.port, again.token != made.token) == (5116, True)
    assert "right" not in json.dumps(vars(Keyring("right", HOST)), default=repr)


@pytest.mark.parametrize(
    "text",
    [
        "no section",
        "[local]\nhost\n",
        "[local]\nhost = x\nhost = y\n",
        "[local]\nhost = http://127.0.0.1:port\ntoken = t\n",
        "[local]\nhost = http://127.0.0.1:5115\n",
        "[other]\nhost = http://127.0.0.1:5115\ntoken = t\n",
        "\udcff\udcfe",
    ],
)
def test_a_damaged_sign_in_is_told_and_written_anew(tmp_path, text):
    state = StateFolder(tmp_path)
    state.config_file.write_text(text, errors="surrogateescape")

    assert losses(state) == [f"{state.config_file} cannot be read; it is written anew."]
    assert renew_profile(state.config_file, None) == read_profile(state.config_file)
    assert losses(state) == []


@pytest.mark.parametrize(
    ("path", "content_type", "most"),
    [
        ("/api/2.1/jobs/create", "application/json", LARGEST_BODY),
        ("/api/2.0/mlflow/runs/log-batch", "application/json", LARGEST_BODY),
        ("/api/2.0/dbfs/put", "application/json", LARGEST_BODY),
        ("/api/2.0/dbfs/put", "multipart/form-data; boundary=x", LARGEST_UPLOAD),
        ("/api/2.0/secrets/put", "multipart/form-data; boundary=x", LARGEST_BODY),
        ("/api/2.0/fs/files/Volumes/a/b/c/d", "application/octet-stream", LARGEST_UPLOAD),
        ("/login", "application/x-www-form-urlencoded", 65536),
    ],
)
def test_every_route_has_a_largest_body(path, content_type, most):
    assert largest_body(path, content_type) == most


def test_a_body_that_is_announced_too_large_is_not_read(local):
    connection = http.client.HTTPConnection(local.host.removeprefix("http://"), timeout=10)
    headers = TOKEN | {"Content-Length": str(LARGEST_UPLOAD + 1)}
    connection.request("PUT", "/api/2.0/fs/files/Volumes/a/b/c/huge?overwrite=true", headers=headers)
    answer = connection.getresponse()

    assert (answer.status, json.load(answer)["error_code"]) == (413, "MAX_REQUEST_SIZE_EXCEEDED")


@pytest.mark.parametrize("path", ["/api/2.1/jobs/create", "/api/2.0/dbfs/put", "/login"])
def test_a_body_that_grows_too_large_is_cut_off(local, path):
    def pieces() -> Iterator[bytes]:
        for _ in range(LARGEST_BODY // 2**20 + 1):
            yield b"x" * 2**20

    headers = TOKEN | {"Content-Type": "application/x-www-form-urlencoded"}
    try:
        answer = requests.post(local.host + path, data=pieces(), headers=headers, timeout=30)
    except requests.ConnectionError:
        return  # the server closed while it was still being sent to
    assert (answer.status_code, answer.json()["error_code"]) == (413, "MAX_REQUEST_SIZE_EXCEEDED")


def test_a_broken_upload_leaves_nothing(local):
    before = set(local.state.tmp.iterdir())
    connection = http.client.HTTPConnection(local.host.removeprefix("http://"), timeout=10)
    connection.putrequest("PUT", "/api/2.0/fs/files/Volumes/a/b/c/broken")
    for name, value in (TOKEN | {"Content-Length": "100"}).items():
        connection.putheader(name, value)
    connection.endheaders(b"half")
    connection.close()

    deadline = time.monotonic() + 10
    while set(local.state.tmp.iterdir()) != before and time.monotonic() < deadline:
        time.sleep(0.02)
    assert set(local.state.tmp.iterdir()) == before
    assert not (local.state.volumes / "a/b/c/broken").exists()


@pytest.mark.parametrize(
    ("body", "reason"),
    [
        ('{"a":' * 101 + "1" + "}" * 101, "nested deeper than 100"),
        ('{"a":' + "[" * 200_000 + "]" * 200_000 + "}", "nested deeper than 100"),
        ('{"a": NaN}', "NaN is not JSON"),
        ('{"a": "\\ud800"}', "half a surrogate pair"),
        ('{"a": ' + "9" * 5000 + "}", "not JSON"),
        ("[1]", "must be a JSON object, not list"),
        (b'{"a": "\xff"}', "not JSON"),
    ],
)
def test_json_that_could_not_be_kept_is_refused(local, body, reason):
    answer = requests.post(local.host + CREATE, data=body, headers=TOKEN, timeout=30)

    assert (answer.status_code, answer.json()["error_code"]) == (400, "MALFORMED_REQUEST")
    assert reason in answer.json()["message"]


def test_a_broken_form_is_refused(local):
    headers = TOKEN | {"Content-Type": "multipart/form-data; boundary=x"}
    answer = requests.post(local.host + "/api/2.0/dbfs/put", data=b"--y", headers=headers, timeout=10)

    assert answer.status_code == 400
    assert answer.json()["error_code"] in ("MALFORMED_REQUEST", "INVALID_PARAMETER_VALUE")


def test_what_is_larger_than_a_notebook_is_a_file_and_comes_back_whole(local):
    content = bytes(LARGEST_NOTEBOOK + 1)
    path = local.host + "/api/2.0/workspace-files/import-file/Shared/large.bin?overwrite=true"
    stored = requests.post(path, data=content, headers=TOKEN, timeout=30)
    query = {"path": "/Shared/large.bin"}
    as_json = requests.get(
        local.host + "/api/2.0/workspace/export", params=query, headers=TOKEN, timeout=30
    ).json()
    as_notebook = requests.post(
        local.host + "/api/2.0/workspace/import",
        data={"path": "/Shared/large", "format": "SOURCE", "language": "PYTHON"},
        files={"content": content},
        headers=TOKEN,
        timeout=30,
    )

    assert stored.status_code == 200
    assert as_json["error_code"] == "MAX_NOTEBOOK_SIZE_EXCEEDED"
    assert as_notebook.json()["error_code"] == "MAX_NOTEBOOK_SIZE_EXCEEDED"
    assert local.client.workspace.download("/Shared/large.bin").read() == content
    local.client.workspace.delete("/Shared/large.bin")


def test_one_block_of_dbfs_is_no_larger_than_a_megabyte_in_whatever_form(local):
    large = b"x" * (2**20 + 1)
    put = local.host + "/api/2.0/dbfs/put"
    as_json = {"path": "/block", "contents": base64.b64encode(large).decode()}
    answers = [
        requests.post(put, json=as_json, headers=TOKEN, timeout=30),
        requests.post(put, data={"path": "/block"}, files={"contents": large}, headers=TOKEN, timeout=30),
    ]

    assert [answer.json()["error_code"] for answer in answers] == ["MAX_BLOCK_SIZE_EXCEEDED"] * 2


def test_the_token_of_a_run_counts_a_minute_longer_than_the_run(tmp_path):
    database = Database(tmp_path / "workspace.db")
    ended = {"state": {"life_cycle_state": "TERMINATED"}, "end_time": run_documents.now()}
    database.put(
        "run",
        "1",
        {"state": {"life_cycle_state": "RUNNING"}, "end_time": 0, "run_as_user_name": "jo@example.com"},
    )
    database.put("run", "2", ended)
    database.put("run", "3", ended | {"end_time": run_documents.now() - 61_000})

    assert [server.user_of_run(database, run_id) for run_id in ("1", "2", "3", "4")] == [
        "jo@example.com",
        "local.user@localhost",  # of an older version of the workspace
        None,
        None,
    ]
    database.close()


def test_a_read_from_far_behind_the_end_of_a_file_gives_nothing(local):
    local.request("POST", "/api/2.0/dbfs/put", body={"path": "/short", "contents": "YWJj"})

    for offset in (3, 2**44, 10**18 - 1):
        query = {"path": "/short", "offset": offset}
        assert local.request("GET", "/api/2.0/dbfs/read", query=query) == {"bytes_read": 0, "data": ""}
