"""The shell steps of the pipelines' deployments, run here.

The workspace, the runs and their Spark are real. GitHub's and Databricks' token services and Azure's program
are stood in for, at the edge where a subscription begins.
"""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

# only: azure-pipelines
from pathlib import Path  # only: go-cli

# end only
from threading import Thread
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
from machine import ROOT, clean_environment, package_caches
from programs import any_program
from science import count_rows
from test_end_to_end import census
from test_workflows import (
    CLIENT_ID,
    Job,
    azure_job,  # only: azure-pipelines
    # only: azure-pipelines
    azure_setup,  # only: go-cli
    # end only
    github_job,
    integration_job,
)
from workspace_under_test import DATA_ROOT, FOLDER, WorkspaceUnderTest

SUBJECT = "repo:octo-org@123456/octo-repo@456789:environment:"
TRUSTED = (f"{SUBJECT}staging", f"{SUBJECT}integration")
AZURE_HOST = "http://adb-1234567890123456.7.azuredatabricks.net"
TENANT = "22222222-3333-4444-5555-666666666666"
# only: azure-pipelines
DATABRICKS = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
# The program of Azure, as far as it is asked for a token; it notes how it is called.
AZ = """#!/bin/bash
echo "$*" >> "${0%/*}/calls"
[ "$1 $2" = "account get-access-token" ] || exit 1
printf '{"accessToken": "%s", "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800,
  "subscription": "s", "tenant": "t", "tokenType": "Bearer"}' "$AZ_TOKEN"
"""
# end only
# The local workspace has one catalog. The data and the experiment are the demo's, the folders nobody else's.
ELSEWHERE = {
    "CATALOG": "spark_catalog",
    "SCHEMA": "ci",
    "COMPUTE": "existing",
    "DATA_ROOT": DATA_ROOT,
    "EXPERIMENT": f"{FOLDER}/azure-databricks-mlops-mlflow",
    "WORKSPACE_FOLDER": f"{FOLDER}/ci",
}


def run(job: Job, workspace: WorkspaceUnderTest, **environment: str) -> subprocess.CompletedProcess[str]:
    """Runs the steps with bash as both systems do, until one fails."""
    own = {"HOME": str(workspace.home), "TMPDIR": str(workspace.temporary), **package_caches()}
    own |= {"DATABRICKS_CLI": any_program()}
    output = ""
    for step in job.steps:
        finished = subprocess.run(
            ["bash", "-e", "-c", step],
            cwd=ROOT,
            env=clean_environment() | job.environment | own | environment,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            timeout=300,
            check=False,
        )
        output += finished.stdout
        if finished.returncode != 0:
            break
    return subprocess.CompletedProcess(job.steps, finished.returncode, output)


class Cloud(BaseHTTPRequestHandler):
    """What is between a job and the workspace: GitHub's and Databricks' token services, and Azure's names.

    As a proxy it brings what is meant for a host of Azure to the local workspace.
    """

    workspace: ClassVar[WorkspaceUnderTest]
    environment: ClassVar[str]
    """Of which environment the job of GitHub is that asks for a token."""

    def do_GET(self) -> None:
        address = f"http://{self.headers['Host']}"
        if self.path.startswith("/github") and self.headers["Authorization"] == "Bearer of-the-job":
            audience = parse_qs(urlsplit(self.path).query)["audience"]
            self.answer({"value": json.dumps({"sub": SUBJECT + self.environment, "aud": audience})})
        elif self.path.startswith("/oidc"):
            self.answer({"authorization_endpoint": address, "token_endpoint": f"{address}/oidc/v1/token"})
        elif self.path == f"{AZURE_HOST}/aad/auth":
            self.send_response(302)
            self.send_header("Location", f"https://login.microsoftonline.com/{TENANT}/oauth2/authorize")
            self.end_headers()
        else:
            path = self.path.removeprefix(AZURE_HOST)
            sent = {"Authorization": self.headers["Authorization"]}
            reply = requests.get(self.workspace.profile["host"] + path, headers=sent, timeout=30)
            self.answer(reply.json(), reply.status_code)

    def do_POST(self) -> None:
        form = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        claims = json.loads(form["subject_token"][0])
        if form["client_id"] == [CLIENT_ID] and claims["sub"] in TRUSTED:
            token = self.workspace.profile["token"]
            self.answer({"access_token": token, "token_type": "Bearer", "expires_in": 3600})
        else:
            self.answer({"error": "invalid_grant", "error_description": "no policy for this subject"}, 400)

    def answer(self, body: dict[str, Any], status: int = 200) -> None:
        content = json.dumps(body).encode()
        self.send_response(status)
        self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(content)))
        self.end_headers()
        self.wfile.write(content)

    def log_message(self, *arguments: Any) -> None:
        """Says nothing."""


