"""A session of the workspace for a process of one's own: a notebook's kernel, a script, a shell."""

import json
import os
import secrets
from collections.abc import Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import requests

from local_workspace.processes import process_environment
from local_workspace.spark.access_modes import is_classic
from local_workspace.spark.classic import OF_CONNECT
from local_workspace.store.profile import PROOF, Profile, proof, proof_key, read_profile
from local_workspace.store.state import StateFolder
from local_workspace.store.task_folder import TaskFolder

ADDRESS = "/api/2.0/local-workspace/sessions"
# What leads to the workspace; the rest of a run's environment is about folders of its own.
_LEADS_THERE = ("DATABRICKS_", "MLFLOW_", "LOCAL_WORKSPACE_", "NO_PROXY", "no_proxy")
_PROOF_SECONDS = 5
_OPEN_SECONDS = 330  # Spark may have to be started first


class NoWorkspaceError(Exception):
    """There is no workspace to work in; the message says which command starts one."""

    def _render_traceback_(self) -> list[str]:
        """What IPython shows of it: where it was raised helps nobody."""
        return [f"{type(self).__name__}: {self}"]


@dataclass(frozen=True)
class OwnSession:
    """What the workspace has opened for a process, which it watches: `folder` goes when the process ends."""

    state: StateFolder
    profile: Profile
    reply: Mapping[str, Any]

    @property
    def folder(self) -> Path:
        """Where it keeps what concerns this process, such as its packages."""
        return Path(self.reply["folder"])

    @property
    def is_classic(self) -> bool:
        """Whether its session is one of Spark Classic."""
        return is_classic(self.reply["access_mode"])

    def of_kernel(self) -> dict[str, str]:
        """The environment of a run, from this process's own."""
        of_run = process_environment.of_run(self.state, self.profile.host, self.profile.token)
        return of_run | self._of_session()

    def of_script(self) -> dict[str, str]:
        """What a process needs in its environment to be signed in, and to find Spark."""
        found = self.of_kernel()
        return {name: text for name, text in found.items() if name.startswith(_LEADS_THERE)} | dict(
            self._of_session()
        )

    def _of_session(self) -> dict[str, str]:
        left_out = OF_CONNECT if self.is_classic else ()
        of_spark = {name: text for name, text in self.reply["environment"].items() if name not in left_out}
        return of_spark | {
            "DATABRICKS_CONFIG_FILE": str(self.state.config_file),
            "LOCAL_WORKSPACE_TASK": str(TaskFolder(self.folder).task),
        }


def open_session(state: StateFolder, notebook: str = "", mode: str = "") -> OwnSession:
    """A session for this process and what it becomes; raises NoWorkspaceError.

    As the job that runs a notebook of this name has it, else as on the first cluster, or in the access mode.
    """
    profile = find_running(state)
    wanted = {"pid": os.getpid(), "notebook": Path(notebook).stem, "mode": mode}
    reply = _ask("POST", profile, ADDRESS, json=wanted, timeout=_OPEN_SECONDS)
    if not reply.ok:
        raise NoWorkspaceError(f"{profile.host} opens no session: {_reason(reply)}")
    session = OwnSession(state, profile, reply.json())
    task = {"notebook_path": notebook or "/script", "parameters": {}} | dict(session.reply)
    task.pop("environment")
    TaskFolder(session.folder).task.write_text(json.dumps(task))
    return session


def find_running(state: StateFolder) -> Profile:
    """The profile of a workspace that has shown that it knows its token, before that is sent."""
    profile, challenge = read_profile(state.config_file), secrets.token_hex(16)
    if profile is not None:
        reply = _ask("GET", profile, PROOF, params={"challenge": challenge}, timeout=_PROOF_SECONDS)
        if reply.text == proof(proof_key(profile.token), profile.host, challenge):
            return profile
    raise NoWorkspaceError(_not_running(state))


def _ask(method: str, profile: Profile, path: str, **options: Any) -> requests.Response:
    is_open = path == PROOF
    with requests.Session() as session:
        session.trust_env = False  # neither a proxy nor the passwords of a .netrc file are for this machine
        session.headers.update({} if is_open else {"Authorization": f"Bearer {profile.token}"})
        try:
            return session.request(method, profile.host + path, **options)
        except (requests.ConnectionError, requests.Timeout) as error:
            said = "is not running" if is_open else "did not answer"
            raise NoWorkspaceError(
                f"the local workspace at {profile.host} {said}; start it with `make local-workspace-start`"
            ) from error


def _not_running(state: StateFolder) -> str:
    return f"no local workspace runs in {state.root}; start it with `make local-workspace-start`"


def _reason(reply: requests.Response) -> str:
    try:
        return str(reply.json()["message"])
    except (ValueError, KeyError):
        return f"HTTP {reply.status_code}"
