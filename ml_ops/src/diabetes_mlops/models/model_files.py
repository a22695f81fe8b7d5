"""Logs a fitted pipeline as an MLflow model, and loads it back with what it asks for and was trained on."""

import inspect
import json
import tempfile
from collections.abc import Collection, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import replace
from importlib.util import find_spec
from typing import Any

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
from diabetes.tabular.columns import Schema, SchemaError
from diabetes.tabular.drift import PREDICTION, Profile
from diabetes.tabular.problem import Problem
from diabetes.tabular.sql import SqlModel
from mlflow.entities.model_registry import ModelVersion
from mlflow.models import Model, ModelSignature
from mlflow.models.model import ModelInfo
from mlflow.types import ColSpec, DataType, TensorSpec
from mlflow.types import Schema as MlflowSchema
from sklearn.base import is_classifier
from sklearn.pipeline import Pipeline

from diabetes_mlops.data.worker import LoadedModel
from diabetes_mlops.models import made_of
from diabetes_mlops.models.champions import LONGEST_TAG
from diabetes_mlops.models.contract import CODE_VERSION, CONTRACT, DATE, NUMBER, Contract

# Where a model's metadata keeps the profile of the rows that it was trained on, how rows are read for it, and
# what it predicts as SQL.
PROFILE, SCHEMA, SQL = "profile", "schema", "sql"


class SignatureError(ValueError):
    """A model version was trained on other columns or another label than this code has."""


class ModelUnreadableError(ValueError):
    """The files of a model version are lost, or this code cannot make a pipeline of them."""


def signature(schema: Schema, pipeline: Pipeline) -> ModelSignature:
    """Give a model's signature: the features by name, and the prediction; of a classifier all probabilities.

    Whole numbers are declared as doubles too, because a column of integers cannot hold a missing value, and
    so are dates, as days since their first one.
    """
    kinds = {column.name: "string" if column.kind == "category" else "double" for column in schema.features}
    inputs = MlflowSchema([ColSpec(kind, name) for name, kind in kinds.items()])
    # A class that the training rows lacked has no column of its own.
    classes = len(getattr(pipeline, "classes_", schema.classes)) if schema.classes else 2
    probabilities = TensorSpec(np.dtype(np.float64), (-1, classes))
    outputs = MlflowSchema([probabilities if is_classifier(pipeline) else ColSpec("double")])
    return ModelSignature(inputs=inputs, outputs=outputs)


def log_model(
    problem: Problem,
    pipeline: Pipeline,
    example: pd.DataFrame,
    profile: Profile | None = None,
    sql: SqlModel | None = None,
) -> ModelInfo:
    """Log a pipeline into the active run, with its signature, an input example and its training profile.

    As a Python function, a classifier gives the probability of each class that it has learned, in order;
    of 0 and 1 the second is the prediction. The profile and the SQL are a part of the model, so that they go
    wherever the model goes, and the profile is for people a file. So is the schema a part, unless the
    pipeline has something of the science's own code. Raises UntrustedTypeError as `made_of` does.
    """
    packages = made_of.find_packages(pipeline) | {"skops" if _skops_is_supported() else "cloudpickle"}
    if profile is not None:
        mlflow.log_dict(profile.as_json(), "profile.json")
    code = made_of.find_code(packages)
    metadata = {} if profile is None else {PROFILE: json.dumps(profile.as_json())}
    metadata |= {} if code else {SCHEMA: json.dumps(problem.schema.as_json())}
    metadata |= {} if sql is None else {SQL: json.dumps(sql.as_json())}
    logged: ModelInfo = mlflow.sklearn.log_model(
        pipeline,
        name="model",
        signature=signature(problem.schema, pipeline),
        pyfunc_predict_fn="predict_proba" if is_classifier(pipeline) else "predict",
        input_example=example,
        # MLflow itself would load the model to find them out, which takes seconds.
        pip_requirements=made_of.name_requirements(packages),
        code_paths=code or None,
        metadata=metadata or None,
        **_serialization(pipeline, problem.trusted),
    )
    return logged


def check(problem: Problem, pipeline: Pipeline) -> None:
    """Raise UntrustedTypeError where a pipeline, fitted or not, cannot be saved."""
    made_of.find_packages(pipeline)
    _serialization(pipeline, problem.trusted)


def load(version: ModelVersion, schema: Schema) -> LoadedModel:
    """Load a version's pipeline, its profile, and the schema that its rows are read by.

    That is the one that it carries, else the given one of this code. Raises SignatureError for a version of
    another label, or of other columns where it carries none, ModelUnreadableError where it cannot be loaded.
    """
    uri = f"models:/{version.name}/{version.version}"
    with tempfile.TemporaryDirectory() as folder:
        with _explained(version, "the files of {uri} cannot be read"):
            path = mlflow.artifacts.download_artifacts(artifact_uri=uri, dst_path=folder)
            logged = Model.load(path)
            own = _read_schema(logged) or schema
        asked = contract_of(logged, version.tags)
        names = list(asked.features)
        if differences := asked.differences(Contract.of(schema)):
            raise SignatureError(
                f"{uri} expects columns {names} and does not fit this code: {'; '.join(differences)}. "
                + _ways_out(version)
            )
        profile = _read_profile(logged, own, uri)
        with _explained(version, "{uri} cannot be loaded by this code"):
            pipeline = mlflow.sklearn.load_model(path)
        return LoadedModel(pipeline, own, profile, _read_sql(logged))


