"""Versions of the code live side by side in a workspace, whichever command line brought them."""

import re
import shutil
import subprocess
from collections.abc import Iterator
from dataclasses import dataclass, field, replace
from pathlib import Path

import pytest
from databricks.sdk.service.jobs import NotebookTask, SubmitTask
from databricks.sdk.service.workspace import ImportFormat, Language
from deployment.command_lines import COMMAND_LINES
from deployment.databricks_cli import DatabricksCli
from programs import any_kind, require_program
from workspace_under_test import FOLDER, ROOT, Demo, WorkspaceUnderTest


@dataclass
class Team:
    """A checkout of a team of its own, whose target no other test deploys."""

    workspace: WorkspaceUnderTest
    checkout: Path
    target: str
    cli: type[DatabricksCli] = field(default_factory=any_kind)
    printed: str = ""
    """What the last make target printed."""
    settings: tuple[str, ...] = ()
    """What differs from the target."""

    def make(self, *arguments: str, ok: bool = True) -> str:
        """What a make target prints."""
        program = require_program(self.cli)
        settings = (f"TARGET={self.target}", "WORKSPACE=local", "CLUSTER_NAME=azure-databricks-mlops-mlflow")
        settings += ("COMPUTE=existing", *self.settings)
        done = self.workspace.make(*arguments, *settings, checkout=self.checkout, DATABRICKS_CLI=program)
        assert (done.returncode == 0) == ok, done.stdout + done.stderr
        self.printed = done.stdout + done.stderr
        return self.printed

    def deploy(self, mark: str, *arguments: str) -> str:
        """Deploys a package that says `mark`, as a commit of its own; returns its version."""
        package = self.checkout / "ml_source" / "src" / "diabetes" / "mark.py"
        package.write_text(f'"""What a test looks for."""\n\nMARK = "{mark}"\n')
        git(self.checkout, "add", "--all")
        git(self.checkout, "commit", "--message", mark)
        return re.search(r"Deploying (\S+) to", self.make("deploy", *arguments))[1]

    def listed(self, *arguments: str) -> dict[str, str]:
        """The line of each finished version, the newest first; `bundle validate` makes folders of others."""
        lines = [line for line in self.make("deployments", *arguments).splitlines() if "+g" in line]
        lines = [line for line in lines if "not finished" not in line]
        return {line.split()[0]: line for line in lines}

    def wheel_dir(self) -> str:
        """Where the training job finds its wheels, and its notebook."""
        jobs = self.workspace.client.jobs.list(expand_tasks=True)
        own = [job for job in jobs if job.settings.name.endswith("diabetes_model_training")]
        prefix = {"dev": "[dev ", "staging": "[staging] "}[self.target]
        (job,) = [job for job in own if job.settings.name.startswith(prefix)]
        task = job.settings.tasks[0].notebook_task
        folder, _, version = task.base_parameters["wheel_dir"].rpartition("/dist/")
        assert folder.startswith("/Workspace/") and folder.endswith(f"/deployments/{version}")
        assert task.notebook_path.startswith(f"{folder}/ml_ops/")
        return str(task.base_parameters["wheel_dir"])

    def start(self, wheel_dir: str, *cells: str) -> int:
        """Starts a run that installs the wheels of that folder."""
        path = f"{FOLDER}/installs_{self.target}"
        head = (
            'dbutils.widgets.text("wheel_dir", "")\nwheel_dir = dbutils.widgets.get("wheel_dir")',
            "%pip install --quiet --no-index --no-deps --upgrade --find-links $wheel_dir diabetes",
            "dbutils.library.restartPython()",
        )
        cells = tuple(f"# MAGIC {cell}" if cell.startswith("%") else cell for cell in (*head, *cells))
        source = "# Databricks notebook source\n" + "\n\n# COMMAND ----------\n\n".join(cells)
        client = self.workspace.client
        kind = {"format": ImportFormat.SOURCE, "language": Language.PYTHON}
        client.workspace.upload(path, source.encode(), overwrite=True, **kind)
        cluster_id = next(iter(client.clusters.list())).cluster_id
        notebook = NotebookTask(path, base_parameters={"wheel_dir": wheel_dir})
        task = SubmitTask("probe", existing_cluster_id=cluster_id, notebook_task=notebook)
        return int(client.jobs.submit(run_name="probe", tasks=[task]).run_id)

    def mark_of(self, run_id: int) -> str:
        """What the package said that a run imported."""
        run = self.workspace.client.jobs.wait_get_run_job_terminated_or_skipped(run_id)
        return str(self.workspace.client.jobs.get_run_output(run.tasks[0].run_id).notebook_output.result)


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


