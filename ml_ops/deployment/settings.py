"""What the Makefile hands over: which workspace, which target, and what is to differ from the target."""

from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from deployment.errors import DeploymentError

ROOT = Path(__file__).resolve().parents[2]
REQUIRED = ("workspace", "target")
# Variables of databricks.yml that a make variable of the same name, in capitals, overrides.
OVERRIDABLE = (
    "workspace_folder",
    "data_root",
    "data_credential",
    "mount_source",
    "catalog",
    "schema",
    "model_name",
    "experiment",
    "secret_scope",
    "cluster_name",
    "cluster_policy",
    "single_user_name",
    "compute",
)


@dataclass(frozen=True)
class Settings:
    """One field for each variable of the Makefile, named like it in small letters."""

    workspace: str
    target: str
    local_workspace_state: str = ".local_workspace"
    databricks_cli: str = ""
    overrides: Mapping[str, str] = field(default_factory=dict)

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Reads every field from its variable; a missing or empty one is an error that names them all."""
        missing = [name.upper() for name in REQUIRED if not environment.get(name.upper())]
        if missing:
            raise DeploymentError(f"settings {missing} are not set; the Makefile sets them, so call make")
        given = {name: environment.get(name.upper(), "") for name in OVERRIDABLE}
        return cls(
            **{name: environment[name.upper()] for name in REQUIRED},
            local_workspace_state=environment.get("LOCAL_WORKSPACE_STATE") or cls.local_workspace_state,
            databricks_cli=environment.get("DATABRICKS_CLI", ""),
            overrides={name: value for name, value in given.items() if value},
        )
