"""What a good model is has to be meant: an error that decides, limits that can be reached."""

import math
from typing import Any

import numpy as np
import pandas as pd
import pytest
from diabetes.tabular import Evaluation, Metric
from diabetes.tabular.metrics import no_slices
from problems import PATIENTS, TUMOURS, mae, r2, rmse

METRICS = {"rmse": Metric(rmse, "lower", "score"), "r2": Metric(r2, "higher"), "mae": Metric(mae, "lower")}


def make_evaluation(**changes: Any) -> Evaluation:
    return Evaluation(**{"metrics": METRICS, "primary": "rmse", "margin": 2.0} | changes)


@pytest.mark.parametrize("primary", ["r2", "rmsle", ""])
def test_a_primary_metric_that_is_no_error_is_refused(primary: str) -> None:
    with pytest.raises(ValueError, match=r"lower: \['rmse', 'mae'\]; got ") as error:
        make_evaluation(primary=primary)

    assert str(error.value) == (
        f"primary must be one of the metrics that are better when lower: ['rmse', 'mae']; got {primary!r}"
    )


def test_a_threshold_of_no_metric_is_refused() -> None:
    with pytest.raises(
        ValueError, match=r"thresholds must be of the metrics \['rmse', 'r2', 'mae'\]; got \['R2'\]"
    ):
        make_evaluation(thresholds={"rmse": 70.0, "R2": 0.2})


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"thresholds": {"rmse": math.nan}}, "the threshold of rmse must be a number; got nan"),
        ({"thresholds": {"rmse": "70"}}, "the threshold of rmse must be a number; got '70'"),
        ({"margin": math.nan}, "margin must be a number; got nan"),
        ({"margin": None}, "margin must be a number; got None"),
        ({"max_slice_ratio": 0}, "max_slice_ratio must be a number above 0; got 0"),
        ({"max_slice_ratio": math.nan}, "max_slice_ratio must be a number above 0; got nan"),
        ({"max_error_ratio": -1.5}, "max_error_ratio must be a number above 0; got -1.5"),
    ],
)
def test_a_limit_that_is_no_number_is_refused(changes: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match="must be a number") as error:
        make_evaluation(**changes)

    assert str(error.value) == message


def test_a_margin_below_zero_asks_for_a_better_model() -> None:
    assert make_evaluation(margin=-1).margin == -1


@pytest.mark.parametrize("better", ["Lower", "smaller", ""])
def test_a_metric_is_better_when_lower_or_higher_and_nothing_else(better: Any) -> None:
    with pytest.raises(ValueError, match=f"better must be lower or higher; got '{better}'"):
        Metric(rmse, better)


@pytest.mark.parametrize(
    ("better", "reached"), [("lower", [True, True, False, False]), ("higher", [False, True, True, False])]
)
def test_a_threshold_is_reached_by_an_equal_number_and_never_by_nan(better: Any, reached: list[bool]) -> None:
    metric = Metric(rmse, better)

    assert [metric.reaches(value, 2.0) for value in (1.0, 2.0, 3.0, math.nan)] == reached


def test_each_metric_is_measured_as_a_float() -> None:
    measured = PATIENTS.evaluation.measure(np.array([1.0, 3.0]), np.array([1.0, 5.0]))

    assert measured == pytest.approx({"rmse": np.sqrt(2), "mae": 1.0, "r2": -1.0})
    assert {type(value) for value in measured.values()} == {float}
    assert PATIENTS.evaluation.error is PATIENTS.evaluation.metrics["rmse"]


@pytest.mark.filterwarnings("error")
def test_no_rows_have_no_metric() -> None:
    measured = PATIENTS.evaluation.measure(np.empty(0), np.empty(0))

    assert list(measured) == ["rmse", "mae", "r2"]
    assert np.isnan(list(measured.values())).all()


def test_there_are_no_slices_unless_the_problem_has_some() -> None:
    assert TUMOURS.evaluation.slice_rows is no_slices
    assert no_slices(pd.DataFrame({"A": [1]})) == {}
