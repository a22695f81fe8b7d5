"""Says what a problem is: everything that is not the same for each table."""

from collections.abc import Callable
from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from diabetes.tabular.columns import Schema
from diabetes.tabular.metrics import Evaluation
from diabetes.tabular.parameters import Parameter


@dataclass(frozen=True)
class Problem:
    """A table, the model that learns from it, and what a good model is.

    `make_pipeline` takes each of the `parameters` by its name, and returns a pipeline that is not fitted: it
    gets the features as `features.select_features` gives them. Of scikit-learn's own classes each may be in
    it; those of other packages are saved and loaded where `trusted` names the package or the type.
    """

    schema: Schema
    parameters: tuple[Parameter, ...]
    make_pipeline: Callable[..., Pipeline]
    evaluation: Evaluation
    trusted: tuple[str, ...] = ()
