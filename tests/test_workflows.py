"""What the pipelines do with a change: which branch or tag reaches which target, by which Make targets."""

import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from deployment import telemetry_wheels
from machine import ROOT

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
MAIN, TAG, BRANCH, PULL = "refs/heads/main", "refs/tags/v1.2.0", "refs/heads/fix", "refs/pull/7/merge"


def read(path: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text()))


GITHUB = read(".github/workflows/deploy.yml")
# only: azure-pipelines
AZURE = read(".azure-pipelines/ci_cd.yml")
STAGES = {stage["stage"]: stage for stage in AZURE["stages"]}
# end only
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


def github_job(target: str, host: str, telemetry: str = "") -> Job:
    job = GITHUB["jobs"][target]
    values = {
        "vars.DATABRICKS_HOST": host,
        "vars.DATABRICKS_CLIENT_ID": CLIENT_ID,
        "vars.TELEMETRY": telemetry,
    }
    environment = {name: fill_in(value, values) for name, value in job["env"].items()}
    return Job([step["run"] for step in job["steps"] if "run" in step], environment)


# only: azure-pipelines
def azure_job(target: str, host: str, **parameters: str) -> Job:
    (use,) = STAGES[target]["jobs"]
    template = (ROOT / ".azure-pipelines" / use["template"]).read_text()
    values = {f"parameters.{name}": str(value) for name, value in (use["parameters"] | parameters).items()}
    (job,) = yaml.safe_load(fill_in(template, values))["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"]
    scripts = [step.get("script") or step.get("inputs", {}).get("inlineScript") for step in steps]
    given = {variable["name"]: variable["value"] for variable in job["variables"] if "name" in variable}
    return Job([script for script in scripts if script], given | {"DATABRICKS_HOST": host})


# end only
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


# only: azure-pipelines
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


# end only
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
    # only: azure-pipelines
    assert [target for target in ("staging", "prod") if azure_allows(target, ref, PROD_FROM=prod_from)] == (
        reached
    )
    # end only


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

    assert (job["environment"], job["concurrency"]) == (target, {"group": f"deploy-{target}"})
    # only: azure-pipelines
    (deployment,) = read(".azure-pipelines/deploy.yml")["jobs"]
    assert STAGES[target]["lockBehavior"] == "sequential"
    assert deployment["environment"] == "${{ parameters.target }}"
    # end only


# only: azure-pipelines
@pytest.mark.parametrize("target", ["staging", "prod"])
def test_both_systems_call_the_same_make_targets(target):
    assert github_job(target, "").targets == azure_job(target, "").targets


# end only
@pytest.mark.parametrize("telemetry", ["", "1"])
@pytest.mark.parametrize("target", ["staging", "prod"])
def test_a_variable_of_the_repository_turns_telemetry_on(target, telemetry, monkeypatch):
    for name, value in github_job(target, "", telemetry).environment.items():
        monkeypatch.setenv(name, value)

    assert telemetry_wheels.are_wanted() == bool(telemetry)
