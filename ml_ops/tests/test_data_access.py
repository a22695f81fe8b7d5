"""Jobs read storage accounts with what the secret scope holds: Spark, Hadoop's driver, Azurite."""

import base64
import json
import os
import threading
from collections.abc import Iterator
from contextlib import nullcontext
from dataclasses import dataclass, field
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from types import SimpleNamespace
from typing import Any
from urllib.parse import parse_qs

import problems
import pytest
from azurite import Azurite
from diabetes_mlops.data.access import DataAccessError, open_data_root, read_credential
from diabetes_mlops.data.places import SourceNotFoundError, SourceUnreachableError
from diabetes_mlops.data.reading import read_as_found, read_table
from diabetes_mlops.runs.settings import AccessSettings
from diabetes_mlops.runs.widgets import SettingsError
from pyspark.sql import SparkSession

NOTEBOOKS = Path(__file__).parents[1] / "orchestrator"
HOST = "mlopsdata.dfs.core.windows.net"
ACCOUNT_KEY = {"data_credential": "account-key", "secret_scope": "scope"}
PRINCIPAL = {
    "service_principal_id": "an-id",
    "service_principal_secret": "very-secret",
    "service_principal_tenant": "a-tenant",
}


@dataclass
class Secrets:
    """A scope of made-up secrets; tests/test_data_roots.py has those of a workspace."""

    values: dict[str, str]

    def get(self, scope: str, key: str) -> str:
        if key not in self.values:
            raise RuntimeError(f"Secret does not exist with scope: {scope} and key: {key}\n at java")
        return self.values[key]


def dbutils(**secrets: str) -> SimpleNamespace:
    return SimpleNamespace(secrets=Secrets({name.replace("_", "-"): secrets[name] for name in secrets}))


def access(data_root: str = f"abfss://data@{HOST}/jobs", **widgets: str) -> AccessSettings:
    return AccessSettings.from_widgets({"data_root": data_root} | widgets)


@pytest.fixture(scope="module")
def uploaded(azurite: Azurite) -> str:
    """The folder of the data in Azurite, as Spark reads it without TLS."""
    from deployment.storage_account import StorageFolder, upload_files

    files = [problems.data_folder() / name for name in ("data_raw.csv", "data_batch_input.csv")]
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("STORAGE_ENDPOINT", azurite.endpoint)
        upload_files(files, StorageFolder("mlopsdata", "data", "jobs"), azurite.key)
    return f"abfs://data@{HOST}/jobs"


@pytest.fixture
def session(own_session: SparkSession, azurite: Azurite) -> SparkSession:
    """A session whose driver finds Azurite, which has the Blob service alone."""
    lead = {
        "fs.azure.abfs.endpoint": f"127.0.0.1:{azurite.port}",
        "fs.azure.account.hns.enabled": "false",
        "fs.azure.always.use.https": "false",
        "fs.azure.fns.account.service.type": "BLOB",
        "fs.azure.ingress.service.type": "BLOB",
        "fs.azure.io.retry.max.retries": "0",
    }
    for name, value in lead.items():
        own_session.conf.set(name, value)
    return own_session


def test_the_account_key_of_the_scope_lets_spark_read_the_uploaded_data(
    session, azurite, uploaded, capsys
) -> None:
    open_data_root(session, dbutils(storage_account_key=azurite.key), access(**ACCOUNT_KEY))

    assert len(read_table(session, f"{uploaded}/data_raw.csv").toPandas()) == 442
    assert read_as_found(session, f"{uploaded}/data_batch_input.csv").count() == 100
    with pytest.raises(SourceNotFoundError, match=r"there is no file or table 'abfs://.*/absent.csv'"):
        read_as_found(session, f"{uploaded}/absent.csv")
    shown = session.sql("SET").where("key LIKE 'fs.azure.account.%'").collect()
    assert [row["value"] for row in shown if row["key"].startswith("fs.azure.account.key")] == [
        "*********(redacted)"
    ]
    assert azurite.key not in capsys.readouterr().out


