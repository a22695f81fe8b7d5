"""A credential goes to its own workspace, and to no other one; an address is taken as a browser shows it."""

import json
import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from threading import Thread
from typing import Any
from urllib.parse import urlsplit

import pytest
from deployment.command_lines import COMMAND_LINES
from deployment.databricks_cli import DatabricksCli
from deployment.errors import CliError, DeploymentError
from deployment.settings import Settings
from deployment.workspace import Workspace, open_workspace, parse_address, without_sign_in
from programs import any_cli, require_program

AZURE = "https://adb-1.2.azuredatabricks.net"
ME = {"userName": "ada@example.com", "clusters": []}
FOREIGN = {
    "DATABRICKS_TOKEN": "of-elsewhere",
    "DATABRICKS_CLIENT_ID": "of-elsewhere",
    "DATABRICKS_CLIENT_SECRET": "of-elsewhere",
    "DATABRICKS_USERNAME": "of-elsewhere",
    "DATABRICKS_PASSWORD": "of-elsewhere",
    "DATABRICKS_REFRESH_TOKEN": "of-elsewhere",
    "DATABRICKS_ACCOUNT_ID": "of-elsewhere",
    "DATABRICKS_CLUSTER_ID": "of-elsewhere",
    "DATABRICKS_CONFIG_PROFILE": "of-elsewhere",
    "DATABRICKS_AUTH_TYPE": "basic",
    "ARM_CLIENT_ID": "of-elsewhere",
    "ARM_CLIENT_SECRET": "of-elsewhere",
    "ARM_TENANT_ID": "of-elsewhere",
}


@dataclass
class Place:
    """A host: what it answers, and the credentials that have come to it."""

    host: str = ""
    status: int = 200
    headers: dict[str, str] = field(default_factory=lambda: {"Content-Type": "application/json"})
    body: str = json.dumps(ME)
    got: list[str] = field(default_factory=list)


@contextmanager
def opened_place() -> Iterator[Place]:
    place = Place()

    class Handler(BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            sent = self.rfile.read(int(self.headers.get("Content-Length") or 0)).decode()
            place.got.append(f"{self.headers.get('Authorization', '')} {sent}".strip())
            answer: tuple[int, dict[str, str], str] = (place.status, place.headers, place.body)
            if "/oidc/.well-known" in self.path:
                found = {"token_endpoint": f"{place.host}/token", "authorization_endpoint": ""}
                answer = (200, {}, json.dumps(found))
            elif self.path == "/token":
                token = {"access_token": "given-here", "token_type": "Bearer", "expires_in": 3600}
                answer = (200, {}, json.dumps(token))
            elif not urlsplit(self.path).path.startswith("/api/2."):
                answer = (404, {}, "")
            status, headers, body = answer
            self.send_response(status)
            for name, value in (headers | {"Content-Length": str(len(body.encode()))}).items():
                self.send_header(name, value)
            self.end_headers()
            if self.command != "HEAD":
                self.wfile.write(body.encode())

        do_POST = do_PUT = do_HEAD = do_GET

        def log_message(self, *_: Any) -> None:
            """Says nothing."""

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        place.host = f"http://127.0.0.1:{http.server_port}"
        Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05}, daemon=True).start()
        yield place
        http.shutdown()


DISCOVERY = "/oidc/.well-known/oauth-authorization-server"


def principal(place: Place) -> str:
    """The lines of a service principal that signs in at a place."""
    return f"client_id = me\nclient_secret = mine\ndiscovery_url = {place.host}{DISCOVERY}\n"


@pytest.fixture
def here() -> Iterator[Place]:
    with opened_place() as place:
        yield place


@pytest.fixture
def elsewhere() -> Iterator[Place]:
    with opened_place() as place:
        yield place


