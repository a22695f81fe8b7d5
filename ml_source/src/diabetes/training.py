"""Makes one scikit-learn pipeline that holds everything learned from the data."""

from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import Ridge
from sklearn.pipeline import Pipeline
from sklearn.preprocessing import OneHotEncoder, StandardScaler

from diabetes.schema import SCHEMA
from diabetes.tabular import Parameter

PARAMETERS = (
    Parameter(
        "alpha",
        0.5,
        "strength of the ridge penalty",
        low=1e-6,
        high=1e9,
        search=(0.01, 1000.0),
        scale="log",
    ),
)

# The packages, beside scikit-learn, whose classes the pipeline has, such as "lightgbm".
TRUSTED: tuple[str, ...] = ()


def make_pipeline(*, alpha: float) -> Pipeline:
    """Return the pipeline, not fitted: fill gaps, scale numbers, one-hot categories, ridge regression.

    Only scikit-learn's own classes are used, so the fitted pipeline loads where this package is not
    installed.
    """
    numbers = Pipeline([("fill", SimpleImputer(strategy="median")), ("scale", StandardScaler())])
    # The schema names the categories, so a table with one sex gives the same columns as any other.
    known = [list(column.categories) for column in SCHEMA.features if column.kind == "category"]
    encode = OneHotEncoder(categories=known, handle_unknown="error", sparse_output=False)
    categories = Pipeline([("fill", SimpleImputer(strategy="most_frequent")), ("encode", encode)])
    preprocess = ColumnTransformer(
        [("numbers", numbers, SCHEMA.numeric_names), ("categories", categories, SCHEMA.category_names)],
        verbose_feature_names_out=False,
    )
    return Pipeline([("preprocess", preprocess), ("regress", Ridge(alpha=alpha))])
