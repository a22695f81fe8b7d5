"""What a task runs on: an existing cluster, one of the job, or serverless; all are the one Spark here."""

from local_workspace.database import Database, Document
from local_workspace.errors import InvalidParameter

# At most one of these is in a task; with none it is serverless.
COMPUTE = ("existing_cluster_id", "job_cluster_key", "new_cluster")


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
