"""A project takes in a newer template: what changed comes, what the project changed stays."""

import json
import shutil
import subprocess
from pathlib import Path

import pytest
from checkouts import Checkout, copy_template

from template.files import describe

SCHEMA = "ml_source/src/customer_churn/schema.py"


@pytest.fixture(scope="module")
def worked_in(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with `template`, at v0.2.0, and `churn`, a project of v0.1.0 that people have worked in."""
    folder = tmp_path_factory.mktemp("both")
    template = copy_template(folder / "template")
    project = template.make_project(folder / "churn", without="azure-pipelines")
    project.write(SCHEMA, '"""Our own columns."""\n')
    project.replace("databricks.yml", '"0 0 2 ? * SUN"', '"0 0 3 ? * SUN"')
    project.commit("Our science, our hour")

    template.replace("databricks.yml", 'default: "UTC"', 'default: "Europe/Berlin"')
    template.replace("ml_ops/src/diabetes_mlops/train.py", '"""', '"""Newer: ')
    template.write("ml_ops/src/diabetes_mlops/newest.py", '"""Says diabetes."""\n')
    template.replace(".azure-pipelines/deploy.yml", "# A deployment", "# One deployment")
    template.git("rm", "--quiet", "docs/telemetry.md")
    template.commit("What is new")
    template.git("tag", "v0.2.0")
    return folder


@pytest.fixture
def both(worked_in: Path, tmp_path: Path) -> Path:
    """Copies of the two, for one test to change."""
    return Path(shutil.copytree(worked_in, tmp_path / "both", symlinks=True))


@pytest.fixture
def template(both: Path) -> Checkout:
    return Checkout(both / "template")


@pytest.fixture
def project(both: Path) -> Checkout:
    return Checkout(both / "churn")


def update(project: Checkout, template: Checkout, version: str = "") -> subprocess.CompletedProcess[str]:
    """`make update-from-template`, without the set-up of an environment."""
    return project.python(
        "-m", "deployment", "update-from-template", TEMPLATE=str(template.folder), TO=version
    )


def test_what_is_new_comes_and_what_was_changed_stays(project: Checkout, template: Checkout) -> None:
    before = project.git("rev-parse", "HEAD").strip()

    taken = update(project, template, "v0.2.0")

    assert taken.returncode == 0, taken.stderr
    settings = project.read("databricks.yml")
    assert 'default: "Europe/Berlin"' in settings and '"0 0 3 ? * SUN"' in settings
    assert project.read("ml_ops/src/customer_churn_mlops/newest.py") == '"""Says customer_churn."""\n'
    assert "Newer: " in project.read("ml_ops/src/customer_churn_mlops/train.py")
    assert project.read(SCHEMA) == '"""Our own columns."""\n'
    assert not (project.folder / "docs" / "telemetry.md").exists()
    assert not (project.folder / ".azure-pipelines").exists()
    assert project.git("log", "--format=%s", f"{before}..").splitlines() == ["Take in template v0.2.0"]
    assert sorted(project.git("diff", "--name-only", before).splitlines()) == [
        ".template.json",
        "databricks.yml",
        "docs/telemetry.md",
        "ml_ops/src/customer_churn_mlops/newest.py",
        "ml_ops/src/customer_churn_mlops/train.py",
    ]
    assert project.git("status", "--porcelain") == ""


def test_the_next_update_begins_where_this_one_ended(project: Checkout, template: Checkout) -> None:
    update(project, template)
    template.replace("databricks.yml", "Europe/Berlin", "Europe/Paris")
    template.commit("Newer still")

    taken = update(project, template)
    again = update(project, template)

    assert taken.returncode == 0, taken.stderr
    assert 'default: "Europe/Paris"' in project.read("databricks.yml")
    assert json.loads(project.read(".template.json"))["commit"] == template.git("rev-parse", "HEAD").strip()
    assert again.returncode == 0 and "has this template already" in again.stdout


def test_a_line_that_both_have_changed_is_a_conflict_of_git(project: Checkout, template: Checkout) -> None:
    project.replace("databricks.yml", 'default: "UTC"', 'default: "Asia/Tokyo"')
    project.commit("Our clock")
    before = project.git("rev-parse", "HEAD")

    conflict = update(project, template)

    assert conflict.returncode != 0 and "Traceback" not in conflict.stderr
    assert "databricks.yml" in conflict.stderr and "git cherry-pick --continue" in conflict.stderr
    assert "<<<<<<< " in project.read("databricks.yml") and "Asia/Tokyo" in project.read("databricks.yml")
    assert "Newer: " in project.read("ml_ops/src/customer_churn_mlops/train.py")
    project.git("cherry-pick", "--abort")
    assert project.git("rev-parse", "HEAD") == before and project.git("status", "--porcelain") == ""


def test_changes_that_are_not_committed_are_not_touched(project: Checkout, template: Checkout) -> None:
    project.replace(SCHEMA, "Our own", "My own")

    refused = update(project, template)

    assert refused.returncode != 0 and "changes that are not committed" in refused.stderr
    assert project.read(SCHEMA) == '"""My own columns."""\n'


def test_a_commit_that_the_template_does_not_know_is_told(project: Checkout, template: Checkout) -> None:
    record = json.loads(project.read(".template.json"))
    project.write(".template.json", json.dumps(record | {"commit": "0" * 40}))
    project.commit("From elsewhere")

    refused = update(project, template)

    assert refused.returncode != 0 and f"does not know the commit {'0' * 40}" in refused.stderr


def test_a_record_that_is_broken_is_told(project: Checkout, template: Checkout) -> None:
    project.write(".template.json", '{"name": "customer_churn"}')
    project.commit("Broken")

    refused = update(project, template)

    assert refused.returncode != 0 and "is not what `make new-project` wrote: KeyError" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_a_project_that_knows_no_address_asks_for_it(project: Checkout) -> None:
    refused = project.python("-m", "deployment", "update-from-template", TEMPLATE="", TO="")

    assert refused.returncode != 0 and "where is the template? TEMPLATE=" in refused.stderr


@pytest.mark.parametrize(
    ("cloned_from", "kept"),
    [
        ("https://someone:secret@example.com/team/template.git", "https://example.com/team/template.git"),
        ("git@example.com:team/template.git", "git@example.com:team/template.git"),
        ("ssh://git@example.com/team/template.git", "ssh://git@example.com/team/template.git"),
        ("/home/somebody/template", ""),
    ],
)
def test_the_address_of_a_template_is_told_without_a_sign_in(
    template: Checkout, cloned_from: str, kept: str
) -> None:
    template.git("remote", "add", "origin", cloned_from)

    assert describe(template.folder)["template"] == kept
