"""What a task runs on: an existing cluster, one of the job, or serverless; all are the one Spark here."""

from local_workspace.clock import now
from local_workspace.errors import InvalidParameter
from local_workspace.spark.access_modes import SERVERLESS, access_mode_of, check_access_mode
from local_workspace.store.database import Database, Document

# At most one of these is in a task; with none it is serverless.
COMPUTE = ("existing_cluster_id", "job_cluster_key", "new_cluster")
KEPT_EVENTS = 200


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


def find_cluster(database: Database, cluster_id: str) -> Document:
    """One cluster's document; a missing one is an InvalidParameter, as on Databricks."""
    cluster = database.get("cluster", cluster_id)
    if cluster is None:
        raise InvalidParameter(f"Cluster {cluster_id} does not exist")
    return cluster


def start_cluster(database: Database, cluster_id: str) -> None:
    """Take back a cluster's termination; a running one stays as it is."""
    if find_cluster(database, cluster_id)["terminated"]:
        change_cluster(database, cluster_id, "STARTING", terminated=False, start_time=now())


def change_cluster(database: Database, cluster_id: str, event: str, **change: object) -> None:
    """Change a cluster's document, and note by an official EventType what has happened to it."""
    database.update(
        "cluster", cluster_id, lambda document: document.update(with_event(document, event), **change)
    )


def with_event(cluster: Document, event: str) -> Document:
    """A cluster to which this has happened; of very many events the last are kept."""
    events = [*cluster.get("events", []), {"timestamp": now(), "type": event}]
    return {**cluster, "events": events[-KEPT_EVENTS:]}


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
