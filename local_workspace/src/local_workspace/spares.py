"""Keeps one process ready that has done a notebook's usual imports; the next run takes it."""

import json
import shutil
import subprocess
import sys
import threading
import uuid
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path

from local_workspace.notebook.environment import create_environment
from local_workspace.run_processes import MARK

PREFIX = "spare-"
REFILL_SECONDS = 1
# What differs from run to run: a process gets it with its run, and has no token before.
OF_ONE_RUN = ("DATABRICKS_TOKEN", "MLFLOW_TRACKING_TOKEN")


@dataclass
class _Spare:
    process: subprocess.Popen[bytes]
    folder: Path
    environment: Mapping[str, str]


class Spares:
    """One spare process at most; its folder lies among those of the runs, under a name of its own.

    A process that is not there, has died or was started with other variables is not missed: the run is then
    started the ordinary way.
    """

    def __init__(self, runs: Path) -> None:
        self._runs = runs
        self._lock = threading.Lock()
        self._spare: _Spare | None = None
        self._taken: list[_Spare] = []
        self._closed = sys.platform != "linux"
        for folder in runs.glob(f"{PREFIX}*"):  # of a workspace that was killed
            shutil.rmtree(folder)

    def refill(self, environment: Mapping[str, str]) -> None:
        """Starts a spare process unless one fits, and clears up after those whose runs have ended."""
        with self._lock:
            self._clear_up()
            if not self._closed and (self._spare is None or not _fits(self._spare, environment)):
                self._discard()
                self._spare = self._start(environment)

    def refill_soon(self, environment: Mapping[str, str]) -> None:
        """Does so when whoever waited for a run has had the time to read how it ended."""
        timer = threading.Timer(REFILL_SECONDS, self.refill, [environment])
        timer.daemon = True
        timer.start()

    def take(self, folder: Path, environment: Mapping[str, str]) -> subprocess.Popen[bytes] | None:
        """Gives the spare process to the run in `folder`, which it then executes; None when there is none."""
        with self._lock:
            spare = self._spare
            if spare is None or not _fits(spare, environment):
                return None
            self._spare = None
            self._taken.append(spare)
            (spare.folder / "process.log").rename(folder / "process.log")
            (spare.folder / "run").symlink_to(folder.absolute())
            assert spare.process.stdin is not None
            try:
                own = {name: environment[name] for name in OF_ONE_RUN if name in environment}
                order = {"folder": str(folder.absolute()), "variables": own}
                spare.process.stdin.write(json.dumps(order).encode() + b"\n")
                spare.process.stdin.close()
            except BrokenPipeError:  # it has just died
                return None
            return spare.process

    def close(self) -> None:
        """Ends the spare process; there will be no other. To be called when the runs have ended."""
        with self._lock:
            self._closed = True
            self._discard()
            self._clear_up()

    def _start(self, environment: Mapping[str, str]) -> _Spare:
        environment = _shared(environment)
        folder = self._runs.absolute() / f"{PREFIX}{uuid.uuid4().hex[:8]}"
        folder.mkdir()
        python = create_environment(folder / "python")
        with (folder / "process.log").open("wb") as log:
            process = subprocess.Popen(
                [str(python), "-m", "local_workspace.notebook.spare"],
                stdin=subprocess.PIPE,
                stdout=log,
                stderr=subprocess.STDOUT,
                cwd=folder,
                # The mark leads to the folder of the run once there is one: see `take`.
                env={**environment, MARK: str(folder / "run")},
                start_new_session=True,
            )
        return _Spare(process, folder, environment)

    def _clear_up(self) -> None:
        for spare in [spare for spare in self._taken if spare.process.poll() is not None]:
            shutil.rmtree(spare.folder, ignore_errors=True)
            self._taken.remove(spare)

    def _discard(self) -> None:
        if self._spare is not None:
            self._spare.process.kill()
            self._spare.process.communicate()
            shutil.rmtree(self._spare.folder, ignore_errors=True)
            self._spare = None


def _fits(spare: _Spare, environment: Mapping[str, str]) -> bool:
    return _shared(environment) == spare.environment and spare.process.poll() is None


def _shared(environment: Mapping[str, str]) -> dict[str, str]:
    return {name: value for name, value in environment.items() if name not in (MARK, *OF_ONE_RUN)}
