"""A project made by `make new-project`."""

import json
import os
import re
import shutil
import subprocess
from pathlib import Path

import pytest
from checkouts import IDENTITY, Checkout, copy_template

from template.files import ROOT
from template.names import CREDITS

# What a project without the part says nothing of where people read, and where.
READ = re.compile(r"\.(md|yml|toml|in|txt|json|svg)$|^Makefile$|^\.gitignore$")
WORDS = {
    "local-workspace": r"local.workspace|make demo|benchmarks/",
    "azure-pipelines": r"azure.pipelines",
    "go-cli": r"go_cli|bundle (deploy|validate|run)|both command lines",
    "pip-cli": r"pip_cli|databricks-cli|both command lines",
    "template": r"(#|//|<!--) *only: |end only|tests/sciences|make new-project",
}
VARIANTS = ("go-cli local-workspace", "azure-pipelines pip-cli", "")


def name_variant(without: str) -> str:
    return without.replace(" ", "+") or "whole"


@pytest.fixture(scope="module")
def template(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The template with changes that are not committed, and with files that git ignores."""
    template = copy_template(tmp_path_factory.mktemp("template") / "template")
    template.write("docs/note.md", "of today\n")
    template.git("add", "docs/note.md")
    template.replace("docs/data.md", "# ", "# Changed: ")
    (template.folder / "dist").mkdir()
    template.write("dist/old.whl", "left over")
    return template


@pytest.fixture(scope="module", params=VARIANTS, ids=name_variant)
def project(
    template: Checkout, request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> tuple[Checkout, list[str]]:
    """A project, and the parts that it does without."""
    folder = tmp_path_factory.mktemp("project") / "churn"
    return template.make_project(folder, without=request.param), request.param.split()


CREDITING = ("LICENSE.template", "README.md", "ml_data/README.md")


def test_no_word_of_the_sample_is_left_but_in_the_credits(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project
    credits = re.compile("|".join(map(re.escape, CREDITS)))

    found = [
        path for path in checkout.files() if re.search("diabetes|azure-databricks-mlops", path, re.IGNORECASE)
    ]
    for path in checkout.files():
        text = (checkout.folder / path).read_bytes().decode(errors="replace")
        left = credits.sub("", text) if path in CREDITING else text
        found += [path] if re.search("diabetes|azure-databricks-mlops", left, re.IGNORECASE) else []

    assert found == []


def test_nobody_reads_of_what_it_does_without(project: tuple[Checkout, list[str]]) -> None:
    checkout, without = project
    files = [path for path in checkout.files() if READ.search(path) and path != ".template.json"]

    found = [
        f"{path}: {part}"
        for part in (*without, "template")
        for path in files
        if re.search(WORDS[part], path + checkout.read(path), re.IGNORECASE)
    ]

    assert found == []


def test_its_style_is_in_order(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project

    checked = checkout.python("-m", "ruff", "check", "--no-cache")
    formatted = checkout.python("-m", "ruff", "format", "--check", "--no-cache")

    assert (checked.returncode, formatted.returncode) == (0, 0), checked.stdout + formatted.stdout


def test_its_links_lead_somewhere(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project

    broken = [
        f"{path}: {link}"
        for path in checkout.files()
        if path.endswith(".md")
        for link in re.findall(r"\]\(([^)#]+)(?:#[^)]*)?\)", checkout.read(path))
        if "://" not in link and not (checkout.folder / path).parent.joinpath(link).exists()
    ]

    assert broken == []


# Those of the whole one are run by `make test-new-project`.
@pytest.mark.parametrize("project", VARIANTS[:2], ids=name_variant, indirect=True)
def test_its_tests_can_be_collected(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project

    collected = checkout.python(
        "-m", "pytest", "--collect-only", "--assert=plain", "-q", "-p", "no:cacheprovider"
    )

    assert collected.returncode == 0, collected.stdout[-3000:] + collected.stderr
    assert "error" not in collected.stdout.splitlines()[-1]


def test_its_targets_are_listed(project: tuple[Checkout, list[str]]) -> None:
    checkout, without = project

    listed = subprocess.run(["make"], cwd=checkout.folder, capture_output=True, text=True, check=True).stdout

    assert "run-customer-churn-model-training" in listed and "update-from-template" in listed
    assert "new-project" not in listed
    assert ("demo" in listed) is ("local-workspace" not in without)


def test_its_requirements_are_those_that_it_asks_for(project: tuple[Checkout, list[str]]) -> None:
    checkout, without = project
    pinned = {
        line.partition("==")[0] for line in checkout.read("requirements.txt").splitlines() if "==" in line
    }

    assert ("schemathesis" in pinned) is ("local-workspace" not in without)
    assert ("databricks-cli" in pinned) is ("pip-cli" not in without)
    assert {"mlflow", "scikit-learn", "pytest"} <= pinned


def test_it_begins_with_one_commit_of_everything(project: tuple[Checkout, list[str]]) -> None:
    checkout, without = project

    assert checkout.git("log", "--format=%s", "main").splitlines() == [
        "Begin customer-churn from template v0.1.0"
    ]
    assert checkout.git("status", "--porcelain") == ""
    assert not (checkout.folder / ".ruff_cache").exists()
    assert 'version = "0.1.0"' in checkout.read("ml_ops/pyproject.toml")
    assert re.findall(r"^## (.*)", checkout.read("CHANGELOG.md"), re.MULTILINE) == ["0.1.0"]
    record = json.loads(checkout.read(".template.json"))
    assert (record["name"], record["without"]) == ("customer_churn", without)


def test_it_has_what_is_not_committed_and_not_what_git_ignores(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project

    assert checkout.read("docs/note.md") == "of today\n"
    assert checkout.read("docs/data.md").startswith("# Changed: ")
    assert not (checkout.folder / "dist").exists()


def test_scripts_can_still_be_run(project: tuple[Checkout, list[str]]) -> None:
    checkout, _ = project

    assert os.access(checkout.folder / ".ci" / "run", os.X_OK)


def new_project(*arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    """`make new-project` of this repository, where git does not know who commits."""
    given = {name: value for name, value in os.environ.items() if name not in ("EMAIL", *IDENTITY)}
    given |= {"GIT_CONFIG_GLOBAL": os.devnull} | environment
    return subprocess.run(
        ["make", "new-project", *arguments], cwd=ROOT, env=given, capture_output=True, text=True, check=False
    )


def test_a_path_with_a_space_and_a_home_without_a_name_will_do(tmp_path: Path) -> None:
    made = new_project("NAME=churn", f"DEST={tmp_path}/my work/churn", HOME=str(tmp_path))

    assert made.returncode == 0, made.stderr
    assert "make demo" in made.stdout
    assert Checkout(tmp_path / "my work" / "churn").git("log", "--format=%s").startswith("Begin churn from")


@pytest.mark.parametrize(
    ("arguments", "said"),
    [
        (["NAME=pandas"], "NAME='pandas' cannot be taken: pandas is a package that the project uses"),
        (["NAME=my churn"], "NAME='my churn' cannot be taken"),
        (["NAME=churn;ls"], "cannot be taken"),
        (["NAME="], "needs NAME="),
        (["NAME=churn", "WITHOUT=mlflow"], r"WITHOUT names \['mlflow'\]; a project can do without"),
        (["NAME=churn", "WITHOUT=go-cli pip-cli"], "needs one of them"),
    ],
)
def test_a_wish_that_cannot_be_met_is_refused_and_nothing_is_written(
    tmp_path: Path, arguments: list[str], said: str
) -> None:
    refused = new_project(*arguments, f"DEST={tmp_path}/churn")

    assert refused.returncode != 0
    assert re.search(said, refused.stderr) and "Traceback" not in refused.stderr
    assert list(tmp_path.iterdir()) == []


def test_a_folder_with_something_in_it_is_left_alone(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("all there is")

    refused = new_project("NAME=churn", f"DEST={tmp_path}")

    assert refused.returncode != 0 and "exists and is not an empty folder" in refused.stderr
    assert [file.name for file in tmp_path.iterdir()] == ["thesis.txt"]


def test_a_place_that_cannot_be_written_is_told_in_one_message(tmp_path: Path) -> None:
    (tmp_path / "file").touch()

    refused = new_project("NAME=churn", f"DEST={tmp_path}/file/churn")

    assert refused.returncode != 0 and f"{tmp_path}/file" in refused.stderr
    assert "Traceback" not in refused.stderr


def test_the_template_itself_is_no_place_for_a_project() -> None:
    refused = new_project("NAME=churn", "DEST=churn")

    assert refused.returncode != 0 and "is inside the template" in refused.stderr
    assert not (ROOT / "churn").exists()


def test_the_tests_of_the_machinery_do_not_mind_another_science(template: Checkout, tmp_path: Path) -> None:
    project = template.make_project(tmp_path / "churn")
    science = ROOT / "tests" / "sciences" / "houses"
    for module in science.glob("[!m]*.py"):
        text = module.read_text().replace("diabetes", "customer_churn")
        project.write(f"ml_source/src/customer_churn/{module.name}", text)
    made = project.python(str(science / "make_data.py"), "ml_data")
    assert made.returncode == 0, made.stderr

    files = ("ml_ops/tests/test_gate.py", "ml_ops/tests/test_the_problem.py", "ml_source/tests/tabular")
    tested = project.python("-m", "pytest", "-q", "-p", "no:cacheprovider", *files)

    assert tested.returncode == 0, tested.stdout[-3000:] + tested.stderr


def test_a_copy_without_history_makes_a_project_too(template: Checkout, tmp_path: Path) -> None:
    copy = tmp_path / "downloaded"
    shutil.copytree(template.folder, copy, ignore=shutil.ignore_patterns(".git"))

    project = Checkout(copy).make_project(tmp_path / "churn")

    assert json.loads(project.read(".template.json"))["commit"] == ""
    assert not (project.folder / "dist").exists()
    assert project.git("log", "--format=%s").strip() == "Begin customer-churn from the template"


def test_what_git_does_not_track_is_left_out_and_named(tmp_path: Path) -> None:
    template = copy_template(tmp_path / "template")
    for name in ("mine.cfg", ".env", ".databrickscfg", "secrets.txt", "key.pem", "docs/draft.md"):
        template.write(name, "planted\n")

    made = template.python("-m", "template", "new", "churn", str(tmp_path / "churn"))
    files = Checkout(tmp_path / "churn").files()

    assert made.returncode == 0, made.stderr
    assert "does not track them (`git add` takes one in): docs/draft.md, mine.cfg\n" in made.stdout
    assert not {"mine.cfg", ".env", ".databrickscfg", "secrets.txt", "key.pem", "docs/draft.md"} & set(files)


def test_a_copy_without_history_gives_no_secret_file_to_a_project(tmp_path: Path) -> None:
    template = copy_template(tmp_path / "template")
    shutil.rmtree(template.folder / ".git")
    for name in (".env", ".databrickscfg", "secrets.txt", "key.pem"):
        template.write(name, "planted\n")

    project = template.make_project(tmp_path / "churn", name="churn")

    assert not [path for path in project.files() if "planted" in project.read(path)[:10]]


@pytest.mark.parametrize("kind", ["file", "folder"])
def test_a_link_that_leads_out_of_the_template_is_not_followed(tmp_path: Path, kind: str) -> None:
    template = copy_template(tmp_path / "template")
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "key").write_text("planted")
    target = tmp_path / "outside" / ("key" if kind == "file" else "")
    (template.folder / "docs" / "link").symlink_to(target)
    template.git("add", "docs/link")

    made = template.python("-m", "template", "new", "churn", str(tmp_path / "churn"))
    kept = (tmp_path / "churn").rglob("*") if made.returncode == 0 else []

    assert not [path for path in kept if path.name in ("link", "key")]
    assert kind == "folder" or (made.returncode, "docs/link" in made.stderr) == (1, True)
