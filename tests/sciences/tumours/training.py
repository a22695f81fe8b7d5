"""Makes one scikit-learn pipeline that holds everything learned from the data."""

from diabetes.schema import SCHEMA
from diabetes.tabular import Parameter
from sklearn.compose import ColumnTransformer
from sklearn.impute import SimpleImputer
from sklearn.linear_model import LogisticRegression
from sklearn.pipeline import Pipeline
from sklearn.pipeline import make_pipeline as chain
from sklearn.preprocessing import OneHotEncoder, StandardScaler

PARAMETERS = (
    Parameter(
        "penalty", 1.0, "strength of the penalty", low=1e-6, high=1e6, search=(0.01, 100.0), scale="log"
    ),
    Parameter("balanced", False, "whether rare classes weigh more", search=(False, True)),
)

TRUSTED: tuple[str, ...] = ()


def make_pipeline(*, penalty: float, balanced: bool) -> Pipeline:
    """Return a logistic regression, not fitted, behind filled gaps, scaled numbers and one-hot categories."""
    known = [list(column.categories) for column in SCHEMA.features if column.kind == "category"]
    categories = chain(SimpleImputer(strategy="most_frequent"), OneHotEncoder(categories=known))
    numbers = chain(SimpleImputer(strategy="median"), StandardScaler())
    preprocess = ColumnTransformer(
        [("numbers", numbers, SCHEMA.numeric_names), ("categories", categories, SCHEMA.category_names)]
    )
    classify = LogisticRegression(C=1 / penalty, class_weight="balanced" if balanced else None)
    return Pipeline([("preprocess", preprocess), ("classify", classify)])
