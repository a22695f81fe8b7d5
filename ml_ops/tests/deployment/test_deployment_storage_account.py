"""The upload to a storage account, against Azurite: what arrives, who may write, and what is said if not."""

import base64
import io
import json
import os
import signal
import subprocess
import sys
import time
from datetime import UTC, datetime, timedelta
from ipaddress import ip_address
from pathlib import Path

import pytest
from azure.core.exceptions import ResourceNotFoundError
from azurite import Azurite
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ec
from cryptography.x509.oid import NameOID
from deployment.data import FILES, address_of
from deployment.errors import DeploymentError
from deployment.storage_account import BLOCK, StorageFolder, read_key, upload_files

ROOT = Path(__file__).parents[3]
CONTAINER = "abfss://data@mlopsdata.dfs.core.windows.net"
KILLED = """
import sys
from pathlib import Path
from deployment.storage_account import StorageFolder, read_key, upload_files
upload_files([Path(sys.argv[1])], StorageFolder.parse(sys.argv[2]), read_key("-"))
"""


@pytest.fixture
def endpoint(azurite: Azurite, monkeypatch: pytest.MonkeyPatch) -> Azurite:
    monkeypatch.setenv("STORAGE_ENDPOINT", azurite.endpoint)
    return azurite


def folder(name: str) -> StorageFolder:
    return StorageFolder.parse(f"{CONTAINER}/{name}/")


# What arrives


def test_files_arrive_byte_by_byte_in_the_folder_of_the_address(endpoint: Azurite, capsys) -> None:
    upload_files(FILES, folder("new folder/deeper"), endpoint.key)

    for file in FILES:
        assert endpoint.read("data", f"new folder/deeper/{file.name}") == file.read_bytes()
    shown = capsys.readouterr().out
    assert f"Uploaded data_raw.csv ({FILES[0].stat().st_size:,} bytes) to {endpoint.endpoint}/data/" in shown
    assert endpoint.key not in shown


def test_an_upload_replaces_the_file_and_shows_how_far_a_large_one_is(
    endpoint: Azurite, tmp_path, capsys
) -> None:
    file = tmp_path / "large.csv"
    for content in (b"old", os.urandom(2 * BLOCK + 5)):
        file.write_bytes(content)
        upload_files([file], StorageFolder.parse(CONTAINER), endpoint.key)

    assert endpoint.read("data", "large.csv") == content
    assert "  large.csv: 8 of 8 MB\n" in capsys.readouterr().out


def test_nothing_is_written_where_one_of_the_files_is_there(endpoint: Azurite, tmp_path) -> None:
    there, absent = tmp_path / "there.csv", tmp_path / "absent.csv"
    for file in (there, absent):
        file.write_bytes(b"new")
    where = folder("of a team")
    upload_files([there], where, endpoint.key, overwrite=False)
    there.write_bytes(b"newer")

    with pytest.raises(DeploymentError, match=r"over http\S+/there\.csv; nothing was uploaded.*OVERWRITE=1"):
        upload_files([absent, there], where, endpoint.key, overwrite=False)

    assert endpoint.read("data", "of a team/there.csv") == b"new"
    assert not endpoint.service.get_blob_client("data", "of a team/absent.csv").exists()


def test_an_upload_that_is_killed_leaves_the_file_that_was_there(endpoint: Azurite, tmp_path) -> None:
    file = tmp_path / "kept.csv"
    file.write_bytes(b"whole")
    upload_files([file], folder("killed"), endpoint.key)
    file.write_bytes(bytes(20 * BLOCK))
    command = [sys.executable, "-c", KILLED, str(file), f"{CONTAINER}/killed"]
    environment = os.environ | {"PYTHONPATH": str(ROOT / "ml_ops")}
    with subprocess.Popen(
        command, env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
    ) as child:
        child.stdin.write(f"{endpoint.key}\n")
        child.stdin.flush()
        progress = child.stdout.readline()
        child.kill()

    assert "kept.csv: " in progress and child.wait() == -signal.SIGKILL
    assert endpoint.read("data", "killed/kept.csv") == b"whole"
    blob = endpoint.service.get_blob_client("data", "killed/kept.csv")
    assert blob.get_block_list("uncommitted")[1], "it was killed before it sent anything"
    upload_files([file], folder("killed"), endpoint.key)
    assert blob.get_blob_properties().size == 20 * BLOCK


# Who may write


