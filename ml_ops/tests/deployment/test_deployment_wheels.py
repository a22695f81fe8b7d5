"""What is versioned is what is built: by the files themselves, whatever git sees of them."""

import os
import shutil
import subprocess
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest
from deployment import git, wheels
from deployment.errors import DeploymentError

PYPROJECT = """\
[build-system]
requires = ["setuptools>=77", "wheel"]
build-backend = "setuptools.build_meta"

[project]
name = "{name}"
version = "0.1.0"

[tool.setuptools.packages.find]
where = ["src"]

[tool.setuptools.package-data]
{name} = ["py.typed", "templates/*.html"]
"""
FILES = {
    "ml_source/src/science/__init__.py": '"""Science."""\n',
    "ml_source/src/science/model.py": '"""A model."""\n\nMARK = 1\n',
    "ml_ops/src/science_ops/__init__.py": '"""Operations."""\n',
    "ml_ops/src/science_ops/job.py": "from science.model import MARK\n\n\ndef run():\n    return MARK\n",
    "ml_ops/src/science_ops/templates/page.html": "<html></html>\n",
    "ml_ops/orchestrator/job.py": "# Databricks notebook source\nfrom science_ops import job\n\njob.run()\n",
    "ml_source/pyproject.toml": PYPROJECT.format(name="science"),
    "ml_ops/pyproject.toml": PYPROJECT.format(name="science_ops"),
}
MODEL = "ml_source/src/science/model.py"


def write(root: Path, name: str, text: str) -> None:
    file = root / name
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_bytes(text.encode())


def run_git(folder: Path, *arguments: str) -> str:
    identity = ["-c", "user.name=Test", "-c", "user.email=test@example.com"]
    command = ["git", *identity, *arguments]
    return subprocess.run(command, cwd=folder, check=True, capture_output=True, text=True).stdout.strip()


def commit_all(folder: Path) -> str:
    run_git(folder, "add", "--all")
    run_git(folder, "commit", "--allow-empty", "--message", "a step")
    return run_git(folder, "rev-parse", "HEAD")


