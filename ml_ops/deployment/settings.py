"""What the Makefile hands over: which workspace, which target, and what is to differ from the target."""

import difflib
import os
from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import yaml

from deployment.errors import DeploymentError

ROOT = Path(__file__).resolve().parents[2]
DEFINITION = "databricks.yml"
REQUIRED = ("workspace", "target")
# Variables of databricks.yml that `make deploy` finds out, so that nobody can give them.
FOUND_OUT = ("version", "wheels", "cluster_id", "job_cluster_key", "job_clusters", "wheel_dir", "git_commit")
# Lists whose texts between commas are the values of this field each.
IDS = {"notify_webhooks": "id"}
# One of them is called like a variable of the Makefile, which means a version that is there.
ALSO_OF_MAKE = ("VERSION",)


@dataclass(frozen=True)
class Settings:
    """One field for each variable of the Makefile, named like it in small letters.

    `overrides` are values for variables of databricks.yml, each from the variable of its name in capitals.
    """

    workspace: str
    target: str
    local_workspace_state: str = ".local_workspace"
    databricks_cli: str = ""
    overrides: Mapping[str, Any] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Reads every field from its variable; a missing or empty one is an error that names them all."""
        missing = [name.upper() for name in REQUIRED if not environment.get(name.upper())]
        if missing:
            raise DeploymentError(f"settings {missing} are not set; the Makefile sets them, so call make")
        typed, known = (environment.get(name, "").split() for name in ("ON_COMMAND_LINE", "SETTINGS"))
        for name in typed:
            _check_known(name, environment.get(name, ""), known)
        return cls(
            **{name: environment[name.upper()] for name in REQUIRED},
            local_workspace_state=environment.get("LOCAL_WORKSPACE_STATE") or cls.local_workspace_state,
            databricks_cli=environment.get("DATABRICKS_CLI", ""),
            overrides=_overrides(environment),
        )


def read_yaml(file: Path) -> dict[str, Any]:
    """A definition of the project."""
    try:
        return dict(yaml.safe_load(file.read_text()))
    except yaml.YAMLError as error:
        raise DeploymentError(f"{file.name} is no YAML: {error}") from error


def read_flag(name: str, *, default: bool = False) -> bool:
    """A variable that is 1 or 0; the default where it is empty."""
    value = os.environ.get(name, "").strip()
    if value not in ("", "0", "1"):
        raise DeploymentError(f"{name} is 1 or 0, not {value!r}")
    return value == "1" if value else default


def read_count(name: str, *, default: int) -> int:
    """A variable that is a whole number from 1 on; the default where it is empty."""
    value = os.environ.get(name, "").strip() or str(default)
    if not (value.isascii() and value.isdigit() and int(value)):
        raise DeploymentError(f"{name} is a whole number from 1 on, not {value!r}")
    return int(value)


def refuse_version(text: str) -> None:
    """An error where a version of the code is named though a deployment finds it out."""
    if text.strip():
        raise DeploymentError(
            "VERSION cannot be given here: `make deploy` finds the version of the code out itself; "
            f"`make rollback-code VERSION={text}` goes back to an earlier one"
        )


def refuse_model_version(text: str) -> None:
    """An error where a version of the model is named by the variable of `make rollback-code`."""
    if text.strip():
        raise DeploymentError(
            f"MODEL_VERSION={text} goes with `make rollback-code` alone; a run of batch scoring takes "
            f"PARAMS='model_version={text}', and `make promote` takes VERSION={text}"
        )


def _check_known(name: str, value: str, known: Collection[str]) -> None:
    """Refuses a name on make's command line that nothing reads, and a value that is found out."""
    found_out = [each.upper() for each in FOUND_OUT if each.upper() not in ALSO_OF_MAKE]
    if name in found_out and value.strip():
        raise DeploymentError(f"{name} cannot be given: `make deploy` finds it out itself")
    if name not in known:
        possible = [each for each in known if each not in found_out]
        close = difflib.get_close_matches(name.upper(), possible, n=1)
        hint = f"; did you mean {close[0]}?" if close else "."
        raise DeploymentError(
            f"{name} is not a variable of the Makefile or of {DEFINITION}{hint} "
            f"What another program is to read stands before make: {name}=... make ..."
        )


def _overrides(environment: Mapping[str, str]) -> dict[str, Any]:
    """The variables of databricks.yml that the environment has a value for, under their names in capitals."""
    variables = read_yaml(ROOT / DEFINITION)["variables"]
    given = {name: environment.get(name.upper(), "") for name in variables if name not in FOUND_OUT}
    return {name: _value(name, variables[name], text) for name, text in given.items() if text.strip()}


def _value(name: str, variable: Mapping[str, Any], text: str) -> Any:
    """The text itself; of a list, what stands between its commas, or the list as databricks.yml has it."""
    if variable.get("type") != "complex":
        return text
    if text.lstrip().startswith("["):
        return _parse_list(name, text)
    return [{IDS[name]: part} if name in IDS else part for part in map(str.strip, text.split(",")) if part]


def _parse_list(name: str, text: str) -> list[Any]:
    try:
        return list(yaml.safe_load(text))
    except yaml.YAMLError as error:
        said = " ".join(str(error).split())
        raise DeploymentError(f"{name.upper()} begins as a list and is not one: {text!r} ({said})") from error
