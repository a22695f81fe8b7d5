"""A checkout as Windows makes it: with ends of lines of its own, and without executable bits."""

import os
import re
import subprocess
from pathlib import Path

import pytest
from checkouts import Checkout, copy_template

SCRIPTS = {
    ".devcontainer/devcontainer.json": r'"postCreateCommand": "(.*)"',
    ".github/workflows/ci.yml": r"- run: (.*\.ci/run)",
    ".azure-pipelines/ci_cd.yml": r"- script: (.*\.ci/run)",
}


def clone_as_windows_does(checkout: Checkout, folder: Path) -> Checkout:
    given = ("-c", "core.autocrlf=true", "-c", "core.eol=crlf", "clone", "--quiet")
    checkout.git(*given, "--config", "core.autocrlf=true", str(checkout.folder), str(folder))
    return Checkout(folder)


def with_carriage_returns(checkout: Checkout) -> list[str]:
    """The files that have any, but those that git takes for binary."""
    listed = checkout.git("ls-files", "--eol").splitlines()
    binary = {line.partition("\t")[2] for line in listed if line.startswith("i/-text")}
    files = [path for path in checkout.files() if path not in binary]
    return [path for path in files if b"\r" in (checkout.folder / path).read_bytes()]


@pytest.fixture(scope="module")
def cloned(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    folder = tmp_path_factory.mktemp("windows")
    return clone_as_windows_does(copy_template(folder / "template"), folder / "clone")


def test_no_text_of_a_clone_has_other_ends_of_lines_nor_one_of_a_project_made_in_it(
    cloned: Checkout, tmp_path: Path
) -> None:
    made = cloned.make_project(tmp_path / "project")
    project = clone_as_windows_does(made, tmp_path / "clone")

    assert with_carriage_returns(cloned) == []
    assert with_carriage_returns(made) == []
    assert with_carriage_returns(project) == []
    assert project.read(".gitattributes") == cloned.read(".gitattributes")


def test_pictures_are_never_taken_for_text(cloned: Checkout) -> None:
    kinds = ("a.png", "a.gz", "a.parquet", "a.whl", "a.zip", "a.jar")

    said = cloned.git("check-attr", "text", "--", *kinds).splitlines()

    assert said == [f"{name}: text: unset" for name in kinds]


@pytest.mark.parametrize("file", SCRIPTS)
def test_scripts_are_run_also_where_they_lost_their_executable_bits(
    cloned: Checkout, tmp_path: Path, file: str
) -> None:
    for script in (".ci/run", ".devcontainer/post-create.sh"):
        (cloned.folder / script).chmod(0o644)
    for program in ("make", "chromium"):  # what the scripts call is looked at elsewhere
        (tmp_path / program).write_text("#!/bin/sh\n")
        (tmp_path / program).chmod(0o755)
    found = re.search(SCRIPTS[file], cloned.read(file))

    assert found
    path = f"{tmp_path}{os.pathsep}{os.environ['PATH']}"
    environment = os.environ | {"PATH": path}
    ran = subprocess.run(
        ["bash", "-c", found[1]],
        cwd=cloned.folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
    )
    assert ran.returncode == 0, ran.stderr
