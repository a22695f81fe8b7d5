"""The Make targets of the registered model, on the workspace of the demo."""

import re
import subprocess

import pytest
import requests
from workspace_under_test import MODEL, WorkspaceUnderTest

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def workspace(demo) -> WorkspaceUnderTest:
    """The demo's workspace after a training with a search, so that there are two versions or more."""
    params = "PARAMS=alpha=0.6 search_trials=2 search_on=workers"
    trained = demo.workspace.make("run-diabetes-model-training", params)
    assert trained.returncode == 0, trained.stdout + trained.stderr
    return demo.workspace


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


def listed(workspace: WorkspaceUnderTest) -> tuple[list[str], str]:
    """The versions that `make models` lists, in its order, and the one that it marks."""
    rows = re.findall(r"^([* ]) +(\d+)  ", run(workspace, "models"), re.MULTILINE)
    (champion,) = [version for mark, version in rows if mark == "*"]
    return [version for _, version in rows], champion


def test_the_page_of_a_training_shows_each_trial_of_its_search_on_one_line(workspace):
    run = workspace.client.jobs.get_run(workspace.last_run_id())
    sign_in = {"Authorization": f"Bearer {workspace.profile['token']}"}

    page = requests.get(run.run_page_url, headers=sign_in, timeout=30).text

    assert "fitting 2 trials, 5 folds each, in the Spark workers" in page
    assert re.search(r"trial 1 of 2: alpha 0\.6, .*\ntrial 2 of 2: alpha .*\nbest of 2 trials", page)


def test_models_lists_every_version_under_the_line_of_the_workspace(workspace):
    shown = run(workspace, "models")

    versions = re.findall(r"^[* ] +(\d+)  ", shown, re.MULTILINE)
    assert shown.startswith(f"Workspace 'local' at {workspace.profile['host']}")
    assert len(versions) >= 2
    assert versions == sorted(versions, key=int, reverse=True)
    marked = next(line for line in shown.splitlines() if line.startswith("*"))
    assert re.search(r"champion +\d+\.\d{4} +\d+\.\d{4} +0\.\d{4} +passed +\d{4}-\d\d-\d\d", marked)
    assert re.search(r"[0-9a-f]{32}$", marked)


def test_a_promoted_version_is_champion_until_it_is_rolled_back(workspace):
    versions, before = listed(workspace)
    other = next(version for version in versions if version != before)

    promoted = run(workspace, "promote", f"VERSION={other}")
    user = re.search(r"signed in as (\S+)", promoted)[1]
    marked = next(line for line in run(workspace, "models").splitlines() if line.startswith("*"))
    rolled_back = run(workspace, "rollback")

    assert f"Version {other} is the champion of {MODEL}, in place of version {before}" in promoted
    assert re.match(rf"\* +{other}  ", marked) and user in marked
    assert f"Version {before} is the champion of {MODEL} again, in place of version {other}" in rolled_back
    assert listed(workspace)[1] == before


def test_what_makes_no_sense_is_refused_in_one_line(workspace):
    champion = listed(workspace)[1]

    assert refused(workspace, "promote").startswith("Error: which version?")
    assert "got 'champion'" in refused(workspace, "promote", "VERSION=champion")
    assert "no version or alias '999'" in refused(workspace, "promote", "VERSION=999")
    assert "is the champion already" in refused(workspace, "promote", f"VERSION={champion}")
    assert "rollback takes no VERSION" in refused(workspace, "rollback", "VERSION=1")
    assert refused(workspace, "compare", "A=1").startswith("Error: which two versions?")
    assert listed(workspace)[1] == champion


def test_a_version_in_the_environment_promotes_nothing(workspace):
    versions, champion = listed(workspace)
    other = next(version for version in versions if version != champion)

    assert refused(workspace, "promote", VERSION=other).startswith("Error: which version?")


def test_compare_shows_both_on_the_same_rows(workspace):
    versions, champion = listed(workspace)
    other = next(version for version in versions if version != champion)

    shown = run(workspace, "compare", "A=champion", f"B={other}")

    assert f"A is version {champion}, B is version {other}" in shown
    assert "Both were evaluated on the same holdout rows" in shown
    a, b, difference = map(float, re.search(r"^rmse +(\S+) +(\S+) +(\S+)$", shown, re.MULTILINE).groups())
    assert difference == pytest.approx(b - a, abs=2e-4)


def test_rolling_back_ends_at_the_first_champion_with_one_line(workspace):
    versions, _ = listed(workspace)

    for _ in versions:
        finished = workspace.make("rollback")
        if finished.returncode:
            break

    assert "has no earlier champion to roll back to" in refused(workspace, "rollback")
