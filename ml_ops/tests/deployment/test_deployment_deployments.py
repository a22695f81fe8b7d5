"""Versions of the code, through the real `databricks` program against a small HTTP server."""

from base64 import b64encode
from pathlib import Path
from typing import Any, NoReturn

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.deployments import choose_compute, prune, roll_back, roll_back_with_model
from deployment.errors import DeploymentError
from deployment.targets import Target
from deployment.workspace import User
from rest_server import Server, listed_job


@pytest.mark.parametrize("compute", ["existing", "job", "serverless"])
def test_what_the_jobs_run_on_is_one_setting(server: Server, cli: DatabricksCli, compute: str) -> None:
    clusters = [{"cluster_id": "7", "cluster_name": "azure-databricks-mlops-mlflow"}]
    server.replies["/api/2.0/clusters/list"] = {"clusters": clusters}
    target = Target("staging", lambda: User("ada@example.com"), {"compute": compute})

    chosen = choose_compute(cli, target)

    assert chosen["cluster_id"] == ("7" if compute == "existing" else "")
    assert bool(chosen["job_cluster_key"]) == bool(chosen["job_clusters"]) == (compute == "job")
    if compute == "job":
        assert "cluster_name" not in chosen["job_clusters"][0]["new_cluster"]


def test_a_compute_that_is_none_is_refused(cli: DatabricksCli) -> None:
    target = Target("staging", lambda: User("ada@example.com"), {"compute": "gpu"})

    with pytest.raises(DeploymentError, match="compute is existing, job or serverless; got 'gpu'"):
        choose_compute(cli, target)


@pytest.mark.parametrize(
    ("given", "message"),
    [
        (
            {"data_root": "dbfs:/mlops/data"},
            "serverless compute has no DBFS and no mounts, so its jobs cannot read data_root "
            "'dbfs:/mlops/data'; set it to a volume (/Volumes/...) or an external location (abfss://...), "
            "or deploy with COMPUTE=job",
        ),
        (
            {"data_root": "/mnt/mlops", "mount_source": "abfss://data@account.dfs.core.windows.net"},
            "serverless compute has no DBFS and no mounts, so its jobs cannot read data_root '/mnt/mlops'; "
            "set it to a volume (/Volumes/...) or an external location (abfss://...), or deploy with "
            "COMPUTE=job",
        ),
        (
            {
                "data_root": "abfss://data@account.dfs.core.windows.net",
                "data_credential": "account-key",
            },
            "serverless compute takes no credential from a job, and data_credential is 'account-key'; leave "
            "it empty and make abfss://data@account.dfs.core.windows.net an external location, or deploy "
            "with COMPUTE=job",
        ),
    ],
)
def test_data_that_serverless_compute_cannot_read_is_refused(
    cli: DatabricksCli, given: dict[str, str], message: str
) -> None:
    target = Target("prod", lambda: User("ada@example.com"), {"compute": "serverless"} | given)

    with pytest.raises(DeploymentError) as refused:
        choose_compute(cli, target)

    assert str(refused.value) == message


@pytest.mark.parametrize(
    "data_root", ["/Volumes/a/b/c", "dbfs:/Volumes/a/b/c", "abfss://data@account.dfs.core.windows.net"]
)
def test_production_runs_serverless_on_what_unity_catalog_has(cli: DatabricksCli, data_root: str) -> None:
    for name in ("staging", "prod"):
        chosen = choose_compute(cli, Target(name, lambda: User("ada@example.com"), {"data_root": data_root}))

        assert chosen == {"cluster_id": "", "job_cluster_key": "", "job_clusters": []}


def keep_two_versions(server: Server, folder: str, jobs: list[dict[str, Any]]) -> None:
    """Lets the workspace have two versions of the code in a folder, and these jobs."""
    record = b64encode(b'{"deployed_at": "2026-11-25 05:00:00"}').decode()
    server.replies |= {
        "/api/2.0/workspace/list": {"objects": [{"path": f"{folder}/{v}"} for v in ("0.1.0", "0.2.0")]},
        "/api/2.0/workspace/export": {"content": record},
        "/api/2.1/jobs/list": {"jobs": jobs},
        "/api/2.1/jobs/runs/list": {},
        "/api/2.1/jobs/reset": {},
    }


def test_a_rollback_keeps_whom_the_target_lets_run_its_jobs(server: Server, cli: DatabricksCli) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    target.run_as = {"service_principal_name": "1-2-3"}
    names = [target.job_name(key) for key in target.job_keys()]
    folder = f"/Workspace{target.deployments_folder}"
    jobs = [listed_job(i, name, wheel_dir=f"{folder}/0.2.0/dist/0.2.0") for i, name in enumerate(names)]
    keep_two_versions(server, folder, jobs)

    roll_back(cli, target, "0.1.0")

    sent = [body for path, body in server.received if path == "/api/2.1/jobs/reset"]
    assert [int(body["job_id"]) for body in sent] == list(range(len(names)))
    for settings in (body["new_settings"] for body in sent):
        assert settings["run_as"] == {"service_principal_name": "1-2-3"}
        parameters = settings["tasks"][0]["notebook_task"]["base_parameters"]
        assert parameters == {"wheel_dir": f"{folder}/0.1.0/dist/0.1.0"}


