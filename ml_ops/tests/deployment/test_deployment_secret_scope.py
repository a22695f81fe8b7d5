"""The secret scope against a small HTTP server, through the real `databricks` program; `az` is a stand-in."""

import base64
import io
import sys
from pathlib import Path
from typing import Any

import pytest
from azure_cli import VAULT_ID, Az, Terminal, az
from deployment.azure import KeyVault
from deployment.command_lines import COMMAND_LINES
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.secret_scope import KEYS, LOCAL_KEYS, ensure_scope, given_values, put_secrets, read_values
from machine import ROOT, command_lines
from programs import any_cli, require_program
from rest_server import TOKEN, Server, workspace_at

__all__ = ["az"]

API = "/api/2.0/secrets"
VAULT = KeyVault(VAULT_ID, "https://mlopsdev1.vault.azure.net/")
OWN = {"name": "scope", "backend_type": "DATABRICKS"}
BACKED = {
    "name": "scope",
    "backend_type": "AZURE_KEYVAULT",
    "keyvault_metadata": {"resource_id": VAULT_ID, "dns_name": VAULT.dns_name},
}


@pytest.fixture
def dev(server: Server, tmp_path: Path) -> DatabricksCli:
    """Signed in to a workspace that is not the local one."""
    return any_cli(workspace_at(server.host, tmp_path, profile="dev"))


@pytest.fixture(params=COMMAND_LINES)
def each(request: pytest.FixtureRequest, server: Server, tmp_path: Path) -> DatabricksCli:
    """Every command line, signed in like `dev`."""
    cli: DatabricksCli = request.param(
        workspace_at(server.host, tmp_path, profile="dev"), require_program(request.param)
    )
    return cli


def prepare(server: Server, *scopes: dict[str, Any], **acls: str) -> None:
    server.replies |= {
        f"{API}/scopes/list": {"scopes": list(scopes)},
        f"{API}/scopes/create": {},
        f"{API}/list": {},
        f"{API}/put": {},
        f"{API}/acls/put": {},
        f"{API}/acls/list": {"items": [{"principal": who, "permission": what} for who, what in acls.items()]},
    }


def sent(server: Server, path: str) -> list[dict[str, Any]]:
    return [body for called, body in server.received if called == f"{API}/{path}"]


def values_put(server: Server) -> dict[str, str]:
    return {
        body["key"]: body.get("string_value") or base64.b64decode(body["bytes_value"]).decode()
        for body in sent(server, "put")
    }


def secrets_file(folder: Path, text: str, mode: int = 0o600) -> str:
    file = folder / "secrets.txt"
    file.write_text(text)
    file.chmod(mode)
    return str(file)


# The scope and who reads it