@pytest.mark.parametrize("source", ["data_raw.csv", "a folder"])
def test_a_storage_account_that_refuses_is_one_sentence(session, azurite, uploaded, source: str) -> None:
    # Hadoop keeps the key that it opened a container with, so this is another container.
    container = f"abfs://refused-{source[:1]}@{HOST}"
    wrong = base64.b64encode(os.urandom(64)).decode()
    open_data_root(session, dbutils(storage_account_key=wrong), access(**ACCOUNT_KEY))

    with pytest.raises(SourceUnreachableError) as error:
        read_as_found(session, f"{container}/{source}")

    said = str(error.value)
    assert said.startswith(f"'{container}/{source}' cannot be read: ") and "failed to authenticate" in said
    assert "Check data_root, data_credential" in said and "\n" not in said and wrong not in said


def test_without_a_credential_nothing_is_read_from_the_scope_and_a_refusal_says_so(session, uploaded) -> None:
    open_data_root(session, dbutils=None, access=access(secret_scope="scope"))

    with pytest.raises(
        SourceUnreachableError, match=r"fs.azure.account.key\. Check data_root, data_credential"
    ):
        read_as_found(session, f"abfs://open@{HOST}/data_raw.csv")


def test_a_service_principal_asks_for_its_token_with_the_secrets_of_the_scope(session, entra, capsys) -> None:
    settings = access(data_credential="service-principal", secret_scope="scope")
    open_data_root(session, dbutils(**PRINCIPAL), settings)
    session.conf.set(f"fs.azure.account.oauth2.client.endpoint.{HOST}", entra.address)

    # With a token the driver insists on TLS: what it asks for it with shows that all names are right.
    with pytest.raises(SourceUnreachableError, match=r"cannot be read: .*SSLException"):
        read_as_found(session, f"abfs://principal@{HOST}/data_raw.csv")

    assert {name: entra.asked[name] for name in ("grant_type", "client_id", "client_secret")} == {
        "grant_type": ["client_credentials"],
        "client_id": ["an-id"],
        "client_secret": ["very-secret"],
    }
    endpoint = read_credential(dbutils(**PRINCIPAL), settings)["fs.azure.account.oauth2.client.endpoint"]
    assert endpoint == "https://login.microsoftonline.com/a-tenant/oauth2/token"
    shown = session.sql("SET").where("key LIKE '%client.secret%'").collect()
    assert [row["value"] for row in shown] == ["*********(redacted)"]
    assert "very-secret" not in capsys.readouterr().out


@dataclass
class Entra:
    """Stands in for the sign-in of Microsoft: gives out one token and keeps what it was asked with."""

    address: str = ""
    asked: dict[str, list[str]] = field(default_factory=dict)


@pytest.fixture
def entra() -> Iterator[Entra]:
    state = Entra()

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            state.asked = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
            reply = {"token_type": "Bearer", "expires_in": "3599", "access_token": "made-up"}
            content = json.dumps(reply).encode()
            self.send_response(200)
            self.send_header("Content-Type", "application/json")
            self.send_header("Content-Length", str(len(content)))
            self.end_headers()
            self.wfile.write(content)

        def log_message(self, *_: Any) -> None:
            pass

    with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as http:
        state.address = f"http://127.0.0.1:{http.server_port}/a-tenant/oauth2/token"
        thread = threading.Thread(target=http.serve_forever, kwargs={"poll_interval": 0.05})
        thread.start()
        yield state
        http.shutdown()
        thread.join()


def test_a_secret_that_is_missing_is_named_with_its_scope(session) -> None:
    missing = (
        r"account-key, but secret scope 'scope' gives this job no key 'storage-account-key': Secret does not"
    )

    with pytest.raises(DataAccessError, match=missing) as error:
        open_data_root(session, dbutils(), access(**ACCOUNT_KEY))

    assert "\n" not in str(error.value)


