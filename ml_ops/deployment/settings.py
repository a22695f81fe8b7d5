"""The names of things in the workspace, as the Makefile spells them."""

from collections.abc import Mapping
from dataclasses import dataclass, fields
from pathlib import Path

from deployment.errors import DeploymentError

ROOT = Path(__file__).resolve().parents[2]


@dataclass(frozen=True)
class Settings:
    """One field for each variable of the Makefile, named like it in capitals."""

    workspace: str
    local_workspace_state: str
    workspace_folder: str
    cluster_name: str
    secret_scope: str
    experiment: str
    data_root: str
    wheels_root: str
    catalog: str
    schema: str
    model_name: str

    @classmethod
    def from_environment(cls, environment: Mapping[str, str]) -> "Settings":
        """Reads every field from its variable; a missing or empty one is an error that names them all."""
        names = [field.name for field in fields(cls)]
        missing = [name.upper() for name in names if not environment.get(name.upper())]
        if missing:
            raise DeploymentError(f"settings {missing} are not set; the Makefile sets them, so call make")
        return cls(**{name: environment[name.upper()] for name in names})

    @property
    def output_table(self) -> str:
        """The Delta table that batch scoring writes."""
        return f"{self.catalog}.{self.schema}.diabetes_scored"

    def wheel_folder(self, version: str) -> str:
        """Where the wheels of one version are, as a `dbfs:/` path."""
        return f"{self.wheels_root.rstrip('/')}/{version}"


def as_local_path(dbfs_path: str) -> str:
    """The path under which a cluster's own processes see a `dbfs:/` path."""
    return "/dbfs/" + dbfs_path.removeprefix("dbfs:/")
