"""What the pipelines do with a change: which branch or tag reaches which target, by which Make targets."""

import json  # only: go-cli
import re
from dataclasses import dataclass
from types import SimpleNamespace
from typing import Any

import pytest
import yaml
from deployment import telemetry_wheels, trials
from deployment.targets import Target
from deployment.workspace import User
from machine import ROOT
from test_deployment_targets import RECORDING  # only: go-cli

CLIENT_ID = "11111111-2222-3333-4444-555555555555"
MAIN, TAG, BRANCH, PULL = "refs/heads/main", "refs/tags/v1.2.0", "refs/heads/fix", "refs/pull/7/merge"


def read(path: str) -> dict[Any, Any]:
    return dict(yaml.safe_load((ROOT / path).read_text()))


GITHUB = read(".github/workflows/deploy.yml")
INTEGRATION = read(".github/workflows/integration.yml")
# only: azure-pipelines
AZURE = read(".azure-pipelines/ci_cd.yml")
STAGES = {stage["stage"]: stage for stage in AZURE["stages"]}
# end only
# Variables of an environment or a repository that sets none of them.
OF_THE_RUNNER = {
    f"vars.{name}": "" for name in ("DATABRICKS_CLI", "COMPUTE", "CLUSTER_NAME", "CLUSTER_POLICY")
}
TRIGGERS = GITHUB[True]  # `on` is a truth value in YAML 1.1


@dataclass
class Job:
    """The shell steps of a deployment, and the environment that they get."""

    steps: list[str]
    environment: dict[str, str]

    @property
    def targets(self) -> list[str]:
        """The Make targets that the steps call, in their order."""
        return [target for step in self.steps for target in step.split()[1:]]


def github_job(target: str, host: str, telemetry: str = "") -> Job:
    job = GITHUB["jobs"][target]
    values = {
        "vars.DATABRICKS_HOST": host,
        "vars.DATABRICKS_CLIENT_ID": CLIENT_ID,
        "vars.TELEMETRY": telemetry,
        **OF_THE_RUNNER,
    }
    environment = {name: fill_in(value, values) for name, value in job["env"].items()}
    return Job(calls_of(job), environment)


def integration_job(number: int, host: str) -> Job:
    """The steps for a pull request, all of them: the last one is for a failure of those before it too."""
    job = INTEGRATION["jobs"]["integration"]
    values = {
        "vars.DATABRICKS_HOST": host,
        "vars.DATABRICKS_CLIENT_ID": CLIENT_ID,
        "github.event.pull_request.number": str(number),
        **OF_THE_RUNNER,
    }
    return Job(calls_of(job), {name: fill_in(value, values) for name, value in job["env"].items()})


def calls_of(job: dict[str, Any]) -> list[str]:
    return [step["run"] for step in job["steps"] if "run" in step]


# only: azure-pipelines
def azure_job(target: str, host: str, **parameters: str) -> Job:
    (use,) = STAGES[target]["jobs"]
    template = (ROOT / ".azure-pipelines" / use["template"]).read_text()
    values = {f"parameters.{name}": str(value) for name, value in (use["parameters"] | parameters).items()}
    (job,) = yaml.safe_load(fill_in(template, values))["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"]
    scripts = [step.get("script") or step.get("inputs", {}).get("inlineScript") or "" for step in steps]
    given = {variable["name"]: variable["value"] for variable in job["variables"] if "name" in variable}
    calls = [script for script in scripts if script.startswith("make ")]
    return Job(calls, given | {"DATABRICKS_HOST": host})


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


def test_no_pull_request_comes_near_a_token_but_that_of_its_own_environment():
    tests = read(".github/workflows/ci.yml")
    signing_in = {name for name, job in GITHUB["jobs"].items() if "id-token" in job["permissions"]}
    (integration,) = INTEGRATION["jobs"].values()

    assert set(TRIGGERS) == {"push"}
    assert signing_in == {"staging", "prod"}
    assert integration["environment"] == "integration"
    assert integration["permissions"] == {"contents": "read", "id-token": "write"}
    assert GITHUB["permissions"] == INTEGRATION["permissions"] == tests["permissions"] == {}
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


def integrates(label: str, repository: str, deploy: str = "true") -> bool:
    """Whether a pull request of a repository is deployed when it is given a label."""
    pull_request = SimpleNamespace(head=SimpleNamespace(repo=SimpleNamespace(full_name=repository)))
    event = SimpleNamespace(label=SimpleNamespace(name=label), pull_request=pull_request)
    names = {
        "github": SimpleNamespace(event=event, repository="octo-org/octo-repo"),
        "vars": SimpleNamespace(DEPLOY=deploy),
    }
    condition = INTEGRATION["jobs"]["integration"]["if"].replace("&&", "and")
    return bool(eval(condition, names))