def test_scope_is_made_once_and_for_its_creator_alone(
    server: Server, dev: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(server)
    ensure_scope(dev, "scope")
    prepare(server, OWN)
    ensure_scope(dev, "scope")

    said = [line for line in capsys.readouterr().out.splitlines() if line.startswith("Secret scope")]
    assert said == ["Secret scope 'scope' is created", "Secret scope 'scope' exists"]
    [created] = sent(server, "scopes/create")
    usual = {"scope_backend_type": "DATABRICKS"}  # a program need not say it
    assert usual | created == {"scope": "scope"} | usual
    assert sent(server, "acls/put") == []


def test_named_group_may_read_and_no_more_and_a_scope_open_to_everybody_is_warned_about(
    server: Server, each: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    prepare(server, OWN, ada="MANAGE", users="READ")

    ensure_scope(each, "scope", readers="data scientists")

    assert sent(server, "acls/put") == [
        {"scope": "scope", "principal": "data scientists", "permission": "READ"}
    ]
    assert "Warning: 'users' has READ on secret scope 'scope'" in capsys.readouterr().err


def test_stronger_permission_of_the_group_stays(server: Server, each: DatabricksCli) -> None:
    prepare(server, OWN, operators="MANAGE")

    ensure_scope(each, "scope", readers="operators")

    assert sent(server, "acls/put") == []


@pytest.mark.parametrize("everybody", ["users", "Users ", "account users"])
def test_everybody_is_no_group_of_readers(server: Server, dev: DatabricksCli, everybody: str) -> None:
    with pytest.raises(DeploymentError, match=f"SECRETS_READERS={everybody} would show the secrets to every"):
        ensure_scope(dev, "scope", readers=everybody)

    assert server.received == []


# Key Vault


def test_scope_backed_by_a_key_vault_is_made_with_a_token_of_entra(
    server: Server, tmp_path: Path, az: Az
) -> None:
    prepare(server)
    server.also_accepts = "entra-token"  # what the stand-in gives
    dev = any_cli(workspace_at(server.host, tmp_path, profile="dev"))

    ensure_scope(dev, "scope", VAULT)

    assert sent(server, "scopes/create") == [
        {
            "scope": "scope",
            "scope_backend_type": "AZURE_KEYVAULT",
            "backend_azure_keyvault": {"resource_id": VAULT_ID, "dns_name": VAULT.dns_name},
        }
    ]
    assert server.tokens[f"{API}/scopes/create"] == "entra-token"
    assert server.tokens[f"{API}/scopes/list"] == TOKEN
    assert az.calls == [
        "account get-access-token --resource 2ff814a6-3304-4ab8-85cb-cd0e6f879c1d "
        "--query accessToken --output tsv"
    ]


def test_refused_key_vault_is_named_with_what_it_takes(server: Server, dev: DatabricksCli, az: Az) -> None:
    prepare(server)

    with pytest.raises(DeploymentError, match=rf"cannot be backed by {VAULT_ID}: .*Contributor of the vault"):
        ensure_scope(dev, "scope", VAULT)


def test_scope_that_is_backed_already_stays(server: Server, dev: DatabricksCli) -> None:
    prepare(server, BACKED)

    ensure_scope(dev, "scope", KeyVault(VAULT_ID.upper(), VAULT.dns_name))

    assert sent(server, "scopes/create") == []


def test_scope_with_another_place_for_its_secrets_is_refused(server: Server, dev: DatabricksCli) -> None:
    prepare(server, OWN)

    with pytest.raises(DeploymentError, match="'scope' is backed by Databricks, not by /subscriptions/1234"):
        ensure_scope(dev, "scope", VAULT)


def test_secrets_of_a_backed_scope_go_into_its_key_vault(
    server: Server, dev: DatabricksCli, az: Az, tmp_path: Path
) -> None:
    prepare(server, BACKED)

    put_secrets(dev, "scope", secrets_file(tmp_path, "storage-account-key=very=secret==\n"))

    assert [call.split(" --file")[0] for call in az.calls] == [
        "keyvault secret set --vault-name mlopsdev1 --name storage-account-key"
    ]
    assert az.piped == "very=secret=="
    assert sent(server, "put") == []


# How values come in


def test_values_arrive_whole_and_stay_out_of_all_command_lines(
    server: Server, each: DatabricksCli, tmp_path: Path
) -> None:
    prepare(server, OWN)
    text = "# of the portal\n\nappinsights-connection-string=very=secret;b=c\n\n"
    seen: list[str] = []

    def look() -> dict[str, Any]:
        seen.extend(command_lines())
        return {}

    server.replies[f"{API}/put"] = look

    put_secrets(each, "scope", secrets_file(tmp_path, text))

    assert values_put(server) == {"appinsights-connection-string": "very=secret;b=c"}
    assert [line for line in seen if "secrets put" in line]
    assert not [line for line in seen if "very=secret" in line]


def test_standard_input_is_read_where_nobody_sits(monkeypatch: pytest.MonkeyPatch) -> None:
    lines = "service-principal-id=1\nservice-principal-secret=a b\n"
    monkeypatch.setattr(sys, "stdin", io.StringIO(lines))

    assert given_values("") == {"service-principal-id": "1", "service-principal-secret": "a b"}


def test_a_person_is_asked_without_echo_and_passes_over_what_is_not_needed(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    asked: list[str] = []

    def answer(prompt: str) -> str:
        asked.append(prompt.split()[0])
        return "account" if prompt.startswith("service-principal-id") else ""

    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", answer)

    assert given_values("") == {"service-principal-id": "account"}
    assert asked == list(KEYS)


@pytest.mark.parametrize("key", KEYS)
def test_every_key_is_one_that_the_jobs_read(key: str) -> None:
    sources = [file.read_text() for file in (ROOT / "ml_ops" / "src").rglob("*.py")]

    assert any(f'"{key}"' in source for source in sources)


@pytest.mark.parametrize("mode", [0o640, 0o604, 0o620])
def test_file_that_others_may_open_is_refused(tmp_path: Path, mode: int) -> None:
    file = secrets_file(tmp_path, "storage-account-key=very-secret", mode)

    with pytest.raises(
        DeploymentError, match=rf"is open to others \(mode 0{mode:o}\); `chmod 600"
    ) as refused:
        given_values(file)

    assert "very-secret" not in str(refused.value)


def test_file_that_is_not_there_is_named(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"absent\.txt cannot be read: No such file"):
        given_values(str(tmp_path / "absent.txt"))


@pytest.mark.parametrize("line", ["bare-s3cret", "c2VjcmV0==", "storage-key=s3cret"])
def test_line_that_is_no_known_key_is_refused_and_not_repeated(line: str) -> None:
    with pytest.raises(DeploymentError, match="line 2 of the secrets is not `key=value`") as refused:
        read_values(["service-principal-id=account\n", line])

    assert line.partition("=")[0] not in str(refused.value)


def test_nothing_given_is_said(tmp_path: Path) -> None:
    with pytest.raises(DeploymentError, match=r"secrets\.txt has no `key=value` line with a key of \['stor"):
        given_values(secrets_file(tmp_path, "# of the portal\n"))


def given_by(how: str, text: str, folder: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The secrets of a text that comes in a file or by standard input."""
    content = text.encode("utf-8", "surrogateescape")
    monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
    if how == "standard input":
        return given_values("")
    file = folder / "secrets.txt"
    file.write_bytes(content)
    file.chmod(0o600)
    return given_values(str(file))


KEY = "storage-account-key"
DOUBTFUL = {
    f'{KEY}="s3cret"': f"line 1 of the secrets: the value of {KEY} begins or ends with a quote",
    f"{KEY}='s3cret": f"line 1 of the secrets: the value of {KEY} begins or ends with a quote",
    f"{KEY}=s3cret`": f"line 1 of the secrets: the value of {KEY} begins or ends with a quote",
    f"{KEY}=\u201cs3cret\u201d": f"line 1 of the secrets: the value of {KEY} has a control char",
    f"{KEY}= s3cret": f"line 1 of the secrets: the value of {KEY} begins or ends with white space",
    f"{KEY}=s3cret\t": f"line 1 of the secrets: the value of {KEY} begins or ends with white space",
    f"{KEY}=s3cret\u00a0": f"line 1 of the secrets: the value of {KEY} begins or ends with white space",
    f"{KEY} =s3cret": f"line 1 of the secrets has white space around {KEY}",
    f"  {KEY}=s3cret": f"line 1 of the secrets has white space around {KEY}",
    f"{KEY}=s3cret # of mine": f"line 1 of the secrets: the value of {KEY} has a comment",
    f"{KEY}=#s3cret": f"line 1 of the secrets: the value of {KEY} has a comment",
    f"{KEY}=": f"line 1 of the secrets: the value of {KEY} is empty",
    f"{KEY}={KEY}=s3cret": f"line 1 of the secrets: the value of {KEY} begins with the name of a key",
    f"{KEY}=s3\0cret": f"line 1 of the secrets: the value of {KEY} has a control character",
    f"{KEY}=s3\x1bcret": f"line 1 of the secrets: the value of {KEY} has a control character",
    f"{KEY}=s3\u2028cret": f"line 1 of the secrets: the value of {KEY} has a control character",
    f"{KEY}=s3\ufeffcret": f"line 1 of the secrets: the value of {KEY} has a control character",
    f"service-principal-id=a\n\n{KEY}=s3cret1\n{KEY}=s3cret2": f"line 4 of the secrets gives {KEY} a second",
    f"export {KEY}=s3cret": "line 1 of the secrets is not `key=value`",
    f"{KEY}: s3cret": "line 1 of the secrets is not `key=value`",
    f"{KEY.upper()}=s3cret": "line 1 of the secrets is not `key=value`",
    f"service-principal-id=a\n\ufeff{KEY}=s3cret": "line 2 of the secrets is not `key=value`",
    f"{KEY}=s3\udcffcret": " is not UTF-8 text",
}


@pytest.mark.parametrize("how", ["file", "standard input"])
@pytest.mark.parametrize("text", DOUBTFUL)
def test_what_may_not_be_meant_so_is_refused_and_not_repeated(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str, text: str
) -> None:
    with pytest.raises(DeploymentError) as refused:
        given_by(how, f"{text}\n", tmp_path, monkeypatch)

    assert DOUBTFUL[text] in str(refused.value) and refused.value.__cause__ is None
    assert "s3" not in str(refused.value)


@pytest.mark.parametrize("how", ["file", "standard input"])
def test_a_value_is_all_that_stands_behind_the_sign(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, how: str
) -> None:
    connection = "InstrumentationKey=1-2;IngestionEndpoint=https://a.b/;Live=c#d==  e"
    text = f"\ufeff  # of the portal\r\n\r\nappinsights-connection-string={connection}\r\n{KEY}=a+b/c=="

    given = given_by(how, text, tmp_path, monkeypatch)

    assert given == {"appinsights-connection-string": connection, KEY: "a+b/c=="}


@pytest.mark.parametrize(
    "typed", ['"s3cret"', " s3cret", "s3cret ", f"{KEY}=s3cret", "s3\x00cret", "s3cr\u00e9t"]
)
def test_what_a_person_pastes_is_looked_at_as_well(monkeypatch: pytest.MonkeyPatch, typed: str) -> None:
    monkeypatch.setattr(sys, "stdin", Terminal())
    monkeypatch.setattr("getpass.getpass", lambda prompt: typed if prompt.startswith(KEY) else "")

    with pytest.raises(
        DeploymentError, match=f"what was typed: the value of {KEY} .*nothing is written"
    ) as no:
        given_values("")

    assert "s3" not in str(no.value)


def test_nothing_is_written_where_one_line_is_refused(
    server: Server, dev: DatabricksCli, tmp_path: Path
) -> None:
    prepare(server, OWN)

    with pytest.raises(DeploymentError, match="line 2 of the secrets"):
        put_secrets(dev, "scope", secrets_file(tmp_path, f"service-principal-id=account\n{KEY}='s3cret'\n"))

    assert sent(server, "put") == []


def test_missing_scope_is_said_before_anybody_is_asked(server: Server, dev: DatabricksCli) -> None:
    prepare(server)

    with pytest.raises(DeploymentError, match="there is no secret scope 'scope'; make it with `make databr"):
        put_secrets(dev, "scope")


# The local workspace


def test_local_workspace_gets_values_that_are_made_up(server: Server, cli: DatabricksCli) -> None:
    prepare(server)

    put_secrets(cli, "scope")

    assert values_put(server).keys() == set(LOCAL_KEYS)
    assert all(len(value) >= 32 for value in values_put(server).values())


def test_local_secrets_that_exist_are_left_alone(server: Server, cli: DatabricksCli) -> None:
    server.replies[f"{API}/list"] = {"secrets": [{"key": key} for key in LOCAL_KEYS]}

    put_secrets(cli, "scope")

    assert [path for path, _ in server.received] == [f"{API}/list"]


def test_local_scope_may_name_a_key_vault_without_azure(server: Server, cli: DatabricksCli) -> None:
    prepare(server)

    ensure_scope(cli, "scope", VAULT)

    [created] = sent(server, "scopes/create")
    assert created["backend_azure_keyvault"] == {"resource_id": VAULT_ID, "dns_name": VAULT.dns_name}
    assert server.tokens[f"{API}/scopes/create"] == TOKEN
