"""Makes one pipeline that holds everything learned from the data."""

import numpy as np
from diabetes.schema import SCHEMA
from diabetes.tabular import Parameter
from lightgbm import LGBMClassifier
from sklearn.compose import ColumnTransformer
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import FunctionTransformer, OrdinalEncoder

PARAMETERS = (
    Parameter("trees", 60, "how many there are", low=1, high=2_000, search=(20, 200)),
    Parameter("leaves", 7, "of each tree at most", low=2, high=256, search=(3, 31)),
    Parameter("rate", 0.1, "of learning", low=1e-4, high=1.0, search=(0.02, 0.5), scale="log"),
    Parameter("boosting", "gbdt", "way", choices=("gbdt", "dart"), search=("gbdt", "dart")),
    Parameter("balanced", True, "whether rare classes weigh more"),
)
TRUSTED = ("lightgbm",)


def make_pipeline(*, trees: int, leaves: int, rate: float, boosting: str, balanced: bool) -> Pipeline:
    """Return boosted trees, not fitted, which fill no gap: they know missing values."""
    known = [list(SCHEMA.columns[name].categories) for name in SCHEMA.category_names]
    # A missing category is missing to the trees too.
    codes = OrdinalEncoder(categories=known, handle_unknown="use_encoded_value", unknown_value=np.nan)
    preprocess = ColumnTransformer(
        [
            ("numbers", FunctionTransformer(np.log1p), SCHEMA.numeric_names),
            ("categories", codes, SCHEMA.category_names),
        ]
    )
    classify = LGBMClassifier(
        n_estimators=trees,
        num_leaves=leaves,
        learning_rate=rate,
        boosting_type=boosting,
        class_weight="balanced" if balanced else None,
        min_child_samples=5,
        random_state=0,
        n_jobs=1,
        verbose=-1,
    )
    return Pipeline([("preprocess", preprocess), ("classify", classify)])
