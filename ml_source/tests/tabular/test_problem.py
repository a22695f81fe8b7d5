"""A problem is refused where its parts cannot work together."""

from dataclasses import replace
from typing import Any

import pytest
from diabetes.tabular import Parameter
from diabetes.tabular.parameters import ParameterError
from problems import ALPHA, PATIENTS


def test_two_parameters_of_one_name_are_refused() -> None:
    again = Parameter("alpha", 3)

    with pytest.raises(ParameterError, match=r"^alpha is the name of two parameters$"):
        replace(PATIENTS, parameters=(ALPHA, Parameter("depth", 3), again))


@pytest.mark.parametrize("name", ["training_data", "search_trials", "search_on", "seed", "promotion"])
def test_a_parameter_that_is_called_as_what_a_training_run_logs_is_refused(name: str) -> None:
    with pytest.raises(ParameterError) as error:
        replace(PATIENTS, parameters=(ALPHA, Parameter(name, 3)))

    assert (
        str(error.value) == f"{name} is what a training run logs by itself: give the parameter another name"
    )


@pytest.mark.parametrize("parameters", [ALPHA, [ALPHA], None])
def test_parameters_that_are_no_tuple_are_refused(parameters: Any) -> None:
    with pytest.raises(ParameterError, match=r"^parameters must be a tuple, such as \(alpha,\); got "):
        replace(PATIENTS, parameters=parameters)


def test_a_problem_may_have_no_parameter() -> None:
    assert replace(PATIENTS, parameters=()).parameters == ()
