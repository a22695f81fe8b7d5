"""Secrets: encrypted where they are kept, hidden where they are shown."""

import base64
import json
import re
import stat
from pathlib import Path
from urllib.parse import quote

import pytest
import requests
from databricks.sdk.errors import DatabricksError, InvalidParameterValue, NotImplemented
from databricks.sdk.service.workspace import (
    AclPermission,
    AzureKeyVaultSecretScopeMetadata,
    ScopeBackendType,
)
from hypothesis import example, given
from hypothesis import strategies as st
from local_workspace.errors import InvalidState
from local_workspace.kernel.redaction import REDACTED, SHORTEST_TO_SPREAD, Redactor
from local_workspace.store.vault import Vault

VALUE = "pl4nted+Secret/with ümlaut"
PRINTED = {
    "plain": VALUE,
    "repr": repr(VALUE),
    "ascii": ascii(VALUE),
    "json": json.dumps({"key": VALUE}),
    "bytes": str(VALUE.encode()),
    "reversed": VALUE[::-1],
    "base64": base64.b64encode(VALUE.encode()).decode(),
    "urlsafe base64": base64.urlsafe_b64encode(VALUE.encode()).decode(),
    "base64 of a header": base64.b64encode(f"user:{VALUE}:end".encode()).decode(),
    "hexadecimal": VALUE.encode().hex(),
    "url-encoded": quote(VALUE, safe=""),
    "an address that is quoted in part": requests.Request("GET", f"http://h/a?k={VALUE}").prepare().url[11:],
    "a password in an address": requests.utils.requote_uri(f"http://user:{VALUE}@h/")[12:-3],
    "url-encoded in small letters": re.sub("%..", lambda code: code[0].lower(), quote(VALUE, safe="")),
    "json in json": json.dumps(json.dumps({"key": VALUE})),
    "json in json, not ascii": json.dumps(json.dumps([VALUE], ensure_ascii=False), ensure_ascii=False),
    "coloured letters": "".join(f"\x1b[3{i % 8}m{letter}\x1b[0m" for i, letter in enumerate(VALUE)),
    "coloured in its middle": f"{VALUE[:9]}\x1b[1;31m{VALUE[9:]}",
    "letter by letter": "\n".join(VALUE),
    "spaced": " ".join(VALUE),
    "a list of letters": str(list(VALUE)),
}


@pytest.mark.parametrize("printed", PRINTED.values(), ids=PRINTED)
def test_no_form_in_which_code_prints_a_secret_is_shown(printed):
    redactor = Redactor()
    redactor.add(VALUE)

    shown = redactor.clean({"text": f"before {printed} after", "data": {"application/json": {printed: 1}}})

    assert REDACTED in shown["text"]
    assert shown["text"].startswith("before ")
    assert shown["text"].endswith(" after")
    assert printed not in str(shown)
    assert not any(part in str(shown) for part in (VALUE[:12], VALUE[:11:-1]))


@given(value=st.text(min_size=SHORTEST_TO_SPREAD), cut=st.integers(0, 40))
@example(value="00000000", cut=4)
@example(value="line one\nline two", cut=9)
def test_a_secret_in_two_pieces_is_shown_in_neither(value, cut):
    redactor = Redactor()
    redactor.add(value)
    shown = f"<{value}>"

    pieces = redactor.clean_seam([shown[:cut], shown[cut:]], arrived=len(shown[cut:]))

    assert len(pieces) == 2
    assert value not in "".join(pieces) or not value.strip()


def test_a_long_stream_is_looked_at_only_where_it_grew():
    redactor = Redactor()
    redactor.add(VALUE)
    log = "x" * 100_000

    assert redactor.clean_seam([log + VALUE[:5], VALUE[5:]], arrived=10) == [log + REDACTED, ""]


def test_a_short_secret_is_hidden_as_it_is_and_nothing_else():
    redactor = Redactor()
    redactor.add("ab")
    redactor.add(" ")

    assert redactor.clean("ab ba a b YWI= cab") == f"{REDACTED} ba a b YWI= c{REDACTED}"


def test_the_lines_of_a_key_file_are_hidden_one_by_one():
    redactor = Redactor()
    redactor.add("-----BEGIN KEY-----\nMIIEvQIBADANBgkqhkiG\nshort\n")

    assert redactor.clean("see MIIEvQIBADANBgkqhkiG and short") == f"see {REDACTED} and short"


def test_secrets_lie_encrypted_and_for_the_owner_alone(local):
    client = local.client.secrets
    client.create_scope("at-rest")
    client.put_secret("at-rest", "key", string_value=VALUE)

    kept = b"".join(path.read_bytes() for path in local.state.root.rglob("*") if path.is_file())
    assert client.get_secret("at-rest", "key").value == base64.b64encode(VALUE.encode()).decode()
    assert not [form for form in (VALUE, PRINTED["base64"], PRINTED["hexadecimal"]) if form.encode() in kept]
    for file in (local.state.secrets_key, local.state.database):
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
    assert stat.S_IMODE(local.state.root.stat().st_mode) == 0o700


