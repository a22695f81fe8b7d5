"""The Make targets of the registered model, on the workspace of the demo."""

import re
import subprocess
from dataclasses import dataclass
from typing import Any

import pytest
from science import METRICS, NEVER, PRIMARY, choose_params, write_params
from test_end_to_end import registry
from workspace_under_test import MODEL, WorkspaceUnderTest

__all__ = ["registry"]

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Retrained:
    """The demo's workspace after a training by other parameters, and who was champion before it."""

    workspace: WorkspaceUnderTest
    finished: subprocess.CompletedProcess[str]
    champion_before: str


@pytest.fixture(scope="module")
def retrained(demo) -> Retrained:
    before = champion_of(demo.workspace)
    params = f"PARAMS={write_params(choose_params())} seed=7 {NEVER}"
    finished = demo.workspace.make("run-diabetes-model-training", params)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    return Retrained(demo.workspace, finished, before)


@pytest.fixture
def workspace(retrained: Retrained) -> WorkspaceUnderTest:
    """A workspace whose model has two versions or more."""
    return retrained.workspace


def run(workspace: WorkspaceUnderTest, *arguments: str, **environment: str) -> str:
    finished = workspace.make(*arguments, **environment)
    assert finished.returncode == 0, finished.stdout + finished.stderr
    assert finished.stderr == ""
    return finished.stdout


def refused(workspace: WorkspaceUnderTest, *arguments: str, **environment: str) -> str:
    """What a target that must fail says: one line, before make's own."""
    finished: subprocess.CompletedProcess[str] = workspace.make(*arguments, **environment)
    assert finished.returncode != 0, finished.stdout
    said, _ = [line for line in finished.stderr.splitlines() if line]
    return said


def ask(workspace: WorkspaceUnderTest, path: str, **query: str) -> dict[str, Any]:
    """What the registry says of the model."""
    return workspace.client.api_client.do("GET", f"/api/2.0/mlflow/{path}", query=query)


def champion_of(workspace: WorkspaceUnderTest) -> str:
    found = ask(workspace, "registered-models/alias", name=MODEL, alias="champion")
    return str(found["model_version"]["version"])


def registered(workspace: WorkspaceUnderTest) -> tuple[list[str], str]:
    """The versions of the model, and which of them is the champion."""
    found = ask(workspace, "model-versions/search", filter=f"name='{MODEL}'")
    return [str(version["version"]) for version in found["model_versions"]], champion_of(workspace)


def test_parameters_reach_the_notebook_and_a_worse_model_gets_no_alias(retrained, registry):
    champion = retrained.champion_before

    newest = max(registry.search_model_versions(f"name='{MODEL}'"), key=lambda version: int(version.version))

    params = {name: str(value) for name, value in choose_params().items()} | {"seed": "7"}
    assert registry.get_run(newest.run_id).data.params.items() >= params.items()
    assert newest.tags["gate"] == "refused"
    assert re.search(rf"{PRIMARY} \S+ is above the threshold of -1", newest.tags["gate_reasons"])
    assert registry.get_model_version_by_alias(MODEL, "champion").version == champion
    assert registry.get_registered_model(MODEL).aliases == {"champion": champion}


def test_models_lists_every_version_under_the_line_of_the_workspace(workspace):
    shown = run(workspace, "models")

    versions = re.findall(r"^[* ] +(\d+)  ", shown, re.MULTILINE)
    assert shown.startswith(f"Workspace 'local' at {workspace.profile['host']}")
    assert len(versions) >= 2
    assert versions == sorted(versions, key=int, reverse=True)
    marked = next(line for line in shown.splitlines() if line.startswith("*"))
    numbers = r" +-?\d+\.\d{4}" * len(METRICS)
    assert re.search(rf"champion{numbers} +passed +\d{{4}}-\d\d-\d\d", marked)
    assert re.search(r"[0-9a-f]{32}$", marked)


def test_a_promoted_version_is_champion_until_it_is_rolled_back(workspace):
    versions, before = registered(workspace)
    other = next(version for version in versions if version != before)

    promoted = run(workspace, "promote", f"VERSION={other}")
    user = re.search(r"signed in as (\S+)", promoted)[1]
    marked = next(line for line in run(workspace, "models").splitlines() if line.startswith("*"))
    rolled_back = run(workspace, "rollback")

    assert f"Version {other} is the champion of {MODEL}, in place of version {before}" in promoted
    assert re.match(rf"\* +{other}  ", marked) and user in marked
    assert f"Version {before} is the champion of {MODEL} again, in place of version {other}" in rolled_back
    assert champion_of(workspace) == before


def test_what_makes_no_sense_is_refused_in_one_line(workspace):
    champion = champion_of(workspace)

    assert refused(workspace, "promote").startswith("Error: which version?")
    for text in ("champion", "v3"):
        assert re.search(
            rf"got '{text}'\. {MODEL} has versions \['1', '2'.* and aliases \{{'champion'",
            refused(workspace, "promote", f"VERSION={text}"),
        )
    assert "no version or alias '03'; it has versions ['1'" in refused(workspace, "promote", "VERSION=03")
    assert "no version or alias '999'" in refused(workspace, "promote", "VERSION=999")
    assert "is the champion of" in run(workspace, "promote", f"VERSION={champion}")
    assert "rollback takes no VERSION" in refused(workspace, "rollback", "VERSION=1")
    assert refused(workspace, "compare", "A=1").startswith("Error: which two versions?")
    assert champion_of(workspace) == champion


def test_a_version_in_the_environment_promotes_nothing(workspace):
    versions, champion = registered(workspace)
    other = next(version for version in versions if version != champion)

    assert refused(workspace, "promote", VERSION=other).startswith("Error: which version?")


def test_compare_shows_both_on_the_same_rows(workspace):
    versions, champion = registered(workspace)
    other = next(version for version in versions if version != champion)

    shown = run(workspace, "compare", "A=champion", f"B={other}")

    assert f"A is version {champion}, B is version {other}" in shown
    assert "Both were evaluated on the same holdout rows" in shown
    a, b, difference = map(
        float, re.search(rf"^{PRIMARY} +(\S+) +(\S+) +(\S+)$", shown, re.MULTILINE).groups()
    )
    assert difference == pytest.approx(b - a, abs=2e-4)


def test_rolling_back_ends_at_the_first_champion_with_one_line(workspace):
    versions, _ = registered(workspace)

    for _ in versions:
        finished = workspace.make("rollback")
        if finished.returncode:
            break

    assert "has no earlier champion to roll back to" in refused(workspace, "rollback")