def test_a_job_that_is_newer_than_the_code_stays_with_what_it_has(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str]
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    folder = f"/Workspace{target.deployments_folder}"
    jobs = [listed_job(i, target.job_name(key)) for i, key in enumerate(target.job_keys())]
    newer = jobs[1]["settings"]
    for job in jobs:
        notebook = job["settings"]["tasks"][0]["notebook_task"]
        notebook["base_parameters"]["wheel_dir"] = f"{folder}/0.2.0/dist/0.2.0"
    newer["tasks"][0]["notebook_task"]["notebook_path"] = f"{folder}/0.2.0/ml_ops/newer"
    keep_two_versions(server, folder, jobs)

    roll_back(cli, target, "0.1.0")

    sent = [int(body["job_id"]) for path, body in server.received if path == "/api/2.1/jobs/reset"]
    assert sent == [0, 2, 3]
    lacks = f"0.1.0 has no {target.deployments_folder}/0.1.0/ml_ops/newer\n"
    assert f"Note: job '{newer['name']}' stays with the code that it has: {lacks}" in capsys.readouterr().out


def with_old_code(server: Server, target: Target) -> str:
    """Lets the workspace have three versions of the code, of which the jobs use none; gives their folder."""
    folder = f"/Workspace{target.deployments_folder}"
    record = b64encode(b'{"deployed_at": "2026-11-25 05:00:00"}').decode()
    codes = ("0.1.0+gaaaaaaa", "0.1.0+gaaaaaaa.d11111111", "0.1.0+gbbbbbbb")
    server.replies |= {
        "/api/2.0/workspace/list": {"objects": [{"path": f"{folder}/{code}"} for code in codes]},
        "/api/2.0/workspace/export": {"content": record},
        "/api/2.1/jobs/list": {"jobs": []},
        "/api/2.1/jobs/runs/list": {},
        "/api/2.0/workspace/delete": {},
    }
    return folder


def deleted(server: Server) -> list[str]:
    return [Path(body["path"]).name for path, body in server.received if path == "/api/2.0/workspace/delete"]


REGISTRY = "/api/2.0/mlflow"


@pytest.mark.parametrize(
    ("tags", "gone"),
    [
        ({"diabetes_version": "0.1.0+gaaaaaaa", "git_commit": "a" * 40}, {"gaaaaaaa.d11111111", "gbbbbbbb"}),
        ({"diabetes_version": "0.1.0+gaaaaaaa.d11111111"}, {"gaaaaaaa", "gbbbbbbb"}),
        ({"git_commit": "a" * 40}, {"gbbbbbbb"}),
        ({}, {"gaaaaaaa", "gaaaaaaa.d11111111", "gbbbbbbb"}),
    ],
)
def test_code_is_kept_for_the_model_that_exactly_it_trained(
    server: Server, cli: DatabricksCli, tags: dict[str, str], gone: set[str]
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    with_old_code(server, target)
    listed = [{"key": key, "value": value} for key, value in tags.items()]
    server.replies |= {
        f"{REGISTRY}/registered-models/get": {
            "registered_model": {"aliases": [{"alias": "shadow", "version": "4"}]}
        },
        f"{REGISTRY}/model-versions/get": {"model_version": {"version": "4", "tags": listed}},
    }

    prune(cli, target, keep=0)

    assert {name.partition("+")[2] for name in deleted(server)} == gone


def test_code_is_asked_for_where_training_knew_no_more_than_its_commit(
    server: Server, cli: DatabricksCli
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    with_old_code(server, target)
    tags = [{"key": "diabetes_version", "value": "0.1.0"}, {"key": "git_commit", "value": "a" * 40}]
    server.replies |= {
        f"{REGISTRY}/registered-models/get": {"registered_model": {}},
        f"{REGISTRY}/model-versions/get": {"model_version": {"version": "4", "tags": tags}},
    }

    candidates = r"\['0\.1\.0\+gaaaaaaa', '0\.1\.0\+gaaaaaaa\.d11111111'\]"
    with pytest.raises(DeploymentError, match=f"version 4 of .* may be of 2 versions .*{candidates}"):
        roll_back_with_model(cli, target, "4")


def test_a_model_that_is_not_there_leads_to_no_code(server: Server, cli: DatabricksCli) -> None:
    target = Target("prod", lambda: User("ada@example.com"))

    with pytest.raises(DeploymentError, match="no version or alias 'champion'; there is no model prod"):
        roll_back_with_model(cli, target, "champion")


def no_rights() -> NoReturn:
    raise PermissionError


@pytest.mark.parametrize("reply", [no_rights, None])
def test_nothing_is_removed_where_the_registry_does_not_tell_who_needs_it(
    server: Server, cli: DatabricksCli, capsys: pytest.CaptureFixture[str], reply: Any
) -> None:
    target = Target("prod", lambda: User("ada@example.com"))
    with_old_code(server, target)
    if reply:
        server.replies[f"{REGISTRY}/registered-models/get"] = reply

    prune(cli, target, keep=0)

    assert deleted(server) == []
    assert "0.1.0+gbbbbbbb stays, because" in capsys.readouterr().out
