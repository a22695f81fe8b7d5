"""Makes one pipeline that holds everything learned from the data."""

import numpy as np
from diabetes.schema import SCHEMA
from diabetes.tabular import Parameter
from sklearn.compose import ColumnTransformer, TransformedTargetRegressor
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OrdinalEncoder
from xgboost import XGBRegressor

PARAMETERS = (
    Parameter("trees", 200, "how many there are", low=1, high=5_000, search=(50, 400)),
    Parameter("depth", 3, "of each tree at most", low=1, high=20, search=(2, 6)),
    Parameter("rate", 0.1, "of learning", low=1e-4, high=1.0, search=(0.03, 0.3), scale="log"),
)
TRUSTED = ("xgboost",)


def make_pipeline(*, trees: int, depth: int, rate: float) -> Pipeline:
    """Return boosted trees, not fitted, of the logarithm of the price; they know missing values."""
    known = [list(SCHEMA.columns[name].categories) for name in SCHEMA.category_names]
    # A missing category is missing to the trees too.
    codes = OrdinalEncoder(categories=known, handle_unknown="use_encoded_value", unknown_value=np.nan)
    preprocess = ColumnTransformer(
        [("numbers", "passthrough", SCHEMA.numeric_names), ("categories", codes, SCHEMA.category_names)]
    )
    regress = XGBRegressor(n_estimators=trees, max_depth=depth, learning_rate=rate, random_state=0, n_jobs=1)
    of_logarithm = TransformedTargetRegressor(regress, func=np.log1p, inverse_func=np.expm1)
    return Pipeline([("preprocess", preprocess), ("regress", of_logarithm)])
