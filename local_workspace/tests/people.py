"""Users, groups and service principals of a real workspace, each with the official clients of their own."""

import configparser
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from functools import cached_property
from pathlib import Path
from typing import Any

import pandas as pd
import pytest
from databricks.sdk import WorkspaceClient
from databricks.sdk.errors import DatabricksError
from databricks.sdk.service.iam import ComplexValue
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import infer_signature
from mlflow.pyfunc import PythonModel, save_model
from real_workspace import RealWorkspace

ROWS = pd.DataFrame({"x": [1.0, 2.0]})


class Twice(PythonModel):
    """Doubles its column."""

    def predict(self, context: object, model_input: pd.DataFrame, params: object = None) -> pd.Series:
        """Twice the column."""
        return model_input["x"] * 2


@dataclass
class Person:
    """Somebody who is signed in."""

    name: str
    token: str
    host: str

    @cached_property
    def client(self) -> WorkspaceClient:
        """The client of the Databricks SDK."""
        return WorkspaceClient(host=self.host, token=self.token, auth_type="pat")

    @property
    def profile(self) -> str:
        """The name of the section in the configuration file."""
        return self.name.partition("@")[0]

    @cached_property
    def registry(self) -> MlflowClient:
        """MLflow's client over the models of Unity Catalog."""
        return MlflowClient(f"databricks://{self.profile}", f"databricks-uc://{self.profile}")


@dataclass
class People:
    """Everybody of a workspace; `config` is the file in which MLflow finds them."""

    workspace: RealWorkspace
    config: Path
    _known: dict[str, Person] = field(default_factory=dict)

    @property
    def admin(self) -> WorkspaceClient:
        """The first user."""
        return self.workspace.client

    @cached_property
    def first(self) -> Person:
        """The first user, with a client of MLflow too."""
        return self._keep(Person("local.user@localhost", self.workspace.profile["token"], self._host))

    def user(self, name: str) -> Person:
        """A user, made when first asked for."""
        if name not in self._known:
            self.admin.users.create(user_name=name)
            body = {"user_name": name}
            made = self.workspace.request("POST", "/api/2.0/local-workspace/tokens", body=body)
            self._known[name] = self._keep(Person(name, made["token_value"], self._host))
        return self._known[name]

    def service_principal(self, display_name: str) -> Person:
        """A service principal, made anew."""
        made = self.admin.service_principals.create(display_name=display_name)
        token = self.admin.token_management.create_obo_token(made.application_id, lifetime_seconds=3600)
        return self._keep(Person(str(made.application_id), str(token.token_value), self._host))

    def group(self, name: str, *members: Person) -> str:
        """A group of these."""
        ids = [ComplexValue(value=member.client.current_user.me().id) for member in members]
        self.admin.groups.create(display_name=name, members=ids)
        return name

    def grant(self, who: str, kind: str, name: str, *privileges: str) -> None:
        """Grants, as the first user."""
        self._change_grants(who, kind, name, {"add": privileges})

    def revoke(self, who: str, kind: str, name: str, *privileges: str) -> None:
        """Takes away, as the first user."""
        self._change_grants(who, kind, name, {"remove": privileges})

    def _change_grants(self, who: str, kind: str, name: str, change: dict[str, tuple[str, ...]]) -> None:
        # The client's own list of privileges does not have CREATE MODEL VERSION.
        body = {"changes": [{"principal": who, **change}]}
        self.workspace.request("PATCH", f"/api/2.1/unity-catalog/permissions/{kind}/{name}", body=body)

    @property
    def _host(self) -> str:
        return self.workspace.profile["host"]

    def _keep(self, person: Person) -> Person:
        file = configparser.ConfigParser(interpolation=None)
        file.read(self.config)
        file[person.profile] = {"host": person.host, "token": person.token}
        with self.config.open("w") as opened:
            file.write(opened)
        return person


@contextmanager
def people_of(workspace: RealWorkspace, folder: Path) -> Iterator[People]:
    """Everybody of a workspace, while MLflow of this process finds them, and nobody else, in a file there."""
    config = folder / "databrickscfg"
    with pytest.MonkeyPatch.context() as environment:
        environment.setenv("DATABRICKS_CONFIG_FILE", str(config))
        environment.setenv("MLFLOW_DISABLE_TELEMETRY", "true")
        for name in ("DATABRICKS_HOST", "DATABRICKS_TOKEN"):
            environment.delenv(name, raising=False)
        yield People(workspace, config)


def saved_model(folder: Path) -> str:
    """The address of a small model on this machine."""
    signature = infer_signature(ROWS, ROWS["x"])
    save_model(str(folder), python_model=Twice(), signature=signature, pip_requirements=[])
    return folder.as_uri()


def refusal(call: Any) -> str:
    """The sentence with which a call is refused; fails where it is not."""
    try:
        call()
    except (DatabricksError, MlflowException) as error:
        return str(error)
    raise AssertionError("it was not refused")
