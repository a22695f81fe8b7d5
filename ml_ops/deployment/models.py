"""The versions of the registered model in a workspace: lists, promotes, rolls back and compares them.

Importing this module imports MLflow, which takes seconds: only the commands that need it do.
"""

import logging
import os
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from dataclasses import dataclass
from typing import Any
from urllib.parse import urlsplit

import mlflow
from diabetes_mlops.models import registry
from diabetes_mlops.models.contract import Contract
from mlflow import MlflowClient
from mlflow.exceptions import MlflowException
from mlflow.models import Model

from deployment.errors import DeploymentError
from deployment.model_registry import ModelVersion
from deployment.serving import ScoringJob
from deployment.tables import format_table
from deployment.workspace import Workspace

REFUSALS = (
    registry.ModelNotFoundError,
    registry.NoEarlierChampionError,
    registry.ChampionChangedError,
    registry.SameVersionError,
    MlflowException,
)


@dataclass(frozen=True)
class RegisteredModel:
    """One registered model, who changes it, and the job that scores with its champion, if there is one."""

    client: MlflowClient
    name: str
    user: str
    scoring: ScoringJob | None = None

    def print_versions(self) -> None:
        """Prints one line for each version, newest first, and what there is to know or to do about them."""
        with _refusals_explained():
            versions = registry.list_versions(self.client, self.name)
            earlier = registry.earlier_champion(self.client, self.name)
        print(f"Model {self.name}; * marks the champion\n")
        names = list(dict.fromkeys(name for version in versions for name in version["metrics"]))
        print(format_table([_line(version, names) for version in versions]))
        if remarks := list(_remarks(versions, earlier)):
            print("", *remarks, sep="\n")

    def promote(self, number: str) -> None:
        """Makes the version of this number the champion, also where the gate refused it: a person decides.

        Raises DeploymentError for one that the code cannot score with. The champion stays as it is.
        """
        with _refusals_explained():
            version = registry.resolve_version(self.client, self.name, number)
            champion = registry.find_champion(self.client, self.name)
            before = str(champion.version) if champion else None
            if before != number:
                self._check(number, version.tags, f"make promote VERSION={number}")
            try:
                registry.promote(self.client, version, by=self.user, expected_champion=before)
            except registry.AlreadyChampionError:  # also where somebody has promoted it a moment ago
                print(f"Version {number} is the champion of {self.name} already")
                return
        if version.tags.get("gate") == "refused":
            print(f"Note: the gate had refused version {number}: {version.tags.get('gate_reasons', '')}")
        replaced = f"in place of version {before}; `make rollback` goes back" if before else "the first one"
        print(f"Version {number} is the champion of {self.name}, {replaced}")

    def approve(self, number: str) -> bool:
        """Lets the model's deployment job make a version the champion; False where it is that already.

        Raises DeploymentError for one that the gate refused, or that the code cannot score with.
        """
        with _refusals_explained():
            version = registry.resolve_version(self.client, self.name, number)
            champion = registry.find_champion(self.client, self.name)
            if champion and str(champion.version) == number:
                print(f"Version {number} is the champion of {self.name} already")
                return False
            if version.tags.get("gate") == "refused":
                raise DeploymentError(
                    f"the gate refused version {number} of {self.name}, so that its deployment job does not "
                    f"deploy it: {version.tags.get('gate_reasons', '')}. Where people are to decide all the "
                    "same, `make deploy PROMOTION=manual`, then promote it"
                )
            self._check(number, version.tags, f"make promote VERSION={number}")
            registry.approve(self.client, version, by=self.user)
        print(f"Version {number} of {self.name} is approved by {self.user}", flush=True)
        return True

    def roll_back(self) -> None:
        """Makes the version champion again that was it before the present one; which one, nobody chooses.

        Raises DeploymentError where there is none, or the code cannot score with it.
        """
        with _refusals_explained():
            left = registry.find_champion(self.client, self.name)
            earlier = registry.find_earlier_champion(self.client, self.name)
            if earlier:
                self._check(str(earlier.version), earlier.tags, "make rollback")
            champion = registry.roll_back(self.client, self.name, by=self.user)
        replaced = f", in place of version {left.version}" if left else ""
        print(f"Version {champion.version} is the champion of {self.name} again{replaced}")

    def _check(self, number: str, tags: Mapping[str, str], then: str) -> None:
        """Refuses a version with which the next scoring would fail."""
        if self.scoring:
            self.scoring.check(ModelVersion(number, tags), then)

    def compare(self, a: str, b: str) -> None:
        """Prints the metrics of two versions side by side, on which rows they rest, and what else differs."""
        with _refusals_explained():
            lines = registry.compare(self.client, self.name, a, b)
            versions = [registry.resolve_version(self.client, self.name, wanted) for wanted in (a, b)]
        print(f"Model {self.name}: A is version {versions[0].version}, B is version {versions[1].version}")
        print(describe_rows(versions[0].tags, versions[1].tags))
        # What the gate wrote repeats these metrics, or tells of the champion that each met.
        metrics = [
            line for line in lines if line["kind"] == "metric" and not line["name"].startswith("gate_")
        ]
        others = [line for line in lines if line["kind"] != "metric"]
        print("\n" + format_table(_columns(metrics, ("name", "a", "b", "difference"))))
        print("\nWhat else differs\n\n" + format_table(_columns(others, ("kind", "name", "a", "b"))))


