"""A version that is there already is looked at: what was deleted or changed since is put there again."""

import json
import os
import threading
import time
from collections.abc import Callable
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
import pytest
from deployment import wheels
from deployment.command_lines import COMMAND_LINES
from test_deployments import Team, make_team, register_nothing

HOURS = 3600


@dataclass
class Deployed:
    """A version, and its folder as the workspace keeps it."""

    team: Team
    version: str

    @property
    def path(self) -> str:
        return f"/Shared/mended/{self.team.target}/code/deployments/{self.version}"

    @property
    def folder(self) -> Path:
        return self.team.workspace.state / "workspace_files" / self.path.lstrip("/")

    @property
    def wheel(self) -> Path:
        return next(self.folder.glob(f"dist/{self.version}/diabetes_mlops-*.whl"))

    @property
    def notebook(self) -> Path:
        return next(self.folder.glob("ml_ops/orchestrator/*_train"))

    def contents(self) -> dict[str, bytes]:
        """What is deployed, without the record of it."""
        files = {file: file.read_bytes() for file in self.folder.rglob("*") if file.is_file()}
        return {
            str(file.relative_to(self.folder)): text for file, text in files.items() if file.suffix != ".json"
        }

    def writes(self) -> dict[str, tuple[int, int]]:
        """Which file lies there, and since when: each write makes another one."""
        files = [file for file in self.folder.rglob("*") if file.is_file()]
        return {
            str(file.relative_to(self.folder)): (file.stat().st_ino, file.stat().st_mtime_ns)
            for file in files
        }

    def delete(self, file: Path) -> None:
        self.team.workspace.client.workspace.delete(f"{self.path}/{file.relative_to(self.folder)}")

    def again(self, target: str = "deploy") -> list[str]:
        """Deploys the same version once more; returns the files that were written."""
        before = self.writes()
        self.team.make(target)
        return sorted(name for name, write in self.writes().items() if before.get(name) != write)


@pytest.fixture(scope="module", params=COMMAND_LINES)
def team(request: pytest.FixtureRequest, demo, tmp_path_factory: pytest.TempPathFactory) -> Team:
    return make_team(request, demo, tmp_path_factory, "mended")


@pytest.fixture(scope="module")
def deployed(team: Team) -> Deployed:
    """One version for all tests, each of which leaves it whole."""
    return Deployed(team, team.deploy("one"))


def test_an_untouched_version_is_left_as_it_is(deployed: Deployed) -> None:
    assert deployed.again() == []
    assert f"{deployed.version} is there already" in deployed.team.printed
    assert "Uploading diabetes" not in deployed.team.printed


def delete_wheel(deployed: Deployed) -> Path:
    deployed.delete(wheel := deployed.wheel)
    return wheel


def truncate_wheel(deployed: Deployed) -> Path:
    os.truncate(deployed.wheel, 1000)
    return deployed.wheel


def empty_wheel(deployed: Deployed) -> Path:
    os.truncate(deployed.wheel, 0)
    return deployed.wheel


def spoil_wheel(deployed: Deployed) -> Path:
    content = deployed.wheel.read_bytes()
    deployed.wheel.write_bytes(content[:-100] + b"x" * 100)
    return deployed.wheel


def delete_notebook(deployed: Deployed) -> Path:
    deployed.delete(notebook := deployed.notebook)
    return notebook


def edit_notebook(deployed: Deployed) -> Path:
    deployed.notebook.write_text(deployed.notebook.read_text() + "\n# By hand.\n")
    return deployed.notebook


@pytest.mark.parametrize(
    "damage", [delete_wheel, truncate_wheel, empty_wheel, spoil_wheel, delete_notebook, edit_notebook]
)
def test_what_was_damaged_is_put_there_again_and_nothing_else(
    deployed: Deployed, damage: Callable[[Deployed], Path]
) -> None:
    whole = deployed.contents()
    damaged = str(damage(deployed).relative_to(deployed.folder))
    assert deployed.contents() != whole

    written = deployed.again("databricks-deploy-code")

    assert deployed.contents() == whole
    assert [name for name in written if name != "deployment.json"] == [damaged]
    what = "is missing" if damage in (delete_wheel, delete_notebook) else "is not as it was put there"
    assert f"{damaged} {what}" in deployed.team.printed
    assert deployed.again() == []