@pytest.fixture(autouse=True)
def home(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A home without a sign-in, and an environment without one."""
    for name in os.environ.keys() - without_sign_in(os.environ).keys():
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOME", str(tmp_path))
    return tmp_path


def open_profile(home: Path, text: str, profile: str = "staging") -> Workspace:
    (home / ".databrickscfg").write_text(text)
    return open_workspace(Settings(profile, "staging"))


def ask_every_way(workspace: Workspace) -> None:
    """Calls the workspace itself and through each program of this machine."""
    assert workspace.user_name() == "ada@example.com"
    any_cli(workspace).clusters()


# A profile alone


def test_a_profile_takes_nothing_of_the_default_profile(home: Path, here: Place, elsewhere: Place) -> None:
    text = (
        f"[DEFAULT]\nhost = {elsewhere.host}\ntoken = of-elsewhere\n"
        f"[staging]\nhost = {here.host}\n{principal(here)}"
    )
    ask_every_way(open_profile(home, text))

    assert here.got and "of-elsewhere" not in str(here.got)
    assert here.got[-1] == "Bearer given-here"
    assert elsewhere.got == []


def test_a_profile_without_a_host_goes_nowhere(
    home: Path, elsewhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DATABRICKS_HOST", elsewhere.host)
    default = f"[DEFAULT]\nhost = {elsewhere.host}\ntoken = other\n"

    for staging in ("token = mine", "client_id = me\nclient_secret = mine", ""):
        with pytest.raises(DeploymentError, match=r"profile 'staging' in .* has no host; `make databricks-a"):
            open_profile(home, f"{default}[staging]\n{staging}\n")

    assert elsewhere.got == []


def test_the_default_profile_is_a_profile(home: Path, here: Place) -> None:
    ask_every_way(open_profile(home, f"[DEFAULT]\nhost = {here.host}\ntoken = mine\n[x]\n", "DEFAULT"))

    assert set(here.got) == {"Bearer mine"}


@pytest.mark.parametrize("kind", ["token", "principal"])
def test_a_profile_takes_nothing_of_the_environment(
    home: Path, here: Place, elsewhere: Place, monkeypatch: pytest.MonkeyPatch, kind: str
) -> None:
    places = {"DATABRICKS_HOST": elsewhere.host, "DATABRICKS_DISCOVERY_URL": f"{elsewhere.host}{DISCOVERY}"}
    for name, value in (FOREIGN | places).items():
        monkeypatch.setenv(name, value)
    sign_in = "token = mine\n" if kind == "token" else principal(here)

    ask_every_way(open_profile(home, f"[staging]\nhost = {here.host}\n{sign_in}"))

    assert here.got and "of-elsewhere" not in str(here.got)
    assert elsewhere.got == []
    assert os.environ["DATABRICKS_TOKEN"] == "of-elsewhere"  # it stays as it was


def test_the_environment_takes_nothing_of_a_profile(
    home: Path, here: Place, elsewhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    own = {"HOST": here.host, "CLIENT_ID": "me", "CLIENT_SECRET": "mine"}
    own |= {"DISCOVERY_URL": f"{here.host}{DISCOVERY}", "CONFIG_PROFILE": "other"}
    for name, value in own.items():
        monkeypatch.setenv(f"DATABRICKS_{name}", value)

    ask_every_way(open_profile(home, f"[other]\nhost = {elsewhere.host}\ntoken = of-elsewhere\n"))

    assert here.got and "of-elsewhere" not in str(here.got)
    assert elsewhere.got == []


@pytest.mark.parametrize("kind", COMMAND_LINES)
def test_a_program_gets_the_sign_in_of_its_workspace_alone(
    here: Place, monkeypatch: pytest.MonkeyPatch, kind: type[DatabricksCli]
) -> None:
    for name, value in FOREIGN.items():
        monkeypatch.setenv(name, value)
    cli = kind(Workspace("staging", None, here.host, lambda: "mine"), require_program(kind))

    cli.clusters()

    assert "of-elsewhere" not in cli.environment().values()
    assert set(here.got) <= {"Bearer mine", ""}  # what is public is asked without


def test_every_sign_in_that_the_sdk_finds_in_the_environment_is_known() -> None:
    from databricks.sdk.core import Config

    names = {attribute.env for attribute in Config.attributes() if attribute.env}
    behaviour = {name for name in without_sign_in(dict.fromkeys(names, "1"))}

    assert behaviour == {
        "DATABRICKS_CLI_PATH",
        "DATABRICKS_DEBUG_HEADERS",
        "DATABRICKS_DEBUG_TRUNCATE_BYTES",
        "DATABRICKS_RATE_LIMIT",
    }


def test_what_netrc_says_of_a_host_is_not_sent(home: Path, here: Place) -> None:
    (home / ".netrc").write_text("default login of-elsewhere password of-elsewhere\n")
    (home / ".netrc").chmod(0o600)

    ask_every_way(open_profile(home, f"[staging]\nhost = {here.host}\ntoken = mine\n"))

    assert set(here.got) == {"Bearer mine"}


def test_models_are_asked_for_with_the_sign_in_of_the_workspace_alone(
    home: Path, here: Place, elsewhere: Place, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployment.models import open_model  # here, because importing MLflow takes seconds

    (home / ".netrc").write_text("default login of-elsewhere password of-elsewhere\n")
    monkeypatch.setattr(os, "environ", os.environ.copy())
    os.environ.update(FOREIGN | {"DATABRICKS_HOST": elsewhere.host})
    text = f"[DEFAULT]\ntoken = of-elsewhere\n[staging]\nhost = {here.host}/?o=1\ntoken = mine\n"

    model = open_model(open_profile(home, text), "main.a.b")
    model.client.search_registered_models()

    assert {got for got in here.got if got} == {"Bearer mine"}
    assert elsewhere.got == []


def test_a_port_that_a_program_would_drop_is_refused() -> None:
    workspace = Workspace("staging", None, f"{AZURE}:8443", lambda: "mine")

    for kind in COMMAND_LINES:
        cli = kind(workspace, "databricks")
        if cli.title.startswith("databricks-cli"):
            with pytest.raises(CliError, match=r"would drop the port of https://adb-1\.2.*:8443"):
                cli.environment()


@pytest.mark.parametrize("method", ["GET", "POST", "HEAD"])
def test_a_token_does_not_follow_to_another_host(here: Place, elsewhere: Place, method: str) -> None:
    here.status, here.headers = 302, {"Location": f"{elsewhere.host}/login.html"}

    with pytest.raises(DeploymentError, match=rf"HTTP 302 and sends on to {elsewhere.host[7:]}, and not"):
        Workspace("staging", None, here.host, lambda: "mine").request(method, "/api/2.0/clusters/list")

    assert elsewhere.got == []


# The configuration file


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("[a]\nhost = x\n[staging]\n[a]\n", "line 4 begins profile 'a' a second time"),
        ("[staging]\ntoken = s3cret\ntoken = s3cret2\n", "line 3 names a key a second time in .*'staging'"),
        ("[staging]\nhost = x\nbare-s3cret\n", "line 3 is neither"),
        ("token = s3cret\n", "line 1 is before the first"),
    ],
)
def test_a_broken_file_ends_in_one_sentence_without_its_lines(home: Path, text: str, said: str) -> None:
    with pytest.raises(
        DeploymentError, match=rf"\.databrickscfg is not a configuration file: {said}"
    ) as told:
        open_profile(home, text)

    assert "s3cret" not in f"{told.value}{told.value.__cause__}"


def test_a_file_that_is_no_text_or_not_to_be_read_is_told(home: Path) -> None:
    (home / ".databrickscfg").write_bytes(b"[staging]\nhost = \xff\n")
    with pytest.raises(DeploymentError, match=r"\.databrickscfg is not UTF-8 text"):
        open_workspace(Settings("staging", "staging"))

    (home / ".databrickscfg").unlink()
    (home / ".databrickscfg").mkdir()
    with pytest.raises(DeploymentError, match=r"\.databrickscfg cannot be read: Is a directory"):
        open_workspace(Settings("staging", "staging"))


@pytest.mark.parametrize("mark", ["", "\ufeff"])
def test_signs_of_a_value_are_only_signs(home: Path, here: Place, mark: str) -> None:
    text = f"{mark}[staging]\nhost = {here.host}\ntoken = a%(host)s%b\n"

    ask_every_way(open_profile(home, text))

    assert set(here.got) == {"Bearer a%(host)s%b"}


@pytest.mark.parametrize("token", ["two words", "s3cret\n  more", "s3cret # of mine", "s3crét"])
def test_a_token_that_can_be_none_is_not_sent_and_not_repeated(home: Path, here: Place, token: str) -> None:
    workspace = open_profile(home, f"[staging]\nhost = {here.host}\ntoken = {token}\n")

    for ask in (workspace.user_name, any_cli(workspace).clusters):
        with pytest.raises(DeploymentError) as told:
            ask()
        assert "the token of profile 'staging'" in str(told.value) and "s3cr" not in str(told.value)

    assert here.got == []


# Addresses


@pytest.mark.parametrize(
    "written",
    [
        AZURE,
        f"{AZURE}/?o=1234#job/5",
        f"{AZURE}/login.html?next=%2F",
        f"{AZURE}#mlflow",
        "HTTPS://ADB-1.2.AzureDatabricks.NET/",
        f"  {AZURE}  ",
        f"{AZURE}:443/",
        "adb-1.2.azuredatabricks.net",
        "adb-1.2.azuredatabricks.net:443/?o=1",
        "//adb-1.2.azuredatabricks.net",
    ],
)
def test_an_address_is_scheme_host_and_port(written: str) -> None:
    assert parse_address(written, "DATABRICKS_HOST") == AZURE


@pytest.mark.parametrize("written", ["http://LOCALHOST:5115/?o=1", "localhost:5115", "127.0.0.1:5115/#x"])
def test_this_machine_is_asked_without_encryption(written: str) -> None:
    assert parse_address(written, "DATABRICKS_HOST") in ("http://localhost:5115", "http://127.0.0.1:5115")


@pytest.mark.parametrize(
    "written",
    [
        *("", "staging", "<host>", "a b.net", '"https://a.net"', "https//a.net", "https://https://a.net"),
        *("https://", "https:///x", "ftp://a.net", "https://a.net:x", "https://a.net:99999"),
    ],
)
def test_what_is_no_address_is_refused_with_its_value(written: str) -> None:
    with pytest.raises(
        DeploymentError, match=r"^DATABRICKS_HOST is .*is not the address of a workspace"
    ) as no:
        parse_address(written, "DATABRICKS_HOST")

    assert f"'{written}'" in str(no.value)


@pytest.mark.parametrize("written", ["https://me:s3cret@a.net", "https://a.net\ntoken = s3cret"])
def test_what_may_be_a_secret_beside_an_address_is_not_repeated(written: str) -> None:
    with pytest.raises(DeploymentError, match="is not the address of a workspace") as refused:
        parse_address(written, "DATABRICKS_HOST")

    assert "s3cret" not in str(refused.value)


@pytest.mark.parametrize("rest", ["/?o=123", "/browse/folders/1#x", "/", "  "])
def test_an_address_from_the_browser_leads_there(
    home: Path, here: Place, monkeypatch: pytest.MonkeyPatch, rest: str
) -> None:
    ask_every_way(open_profile(home, f"[staging]\nhost = {here.host}{rest}\ntoken = mine\n"))
    monkeypatch.setenv("DATABRICKS_HOST", here.host + rest)
    monkeypatch.setenv("DATABRICKS_TOKEN", "mine")
    ask_every_way(open_workspace(Settings("of-no-profile", "staging")))

    assert set(here.got) == {"Bearer mine"} and len(here.got) >= 4


# Answers of somebody else


@pytest.mark.parametrize("status", [200, 203])
@pytest.mark.parametrize("body", ["<html>Sign in</html>", '["a"]', '"text"', "null", '{"userName": '])
def test_an_answer_that_is_no_json_object_is_one_sentence(here: Place, status: int, body: str) -> None:
    here.status, here.headers, here.body = status, {"Content-Type": "text/html; charset=utf-8"}, body

    with pytest.raises(
        DeploymentError, match=rf"{here.host} answers .* HTTP {status} and brings text/html, "
    ):
        Workspace("staging", None, here.host, lambda: "mine").user_name()


@pytest.mark.parametrize("body", ["<html>Not here</html>", "[]", ""])
def test_an_error_of_somebody_else_says_who_answers(here: Place, body: str) -> None:
    here.status, here.headers, here.body = 404, {"Content-Type": "text/html"}, body

    with pytest.raises(DeploymentError, match=rf"HTTP 404: Not Found, with text/html from {here.host[7:]}"):
        Workspace("staging", None, here.host, lambda: "mine").user_name()


def test_an_object_of_somebody_else_is_no_user(here: Place) -> None:
    here.body = "{}"

    with pytest.raises(DeploymentError, match="does not say who is signed in; is it a Databricks workspace"):
        Workspace("staging", None, here.host, lambda: "mine").user_name()


# only: local-workspace
def test_a_program_that_listens_in_the_place_of_the_local_workspace_gets_no_token(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setattr("deployment.workspace.ROOT", tmp_path)
    (tmp_path / "state").mkdir()
    with opened_place() as place:
        profile = f"[local]\nhost = {place.host}\ntoken = of-the-workspace\n"
        (tmp_path / "state" / "databrickscfg").write_text(profile)
        workspace = open_workspace(Settings("local", "local", local_workspace_state="state"))

        with pytest.raises(DeploymentError, match="another program than the local workspace listens at"):
            workspace.user_name()

    assert place.got == [""]


# end only