def test_the_command_takes_the_key_from_standard_input_and_shows_it_nowhere(
    endpoint: Azurite, tmp_path
) -> None:
    (tmp_path / "databrickscfg").write_text("[dev]\nhost = http://127.0.0.1:9\ntoken = unused\n")
    settings = {
        "DATABRICKS_CONFIG_FILE": str(tmp_path / "databrickscfg"),
        "DATA_ROOT": "/mnt/anything/by-command",
        "LOCAL_WORKSPACE_STATE": str(tmp_path),
        "MOUNT_SOURCE": CONTAINER,
        "PYTHONPATH": str(ROOT / "ml_ops"),
        "STORAGE_KEY_FILE": "-",
        "TARGET": "staging",
        "WORKSPACE": "dev",
    }
    command = [sys.executable, "-m", "deployment", "upload-data"]
    finished = subprocess.run(
        command,
        env=os.environ | settings,
        input=f"{endpoint.key}\n",
        capture_output=True,
        text=True,
        check=False,
    )

    assert finished.returncode == 0, finished.stderr
    assert endpoint.read("data", "by-command/data_raw.csv") == FILES[0].read_bytes()
    assert endpoint.key not in finished.stdout + finished.stderr


def test_a_key_file_is_for_its_owner_alone(tmp_path) -> None:
    file = tmp_path / "key"
    file.write_text("c2VjcmV0\n")
    file.chmod(0o640)

    with pytest.raises(DeploymentError, match=r"key is open to others \(mode 0640\); `chmod 600"):
        read_key(str(file))
    file.chmod(0o600)
    assert read_key(str(file)) == "c2VjcmV0"
    with pytest.raises(DeploymentError, match=r"STORAGE_KEY_FILE=.*absent cannot be read: No such file"):
        read_key(str(tmp_path / "absent"))
    for no_key in ("\n", "DefaultEndpointsProtocol=https;AccountName=a"):
        file.write_text(no_key)
        with pytest.raises(DeploymentError, match=r"no account key, which is base64, in STORAGE_KEY_FILE=/"):
            read_key(str(file))


@pytest.mark.parametrize(
    "content", [b'"c2VjcmV0"', b"c2VjcmV0 c2VjcmV0\n", b"key=c2VjcmV0", b"c2Vj\0cmV0", b"\xff"]
)
def test_what_is_more_than_a_key_is_refused_and_not_repeated(
    tmp_path, monkeypatch: pytest.MonkeyPatch, content: bytes
) -> None:
    file = tmp_path / "key"
    file.write_bytes(content)
    file.chmod(0o600)

    for source in (str(file), "-"):
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(content), encoding="utf-8"))
        with pytest.raises(DeploymentError, match=r"no account key|is not UTF-8 text") as refused:
            read_key(source)
        assert "c2V" not in str(refused.value)


def test_a_byte_order_mark_is_no_part_of_a_key(tmp_path) -> None:
    file = tmp_path / "key"
    file.write_bytes(b"\xef\xbb\xbfc2VjcmV0\r\n")
    file.chmod(0o600)

    assert read_key(str(file)) == "c2VjcmV0"


def test_a_wrong_key_is_refused_by_the_service_and_nothing_arrives(endpoint: Azurite) -> None:
    wrong = base64.b64encode(os.urandom(64)).decode()

    with pytest.raises(
        DeploymentError, match=r"container 'data' of storage account 'mlopsdata'.*the key is not one of the"
    ) as e:
        upload_files(FILES, folder("refused"), wrong)

    assert wrong not in str(e.value) and "\n" not in str(e.value)
    with pytest.raises(ResourceNotFoundError):
        endpoint.read("data", "refused/data_raw.csv")


def test_an_absent_container_is_named(endpoint: Azurite) -> None:
    with pytest.raises(
        DeploymentError, match=r"container 'other' of .*'mlopsdata'.*make the container first"
    ):
        upload_files(FILES, StorageFolder("mlopsdata", "other", ""), endpoint.key)


def test_an_account_that_does_not_answer_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("STORAGE_ENDPOINT", "http://127.0.0.1:9/mlopsdata")
    monkeypatch.setattr(time, "sleep", lambda _: None)

    with pytest.raises(
        DeploymentError, match=r"'mlopsdata' does not answer at http://127.0.0.1:9/.*firewall"
    ):
        upload_files(FILES, folder("nowhere"), base64.b64encode(b"key").decode())


def test_without_a_key_and_a_sign_in_the_message_says_what_to_do(monkeypatch, tmp_path) -> None:
    monkeypatch.setenv("STORAGE_ENDPOINT", "https://127.0.0.1:9/mlopsdata")
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    monkeypatch.setenv("PATH", str(tmp_path))

    with pytest.raises(DeploymentError, match=r"sign in with `az login`, or .*STORAGE_KEY_FILE=<file>"):
        upload_files(FILES, folder("nobody"))


