"""Clusters by their names, through the real `databricks` program against a small HTTP server."""

import pytest
from deployment.clusters import ensure_cluster, require_cluster
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from rest_server import Server


def test_two_clusters_of_one_name_are_refused_with_their_ids(server: Server, cli: DatabricksCli) -> None:
    clusters = [
        {"cluster_id": key, "cluster_name": name} for key, name in (("1", "ml"), ("2", "ml"), ("3", "ml-2"))
    ]
    server.replies["/api/2.0/clusters/list"] = {"clusters": clusters}

    with pytest.raises(DeploymentError, match=r"2 clusters are called 'ml': \['1', '2'\]"):
        require_cluster(cli, "ml")


def test_missing_cluster_is_created_only_when_that_is_allowed(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.0/clusters/list"] = {}

    with pytest.raises(DeploymentError, match=r"called 'ml'.*CREATE_CLUSTER=1.*COMPUTE=serverless"):
        ensure_cluster(cli, "ml", create=False)


def test_created_cluster_has_its_name_and_is_waited_for(server: Server, cli: DatabricksCli) -> None:
    known = {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}
    server.replies |= {
        "/api/2.0/clusters/list": [{}, known],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": [{"state": "TERMINATED"}, {"state": "RUNNING"}],
        "/api/2.0/clusters/start": {},
    }

    assert ensure_cluster(cli, "ml", create=True) == "7"
    made = server.body_sent_to("/api/2.0/clusters/create")
    assert made["cluster_name"] == "ml" and "single_user_name" not in made
    assert server.body_sent_to("/api/2.0/clusters/start") == {"cluster_id": "7"}


def test_a_new_cluster_obeys_the_policy_of_that_name(server: Server, cli: DatabricksCli) -> None:
    server.replies |= {
        "/api/2.0/policies/clusters/list": {"policies": [{"policy_id": "P1", "name": "small"}]},
        "/api/2.0/clusters/list": [{}, {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": {"state": "RUNNING"},
    }

    ensure_cluster(cli, "ml", create=True, policy="small")

    sent = server.body_sent_to("/api/2.0/clusters/create")
    assert (sent["policy_id"], sent["apply_policy_default_values"]) == ("P1", True)
    server.replies["/api/2.0/clusters/list"] = {}
    with pytest.raises(DeploymentError, match=r"0 cluster policies are called 'large'; .* \['small'\]"):
        ensure_cluster(cli, "other", create=True, policy="large")


@pytest.mark.parametrize(
    ("user", "kind"),
    [
        ("11111111-2222-3333-4444-555555555555", "service_principal_name"),
        ("jo@example.com", "user_name"),
    ],
)
def test_a_new_cluster_is_for_whom_the_jobs_run_as(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], user: str, kind: str
) -> None:
    known = {"clusters": [{"cluster_id": "7", "cluster_name": "ml"}]}
    server.replies |= {
        "/api/2.0/clusters/list": [{}, known, known],
        "/api/2.0/clusters/create": {"cluster_id": "7"},
        "/api/2.0/clusters/get": {"state": "RUNNING", "single_user_name": user},
        "/api/2.0/permissions/clusters/7": {},
    }

    ensure_cluster(cli, "ml", create=True, user=user)

    made = server.body_sent_to("/api/2.0/clusters/create")
    assert (made["data_security_mode"], made["single_user_name"]) == ("SINGLE_USER", user)
    assert server.body_sent_to("/api/2.0/permissions/clusters/7") == {
        "access_control_list": [{kind: user, "permission_level": "CAN_RESTART"}]
    }
    assert f"Cluster 'ml' (7) is running, for jobs that run as {user}" in capsys.readouterr().out