def test_a_cluster_that_takes_no_credential_says_where_it_may_go(session, monkeypatch) -> None:
    # What serverless answers to any setting; here one of Spark's own that no session may change.
    monkeypatch.setattr("diabetes_mlops.data.access._REDACTED", "spark.sql.warehouse.dir")

    with pytest.raises(
        DataAccessError, match=r"\(CANNOT_MODIFY_STATIC_CONFIG\): use a dedicated cluster, or an ext"
    ):
        open_data_root(session, dbutils(storage_account_key="c2VjcmV0"), access(**ACCOUNT_KEY))


@pytest.mark.parametrize(
    ("widgets", "refused"),
    [
        ({"data_credential": "key"}, "data_credential must be account-key or service-principal; got 'key'"),
        (
            {"data_credential": "account-key", "data_root": "dbfs:/data"},
            r"data_root must be abfss://<container>@<account>.*data_credential is given; got 'dbfs:/data'",
        ),
        ({"data_credential": "account-key"}, "secret_scope must not be empty"),
        ({"mount_source": "wasbs://a@b.blob.core.windows.net"}, "mount_source must be abfss://.*got 'wasbs:"),
        (
            {"mount_source": f"abfss://data@{HOST}"},
            r"data_root must be /mnt/<name>\[/<folder>\], because mount_source is given; got 'abfss:",
        ),
        (
            {
                "mount_source": f"abfss://data@{HOST}",
                "data_root": "/mnt/a/b",
                "data_credential": "account-key",
            },
            "a mount takes data_credential service-principal; got 'account-key'",
        ),
    ],
)
def test_widgets_that_do_not_go_together_are_refused(widgets: dict[str, str], refused: str) -> None:
    with pytest.raises(SettingsError, match=refused):
        AccessSettings.from_widgets({"data_root": f"abfss://data@{HOST}"} | widgets)


def test_a_mount_is_the_first_folder_below_mnt() -> None:
    widgets = {"mount_source": f"abfss://data@{HOST}/a/", "data_root": "dbfs:/mnt/wards/day/1"}

    settings = AccessSettings.from_widgets(widgets)

    assert (settings.mount_point, settings.mount_source) == ("/mnt/wards", f"abfss://data@{HOST}/a")


@dataclass
class Mounts:
    """What is mounted, and another job that mounts at the very moment when this one does."""

    another_source: str
    mounted: list[SimpleNamespace] = field(default_factory=list)

    def mounts(self) -> list[SimpleNamespace]:
        return self.mounted

    def refreshMounts(self) -> bool:
        return True

    def mount(self, source: str, mount_point: str, extra_configs: dict[str, str]) -> bool:
        if self.another_source:
            self.mounted = [SimpleNamespace(mountPoint=mount_point, source=self.another_source)]
        raise RuntimeError(f"Directory already mounted: {mount_point}")


@pytest.mark.parametrize(
    ("another_source", "raised"),
    [
        (f"abfss://data@{HOST}/", None),
        (f"abfss://data@{HOST}/b", "is mounted, not abfss://data@"),
        ("", "Directory already mounted: /mnt/wards"),
    ],
)
def test_a_mount_that_another_job_makes_at_the_same_moment_is_as_good(
    another_source: str, raised: str | None
) -> None:
    principal = SimpleNamespace(fs=Mounts(another_source), secrets=dbutils(**PRINCIPAL).secrets)
    given = {"data_credential": "service-principal", "secret_scope": "scope"}
    settings = access("/mnt/wards", mount_source=f"abfss://data@{HOST}", **given)

    with pytest.raises(RuntimeError, match=raised) if raised else nullcontext():
        open_data_root(None, principal, settings)


@pytest.mark.parametrize("notebook", sorted(NOTEBOOKS.glob("*.py")), ids=lambda path: path.stem)
def test_every_notebook_opens_the_way_to_its_data_before_it_runs_its_job(notebook: Path) -> None:
    way, job = (
        "\nopen_data_root(spark, dbutils, AccessSettings.from_widgets(dbutils.widgets))\n",
        ".run(spark, ",
    )

    before, found, after = notebook.read_text().partition(way)

    assert found and job in after and job not in before
