"""A deployment that is refused half-way: each job has one whole version, and the next one finishes it."""

import json
from collections.abc import Iterator
from dataclasses import dataclass, field

import pytest
from deployment import wheels
from deployment.command_lines import COMMAND_LINES
from deployment.go_cli import GoCli  # only: go-cli
from programs import require_program
from proxy import Proxy, serve
from test_deployments import Team, make_checkout
from test_with_go_cli import bundle  # only: go-cli

REFUSAL = {"error_code": "INVALID_STATE", "message": "the drill has begun"}


@dataclass
class Drilled(Team):
    """A team whose workspace stands behind a proxy."""

    proxy: Proxy = field(default_factory=lambda: Proxy(""))

    def make(self, *arguments: str, ok: bool | None = True) -> str:
        self.proxy.posts.clear()
        config = self.checkout.parent / "databrickscfg"
        config.write_text(f"[far]\nhost = {self.proxy.host}\ntoken = {self.workspace.profile['token']}\n")
        settings = (f"TARGET={self.target}", "WORKSPACE=far", *self.settings)
        given = {"DATABRICKS_CONFIG_FILE": str(config), "DATABRICKS_CLI": require_program(self.cli)}
        done = self.workspace.make(*arguments, *settings, checkout=self.checkout, **given)
        self.printed = done.stdout + done.stderr
        assert ok is None or (done.returncode == 0) == ok, self.printed
        return self.printed

    def versions(self) -> dict[str, set[str]]:
        """The version of each job, by its notebook and its wheels: of a whole job they are one."""
        prefix = f"[torn {self.target}] "
        found = {}
        for job in self.workspace.client.jobs.list(expand_tasks=True):
            if job.settings.name.startswith(prefix):
                task = job.settings.tasks[0].notebook_task
                paths = (task.notebook_path, task.base_parameters["wheel_dir"])
                key = f"{job.settings.name} ({job.job_id})"
                found[key] = {path.partition("/deployments/")[2].partition("/")[0] for path in paths}
        return found

    def change(self, mark: str) -> str:
        """Makes the checkout another version, and says which."""
        package = self.checkout / "ml_source" / "src" / "diabetes" / "mark.py"
        package.write_text(f'"""What a test looks for."""\n\nMARK = "{mark}"\n')
        return wheels.version(self.checkout)

    def break_off(self, path: str, place: int) -> None:
        """Deploys, while the workspace refuses all calls of a kind from one of them on."""
        self.proxy.only, self.proxy.gaps = path, {place: 99}
        told = self.make("deploy", ok=False)
        assert "the drill has begun" in told
        self.proxy.only, self.proxy.gaps = "", {}


@pytest.fixture(scope="module", params=COMMAND_LINES)
def team(request: pytest.FixtureRequest, demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Drilled]:
    require_program(request.param)
    target = ("dev", "staging")[COMMAND_LINES.index(request.param)]
    checkout = make_checkout(tmp_path_factory.mktemp("torn") / "checkout")
    own = (
        f"WORKSPACE_FOLDER=/Shared/torn/{target}",
        f"NAME_PREFIX=[torn {target}] ",
        "CLUSTER_NAME=azure-databricks-mlops-mlflow",
    )
    refusing = Proxy(demo.workspace.profile["host"], gap=400, body=json.dumps(REFUSAL))
    with serve(refusing) as proxy:
        yield Drilled(demo.workspace, checkout, target, request.param, settings=own, proxy=proxy)


def running(team: Drilled) -> str:
    """The version that every job runs; one is deployed where there is none yet."""
    versions = team.versions()
    if not versions:
        return team.deploy("first")
    (version,) = set.union(*versions.values())
    return version


def break_off_upload(team: Drilled, *, at_the_record: bool) -> None:
    """Of databricks-cli both go by one route: two wheels, three notebooks, the record of the version."""
    if team.cli.notebooks_alone:
        team.break_off("/workspace/import", 6 if at_the_record else 4)
    else:
        team.break_off(*(("/workspace/import", 1) if at_the_record else ("/workspace-files/import-file", 2)))


@pytest.mark.parametrize("at_the_record", [False, True])
def test_until_all_of_a_version_is_there_every_job_runs_the_old_one(
    team: Drilled, at_the_record: bool
) -> None:
    old, new = running(team), team.change(f"all or nothing {at_the_record}")
    before = team.versions()

    break_off_upload(team, at_the_record=at_the_record)

    assert team.versions() == before
    assert new not in team.listed()
    assert f"versions match '{new}'" in team.make("rollback-code", f"VERSION={new}", ok=False)
    assert "already" in team.make("rollback-code", f"VERSION={old}")  # which looks at every file of it

    team.make("deploy")
    assert team.versions() == {job: {new} for job in before}
    assert new in team.listed()


@pytest.mark.parametrize("place", [1, 2])
def test_between_the_jobs_each_has_one_whole_version_until_all_have_the_new_one(
    team: Drilled, place: int
) -> None:
    old, new = running(team), team.change(f"job by job {place}")
    before = team.versions()

    team.break_off("/jobs/reset", place)

    torn = team.versions()
    assert torn.keys() == before.keys()
    expected = [[new]] * (place - 1) + [[old]] * (len(before) - place + 1)
    assert sorted(map(sorted, torn.values())) == sorted(expected)
    assert {old, new} <= team.listed().keys()

    team.make("deploy")
    assert team.versions() == {job: {new} for job in before}


# only: go-cli
@pytest.mark.parametrize("team", [GoCli], indirect=True)
def test_the_lock_of_a_deployment_that_was_killed_is_lifted_as_it_says(team: Drilled) -> None:
    """The lock stays since its removal is refused, as it stays where nobody is left to remove it."""
    running(team)
    new = team.change("locked")
    team.proxy.only, team.proxy.gaps = "/workspace/delete", {1: 99}
    team.make("deploy", ok=None)
    team.proxy.only, team.proxy.gaps = "", {}

    assert "Use --force-lock to override" in team.make("deploy", ok=False)
    bundle(team.workspace, team.checkout, team.target, "deploy", "--force-lock")
    team.make("deploy")

    assert set(map(frozenset, team.versions().values())) == {frozenset({new})}


# end only
