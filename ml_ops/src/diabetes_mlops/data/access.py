"""Opens the way to the data before a job reads it: the credential of a storage account, or a mount."""

from typing import Any

from pyspark.errors import PySparkException
from pyspark.sql import SparkSession

from diabetes_mlops.runs.settings import AccessSettings
from diabetes_mlops.runs.spark_errors import reason_of

# The keys in the secret scope.
ACCOUNT_KEY = "storage-account-key"
PRINCIPAL_ID = "service-principal-id"
PRINCIPAL_SECRET = "service-principal-secret"
PRINCIPAL_TENANT = "service-principal-tenant"
_REDACTED = "spark.sql.redaction.options.regex"


class DataAccessError(RuntimeError):
    """What the job was given does not open the way to its data."""


def open_data_root(spark: SparkSession, dbutils: Any, access: AccessSettings) -> None:
    """Ensure the mount of `data_root`, or give the session the credential of its storage account.

    Does nothing where neither is asked for: Unity Catalog's volumes and external locations, and DBFS, need
    no credential. Raises DataAccessError.
    """
    if access.mount_source:
        _ensure_mount(dbutils, access)
    elif access.data_credential:
        _give_session(spark, read_credential(dbutils, access), access.account_host)
        kind, scope = access.data_credential, access.secret_scope
        print(f"reads {access.account_host} with the {kind} of scope {scope!r}")


def read_credential(dbutils: Any, access: AccessSettings) -> dict[str, str]:
    """Read the credential from the secret scope, as the settings of Hadoop's driver for `abfss://`."""

    def secret(key: str) -> str:
        try:
            return str(dbutils.secrets.get(scope=access.secret_scope, key=key))
        except Exception as error:
            raise DataAccessError(
                f"data_credential is {access.data_credential}, but secret scope {access.secret_scope!r} "
                f"gives this job no key {key!r}: {reason_of(error)}"
            ) from error

    if access.data_credential == "account-key":
        return {"fs.azure.account.auth.type": "SharedKey", "fs.azure.account.key": secret(ACCOUNT_KEY)}
    tokens = "org.apache.hadoop.fs.azurebfs.oauth2.ClientCredsTokenProvider"
    endpoint = f"https://login.microsoftonline.com/{secret(PRINCIPAL_TENANT)}/oauth2/token"
    return {
        "fs.azure.account.auth.type": "OAuth",
        "fs.azure.account.oauth.provider.type": tokens,
        "fs.azure.account.oauth2.client.id": secret(PRINCIPAL_ID),
        "fs.azure.account.oauth2.client.secret": secret(PRINCIPAL_SECRET),
        "fs.azure.account.oauth2.client.endpoint": endpoint,
    }


def _give_session(spark: SparkSession, credential: dict[str, str], host: str) -> None:
    try:
        # Spark writes what a session has set into its event log; it hides secrets, but knows no account keys.
        spark.conf.set(_REDACTED, f"{spark.conf.get(_REDACTED)}|account[.]key")
        for name, value in credential.items():
            spark.conf.set(f"{name}.{host}", value)
    except PySparkException as error:
        # Without the error itself, which may have the value in its text.
        raise DataAccessError(
            f"this cluster takes no credential from a session ({error.getCondition()}): use a dedicated "
            "cluster, or an external location with an empty data_credential"
        ) from None


def _ensure_mount(dbutils: Any, access: AccessSettings) -> None:
    """Mount where nothing is mounted; another mount stays, since other jobs may be reading through it."""
    source, point = access.mount_source, access.mount_point
    dbutils.fs.refreshMounts()
    if _is_mounted(dbutils, source, point):
        return
    if not access.data_credential:
        raise DataAccessError(
            f"nothing is mounted at {point}, and a mount of {source} takes data_credential service-principal"
        )
    credential = read_credential(dbutils, access)
    try:
        dbutils.fs.mount(source=source, mount_point=point, extra_configs=credential)
    except Exception:
        # Another job may have been faster.
        if not _is_mounted(dbutils, source, point):
            raise
    print(f"mounted {source} at {point}")


def _is_mounted(dbutils: Any, source: str, point: str) -> bool:
    """Tell whether this source is mounted there; raises DataAccessError where another one is."""
    mounted = {mount.mountPoint.rstrip("/"): mount.source.rstrip("/") for mount in dbutils.fs.mounts()}
    if point in mounted and mounted[point] != source:
        raise DataAccessError(
            f"at {point} {mounted[point]} is mounted, not {source}; choose another /mnt/<name>, or have that "
            "mount removed when no job uses it"
        )
    return point in mounted
