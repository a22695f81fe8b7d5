"""The tests' own tables and a model fitted on them."""

import pandas as pd
import pytest
from diabetes.tabular.fitting import fit
from diabetes.tabular.splitting import split_by_key
from problems import PATIENTS, make_patients, make_patients_batch
from sklearn.pipeline import Pipeline


@pytest.fixture
def patients() -> pd.DataFrame:
    return make_patients()


@pytest.fixture
def batch() -> pd.DataFrame:
    return make_patients_batch()


@pytest.fixture(scope="session")
def model() -> Pipeline:
    train, _ = split_by_key(PATIENTS.schema, make_patients())
    return fit(PATIENTS, train, {"alpha": 1.0})