def open_model(workspace: Workspace, name: str, scoring: ScoringJob | None = None) -> RegisteredModel:
    """The model of this name in the workspace, and the job that scores with its champion, if there is one."""
    return RegisteredModel(MlflowClient(*_addresses(workspace)), name, workspace.user_name(), scoring)


def read_contract(workspace: Workspace, name: str, version: ModelVersion) -> Contract | None:
    """What the files of a version ask of the code that scores with it; None where they cannot be read."""
    from diabetes_mlops.models.model_files import contract_of

    tracking, models = _addresses(workspace)
    mlflow.set_tracking_uri(tracking)
    mlflow.set_registry_uri(models)
    try:
        contract = contract_of(Model.load(f"models:/{name}/{version.number}"), version.tags)
    except (MlflowException, OSError, ValueError):
        return None
    return contract if contract.features else None


def _addresses(workspace: Workspace) -> tuple[str, str]:
    """Signs in, and says where runs and models are; a cloud workspace keeps its models in Unity Catalog."""
    for logger, level in (("mlflow", logging.WARNING), ("databricks.sdk", logging.ERROR)):
        logging.getLogger(logger).setLevel(level)
    environment = _sign_in(workspace)
    os.environ.clear()
    os.environ.update(environment)
    profile = f"://{workspace.profile}" if workspace.config_file else ""
    tracking, models = f"databricks{profile}", f"databricks-uc{profile}"
    if workspace.is_local:
        tracking = models = workspace.host
    return tracking, models


def describe_rows(a: Mapping[str, str], b: Mapping[str, str]) -> str:
    """Whether two versions, given by their tags, were evaluated on the same holdout rows."""
    digests = [tags.get("holdout_digest", "") for tags in (a, b)]
    sources = [tags.get("data_source", "unknown data") for tags in (a, b)]
    if not all(digests):
        return "It is not known on which rows each was evaluated."
    if digests[0] == digests[1]:
        return f"Both were evaluated on the same holdout rows, of {sources[1]}."
    return (
        f"They were evaluated on different holdout rows, A of {sources[0]} and B of {sources[1]}: "
        "the differences tell of the rows too."
    )


@contextmanager
def _refusals_explained() -> Iterator[None]:
    try:
        yield
    except REFUSALS as error:
        raise DeploymentError(str(error)) from error


def _sign_in(workspace: Workspace) -> dict[str, str]:
    """The environment that leads MLflow to this workspace, whatever else this one names."""
    if workspace.is_local:
        # A company's proxy does not lead to this machine.
        own = {"MLFLOW_TRACKING_TOKEN": workspace.token, "no_proxy": str(urlsplit(workspace.host).hostname)}
        return workspace.environment() | own
    # MLflow's Databricks client takes these, where they are set, before those of the profile.
    return workspace.environment() | {"DATABRICKS_HOST": workspace.host, "DATABRICKS_TOKEN": workspace.token}


def _line(version: Mapping[str, Any], metrics: Sequence[str]) -> dict[str, str]:
    dirty = "+changes" if version["git_dirty"] == "true" else ""
    return {
        "": "*" if registry.CHAMPION in version["aliases"] else "",
        "version": version["version"],
        "aliases": ", ".join(version["aliases"]),
        **{name: _number(version["metrics"].get(name)) for name in metrics},
        "gate": version["gate"],
        "promoted (UTC)": version["promoted_at"],
        # The gate signs with the run that it is part of, which has a column of its own.
        "by": version["promoted_by"].removesuffix(f" of run {version['run_id']}"),
        "commit": version["git_commit"][:7] + dirty,
        "run": version["run_id"],
    }


def _remarks(versions: Sequence[Mapping[str, Any]], earlier: str | None) -> Iterator[str]:
    if versions and versions[0]["gate"] == "refused":
        yield f"The gate refused version {versions[0]['version']}: {versions[0]['gate_reasons']}"
    for version in versions:
        number, moment = version["version"], version["rolled_back_at"]
        is_champion = registry.CHAMPION in version["aliases"]
        if moment and moment >= version["promoted_at"] and not is_champion:
            yield f"Version {number} was rolled back by {version['rolled_back_by']} at {moment} (UTC)"
        if registry.CHALLENGER in version["aliases"] and version["gate"] == "passed":
            yield f"Version {number} passed the gate and waits for `make promote VERSION={number}`"
    if earlier:
        yield f"`make rollback` makes version {earlier} the champion again"


def _columns(lines: Sequence[Mapping[str, Any]], names: Sequence[str]) -> list[dict[str, str]]:
    titles = {"a": "A", "b": "B", "difference": "B - A"}
    return [{titles.get(name, name): _number(line[name]) for name in names} for line in lines]


def _number(value: Any) -> str:
    """A number with four digits after the point, a text as it is, nothing where there is no value."""
    if value is None:
        return ""
    return f"{value:.4f}" if isinstance(value, float) else str(value)