@pytest.fixture(scope="module")
def workspace(demo) -> WorkspaceUnderTest:
    return demo.workspace


@pytest.fixture(scope="module")
def cloud(workspace) -> Iterator[str]:
    Cloud.workspace = workspace
    server = ThreadingHTTPServer(("127.0.0.1", 0), Cloud)
    Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


@pytest.fixture(scope="module")
def from_github(cloud) -> dict[str, str]:
    """What GitHub gives a job with `id-token: write`, and what is other on the local workspace."""
    return ELSEWHERE | {
        "ACTIONS_ID_TOKEN_REQUEST_URL": f"{cloud}/github?api-version=2.0",
        "ACTIONS_ID_TOKEN_REQUEST_TOKEN": "of-the-job",
        "DATABRICKS_DISCOVERY_URL": f"{cloud}/oidc/.well-known/oauth-authorization-server",
    }


def test_github_deploys_to_staging_and_trains_and_scores_there(workspace, from_github):
    Cloud.environment = "staging"
    workspace.delete_jobs("[staging] ")
    before = census(workspace)

    finished = run(github_job("staging", workspace.profile["host"]), workspace, **from_github)

    assert finished.returncode == 0, finished.stdout
    assert re.search(count_rows(), finished.stdout)
    assert re.search(r"model_name +spark_catalog\.ci\.diabetes\n", finished.stdout)
    assert workspace.profile["token"] not in finished.stdout
    added = census(workspace) - before
    assert added == Counter({"jobs": 4, "runs": 2, "model versions": 1, "mlflow runs": 2})
    commit = subprocess.check_output(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, text=True).strip()
    listed = [job for job in workspace.client.jobs.list() if job.settings.name.startswith("[staging] ")]
    jobs = {job.settings.name: job.job_id for job in listed}
    assert len(jobs) == len(listed) == 4
    deployed = workspace.client.jobs.get(jobs["[staging] diabetes_batch_scoring"])
    assert f"+g{commit}" in deployed.settings.tasks[0].notebook_task.base_parameters["wheel_dir"]


def test_github_lets_no_job_in_that_is_of_another_environment(workspace, from_github):
    Cloud.environment = "prod"

    refused = run(github_job("prod", workspace.profile["host"]), workspace, **from_github)

    assert refused.returncode != 0
    assert "no policy for this subject" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not [job for job in workspace.client.jobs.list() if job.settings.name.startswith("[prod]")]


def test_a_pull_request_is_deployed_trains_scores_and_leaves_nothing(workspace, from_github):
    Cloud.environment = "integration"
    job = integration_job(7, workspace.profile["host"])
    here = of_the_trial(job, from_github)

    finished = run(job, workspace, **here, DATA_ROOT=DATA_ROOT)

    assert finished.returncode == 0, finished.stdout
    assert re.search(count_rows(), finished.stdout)
    assert "Table 'spark_catalog.diabetes_pr_7.diabetes_scored' is deleted" in finished.stdout
    assert "Model 'spark_catalog.diabetes_pr_7.diabetes' is deleted" in finished.stdout
    assert left_of("7", workspace) == []


def test_a_pull_request_that_fails_leaves_nothing_either(workspace, from_github):
    Cloud.environment = "integration"
    job = integration_job(8, workspace.profile["host"])
    here = of_the_trial(job, from_github)

    failed = run(job, workspace, **here, DATA_ROOT="dbfs:/nowhere")
    assert failed.returncode != 0 and "dbfs:/nowhere" in failed.stdout
    assert "jobs" in left_of("8", workspace)

    removed = run(Job(job.steps[-1:], job.environment), workspace, **here)

    assert removed.returncode == 0, removed.stdout
    assert left_of("8", workspace) == []
    again = run(Job(job.steps[-1:], job.environment), workspace, **here)
    assert again.returncode == 0 and "deleted" not in again.stdout


