"""What GitHub Actions and Azure Pipelines do with a change, and their deployments' shell steps run here.

The workspace, the runs and their Spark are real. GitHub's and Databricks' token services and Azure's program
are stood in for, at the edge where a subscription begins.
"""

import json
import os
import re
import subprocess
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from types import SimpleNamespace
from typing import Any, ClassVar
from urllib.parse import parse_qs, urlsplit

import pytest
import requests
import yaml
from deployment import telemetry_wheels
from programs import any_program
from test_end_to_end import census
from workspace_under_test import (
    DATA_ROOT,
    FOLDER,
    ROOT,
    WorkspaceUnderTest,
    clean_environment,
    package_caches,
)

SUBJECT = "repo:octo-org@123456/octo-repo@456789:environment:"
CLIENT_ID = "11111111-2222-3333-4444-555555555555"
AZURE_HOST = "http://adb-1234567890123456.7.azuredatabricks.net"
TENANT = "22222222-3333-4444-5555-666666666666"
DATABRICKS = "2ff814a6-3304-4ab8-85cb-cd0e6f879c1d"
# The program of Azure, as far as it is asked for a token; it notes how it is called.
AZ = """#!/bin/bash
echo "$*" >> "${0%/*}/calls"
[ "$1 $2" = "account get-access-token" ] || exit 1
printf '{"accessToken": "%s", "expiresOn": "2099-01-01 00:00:00.000000", "expires_on": 4070908800,
  "subscription": "s", "tenant": "t", "tokenType": "Bearer"}' "$AZ_TOKEN"
"""
# The local workspace has one catalog. The data and the experiment are the demo's, the folders nobody else's.
ELSEWHERE = {
    "CATALOG": "spark_catalog",
    "SCHEMA": "ci",
    "DATA_ROOT": DATA_ROOT,
    "EXPERIMENT": f"{FOLDER}/azure-databricks-mlops-mlflow",
    "WORKSPACE_FOLDER": f"{FOLDER}/ci",
}
MAIN, TAG, BRANCH, PULL = "refs/heads/main", "refs/tags/v1.2.0", "refs/heads/fix", "refs/pull/7/merge"


def read(path: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text()))


GITHUB = read(".github/workflows/deploy.yml")
AZURE = read(".azure-pipelines/ci_cd.yml")
STAGES = {stage["stage"]: stage for stage in AZURE["stages"]}
TRIGGERS = GITHUB[True]  # `on` is a truth value in YAML 1.1


