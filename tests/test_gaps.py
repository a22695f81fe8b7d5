"""`make deploy` through a proxy that lets a call now and then run into a gap, before a real workspace."""

import re
from collections.abc import Iterator
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import pytest
from databricks.sdk.errors import NotFound
from deployment import wheels
from proxy import DROP, Proxy, serve
from test_deployments import make_checkout
from workspace_under_test import FOLDER, WorkspaceUnderTest

TARGET = "prod"


@dataclass
class Far:
    """A checkout that deploys to the workspace behind the proxy."""

    workspace: WorkspaceUnderTest
    checkout: Path
    proxy: Proxy

    def make(self, *arguments: str, ok: bool = True) -> str:
        """What a make target prints."""
        self.proxy.posts.clear()
        self.proxy.moments.clear()
        config = self.checkout.parent / "databrickscfg"
        token = self.workspace.profile["token"]
        config.write_text(f"[far]\nhost = {self.proxy.host}\ntoken = {token}\n")
        settings = (f"TARGET={TARGET}", "WORKSPACE=far", "CLUSTER_NAME=azure-databricks-mlops-mlflow")
        settings += ("COMPUTE=existing", "NAME_PREFIX=[far] ")  # else they would be the demo's jobs
        given = {"DATABRICKS_CONFIG_FILE": str(config)}
        done = self.workspace.make(*arguments, *settings, checkout=self.checkout, **given)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        return done.stdout + done.stderr

    def forget_code(self) -> None:
        """Makes the version one that was never deployed."""
        path = f"{FOLDER}/{TARGET}/code/deployments/{wheels.version(self.checkout)}"
        with suppress(NotFound):
            self.workspace.client.workspace.delete(path, recursive=True)


@pytest.fixture(scope="module")
def deployed(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Far]:
    checkout = make_checkout(tmp_path_factory.mktemp("far") / "checkout")
    with serve(Proxy(demo.workspace.profile["host"])) as proxy:
        far = Far(demo.workspace, checkout, proxy)
        far.make("deploy")
        yield far


@pytest.fixture
def far(deployed: Far) -> Far:
    deployed.proxy.__init__(deployed.proxy.upstream, deployed.proxy.host)
    return deployed


@pytest.mark.parametrize("gap", [503, 429, DROP])
def test_a_deployment_goes_on_after_a_gap_in_any_of_its_calls(far: Far, gap: int) -> None:
    far.forget_code()
    far.proxy.gap, far.proxy.first_of_each = gap, True

    told = far.make("deploy")

    said = f"was answered by HTTP {gap}" if gap else "was not answered"
    again = re.findall(rf"POST (/api/\S+) {said}.*again", told)
    assert sorted(again) == sorted(set(far.proxy.posts)), told
    assert {path.rpartition("/")[2] for path in again} == {"mkdirs", "import", "reset"}


def test_the_workspace_says_how_long_it_wants_to_be_left_alone(far: Far) -> None:
    far.proxy.gap, far.proxy.headers = 429, {"Retry-After": "4"}
    for path in ("/workspace/mkdirs", "/workspace/import", "/jobs/reset"):
        far.forget_code()
        far.proxy.only, far.proxy.gaps = path, {1: 1}
        far.make("deploy")

        assert far.proxy.moments[1] - far.proxy.moments[0] >= 4


def test_a_workspace_that_stays_away_is_named_with_the_call_and_what_it_said(far: Far) -> None:
    far.proxy.body = '{"error_code": "TEMPORARILY_UNAVAILABLE", "message": "in repair"}'
    for path in ("/workspace/mkdirs", "/jobs/reset"):
        far.forget_code()
        far.proxy.only, far.proxy.gaps = path, {1: 99}
        told = far.make("deploy", ok=False)

        assert re.search(
            rf"Error: .*POST /api/2\.\d{path} .*HTTP 503 .*TEMPORARILY_UNAVAILABLE: in repair", told
        )
        assert len(far.proxy.posts) == 4


@pytest.mark.parametrize("gap", [503, DROP])
def test_a_job_is_not_created_twice(far: Far, gap: int) -> None:
    jobs = far.workspace.client.jobs
    before = {job.job_id for job in jobs.list()}
    names = re.findall(r"Job '(.*)' \((\d+)\) is updated", far.make("deploy"))
    jobs.delete(int(names[0][1]))
    far.proxy.gap, far.proxy.only, far.proxy.gaps, far.proxy.passes_on = gap, "/jobs/create", {1: 1}, True

    told = far.make("deploy", ok=False)

    said = "was answered by HTTP 503" if gap else "was not answered"
    assert re.search(rf"Error: .*POST /api/2\.1/jobs/create {said}.*look in the workspace whether", told), (
        told
    )
    assert len(far.proxy.posts) == 1
    far.make("deploy")
    assert len({job.job_id for job in jobs.list()}) == len(before)


@pytest.mark.parametrize("gap", [503, 429, DROP])
def test_a_run_is_not_triggered_twice(far: Far, gap: int) -> None:
    far.proxy.gap, far.proxy.only, far.proxy.gaps = gap, "/jobs/run-now", {1: 99}

    told = far.make("run-diabetes-monitoring", "WAIT=0", ok=False)

    said = f"was answered by HTTP {gap}" if gap else "was not answered"
    assert re.search(rf"Error: .*POST /api/2\.\d/jobs/run-now {said}.*look in the workspace whether", told), (
        told
    )
    assert len(far.proxy.posts) == 1
    assert far.workspace.profile["token"] not in told
