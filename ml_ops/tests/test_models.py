"""A model is saved without pickle where that can be, and predicts the same however it was saved."""

from pathlib import Path

import mlflow
import mlflow.sklearn
import numpy as np
import pandas as pd
import pytest
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.fitting import fit
from diabetes.tabular.scoring import predict
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.models import model_files
from diabetes_mlops.models.made_of import UntrustedTypeError
from job_runs import needs_skops
from mlflow.models.model import ModelInfo
from problems import PATIENTS, make_patients
from sklearn.base import BaseEstimator
from sklearn.compose import make_column_transformer
from sklearn.dummy import DummyRegressor
from sklearn.ensemble import HistGradientBoostingRegressor, RandomForestRegressor
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.neighbors import KNeighborsRegressor
from sklearn.pipeline import Pipeline, make_pipeline
from sklearn.preprocessing import StandardScaler

SCHEMA = PATIENTS.schema


class Doubled(BaseEstimator):
    """A step that no package has."""

    def fit(self, rows: np.ndarray, label: np.ndarray) -> "Doubled":
        return self

    def transform(self, rows: np.ndarray) -> np.ndarray:
        return rows * 2


def of_numbers(*steps: BaseEstimator) -> Pipeline:
    """A pipeline of these steps, which reads the numbers of a table, scaled and without gaps."""
    numbers = make_pipeline(SimpleImputer(), StandardScaler())
    return make_pipeline(make_column_transformer((numbers, SCHEMA.numeric_names)), *steps)


@pytest.fixture(scope="module")
def train() -> pd.DataFrame:
    return split_by_key(SCHEMA, make_patients())[0]


@pytest.fixture
def log(tracking: Path, train: pd.DataFrame, request):
    """Logs a fitted pipeline into a run of its own."""
    name = f"/tests/{request.node.name}"
    mlflow.create_experiment(name, artifact_location=(tracking / request.node.name).as_uri())
    mlflow.set_experiment(name)

    def log_model(pipeline: Pipeline | None = None) -> ModelInfo:
        with mlflow.start_run():
            return model_files.log_model(
                PATIENTS, pipeline or fit(PATIENTS, train, {}), select_features(SCHEMA, train).head(2)
            )

    return log_model


@needs_skops
def test_a_model_is_saved_without_pickle_where_mlflow_can(log):
    info = log()

    files = {path.name for path in Path(mlflow.artifacts.download_artifacts(info.model_uri)).iterdir()}
    assert "model.skops" in files
    assert not [name for name in files if name.endswith(".pkl")]


@pytest.mark.parametrize(
    "model",
    [HistGradientBoostingRegressor(max_iter=5), RandomForestRegressor(5), KNeighborsRegressor()],
    ids=lambda model: type(model).__name__,
)
def test_trees_and_neighbours_are_saved_and_predict_alike(log, train, model):
    pipeline = of_numbers(model).fit(select_features(SCHEMA, train), select_label(SCHEMA, train))

    info = log(pipeline)

    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert predict(SCHEMA, loaded, train).tolist() == predict(SCHEMA, pipeline, train).tolist()


@needs_skops
def test_a_step_that_is_not_of_scikit_learn_is_refused_by_its_name(log, train):
    foreign = of_numbers(Doubled(), DummyRegressor()).fit(
        select_features(SCHEMA, train), select_label(SCHEMA, train)
    )

    with pytest.raises(
        UntrustedTypeError, match=r"has test_models\.Doubled, .* add 'test_models' to TRUSTED"
    ):
        log(foreign)


def test_without_skops_a_model_is_saved_all_the_same_and_predicts_alike(log, train, monkeypatch):
    monkeypatch.setattr(model_files, "find_spec", lambda name: None)
    features = select_features(SCHEMA, train)

    info = log()

    assert info.flavors["sklearn"]["serialization_format"] == "cloudpickle"
    requirements = mlflow.pyfunc.get_model_dependencies(info.model_uri)
    assert "cloudpickle==" in Path(requirements).read_text()
    loaded = mlflow.sklearn.load_model(info.model_uri)
    assert loaded.predict(features).tolist() == fit(PATIENTS, train, {}).predict(features).tolist()


def test_a_classifier_gives_its_probabilities_as_a_python_function_too(log, train):
    features, label = select_features(SCHEMA, train), select_label(SCHEMA, train)
    classifier = of_numbers(LogisticRegression()).fit(features, (label > np.median(label)).astype(float))

    info = log(classifier)

    given = mlflow.pyfunc.load_model(info.model_uri).predict(features)
    assert given[:, 1].tolist() == predict(SCHEMA, classifier, train).tolist()
    assert info.signature.outputs.inputs[0].shape == (-1, 2)
