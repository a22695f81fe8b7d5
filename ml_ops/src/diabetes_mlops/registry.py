"""Registers model versions, finds them again by number or alias, and says which one is the champion."""

import inspect
import tempfile
from dataclasses import dataclass
from importlib.metadata import version as installed
from importlib.util import find_spec
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
from diabetes.schema import COLUMNS, FEATURE_NAMES
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, Schema
from sklearn.pipeline import Pipeline

CHAMPION = "champion"
CHALLENGER = "challenger"


class ModelNotFoundError(LookupError):
    """There is no such model, version or alias in the registry."""


class SignatureError(ValueError):
    """A model version expects other columns than this wheel knows."""


@dataclass(frozen=True)
class LoadedModel:
    """A registered pipeline, and the names of the columns that its signature asks for."""

    pipeline: Pipeline
    input_names: list[str]


def signature() -> ModelSignature:
    """Give the signature of every model: the features by name, and one prediction.

    Whole numbers are declared as doubles too, because a column of integers cannot hold a missing value.
    """
    kinds = {name: "string" if COLUMNS[name].kind == "category" else "double" for name in FEATURE_NAMES}
    inputs = Schema([ColSpec(kind, name) for name, kind in kinds.items()])
    return ModelSignature(inputs=inputs, outputs=Schema([ColSpec("double")]))


def log_model(pipeline: Pipeline, example: pd.DataFrame) -> ModelInfo:
    """Log a pipeline into the active run, with its signature and an input example."""
    # Named requirements, because finding them out by loading the model takes seconds.
    packages = ["numpy", "pandas", "scikit-learn", "skops" if _skops_is_supported() else "cloudpickle"]
    logged: ModelInfo = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        signature=signature(),
        input_example=example,
        pip_requirements=[f"{package}=={installed(package)}" for package in packages],
        **_serialization(),
    )
    return logged


def register(client: MlflowClient, model: ModelInfo, model_name: str, tags: dict[str, str]) -> ModelVersion:
    """Make a logged model a version of `model_name`, with the alias `challenger`."""
    version = mlflow.register_model(model.model_uri, model_name, tags=tags)
    client.set_registered_model_alias(model_name, CHALLENGER, version.version)
    return version


def promote(client: MlflowClient, version: ModelVersion) -> None:
    """Make a version the champion; it is no challenger any more."""
    client.set_registered_model_alias(version.name, CHAMPION, version.version)
    client.delete_registered_model_alias(version.name, CHALLENGER)


def find_champion(client: MlflowClient, model_name: str) -> ModelVersion | None:
    """Give the version with the alias `champion`, or None while there is none."""
    number = _aliases(client, model_name).get(CHAMPION)
    return None if number is None else client.get_model_version(model_name, number)


def resolve_version(client: MlflowClient, model_name: str, wanted: str) -> ModelVersion:
    """Find a version by its number or alias; empty means the champion. Raises ModelNotFoundError."""
    aliases = _aliases(client, model_name)
    numbers = [str(v.version) for v in client.search_model_versions(f"name='{model_name}'")]
    number = wanted if wanted.isdigit() else aliases.get(wanted or CHAMPION)
    if number is None or str(number) not in numbers:
        raise ModelNotFoundError(
            f"{model_name} has no version or alias {wanted or CHAMPION!r}; "
            f"it has versions {sorted(numbers, key=int)} and aliases {aliases}"
        )
    return client.get_model_version(model_name, str(number))


def load(version: ModelVersion) -> LoadedModel:
    """Load a version's pipeline; raises SignatureError where it was trained on other columns."""
    with tempfile.TemporaryDirectory() as folder:
        uri = f"models:/{version.name}/{version.version}"
        path = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
        logged = Model.load(path).signature
        names = list(logged.inputs.input_names()) if logged else []
        if set(names) != set(FEATURE_NAMES):
            raise SignatureError(f"{uri} expects columns {names}; this wheel has {FEATURE_NAMES}")
        return LoadedModel(mlflow.sklearn.load_model(path), names)


def _aliases(client: MlflowClient, model_name: str) -> dict[str, str]:
    try:
        model = client.get_registered_model(model_name)
    except MlflowException as error:
        if error.error_code != "RESOURCE_DOES_NOT_EXIST":
            raise
        raise ModelNotFoundError(f"there is no registered model {model_name!r}; train one first") from error
    return {alias: str(number) for alias, number in model.aliases.items()}


def _serialization() -> dict[str, Any]:
    """Save without pickle where this MLflow can; the runtime's own, older MLflow cannot."""
    if not _skops_is_supported():
        return {}
    return {"serialization_format": "skops", "skops_trusted_types": ["numpy.dtype"]}


def _skops_is_supported() -> bool:
    parameters = inspect.signature(mlflow.sklearn.log_model).parameters
    return "skops_trusted_types" in parameters and find_spec("skops") is not None