def test_a_folder_that_was_deleted_is_made_again(deployed: Deployed) -> None:
    whole = deployed.contents()
    for folder in ("ml_ops", "dist"):
        deployed.team.workspace.client.workspace.delete(f"{deployed.path}/{folder}", recursive=True)

    deployed.again()

    assert deployed.contents() == whole


@pytest.mark.parametrize("left", [None, b"", b"{", b"[]", b"\xff", b'{"files": []}'])
def test_a_version_whose_record_is_gone_is_finished_without_writing_what_is_right(
    deployed: Deployed, left: bytes | None
) -> None:
    record = deployed.folder / "deployment.json"
    if left is None:
        deployed.delete(record)
    else:
        record.write_bytes(left)

    assert deployed.again() == ["deployment.json"]
    assert deployed.version in deployed.team.listed()
    assert set(json.loads(record.read_bytes())["files"]) == set(deployed.contents())


def test_a_wheel_that_was_built_elsewhere_is_as_good(deployed: Deployed) -> None:
    """As one that another setuptools has built of the same sources; a bundle puts its own there."""
    wheel = deployed.wheel.relative_to(deployed.folder)
    built = deployed.team.checkout / wheel
    built.write_bytes(built.read_bytes() + b"\0")

    written = deployed.again()

    is_bundle = not deployed.team.cli.notebooks_alone
    assert written == (["deployment.json", str(wheel)] if is_bundle else [])
    assert "already" in deployed.team.make("rollback-code", f"VERSION={deployed.version}")
    built.write_bytes(built.read_bytes()[:-1])
    deployed.again()


def test_a_version_that_lacks_something_is_not_given_to_the_jobs(deployed: Deployed) -> None:
    team = deployed.team
    deployed.delete(wheel := deployed.wheel)

    for arguments in (("rollback-code", f"VERSION={deployed.version}"), ("databricks-deploy-jobs",)):
        told = team.make(*arguments, ok=False)
        assert f"Error: dist/{deployed.version}/{wheel.name} is missing in {deployed.path}" in told

    deployed.again()
    assert "already" in team.make("rollback-code", f"VERSION={deployed.version}")


def test_a_wheel_that_is_no_part_of_the_version_is_told(deployed: Deployed) -> None:
    stranger = deployed.wheel.with_name("diabetes-9.9.9-py3-none-any.whl")
    stranger.write_bytes(b"")

    deployed.again()

    assert (
        f"Note: dist/{deployed.version}/{stranger.name} is not a file of this version"
        in deployed.team.printed
    )


def kill_deployment(team: Team, mark: str) -> Deployed:
    """Deploys, and kills the process as soon as one wheel is there."""
    (team.checkout / "ml_source" / "src" / "diabetes" / "mark.py").write_text(
        f'"""Mark."""\n\nMARK = "{mark}"\n'
    )
    deployed = Deployed(team, wheels.version(team.checkout))
    thread = threading.Thread(target=team.make, args=("deploy",), kwargs={"ok": False})
    thread.start()
    while not list(deployed.folder.glob("dist/*/*.whl")):
        assert thread.is_alive()
        time.sleep(0.001)
    for process in psutil.Process().children(recursive=True):
        with suppress(psutil.NoSuchProcess):  # it has ended, or is a zombie
            if process.cwd() == str(team.checkout) and "deployment" in process.cmdline():
                for each in (*process.children(recursive=True), process):
                    each.kill()
    thread.join()
    assert not (deployed.folder / "deployment.json").exists()
    return deployed


def test_a_deployment_that_was_killed_is_finished_by_the_next(team: Team) -> None:
    killed = kill_deployment(team, "one")
    before = killed.writes()
    assert killed.version not in team.listed()

    written = killed.again()

    assert "deployment.json" in written
    if team.cli.notebooks_alone:  # a bundle that was broken off is put there whole
        assert not set(before) & set(written)
    assert killed.version in team.listed()
    assert killed.again() == []


def test_what_was_never_finished_is_removed_once_nobody_can_be_at_it(team: Team) -> None:
    model = f"main.mended_{team.target}.diabetes"
    register_nothing(team.workspace, model)
    given_up, at_work = kill_deployment(team, "given up"), kill_deployment(team, "at work")
    long_ago = time.time() - 7 * HOURS
    for file in given_up.folder.rglob("*"):
        os.utime(file, (long_ago, long_ago))

    team.deploy("next", f"MODEL_NAME={model}")

    assert not given_up.folder.exists() and at_work.folder.exists()
