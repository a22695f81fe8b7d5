"""Says what a problem is: everything that is not the same for each table."""

from collections.abc import Callable
from dataclasses import dataclass

from sklearn.pipeline import Pipeline

from diabetes.tabular.columns import Schema
from diabetes.tabular.metrics import Evaluation
from diabetes.tabular.parameters import Parameter, ParameterError
from diabetes.tabular.splitting import BY_KEY, Split

# A training run logs these beside the parameters, and each once.
LOGGED = ("training_data", "search_trials", "search_on", "seed", "promotion", "split", "holdout_share")


@dataclass(frozen=True)
class Problem:
    """A table, the model that learns from it, and what a good model is.

    `make_pipeline` takes each of the `parameters` by its name, and returns a pipeline that is not fitted: it
    gets the features as `features.select_features` gives them. Of scikit-learn's own classes each may be in
    it; those of other packages are saved and loaded where `trusted` names the package or the type. `split`
    says which rows are held out. Raises ParameterError where two parameters have one name, or one has a name
    that a training run logs, and SchemaError for a split by what is not in the schema.
    """

    schema: Schema
    parameters: tuple[Parameter, ...]
    make_pipeline: Callable[..., Pipeline]
    evaluation: Evaluation
    trusted: tuple[str, ...] = ()
    split: Split = BY_KEY

    def __post_init__(self) -> None:
        if not isinstance(self.parameters, tuple):
            raise ParameterError(f"parameters must be a tuple, such as (alpha,); got {self.parameters!r}")
        names = [parameter.name for parameter in self.parameters]
        for name in names:
            if names.count(name) > 1:
                raise ParameterError(f"{name} is the name of two parameters")
            if name in LOGGED:
                raise ParameterError(
                    f"{name} is what a training run logs by itself: give the parameter another name"
                )
        self.split.check(self.schema)
