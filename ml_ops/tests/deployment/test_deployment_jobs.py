"""Jobs by their names, and who has deployed them."""

from typing import Any

import pytest
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import check_owner, find_job
from rest_server import Server, listed_job


def bundled(path: str) -> dict[str, Any]:
    """A job that a bundle has deployed."""
    job = listed_job(3, "train")
    job["settings"]["deployment"] = {"kind": "BUNDLE", "metadata_file_path": path}
    return job


@pytest.mark.parametrize(
    ("job", "bundle", "message"),
    [
        (bundled("/Workspace/a/state/metadata.json"), "", r"belongs to the bundle at /Workspace/a\. Deploy"),
        (
            bundled("/Workspace/a/state/metadata.json"),
            "/Workspace/b/state/metadata.json",
            "bundle at /Workspace/a",
        ),
        (listed_job(3, "train"), "/Workspace/b/state/metadata.json", r"\(3\) was deployed without a bundle"),
    ],
)
def test_a_job_that_somebody_else_has_deployed_is_left_alone(
    server: Server, cli: DatabricksCli, job: dict[str, Any], bundle: str, message: str
) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [job]}

    with pytest.raises(DeploymentError, match=message):
        check_owner(cli, "train", bundle)


def test_a_job_may_be_deployed_again_by_the_same_owner(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [bundled("/Workspace/a/state/metadata.json")]}
    check_owner(cli, "train", "/Workspace/a/state/metadata.json")

    server.replies["/api/2.1/jobs/list"] = {"jobs": [listed_job(3, "train")]}
    check_owner(cli, "train", "")


def test_two_jobs_of_one_name_are_refused_with_their_ids(server: Server, cli: DatabricksCli) -> None:
    server.replies["/api/2.1/jobs/list"] = {"jobs": [listed_job(3, "train"), listed_job(4, "train")]}

    with pytest.raises(DeploymentError, match=r"2 jobs are called 'train': \[3, 4\]"):
        find_job(cli, "train")
