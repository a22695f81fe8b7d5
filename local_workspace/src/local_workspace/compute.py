"""What a task runs on: an existing cluster, one of the job, or serverless; all are the one Spark here."""

from local_workspace.database import Database, Document
from local_workspace.errors import InvalidParameter

# At most one of these is in a task; with none it is serverless.
COMPUTE = ("existing_cluster_id", "job_cluster_key", "new_cluster")

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


def compute_of(task: Document, settings: Document) -> Document:
    """What another task needs to run on the same; nothing where that is serverless."""
    if key := task.get("job_cluster_key"):
        return {"new_cluster": _job_clusters(settings)[key]["new_cluster"]}
    return {name: task[name] for name in COMPUTE if task.get(name)}


def access_mode(task: Document, settings: Document, database: Database) -> str:
    """The access mode of what a task of the job runs on."""
    compute = compute_of(task, settings)
    if cluster_id := compute.get("existing_cluster_id"):
        return access_mode_of(database.get("cluster", str(cluster_id)) or {})
    return access_mode_of(compute["new_cluster"]) if compute else SERVERLESS


def check_compute(task: Document, settings: Document, database: Database) -> None:
    """Raise InvalidParameter for a cluster that is not there, and for more than one."""
    where = f"Task '{task['task_key']}'"
    named = [name for name in COMPUTE if task.get(name)]
    if len(named) > 1:
        raise InvalidParameter(f"{where} may have one of {list(COMPUTE)}; it has {named}")
    if named == ["existing_cluster_id"] and database.get("cluster", str(task["existing_cluster_id"])) is None:
        raise InvalidParameter(f"{where}: Cluster {task['existing_cluster_id']} does not exist")
    clusters = _job_clusters(settings)
    if named == ["job_cluster_key"] and task["job_cluster_key"] not in clusters:
        raise InvalidParameter(
            f"{where}: job_cluster_key {task['job_cluster_key']!r} is not one of the job's {sorted(clusters)}"
        )
    if named == ["new_cluster"]:
        _check_new_cluster(task["new_cluster"], where)


def _job_clusters(settings: Document) -> dict[str, Document]:
    clusters = settings.get("job_clusters") or []
    if not isinstance(clusters, list) or not all(isinstance(cluster, dict) for cluster in clusters):
        raise InvalidParameter(f"job_clusters must be a list of objects, not {clusters!r}")
    for cluster in clusters:
        if not isinstance(cluster.get("job_cluster_key"), str):
            raise InvalidParameter(f"every job cluster needs a job_cluster_key; one has {sorted(cluster)}")
        _check_new_cluster(cluster.get("new_cluster"), f"Job cluster '{cluster['job_cluster_key']}'")
    return {cluster["job_cluster_key"]: cluster for cluster in clusters}


def _check_new_cluster(cluster: object, where: str) -> None:
    if not isinstance(cluster, dict) or not isinstance(cluster.get("spark_version"), str):
        raise InvalidParameter(
            f"{where}: new_cluster must be an object with a spark_version, not {cluster!r}"
        )
    check_access_mode(cluster, f"{where}: ")