def test_a_pull_request_of_the_repository_itself_is_deployed_when_it_is_given_the_label():
    assert integrates("integration", "octo-org/octo-repo")
    assert not integrates("integration", "somebody/octo-repo")
    assert not integrates("documentation", "octo-org/octo-repo")
    assert not integrates("integration", "octo-org/octo-repo", deploy="")
    # What is pushed afterwards is not what somebody has looked at before they gave it.
    assert INTEGRATION[True] == {"pull_request": {"types": ["labeled"]}}


def test_what_a_pull_request_deploys_is_beside_staging_and_removed_whatever_happens():
    given = integration_job(7, "").environment
    names = {name.lower(): value for name, value in given.items() if name not in ("TARGET", "DATA_ROOT")}
    overrides = {name: value for name, value in names.items() if value and not name.startswith("databricks")}
    targets = [
        Target(name, lambda: User("ada"), own_catalog=lambda: "main")
        for name in read("databricks.yml")["targets"]
    ]
    trial = Target("staging", lambda: User("ada"), overrides)
    (staging,) = [target for target in targets if target.name == "staging"]

    trials.check_names(trial, targets)
    assert trial.text("promotion") == "automatic"
    assert given["DATA_ROOT"] == staging.text("data_root")
    assert {name: trial.text(name) for name in ("model_name", "experiment")} == {
        "model_name": "staging.diabetes_pr_7.diabetes",
        "experiment": "/Shared/azure-databricks-mlops-mlflow/pull_requests/7/azure-databricks-mlops-mlflow",
    }
    last = INTEGRATION["jobs"]["integration"]["steps"][-1]
    assert last == {"run": "make destroy-trial", "if": "always()"}


# only: go-cli
SETUP = re.compile(r"uses: databricks/setup-cli@(?P<commit>[0-9a-f]{40}) # v(?P<named>\S+)")
DEPLOYING = {"deploy.yml": ("staging", "prod"), "integration.yml": ("integration",)}
RECORDED_WITH = json.loads(RECORDING.read_text())["program"]


@pytest.mark.parametrize(("file", "job"), [(file, job) for file, jobs in DEPLOYING.items() for job in jobs])
def test_a_job_that_deploys_has_the_version_that_the_tests_were_recorded_with(file, job):
    text = (ROOT / ".github" / "workflows" / file).read_text()
    steps = yaml.safe_load(text)["jobs"][job]["steps"]
    uses = [step.get("uses", "").partition("@")[0] for step in steps]
    setup = steps[uses.index("databricks/setup-cli")]

    assert uses.index("databricks/setup-cli") < [step.get("run") for step in steps].index("make deploy")
    assert f"Databricks CLI v{setup['with']['version']}" == RECORDED_WITH
    assert {found["named"] for found in SETUP.finditer(text)} == {setup["with"]["version"]}
    assert setup["if"] == "vars.DATABRICKS_CLI == ''"


# only: pip-cli
def test_every_job_of_a_target_is_handed_over_to_the_bundle() -> None:
    page = (ROOT / "docs" / "ci_cd.md").read_text()

    bound = re.findall(r"^databricks bundle deployment bind (\w+) \d+ --target staging$", page, re.MULTILINE)
    assert sorted(bound) == sorted(Target("staging", lambda: User("ada")).job_keys())


# end only
# only: azure-pipelines
def azure_setup() -> dict[str, Any]:
    """The step of Azure Pipelines that installs the program."""
    (job,) = read(".azure-pipelines/deploy.yml")["jobs"]
    steps = job["strategy"]["runOnce"]["deploy"]["steps"]
    return next(step for step in steps if "setup-cli" in step.get("script", ""))


def test_both_systems_install_the_same_program():
    setup = azure_setup()
    text = (ROOT / ".github" / "workflows" / "deploy.yml").read_text()

    assert SETUP.search(text)["commit"] in setup["script"]
    assert f"Databricks CLI v{setup['env']['VERSION']}" == RECORDED_WITH


# end only
# end only
# only: azure-pipelines
def test_a_sign_in_that_is_good_for_an_hour_is_renewed_in_a_stage_that_may_take_longer():
    (job,) = read(".azure-pipelines/deploy.yml")["jobs"]
    (signed_in,) = [
        step
        for step in job["strategy"]["runOnce"]["deploy"]["steps"]
        if "task" in step and "AzureCLI" in step["task"]
    ]

    assert int(job["timeoutInMinutes"]) > 60
    assert signed_in["inputs"]["keepAzSessionActive"] is True


# end only
