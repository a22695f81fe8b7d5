"""A checkout on a system that ends lines with CRLF, such as Windows, and a project that is made there."""

import subprocess
from pathlib import Path

import pytest
from checkouts import Checkout, copy_template


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Checkout:
    """The template as git of such a system checks it out."""
    folder = tmp_path_factory.mktemp("line_ends")
    template = copy_template(folder / "template")
    template.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", str(folder / "clone"))
    return Checkout(folder / "clone")


def with_carriage_returns(checkout: Checkout) -> list[str]:
    """Text files in the working folder that have CRLF somewhere."""
    lines = [line.split("\t") for line in checkout.git("ls-files", "--eol").splitlines()]
    return [path for attributes, path in lines if "w/crlf" in attributes or "w/mixed" in attributes]


def test_every_text_file_ends_its_lines_as_linux_does(checkout: Checkout) -> None:
    assert with_carriage_returns(checkout) == []
    for script in (".ci/run", ".devcontainer/post-create.sh"):
        read = subprocess.run(["bash", "-n", checkout.folder / script], check=False, capture_output=True)
        assert (read.returncode, read.stderr) == (0, b"")


def test_scripts_run_where_their_executable_bit_was_lost(checkout: Checkout) -> None:
    for path, script in (
        (".devcontainer/devcontainer.json", ".devcontainer/post-create.sh"),
        (".github/workflows/ci.yml", ".ci/run"),
        (".azure-pipelines/ci_cd.yml", ".ci/run"),
    ):
        assert checkout.read(path).count(script) == checkout.read(path).count(f"bash {script}") == 1


def test_a_project_that_is_made_there_keeps_its_line_ends(checkout: Checkout, tmp_path: Path) -> None:
    project = checkout.make_project(tmp_path / "churn", name="churn")
    project.git("clone", "--quiet", "--config", "core.autocrlf=true", ".", str(tmp_path / "clone"))

    assert with_carriage_returns(Checkout(tmp_path / "clone")) == []
    assert b"\r" not in (tmp_path / "clone" / "Makefile").read_bytes()
