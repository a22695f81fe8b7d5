"""Says what a metric is, and what makes a model a good one."""

import math
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from typing import Literal

import numpy as np
import pandas as pd


@dataclass(frozen=True)
class Metric:
    """A number that says how well predictions fit labels.

    `function` takes labels and predictions, float64 of shape (n,) both and n at least 1, and returns NaN
    where it is not defined for these rows. `unit` is empty for a number without one. Raises ValueError where
    it is not said which numbers are better.
    """

    function: Callable[[np.ndarray, np.ndarray], float]
    better: Literal["lower", "higher"]
    unit: str = ""

    def __post_init__(self) -> None:
        if self.better not in ("lower", "higher"):
            raise ValueError(f"better must be lower or higher; got {self.better!r}")

    def reaches(self, value: float, threshold: float) -> bool:
        """Whether a value is at the threshold or better; NaN is not."""
        return value <= threshold if self.better == "lower" else value >= threshold


def no_slices(features: pd.DataFrame) -> dict[str, np.ndarray]:
    """Return no slice of any table."""
    return {}


@dataclass(frozen=True)
class Evaluation:
    """What a good model is.

    `primary` is the metric that decides: what a search minimizes, and what models and slices are compared by;
    lower is better. At the gate a version must reach each of the `thresholds`, its primary metric may be
    above the champion's by `margin`, and on a slice `max_slice_ratio` times that of all rows. On the rows
    that were scored since it may be `max_error_ratio` times that of the holdout.

    `slice_rows` takes the features as `features.select_features` gives them, and returns which rows are in
    each slice: boolean masks of shape (n,) by the slice's name. Raises ValueError for a primary metric that
    is not an error, and for a threshold of no metric.
    """

    metrics: Mapping[str, Metric]
    primary: str
    margin: float
    thresholds: Mapping[str, float] = field(default_factory=dict)
    max_slice_ratio: float = 1.5
    max_error_ratio: float = 1.5
    slice_rows: Callable[[pd.DataFrame], Mapping[str, np.ndarray]] = no_slices

    def __post_init__(self) -> None:
        if self.primary not in self.metrics or self.error.better != "lower":
            errors = [name for name, metric in self.metrics.items() if metric.better == "lower"]
            raise ValueError(
                f"primary must be one of the metrics that are better when lower: {errors}; "
                f"got {self.primary!r}"
            )
        if unknown := [name for name in self.thresholds if name not in self.metrics]:
            raise ValueError(f"thresholds must be of the metrics {list(self.metrics)}; got {unknown}")
        for name, threshold in self.thresholds.items():
            _check_number(f"the threshold of {name}", threshold)
        _check_number("margin", self.margin)
        for name in ("max_slice_ratio", "max_error_ratio"):
            _check_number(name, getattr(self, name), above=0)

    @property
    def error(self) -> Metric:
        """The primary metric."""
        return self.metrics[self.primary]

    def measure(self, actual: np.ndarray, predicted: np.ndarray) -> dict[str, float]:
        """Return each metric of the predictions, shape (n,) both; NaN where these rows do not define it."""
        if not len(actual):
            return dict.fromkeys(self.metrics, np.nan)
        return {name: float(metric.function(actual, predicted)) for name, metric in self.metrics.items()}


def _check_number(name: str, value: object, *, above: float = -math.inf) -> None:
    if not isinstance(value, int | float) or math.isnan(value) or not value > above:
        least = "" if math.isinf(above) else f" above {above}"
        raise ValueError(f"{name} must be a number{least}; got {value!r}")