def of_the_trial(job: Job, from_github: dict[str, str]) -> dict[str, str]:
    """What is other on the local workspace, but for the names that the job has of its own."""
    others = {name: value for name, value in from_github.items() if name not in job.environment}
    return {name: value for name, value in others.items() if name != "EXPERIMENT"} | {"COMPUTE": "existing"}


def left_of(number: str, workspace: WorkspaceUnderTest) -> list[str]:
    """What there is of a pull request."""
    client = workspace.client
    folder, schema = f"{FOLDER}/pull_requests", f"diabetes_pr_{number}"
    found = {
        "jobs": [job for job in client.jobs.list() if job.settings.name.startswith(f"[pr {number}] ")],
        "folder": [each for each in client.workspace.list(folder) if each.path.endswith(f"/{number}")],
        "schema": [each for each in client.schemas.list("spark_catalog") if each.name == schema],
        "models": [each for each in client.registered_models.list() if each.schema_name == schema],
    }
    return [name for name, each in found.items() if each]


# only: azure-pipelines
def test_azure_signs_in_with_its_service_connection(workspace, cloud, tmp_path):
    az = tmp_path / "az"
    az.write_text(AZ)
    az.chmod(0o700)
    search = f"{tmp_path}:{os.environ['PATH']}"
    signed_in = {"PATH": search, "http_proxy": cloud, "AZ_TOKEN": workspace.profile["token"]}

    # That it would then do what GitHub's job has done is a test above.
    job = azure_job("prod", AZURE_HOST, goals="which-workspace")
    finished = run(job, workspace, **ELSEWHERE, **signed_in)

    assert finished.returncode == 0, finished.stdout
    assert f"Workspace 'prod' at {AZURE_HOST}, signed in as local.user@localhost" in finished.stdout
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"account get-access-token --resource {DATABRICKS} --output json --tenant {TENANT}" in calls


# end only


# only: azure-pipelines
# only: go-cli
# In place of the action's script, at the edge where GitHub begins: what it reads, and what it writes.
SCRIPT = """
set -e
test "$VERSION $RUNNER_OS $RUNNER_ARCH" = "1.13.0 Linux X64"
echo "$RUNNER_TEMP/program" >> "$GITHUB_PATH"
"""
CURL = f"""#!/bin/bash
while [ "$1" != --output ]; do shift; done
cat > "$2" <<'END'{SCRIPT}END
"""


def install(folder: Path, curl: str) -> subprocess.CompletedProcess[str]:
    """Runs the step that installs the program as Azure Pipelines does, without `-e`."""
    program = folder / "curl"
    program.write_text(curl)
    program.chmod(0o700)
    agent = {"Agent.OS": "Linux", "Agent.OSArchitecture": "X64", "Agent.TempDirectory": str(folder)}
    step = azure_setup()
    given = {
        name: re.sub(r"\$\(([\w.]+)\)", lambda found: agent[found[1]], value)
        for name, value in step["env"].items()
    }
    return subprocess.run(
        ["bash", "-c", step["script"]],
        env={"PATH": f"{folder}:{os.environ['PATH']}"} | given,
        capture_output=True,
        text=True,
        check=False,
    )


def test_what_the_script_of_the_action_installs_is_on_the_path_of_the_next_steps(tmp_path):
    done = install(tmp_path, CURL)

    assert done.returncode == 0, done.stderr
    assert done.stdout == f"##vso[task.prependpath]{tmp_path}/program\n"


@pytest.mark.parametrize(
    "curl",
    ["#!/bin/bash\nexit 22\n", CURL.replace("1.13.0", "1.12.0"), CURL.replace("echo", "exit #")],
    ids=["nothing comes", "the script fails", "the script installs nothing"],
)
def test_a_step_that_installs_nothing_fails_and_names_no_path(tmp_path, curl):
    done = install(tmp_path, curl)

    assert done.returncode != 0
    assert done.stdout == ""


# end only
# end only
