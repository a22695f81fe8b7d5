"""The existing cluster that the jobs run on."""

import json
import time
from typing import Any

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT

DEFINITION = ROOT / "ml_ops" / "deployment" / "databricks" / "cluster.json"
START_SECONDS = 1200
POLL_SECONDS = 2


def find_cluster(cli: DatabricksCli, name: str) -> dict[str, Any] | None:
    """The cluster of exactly this name, None when there is none; two of one name are an error."""
    clusters = cli.run("clusters", "list", "--output", "json").get("clusters", [])
    found = [cluster for cluster in clusters if cluster["cluster_name"] == name]
    if len(found) > 1:
        ids = [cluster["cluster_id"] for cluster in found]
        raise DeploymentError(
            f"{len(found)} clusters are called '{name}': {ids}; rename or delete all but one"
        )
    return found[0] if found else None


def require_cluster(cli: DatabricksCli, name: str) -> str:
    """The id of the cluster of this name."""
    cluster = find_cluster(cli, name)
    if cluster is None:
        raise DeploymentError(
            f"no cluster is called '{name}'; name yours with CLUSTER_NAME=<name>, "
            "or let `make databricks-init CREATE_CLUSTER=1` create it"
        )
    return str(cluster["cluster_id"])


def ensure_cluster(cli: DatabricksCli, name: str, *, create: bool) -> str:
    """Finds the cluster, creates it if that is allowed, and waits until it runs; returns its id."""
    if create and find_cluster(cli, name) is None:
        definition = json.loads(DEFINITION.read_text()) | {"cluster_name": name}
        cli.run("clusters", "create", "--json", json.dumps(definition))
        print(f"Cluster '{name}' is created")
    cluster_id = require_cluster(cli, name)
    _wait_until_running(cli, cluster_id)
    print(f"Cluster '{name}' ({cluster_id}) is running")
    return cluster_id


def _wait_until_running(cli: DatabricksCli, cluster_id: str) -> None:
    started = False
    shown = ""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        cluster = cli.run("clusters", "get", "--cluster-id", cluster_id)
        state = str(cluster["state"])
        if state == "RUNNING":
            return
        if state != shown:
            print(f"Cluster {cluster_id} is {state}", flush=True)
            shown = state
        if state in ("ERROR", "UNKNOWN") or (started and state == "TERMINATED"):
            raise DeploymentError(
                f"cluster {cluster_id} is {state}: {cluster.get('state_message', 'no reason given')}"
            )
        if state == "TERMINATED":
            cli.run("clusters", "start", "--cluster-id", cluster_id)
            started = True
        time.sleep(POLL_SECONDS)
    raise DeploymentError(f"cluster {cluster_id} was still {shown} after {START_SECONDS} s")
