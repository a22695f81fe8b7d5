"""The repository's own tables and a model fitted on them."""

from pathlib import Path

import pandas as pd
import pytest
from diabetes.splitting import split_by_id
from diabetes.training import fit
from sklearn.pipeline import Pipeline

DATA = Path(__file__).parents[2] / "ml_data"


@pytest.fixture
def raw() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_raw.csv")


@pytest.fixture
def batch() -> pd.DataFrame:
    return pd.read_csv(DATA / "data_batch_input.csv")


@pytest.fixture(scope="session")
def model() -> Pipeline:
    train, _ = split_by_id(pd.read_csv(DATA / "data_raw.csv"))
    return fit(train, alpha=1.0)