@dataclass
class Job:
    """The shell steps of a deployment, and the environment that they get."""

    steps: list[str]
    environment: dict[str, str]

    @property
    def targets(self) -> list[str]:
        """The Make targets that the steps call, in their order."""
        return [target for step in self.steps for target in step.removeprefix("make ").split()]

    def run(self, workspace: WorkspaceUnderTest, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs the steps with bash as both systems do, until one fails."""
        own = {"HOME": str(workspace.home), "TMPDIR": str(workspace.temporary), **package_caches()}
        own |= {"DATABRICKS_CLI": any_program()}
        output = ""
        for step in self.steps:
            finished = subprocess.run(
                ["bash", "-e", "-c", step],
                cwd=ROOT,
                env=clean_environment() | own | self.environment | environment,
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
        return subprocess.CompletedProcess(self.steps, finished.returncode, output)


def github_job(target: str, host: str, telemetry: str = "") -> Job:
    job = GITHUB["jobs"][target]
    values = {
        "vars.DATABRICKS_HOST": host,
        "vars.DATABRICKS_CLIENT_ID": CLIENT_ID,
        "vars.TELEMETRY": telemetry,
    }
    environment = {name: fill_in(value, values) for name, value in job["env"].items()}
    return Job([step["run"] for step in job["steps"] if "run" in step], environment)


def azure_job(target: str, host: str, **parameters: str) -> Job:
    (use,) = STAGES[target]["jobs"]
    template = (ROOT / ".azure-pipelines" / use["template"]).read_text()
    values = {f"parameters.{name}": str(value) for name, value in (use["parameters"] | parameters).items()}
    (job,) = yaml.safe_load(fill_in(template, values))["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"]
    scripts = [step.get("script") or step.get("inputs", {}).get("inlineScript") for step in steps]
    given = {variable["name"]: variable["value"] for variable in job["variables"] if "name" in variable}
    return Job([script for script in scripts if script], given | {"DATABRICKS_HOST": host})


def fill_in(text: str, values: dict[str, str]) -> str:
    return re.sub(r"\$\{\{ *(\S+) *\}\}", lambda found: values[found[1]], text)


# When


def github_allows(target: str, ref: str, **variables: str) -> bool:
    """Whether a push of `ref` reaches the job, if all goes well before."""
    branch, tag = ref.removeprefix("refs/heads/"), ref.removeprefix("refs/tags/")
    patterns = [*TRIGGERS["push"]["branches"], *(tag.rstrip("*") for tag in TRIGGERS["push"]["tags"])]
    if not (branch in patterns or (tag != ref and tag.startswith(patterns[-1]))):
        return False
    context = SimpleNamespace(**{"DEPLOY": "", "PROD_FROM": ""} | variables)
    names = {"startsWith": str.startswith, "github": SimpleNamespace(ref=ref), "vars": context}
    job = GITHUB["jobs"][target]
    condition = job["if"].replace("||", "or").replace("&&", "and")
    before = job["needs"]
    return bool(eval(condition, names)) and (before == "test" or github_allows(before, ref, **variables))


def azure_allows(target: str, ref: str, **variables: str) -> bool:
    """The same for a stage, whatever has triggered it."""
    names = {
        "all_": lambda *values: all(values),
        "any_": lambda *values: any(values),
        "eq": lambda left, right: left == right,
        "startsWith": str.startswith,
        "succeeded": lambda: True,
        "variables": {"Build.SourceBranch": ref, "PROD_FROM": ""} | variables,
    }
    condition = STAGES[target]["condition"]
    return bool(eval(condition.replace("and(", "all_(").replace("or(", "any_("), names))


@pytest.mark.parametrize(
    ("ref", "prod_from", "reached"),
    [
        (MAIN, "", ["staging"]),
        (MAIN, "main", ["staging", "prod"]),
        (TAG, "", ["staging", "prod"]),
        (BRANCH, "main", []),
        (PULL, "main", []),
    ],
)
def test_main_reaches_staging_a_tag_prod_and_a_branch_nothing(ref, prod_from, reached):
    for_github = {"DEPLOY": "true", "PROD_FROM": prod_from}

    assert [target for target in ("staging", "prod") if github_allows(target, ref, **for_github)] == reached
    assert [target for target in ("staging", "prod") if azure_allows(target, ref, PROD_FROM=prod_from)] == (
        reached
    )


def test_a_repository_that_is_not_set_up_deploys_nothing():
    assert not github_allows("staging", MAIN)
    assert not github_allows("prod", TAG)


def test_no_pull_request_comes_near_a_token():
    tests = read(".github/workflows/ci.yml")
    signing_in = {name for name, job in GITHUB["jobs"].items() if "id-token" in job["permissions"]}

    assert set(TRIGGERS) == {"push"}
    assert signing_in == {"staging", "prod"}
    assert GITHUB["permissions"] == tests["permissions"] == {}
    assert [job["permissions"] for job in tests["jobs"].values()] == [{"contents": "read"}]
    assert all(job["runs-on"] == "ubuntu-24.04" for job in tests["jobs"].values())


@pytest.mark.parametrize("target", ["staging", "prod"])
def test_a_target_is_deployed_by_one_at_a_time_and_by_its_own_environment(target):
    job = GITHUB["jobs"][target]
    (deployment,) = read(".azure-pipelines/deploy.yml")["jobs"]

    assert (job["environment"], job["concurrency"]) == (target, {"group": f"deploy-{target}"})
    assert STAGES[target]["lockBehavior"] == "sequential"
    assert deployment["environment"] == "${{ parameters.target }}"


@pytest.mark.parametrize("target", ["staging", "prod"])
def test_both_systems_call_the_same_make_targets(target):
    assert github_job(target, "").targets == azure_job(target, "").targets


@pytest.mark.parametrize("telemetry", ["", "1"])
@pytest.mark.parametrize("target", ["staging", "prod"])
def test_a_variable_of_the_repository_turns_telemetry_on(target, telemetry, monkeypatch):
    for name, value in github_job(target, "", telemetry).environment.items():
        monkeypatch.setenv(name, value)

    assert telemetry_wheels.are_wanted() == bool(telemetry)


# What


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
        if form["client_id"] == [CLIENT_ID] and claims["sub"] == f"{SUBJECT}staging":
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

    finished = github_job("staging", workspace.profile["host"]).run(workspace, **from_github)

    assert finished.returncode == 0, finished.stdout
    assert re.search(r"rows_in +100\n.*rows_scored +100\n.*rows_rejected +0\n", finished.stdout, re.DOTALL)
    assert re.search(r"model_name +spark_catalog\.ci\.diabetes\n", finished.stdout)
    assert workspace.profile["token"] not in finished.stdout
    added = census(workspace) - before
    assert added == Counter({"jobs": 3, "runs": 2, "model versions": 1, "mlflow runs": 2})
    commit = subprocess.check_output(["git", "rev-parse", "--short=7", "HEAD"], cwd=ROOT, text=True).strip()
    listed = [job for job in workspace.client.jobs.list() if job.settings.name.startswith("[staging] ")]
    jobs = {job.settings.name: job.job_id for job in listed}
    assert len(jobs) == len(listed) == 3
    deployed = workspace.client.jobs.get(jobs["[staging] diabetes_batch_scoring"])
    assert f"+g{commit}" in deployed.settings.tasks[0].notebook_task.base_parameters["wheel_dir"]


def test_github_lets_no_job_in_that_is_of_another_environment(workspace, from_github):
    Cloud.environment = "prod"

    refused = github_job("prod", workspace.profile["host"]).run(workspace, **from_github)

    assert refused.returncode != 0
    assert "no policy for this subject" in refused.stdout
    assert "Traceback" not in refused.stdout
    assert not [job for job in workspace.client.jobs.list() if job.settings.name.startswith("[prod]")]


def test_azure_signs_in_with_its_service_connection(workspace, cloud, tmp_path):
    az = tmp_path / "az"
    az.write_text(AZ)
    az.chmod(0o700)
    search = f"{tmp_path}:{os.environ['PATH']}"
    signed_in = {"PATH": search, "http_proxy": cloud, "AZ_TOKEN": workspace.profile["token"]}

    # That it would then do what GitHub's job has done is a test above.
    job = azure_job("prod", AZURE_HOST, goals="which-workspace")
    finished = job.run(workspace, **ELSEWHERE, **signed_in)

    assert finished.returncode == 0, finished.stdout
    assert f"Workspace 'prod' at {AZURE_HOST}, signed in as local.user@localhost" in finished.stdout
    calls = (tmp_path / "calls").read_text().splitlines()
    assert f"account get-access-token --resource {DATABRICKS} --output json --tenant {TENANT}" in calls
