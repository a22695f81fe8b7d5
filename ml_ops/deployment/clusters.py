"""The existing cluster that the jobs run on."""

import json
import time
from typing import Any

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.settings import ROOT
from deployment.workspace import Workspace, is_service_principal

DEFINITION = ROOT / "ml_ops" / "deployment" / "databricks" / "cluster.json"
START_SECONDS = 1200
POLL_SECONDS = 2


def find_cluster(cli: DatabricksCli, name: str) -> dict[str, Any] | None:
    """The cluster of exactly this name, None when there is none; two of one name are an error."""
    found = [cluster for cluster in cli.clusters() if cluster["cluster_name"] == name]
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
            "let `make databricks-init CREATE_CLUSTER=1` create it, or go without one: COMPUTE=serverless, "
            "for `make databricks-init` and for `make deploy`"
        )
    return str(cluster["cluster_id"])


def ensure_cluster(cli: DatabricksCli, name: str, *, create: bool, policy: str = "", user: str = "") -> str:
    """Finds the cluster, creates it if that is allowed, and waits until it runs; returns its id.

    `policy` names the cluster policy that a new one obeys, `user` whom it is for, a person or a service
    principal by its id: nobody else may use it. Without one it is for who makes it.
    """
    missing = create and find_cluster(cli, name) is None
    if missing:
        definition = json.loads(DEFINITION.read_text()) | {"cluster_name": name}
        definition |= {"single_user_name": user} if user else {}
        cli.create_cluster(definition | obey(cli.workspace, policy))
        print(f"Cluster '{name}' is created" + (f" under policy '{policy}'" if policy else ""))
    cluster_id = require_cluster(cli, name)
    if missing and user:
        _let_restart(cli.workspace, cluster_id, user)
    cluster = _wait_until_running(cli, cluster_id)
    only = cluster.get("single_user_name", "")
    print(f"Cluster '{name}' ({cluster_id}) is running" + (f", for jobs that run as {only}" if only else ""))
    return cluster_id


def job_cluster(workspace: Workspace, policy: str) -> dict[str, Any]:
    """The cluster that each run of a job gets to itself: that of cluster.json, as long as the run takes."""
    definition: dict[str, Any] = json.loads(DEFINITION.read_text())
    of_its_own = ("cluster_name", "autotermination_minutes")
    return {name: value for name, value in definition.items() if name not in of_its_own} | obey(
        workspace, policy
    )


def obey(workspace: Workspace, policy: str) -> dict[str, Any]:
    """What a cluster's definition says to obey the cluster policy of this name and take its defaults."""
    if not policy:
        return {}
    names = name_policies(workspace)
    found = [policy_id for policy_id, name in names.items() if name == policy]
    if len(found) != 1:
        possible = sorted(names.values())
        raise DeploymentError(f"{len(found)} cluster policies are called '{policy}'; you may use {possible}")
    return {"policy_id": found[0], "apply_policy_default_values": True}


def name_policies(workspace: Workspace) -> dict[str, str]:
    """The names of the cluster policies that the user may use, by their ids."""
    listed = workspace.call("GET", "/api/2.0/policies/clusters/list").get("policies", [])
    return {each["policy_id"]: each["name"] for each in listed}


def _let_restart(workspace: Workspace, cluster_id: str, user: str) -> None:
    """Lets somebody use the cluster, besides who made it."""
    kind = "service_principal_name" if is_service_principal(user) else "user_name"
    more = {"access_control_list": [{kind: user, "permission_level": "CAN_RESTART"}]}
    workspace.call("PATCH", f"/api/2.0/permissions/clusters/{cluster_id}", json=more, repeats=True)


def _wait_until_running(cli: DatabricksCli, cluster_id: str) -> dict[str, Any]:
    started = False
    shown = ""
    end = time.monotonic() + START_SECONDS
    while time.monotonic() < end:
        cluster = cli.cluster(cluster_id)
        state = str(cluster["state"])
        if state == "RUNNING":
            return cluster
        if state != shown:
            print(f"Cluster {cluster_id} is {state}", flush=True)
            shown = state
        if state in ("ERROR", "UNKNOWN") or (started and state == "TERMINATED"):
            raise DeploymentError(
                f"cluster {cluster_id} is {state}: {cluster.get('state_message', 'no reason given')}"
            )
        if state == "TERMINATED":
            cli.start_cluster(cluster_id)
            started = True
        time.sleep(POLL_SECONDS)
    raise DeploymentError(f"cluster {cluster_id} was still {shown} after {START_SECONDS} s")
