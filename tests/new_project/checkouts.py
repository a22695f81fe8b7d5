"""Checkouts that the tests may change: of the template, and of projects that it made."""

import os
import shutil
import subprocess
import sys
from dataclasses import dataclass
from pathlib import Path

from template.files import ROOT, list_files

IDENTITY = {
    "GIT_AUTHOR_NAME": "Test",
    "GIT_AUTHOR_EMAIL": "test@example.com",
    "GIT_COMMITTER_NAME": "Test",
    "GIT_COMMITTER_EMAIL": "test@example.com",
    "GIT_CONFIG_GLOBAL": os.devnull,
}


@dataclass(frozen=True)
class Checkout:
    """A folder with a history: the template, or a project that it made."""

    folder: Path

    def git(self, *arguments: str) -> str:
        finished = subprocess.run(
            ["git", *arguments],
            cwd=self.folder,
            env=os.environ | IDENTITY,
            capture_output=True,
            text=True,
            check=True,
        )
        return finished.stdout

    def commit(self, message: str) -> None:
        self.git("add", "--all")
        self.git("commit", "--quiet", "--message", message)

    def read(self, path: str) -> str:
        return (self.folder / path).read_text(encoding="utf-8")

    def write(self, path: str, text: str) -> None:
        (self.folder / path).write_text(text, encoding="utf-8")

    def replace(self, path: str, old: str, new: str) -> None:
        """Changes a file where it has `old` first."""
        text = self.read(path)
        assert old in text
        self.write(path, text.replace(old, new, 1))

    def files(self) -> list[str]:
        return [path.as_posix() for path in list_files(self.folder)]

    def python(self, *arguments: str, **environment: str) -> subprocess.CompletedProcess[str]:
        """Runs Python in the folder, which then finds the packages of this folder first."""
        places = os.pathsep.join(
            str(self.folder / each) for each in (".", "ml_ops", "ml_source/src", "ml_ops/src")
        )
        return subprocess.run(
            [sys.executable, *arguments],
            cwd=self.folder,
            env=os.environ | IDENTITY | {"PYTHONPATH": places} | environment,
            capture_output=True,
            text=True,
            check=False,
        )

    def make_project(self, destination: Path, name: str = "customer_churn", without: str = "") -> "Checkout":
        """Makes a project of this template."""
        made = self.python("-m", "template", "new", name, str(destination), "--without", without)
        assert made.returncode == 0, made.stderr
        return Checkout(destination)


def copy_template(folder: Path) -> Checkout:
    """The files of this repository as they are, committed as v0.1.0."""
    for path in list_files(ROOT):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy2(ROOT / path, folder / path)
    checkout = Checkout(folder)
    checkout.git("init", "--quiet", "--initial-branch=main")
    checkout.commit("The template")
    checkout.git("tag", "v0.1.0")
    return checkout