def test_the_person_who_is_signed_in_uploads_without_a_key(tmp_path, monkeypatch, capsys) -> None:
    service = Azurite(tmp_path, scheme="https")
    write_certificate(tmp_path)
    put_azure_cli(tmp_path, monkeypatch)
    monkeypatch.setenv("REQUESTS_CA_BUNDLE", str(tmp_path / "certificate.pem"))
    monkeypatch.setenv("STORAGE_ENDPOINT", service.endpoint)
    certificate = ("--cert", str(tmp_path / "certificate.pem"), "--key", str(tmp_path / "private.pem"))

    with service.running("--oauth", "basic", *certificate):
        service.service.create_container("data")
        upload_files(FILES, folder("signed-in"))
        arrived = service.read("data", "signed-in/data_raw.csv")
        put_azure_cli(tmp_path, monkeypatch, audience="https://graph.microsoft.com")
        with pytest.raises(DeploymentError, match="container 'data' of storage account 'mlopsdata'"):
            upload_files(FILES, folder("refused"))

    assert arrived == FILES[0].read_bytes()


def put_azure_cli(tmp_path, monkeypatch, audience: str = "https://storage.azure.com") -> None:
    """The one part of Azure that is made up: an `az` that has somebody signed in."""
    now = int(time.time())
    claims = {"aud": audience, "iss": "https://sts.windows.net/tenant/"}
    claims |= {"iat": now - 60, "nbf": now - 60, "exp": now + 3600}
    parts = [
        base64.urlsafe_b64encode(json.dumps(part).encode()).decode() for part in ({"alg": "none"}, claims)
    ]
    reply = {
        "accessToken": ".".join([*(part.rstrip("=") for part in parts), "c2lnbmVk"]),
        "expiresOn": f"{datetime.now() + timedelta(hours=1):%Y-%m-%d %H:%M:%S.%f}",
        "subscription": "s",
        "tenant": "t",
        "tokenType": "Bearer",
    }
    program = tmp_path / "bin" / "az"
    program.parent.mkdir(exist_ok=True)
    program.write_text(f"#!/bin/sh\necho '{json.dumps(reply)}'\n")
    program.chmod(0o700)
    monkeypatch.setenv("AZURE_TOKEN_CREDENTIALS", "AzureCliCredential")
    if str(program.parent) not in os.environ["PATH"]:
        monkeypatch.setenv("PATH", f"{program.parent}{os.pathsep}{os.environ['PATH']}")


def write_certificate(folder: Path) -> None:
    key = ec.generate_private_key(ec.SECP256R1())
    name = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "127.0.0.1")])
    alternatives = x509.SubjectAlternativeName([x509.IPAddress(ip_address("127.0.0.1"))])
    now = datetime.now(UTC)
    certificate = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(key.public_key())
        .serial_number(1)
        .not_valid_before(now - timedelta(hours=1))
        .not_valid_after(now + timedelta(hours=1))
        .add_extension(alternatives, critical=False)
        .sign(key, hashes.SHA256())
    )
    (folder / "certificate.pem").write_bytes(certificate.public_bytes(serialization.Encoding.PEM))
    private = key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    )
    (folder / "private.pem").write_bytes(private)


# Where the data goes


@pytest.mark.parametrize(
    ("data_root", "mount_source", "address"),
    [
        ("dbfs:/project/data/", "", "dbfs:/project/data"),
        ("/project/data", "", "dbfs:/project/data"),
        ("/Volumes/main/diabetes/data", "", "/Volumes/main/diabetes/data"),
        ("dbfs:/Volumes/main/diabetes/data", "", "/Volumes/main/diabetes/data"),
        (f"{CONTAINER}/data", "", f"{CONTAINER}/data"),
        ("/mnt/wards", "", "dbfs:/mnt/wards"),
        ("/mnt/wards/data", f"{CONTAINER}/", f"{CONTAINER}/data"),
        ("dbfs:/mnt/wards", f"{CONTAINER}/a", f"{CONTAINER}/a"),
    ],
)
def test_data_goes_to_where_the_jobs_will_read_it(data_root: str, mount_source: str, address: str) -> None:
    assert address_of(data_root, mount_source) == address


def test_a_mount_source_is_for_a_mount() -> None:
    with pytest.raises(
        DeploymentError, match=r"MOUNT_SOURCE is for a DATA_ROOT below /mnt/<name>; .*'dbfs:/data'"
    ):
        address_of("dbfs:/data", CONTAINER)


@pytest.mark.parametrize("address", ["abfss://data/x", "abfss://data@a.blob.core.windows.net", "abfss://@a/"])
def test_an_address_of_another_form_is_refused(address: str) -> None:
    with pytest.raises(DeploymentError, match="is not of the form abfss://<container>@<account>"):
        StorageFolder.parse(address)
