"""The registered model over REST, without the seconds of MLflow's import: aliases, history, tags."""

import re
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any

from diabetes_mlops.models.champions import CHAMPION, HISTORY, find_earlier, read_changes
from diabetes_mlops.models.contract import CODE_VERSION, CONTRACT, Contract

from deployment import wheels
from deployment.errors import DeploymentError
from deployment.workspace import Workspace


@dataclass(frozen=True)
class ModelVersion:
    """One version of a model, with what training wrote on it."""

    number: str
    tags: Mapping[str, str]

    @property
    def code_version(self) -> str:
        """The exact version of the code that trained it; empty where training did not say."""
        return self.tags.get(CODE_VERSION, "")

    @property
    def commit(self) -> str:
        """The commit of that code; empty where it is not known."""
        return self.tags.get("git_commit", "") or wheels.commit_of(self.code_version)

    @property
    def has_changes(self) -> bool:
        """Whether that code differed from its commit."""
        return self.tags.get("git_dirty") == "true"

    @property
    def way_to_code(self) -> str:
        """How that code comes into the workspace again, where it is not deployed."""
        if not self.commit:
            return "`make deploy` that code, of which nobody knows the commit"
        changes = f" with the changes of {self.code_version}" if self.has_changes else ""
        return f"check out {self.commit[:7]}{changes} and `make deploy`"

    @property
    def contract(self) -> Contract | None:
        """What it asks of the code that scores with it; None where training did not write that down."""
        return Contract.from_text(self.tags.get(CONTRACT, ""))

    def is_of(self, code_version: str) -> bool:
        """Whether exactly this version of the code trained it.

        Where training knew no more than the commit, any code of the commit may have done so.
        """
        if own := _sources(self.code_version):
            return own == _sources(code_version)
        if commit := wheels.commit_of(code_version):
            return self.commit.startswith(commit)
        return bool(self.code_version) and self.code_version == code_version


@dataclass(frozen=True)
class Model:
    """A registered model: the versions that its aliases name, and where a rollback goes."""

    name: str
    aliases: Mapping[str, str]
    earlier_champion: str | None

    @property
    def champion(self) -> str | None:
        """The number of the champion."""
        return self.aliases.get(CHAMPION)


def find_model(workspace: Workspace, name: str) -> Model | None:
    """The model of this name, None where the workspace has none."""
    found = _find(workspace, "registered-models", name=name)
    if found is None:
        return None
    model = found["registered_model"]
    aliases = {each["alias"]: str(each["version"]) for each in model.get("aliases", [])}
    changes = read_changes(_tags(model).get(HISTORY, ""))
    return Model(name, aliases, find_earlier(changes, aliases.get(CHAMPION)))


def find_version(workspace: Workspace, name: str, number: str) -> ModelVersion | None:
    """One version of a model, None where it was deleted."""
    found = _find(workspace, "model-versions", name=name, version=number)
    return ModelVersion(number, _tags(found["model_version"])) if found else None


def require_version(workspace: Workspace, name: str, wanted: str) -> ModelVersion:
    """The version of a model with this number or alias. Raises DeploymentError, with those that there are."""
    model = find_model(workspace, name)
    number = model.aliases.get(wanted, wanted) if model else ""
    found = find_version(workspace, name, number) if re.fullmatch("[1-9][0-9]*", number) else None
    if found is None:
        raise DeploymentError(f"no version or alias '{wanted}'; {describe(workspace, name)}")
    return found


def find_needed(workspace: Workspace, name: str) -> list[ModelVersion] | None:
    """The versions that scoring can come to: by an alias, or by a rollback. None where there is no model."""
    model = find_model(workspace, name)
    if model is None:
        return None
    numbers = {*model.aliases.values(), model.earlier_champion} - {None}
    found = [find_version(workspace, name, str(number)) for number in numbers]
    return [version for version in found if version]


def describe(workspace: Workspace, name: str) -> str:
    """The versions and the aliases that a model has, for a message."""
    model = find_model(workspace, name)
    if model is None:
        return f"there is no model {name} yet; train one first"
    pages = workspace.pages(_path(workspace, "model-versions/search"), filter=f"name='{name}'")
    numbers = [str(version["version"]) for page in pages for version in page.get("model_versions", [])]
    return f"{name} has versions {sorted(numbers, key=int)} and aliases {dict(model.aliases)}"


def _find(workspace: Workspace, what: str, **params: str) -> dict[str, Any] | None:
    return workspace.find(_path(workspace, f"{what}/get"), **params)


def _path(workspace: Workspace, what: str) -> str:
    kind = "" if workspace.is_local else "unity-catalog/"  # a cloud workspace keeps its models there
    return f"/api/2.0/mlflow/{kind}{what}"


def _tags(entity: Mapping[str, Any]) -> dict[str, str]:
    return {tag["key"]: tag.get("value", "") for tag in entity.get("tags", [])}


def _sources(code_version: str) -> str:
    """What stands for the sources in a version of the code; a wheel may write what is before it otherwise."""
    return code_version.partition("+")[2]
