"""Access modes of compute, and which Spark a notebook has in each."""

from local_workspace.errors import InvalidParameter
from local_workspace.store.database import Document

DEDICATED, STANDARD, NO_ISOLATION = "Dedicated", "Standard", "No isolation shared"
SERVERLESS = "Serverless"
# The access modes by what `data_security_mode` of a cluster says, of which some are older names of others.
ACCESS_MODES = {
    "DATA_SECURITY_MODE_DEDICATED": DEDICATED,
    "DATA_SECURITY_MODE_STANDARD": STANDARD,
    "SINGLE_USER": DEDICATED,
    "USER_ISOLATION": STANDARD,
    "NONE": NO_ISOLATION,
    "LEGACY_SINGLE_USER": "Legacy single user",
    "LEGACY_SINGLE_USER_STANDARD": "Legacy single user",
    "LEGACY_PASSTHROUGH": "Legacy passthrough",
    "LEGACY_TABLE_ACL": "Legacy table access control",
}
CHOSEN_BY_DATABRICKS = "DATA_SECURITY_MODE_AUTO"


def access_mode_of(cluster: Document) -> str:
    """The access mode of a cluster with these settings.

    Left to Databricks it is dedicated with a runtime for machine learning, which runs on no other, else
    standard.
    """
    asked = cluster.get("data_security_mode") or "NONE"
    if asked == CHOSEN_BY_DATABRICKS:
        is_ml = cluster.get("use_ml_runtime") or "-ml-" in str(cluster.get("spark_version"))
        return DEDICATED if is_ml else STANDARD
    return ACCESS_MODES.get(asked, asked)


def check_access_mode(cluster: Document, where: str = "") -> None:
    """Raise InvalidParameter for an access mode that there is not."""
    asked, known = cluster.get("data_security_mode"), [*ACCESS_MODES, CHOSEN_BY_DATABRICKS]
    if asked and asked not in known:
        raise InvalidParameter(f"{where}data_security_mode {asked!r} is not one of {known}")


def is_classic(mode: str) -> bool:
    """Whether a notebook has Spark Classic in this access mode; in the others it has Spark Connect."""
    return mode not in (STANDARD, SERVERLESS)


def described(mode: str) -> str:
    """An access mode and the Spark that it gives, for people."""
    return f"{mode} · Spark {'Classic' if is_classic(mode) else 'Connect'}"