def test_a_missing_or_wrong_key_is_named_and_a_new_one_serves_new_secrets(local):
    client, key = local.client.secrets, local.state.secrets_key
    client.create_scope("keys")
    client.put_secret("keys", "old", string_value="old")
    right = key.read_bytes()
    try:
        key.unlink()
        with pytest.raises(DatabricksError, match=r"keys/old cannot be read with secrets\.key.*is missing"):
            client.get_secret("keys", "old")
        client.put_secret("keys", "new", string_value="new")
        with pytest.raises(DatabricksError, match="encrypted with another key"):
            client.get_secret("keys", "old")
        assert client.get_secret("keys", "new").value == base64.b64encode(b"new").decode()
        key.write_text("not a key")
        with pytest.raises(DatabricksError, match="not 32 bytes in base64"):
            client.put_secret("keys", "new", string_value="newer")
    finally:
        key.write_bytes(right)
    assert client.get_secret("keys", "old").value == base64.b64encode(b"old").decode()


def test_a_secret_moved_to_another_name_in_the_database_is_not_read(tmp_path: Path):
    vault = Vault(tmp_path / "secrets.key")
    encrypted = vault.encrypt(b"value", "scope/key")

    assert vault.decrypt(encrypted, "scope/key") == b"value"
    with pytest.raises(InvalidState, match="another/key cannot be read"):
        vault.decrypt(encrypted, "another/key")


def test_a_secret_is_no_larger_than_on_databricks_and_no_error_repeats_it(local):
    client = local.client.secrets
    client.create_scope("large")
    client.put_secret("large", "most", string_value="x" * 128 * 1024)

    with pytest.raises(InvalidParameterValue, match="at most 131072 bytes"):
        client.put_secret("large", "more", string_value="x" * (128 * 1024 + 1))
    with pytest.raises(InvalidParameterValue) as refused:
        body = {"scope": "large", "key": "k", "string_value": [VALUE]}
        local.request("POST", "/api/2.0/secrets/put", body=body)
    assert str(refused.value) == "string_value must be text, not list"
    assert [secret.key for secret in client.list_secrets("large")] == ["most"]


VAULT = {
    "resource_id": "/subscriptions/1/resourceGroups/ml/providers/Microsoft.KeyVault/vaults/ours",
    "dns_name": "https://ours.vault.azure.net/",
}


def test_a_scope_backed_by_a_key_vault_is_listed_with_it(local):
    vault = AzureKeyVaultSecretScopeMetadata(**VAULT)
    backed = ScopeBackendType.AZURE_KEYVAULT
    local.client.secrets.create_scope("backed", scope_backend_type=backed, backend_azure_keyvault=vault)
    local.client.secrets.create_scope("own", scope_backend_type=ScopeBackendType.DATABRICKS)

    page = requests.get(f"{local.host}/secrets", headers={"Authorization": "Bearer x"}, timeout=10).text
    assert f"Its secrets are in the Key Vault {VAULT['dns_name']}" in page
    scopes = {scope.name: scope for scope in local.client.secrets.list_scopes()}
    assert scopes["backed"].backend_type is backed
    assert scopes["backed"].keyvault_metadata == vault
    assert scopes["own"].as_dict() == {"name": "own", "backend_type": "DATABRICKS"}


def test_the_pip_cli_makes_a_scope_that_a_key_vault_backs(local):
    where = ("--resource-id", VAULT["resource_id"], "--dns-name", VAULT["dns_name"])
    local.cli("secrets", "create-scope", "--scope", "pip", "--scope-backend-type", "AZURE_KEYVAULT", *where)

    listed = json.loads(local.cli("secrets", "list-scopes", "--output", "json"))["scopes"]
    assert {"name": "pip", "backend_type": "AZURE_KEYVAULT", "keyvault_metadata": VAULT} in listed


def test_the_secrets_of_a_key_vault_are_not_here_and_each_answer_says_so(local):
    client, vault = local.client.secrets, AzureKeyVaultSecretScopeMetadata(**VAULT)
    backed = ScopeBackendType.AZURE_KEYVAULT
    client.create_scope("elsewhere", scope_backend_type=backed, backend_azure_keyvault=vault)

    for attempt in (
        lambda: client.get_secret("elsewhere", "key"),
        lambda: list(client.list_secrets("elsewhere")),
        lambda: client.put_secret("elsewhere", "key", string_value=VALUE),
        lambda: client.delete_secret("elsewhere", "key"),
    ):
        with pytest.raises(NotImplemented, match=r"Key Vault https://ours\.vault\.azure\.net/: its secrets"):
            attempt()
    client.put_acl("elsewhere", "team", AclPermission.READ)
    assert client.get_acl("elsewhere", "team").permission is AclPermission.READ
    client.delete_scope("elsewhere")


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"scope_backend_type": "HSM"}, "scope_backend_type 'HSM' is not one of"),
        ({"scope_backend_type": "AZURE_KEYVAULT"}, "missing required field: resource_id"),
        (
            {"scope_backend_type": "AZURE_KEYVAULT", "backend_azure_keyvault": {"resource_id": "/x"}},
            "missing required field: dns_name",
        ),
    ],
)
def test_a_scope_whose_backend_is_not_whole_is_not_made(local, fields, message):
    with pytest.raises(InvalidParameterValue, match=message):
        local.request("POST", "/api/2.0/secrets/scopes/create", body={"scope": "unmade", **fields})

    assert "unmade" not in [scope.name for scope in local.client.secrets.list_scopes()]
