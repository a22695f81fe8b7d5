"""Says what a metric is; which ones there are is in `evaluation`."""

from collections.abc import Callable
from dataclasses import dataclass
from typing import Literal

import numpy as np


@dataclass(frozen=True)
class Metric:
    """A number that says how well predictions fit labels.

    `function` takes labels and predictions, float64 of shape (n,) both and n at least 1, and returns NaN
    where it is not defined for these rows. `unit` is empty for a number without one.
    """

    function: Callable[[np.ndarray, np.ndarray], float]
    better: Literal["lower", "higher"]
    unit: str = ""

    def reaches(self, value: float, threshold: float) -> bool:
        """Whether a value is at the threshold or better; NaN is not."""
        return value <= threshold if self.better == "lower" else value >= threshold