def make_checkout(checkout: Path) -> Path:
    """A copy of what is deployed, in a repository without a commit."""
    checkout.mkdir()
    for name in ("Makefile", "databricks.yml", "requirements.txt", ".gitignore", "ml_source", "ml_ops"):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, checkout / name)
    (checkout / "local_workspace").mkdir()
    (checkout / ".venv").symlink_to(ROOT / ".venv")
    git(checkout, "init", "--quiet")
    return checkout


def make_team(
    request: pytest.FixtureRequest, demo: Demo, tmp_path_factory: pytest.TempPathFactory, name: str
) -> Team:
    """A team by the command line of a fixture, with a folder and jobs that no other test looks at."""
    require_program(request.param)
    target = ("dev", "staging")[COMMAND_LINES.index(request.param)]
    checkout = make_checkout(tmp_path_factory.mktemp(name) / "checkout")
    own = (f"WORKSPACE_FOLDER=/Shared/{name}/{target}", f"NAME_PREFIX=[{name} {target}] ")
    return Team(demo.workspace, checkout, target, request.param, settings=own)


@pytest.fixture(params=COMMAND_LINES)
def team(request: pytest.FixtureRequest, demo, tmp_path: Path) -> Iterator[Team]:
    require_program(request.param)
    target = ("dev", "staging")[COMMAND_LINES.index(request.param)]
    yield Team(demo.workspace, make_checkout(tmp_path / "checkout"), target, request.param)


def register_nothing(workspace: WorkspaceUnderTest, name: str) -> None:
    """A model without versions: it tells that no code is needed for it."""
    models = workspace.client.api_client
    models.do("POST", "/api/2.0/mlflow/registered-models/create", body={"name": name})


def test_versions_stay_where_no_model_tells_whether_it_needs_them(team: Team) -> None:
    nowhere = "MODEL_NAME=main.nowhere.diabetes"
    first = team.deploy("one", nowhere)

    second = team.deploy("two", nowhere, "KEEP_DEPLOYMENTS=1")

    assert f"{first} stays, because there is no model main.nowhere.diabetes" in team.printed
    assert {first, second} <= set(team.listed())


MODELS = {"dev": "main.diabetes_local_user.diabetes", "staging": "staging.diabetes.diabetes"}
SAYS_MARK = "from diabetes.mark import MARK\ndbutils.notebook.exit(MARK)"


def test_versions_live_side_by_side_until_nobody_needs_them(team: Team, tmp_path: Path) -> None:
    register_nothing(team.workspace, MODELS[team.target])
    first = team.deploy("one")
    first_wheels, go_on = team.wheel_dir(), tmp_path / "go_on"
    waits = f"import pathlib, time\nwhile not pathlib.Path({str(go_on)!r}).exists(): time.sleep(0.05)"
    in_flight = team.start(first_wheels, waits, SAYS_MARK)

    second = team.deploy("two", "KEEP_DEPLOYMENTS=1")
    kept = team.listed()
    told = team.mark_of(team.start(team.wheel_dir(), SAYS_MARK))
    go_on.touch()

    assert first != second and list(kept) == [second, first]
    assert "diabetes_model_training" in kept[second] and str(in_flight) in kept[first]
    assert told == "two"  # on the cluster that has run the first version
    assert team.mark_of(in_flight) == "one"

    refused = team.make("rollback-code", "VERSION=0.0.9", ok=False)
    assert f"Error: 0 versions match '0.0.9'. VERSION=<one of ['{second}', '{first}']>" in refused
    assert "runs the code of " + first in team.make("rollback-code", f"VERSION={first[-7:]}")
    assert team.wheel_dir() == first_wheels
    assert "diabetes_model_training" in team.listed()[first]

    third = team.deploy("three", "KEEP_DEPLOYMENTS=1")
    assert list(team.listed()) == [third]


def test_one_command_line_owns_a_target(team: Team) -> None:
    others = [kind for kind in COMMAND_LINES if kind is not team.cli]
    if not others:
        pytest.skip("the project has one command line")
    other = replace(team, cli=others[0])
    require_program(other.cli)
    team.deploy("owned")

    told = other.make("deploy", ok=False)

    assert "Error: job '" in told
    owned = ("belongs to the bundle at", "was deployed without a bundle")
    assert owned[COMMAND_LINES.index(team.cli)] in told


def test_the_demo_is_listed_with_its_jobs(demo) -> None:
    listed = demo.workspace.make("deployments")

    assert listed.returncode == 0, listed.stderr
    lines = [line for line in listed.stdout.splitlines() if "diabetes_model_training" in line]
    assert len(lines) == 1 and "local.user@localhost" in lines[0]