@pytest.fixture(autouse=True)
def settings_of_git(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Settings of git for these tests alone."""
    file = tmp_path / "gitconfig"
    file.touch()
    monkeypatch.setenv("GIT_CONFIG_GLOBAL", str(file))
    monkeypatch.delenv("TELEMETRY", raising=False)
    return file


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """Sources without git."""
    folder = tmp_path / "check out"
    for name, text in FILES.items():
        write(folder, name, text)
    return folder


@pytest.fixture
def committed(root: Path) -> Path:
    """Sources that are a commit."""
    run_git(root, "init", "--quiet")
    write(root, ".gitignore", "build/\n*.egg-info/\n__pycache__/\n/dist/\n")
    commit_all(root)
    return root


def test_what_a_commit_has_is_called_by_the_commit(committed: Path) -> None:
    commit = run_git(committed, "rev-parse", "HEAD")

    assert wheels.version(committed) == f"0.1.0+g{commit[:7]}"
    assert wheels.read_code(committed) == wheels.Code(commit, "")


def test_the_same_sources_make_the_same_wheels_in_whichever_checkout(committed: Path, tmp_path: Path) -> None:
    other = tmp_path / "of somebody else"
    shutil.copytree(committed, other)
    os.utime(other / MODEL, (0, 10**9))
    (other / MODEL).chmod(0o600)
    before = os.umask(0o077)
    try:
        built = wheels.build_wheels(other)
    finally:
        os.umask(before)

    own = wheels.build_wheels(committed)
    assert {file.name: file.read_bytes() for file in own.iterdir()} == {
        file.name: file.read_bytes() for file in built.iterdir()
    }


@pytest.mark.parametrize(
    "name", [MODEL, "ml_ops/orchestrator/job.py", "ml_ops/src/science_ops/templates/page.html"]
)
def test_each_edit_has_a_version_of_its_own(committed: Path, name: str) -> None:
    seen = [wheels.version(committed)]
    for text in ("# 1\n", "# 2\n"):
        write(committed, name, text)
        seen.append(wheels.version(committed))
    (committed / name).unlink()
    seen.append(wheels.version(committed))

    assert len(set(seen)) == 4
    assert all(version.startswith(f"{seen[0]}.d") for version in seen[1:])
    write(committed, name, FILES[name])
    assert wheels.version(committed) == seen[0]


def ignored_by_gitignore(root: Path) -> None:
    write(root, "ml_source/src/science/build/__init__.py", "")


def ignored_for_this_clone(root: Path) -> None:
    write(root, ".git/info/exclude", "lib/\n")
    write(root, "ml_source/src/science/lib/__init__.py", "")


def ignored_everywhere(root: Path) -> None:
    write(root, "../ignored", "ml_ops/orchestrator/other*\n")
    run_git(root, "config", "core.excludesFile", str(root.parent / "ignored"))
    write(root, "ml_ops/orchestrator/other.py", "")


def assumed_unchanged(root: Path) -> None:
    run_git(root, "update-index", "--assume-unchanged", MODEL)
    write(root, MODEL, "MARK = 2\n")


def left_out_of_the_worktree(root: Path) -> None:
    run_git(root, "update-index", "--skip-worktree", MODEL)
    write(root, MODEL, "MARK = 2\n")


def staged_and_put_back(root: Path) -> None:
    write(root, MODEL, "MARK = 2\n")
    run_git(root, "add", MODEL)


def in_a_repository_of_its_own(root: Path) -> None:
    run_git(root, "init", "--quiet", "ml_source/src/science/nested")
    write(root, "ml_source/src/science/nested/__init__.py", "")
    commit_all(root / "ml_source/src/science/nested")


def behind_a_link(root: Path) -> None:
    write(root, "../elsewhere/__init__.py", "")
    (root / "ml_source/src/science/linked").symlink_to(root.parent / "elsewhere", target_is_directory=True)
    commit_all(root)


HIDDEN = [
    ignored_by_gitignore,
    ignored_for_this_clone,
    ignored_everywhere,
    assumed_unchanged,
    left_out_of_the_worktree,
    staged_and_put_back,
    in_a_repository_of_its_own,
    behind_a_link,
]


@pytest.mark.parametrize("hide", HIDDEN)
def test_what_git_does_not_see_is_seen(committed: Path, hide: Callable[[Path], None]) -> None:
    hide(committed)

    commit = run_git(committed, "rev-parse", "HEAD")
    assert wheels.version(committed).startswith(f"0.1.0+g{commit[:7]}.d")


def test_what_python_and_editors_leave_behind_is_not_seen(committed: Path) -> None:
    version = wheels.version(committed)
    for name in ("__pycache__/model.pyc", "model.py~", ".model.py.swp", ".ipynb_checkpoints/model.py"):
        write(committed, f"ml_source/src/science/{name}", "x")
    write(committed, "ml_source/src/science.egg-info/PKG-INFO", "x")
    write(committed, "ml_source/build/lib/science/model.py", "x")
    write(committed, "README.md", "x")

    assert wheels.version(committed) == version


def test_line_ends_that_git_makes_are_no_difference(committed: Path) -> None:
    write(committed, ".gitattributes", "*.py text eol=crlf\n")
    commit_all(committed)
    (committed / MODEL).unlink()
    run_git(committed, "checkout", MODEL)

    assert b"\r\n" in (committed / MODEL).read_bytes()
    assert wheels.read_code(committed).digest == ""


def test_sources_below_the_top_of_a_repository_are_found(tmp_path: Path, root: Path) -> None:
    run_git(tmp_path, "init", "--quiet")
    commit = commit_all(tmp_path)

    assert wheels.read_code(root) == wheels.Code(commit, "")


def without_git(root: Path) -> None:
    """No repository is there."""


def before_the_first_commit(root: Path) -> None:
    run_git(root, "init", "--quiet")


def in_a_repository_that_ignores_it(root: Path) -> None:
    run_git(root.parent, "init", "--quiet")
    write(root.parent, ".gitignore", "*\n!.gitignore\n")
    commit_all(root.parent)


@pytest.mark.parametrize("place", [without_git, before_the_first_commit, in_a_repository_that_ignores_it])
def test_without_a_commit_of_these_sources_the_digest_alone_is_the_version(
    root: Path, place: Callable[[Path], None]
) -> None:
    place(root)
    first = wheels.version(root)
    write(root, MODEL, "MARK = 2\n")
    second = wheels.version(root)

    assert first.startswith("0.1.0+d") and second.startswith("0.1.0+d") and first != second
    assert wheels.read_code(root).commit == wheels.commit_of(first) == ""


def test_without_the_program_git_the_digest_alone_is_the_version(
    committed: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PATH", "")

    assert wheels.version(committed).startswith("0.1.0+d")


def distrusted(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GIT_TEST_ASSUME_DIFFERENT_OWNER", "1")


def broken(root: Path, _: pytest.MonkeyPatch) -> None:
    (root / ".git" / "HEAD").unlink()


def of_a_lost_worktree(root: Path, _: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git")
    write(root, ".git", "gitdir: /nowhere/.git/worktrees/lost\n")


def without_its_objects(root: Path, _: pytest.MonkeyPatch) -> None:
    shutil.rmtree(root / ".git" / "objects")
    (root / ".git" / "objects").mkdir()


@pytest.mark.parametrize(
    ("fault", "reason"),
    [
        (distrusted, "detected dubious ownership in repository at"),
        (broken, "not a git repository"),
        (of_a_lost_worktree, "not a git repository: /nowhere"),
        (without_its_objects, "fatal: "),
    ],
)
def test_when_git_fails_its_own_reason_ends_the_command(
    committed: Path,
    monkeypatch: pytest.MonkeyPatch,
    fault: Callable[[Path, pytest.MonkeyPatch], None],
    reason: str,
) -> None:
    fault(committed, monkeypatch)

    with pytest.raises(DeploymentError, match=f"git does not say which commit .* is: .*{reason}"):
        wheels.version(committed)


def test_a_commit_that_is_not_known_stays_short(committed: Path) -> None:
    commit = run_git(committed, "rev-parse", "HEAD")

    assert git.full_commit(committed, commit[:7]) == commit
    assert [git.full_commit(committed, short) for short in ("0000000", "")] == ["0000000", ""]


def test_a_link_that_leads_nowhere_is_named(root: Path) -> None:
    (root / "ml_source/src/science/lost.py").symlink_to("/nowhere")

    with pytest.raises(DeploymentError, match=r"science/lost\.py cannot be read: No such file"):
        wheels.version(root)


def test_notebooks_that_are_missing_altogether_are_named(root: Path) -> None:
    shutil.rmtree(root / "ml_ops/orchestrator")

    with pytest.raises(DeploymentError, match="ml_ops/orchestrator cannot be read: No such file"):
        wheels.version(root)


def test_the_wheel_of_a_version_has_what_the_version_counts(root: Path) -> None:
    run_git(root.parent, "init", "--quiet")
    write(root.parent, ".gitignore", "*\n")
    marks = []
    for mark in ("1", "2"):
        write(root, MODEL, f"MARK = {mark}\n")
        write(root, "ml_source/src/science/lib/deep.py", f"MARK = {mark}\n")
        (wheel,) = wheels.build_wheels(root).glob("science-*.whl")
        with zipfile.ZipFile(wheel) as archive:
            marks += [archive.read(f"science/{name}").decode() for name in ("model.py", "lib/deep.py")]

    assert marks == ["MARK = 1\n"] * 2 + ["MARK = 2\n"] * 2