def read_schema(version: ModelVersion) -> Schema | None:
    """Read the schema that a version carries; None where it carries none. Raises ModelUnreadableError."""
    with _explained(version, "the files of {uri} cannot be read"):
        return _read_schema(Model.load(f"models:/{version.name}/{version.version}"))


def describe_contract(logged: ModelInfo, schema: Schema) -> dict[str, str]:
    """Give the tag that says what a version that this code trains asks for; none where it is too long."""
    has_schema = SCHEMA in (logged.metadata or {})
    text = replace(Contract.of(schema), has_schema=has_schema).as_text()
    if has_schema and len(text) > LONGEST_TAG:  # its features are in the schema that it carries
        text = replace(Contract.of(schema), features={}).as_text()
    return {CONTRACT: text} if len(text) <= LONGEST_TAG else {}


def contract_of(logged: Model, tags: Mapping[str, str]) -> Contract:
    """Give what a logged model asks for: what its signature and its profile say, and the tags of its version.

    A model without a signature asks for nothing that is known.
    """
    if (own := _read_schema(logged)) is not None:
        return Contract.of(own)
    inputs = logged.signature.inputs if logged.signature else None
    kinds = inputs.input_dict() if inputs is not None and inputs.has_input_names() else {}
    tagged = Contract.from_text(tags.get(CONTRACT, "")) or Contract({})
    profile = json.loads((logged.metadata or {}).get(PROFILE, "{}"))
    known = {name: tuple(values) for name, values in profile.get("categories", {}).items()}
    classes = tagged.classes or known.pop(PREDICTION, ())
    dates = {name: f"{DATE}{first}" for name, first in profile.get("dates", {}).items()}
    told = known | dates | dict(tagged.features)
    # Of what the others say, no more counts than the signature leaves open.
    categories = {name: kind for name, kind in told.items() if not isinstance(kind, str)}
    numbers = {name: kind for name, kind in told.items() if isinstance(kind, str)}
    features = {
        name: categories.get(name, ()) if spec.type == DataType.string else numbers.get(name, NUMBER)
        for name, spec in kinds.items()
    }
    return Contract(features, tagged.label, classes=classes)


@contextmanager
def _explained(version: ModelVersion, problem: str) -> Iterator[None]:
    try:
        yield
    except Exception as error:  # what comes of files, of pickles and of their libraries has no end
        uri = f"models:/{version.name}/{version.version}"
        said = f"{type(error).__name__}: {error}"
        raise ModelUnreadableError(f"{problem.format(uri=uri)} ({said}). {_ways_out(version)}") from error


def _ways_out(version: ModelVersion) -> str:
    """Say what trained a version that cannot be scored with, and what to do."""
    trained_by = version.tags.get(CODE_VERSION) or version.tags.get("git_commit", "")[:7]
    by_code = f"`make rollback-code VERSION={trained_by}`" if trained_by else "`make rollback-code`"
    return (
        f"It was trained by the code of {trained_by or 'an unknown commit'}: "
        f"`make promote` a version of this code, or {by_code}"
    )


def _read_schema(logged: Model) -> Schema | None:
    text = (logged.metadata or {}).get(SCHEMA)
    return None if text is None else Schema.from_json(json.loads(text))


def _read_profile(logged: Model, schema: Schema, uri: str) -> Profile | None:
    text = (logged.metadata or {}).get(PROFILE)
    if text is None:
        return None
    profile = Profile.from_json(json.loads(text))
    try:
        profile.check(schema)
    except SchemaError as error:
        raise SignatureError(f"{uri}: {error}") from error
    return profile


def _read_sql(logged: Model) -> SqlModel | None:
    text = (logged.metadata or {}).get(SQL)
    return None if text is None else SqlModel.from_json(json.loads(text))


def _serialization(pipeline: Pipeline, trusted: Collection[str]) -> dict[str, Any]:
    """Save without pickle where this MLflow can; the runtime's own, older MLflow cannot."""
    if not _skops_is_supported():
        return {"serialization_format": "cloudpickle"}
    return {
        "serialization_format": "skops",
        "skops_trusted_types": made_of.find_trusted_types(pipeline, trusted),
    }


def _skops_is_supported() -> bool:
    parameters = inspect.signature(mlflow.sklearn.log_model).parameters
    return "skops_trusted_types" in parameters and find_spec("skops") is not None
