"""PARAMS names widgets of a job and parameters of the model, which go into the widget that takes them."""

from pathlib import Path

import pytest
from deployment import model_params
from deployment.errors import DeploymentError
from deployment.settings import ROOT
from diabetes import PROBLEM

OTHER_CODE = "/Workspace/code/deployments/0.1.0+g0000000"
WIDGETS = {"training_data": "data_raw.csv", "model_params": "", "seed": "0", "wheel_dir": OTHER_CODE}


@pytest.fixture
def of_this_code(monkeypatch: pytest.MonkeyPatch) -> dict[str, str]:
    """The widgets of a job that runs the code of this checkout."""
    monkeypatch.setattr(model_params, "version", lambda root: "0.1.0+g1a2b3c4")
    return WIDGETS | {"wheel_dir": "/Workspace/code/deployments/0.1.0+g1a2b3c4"}


def gather(params: dict[str, str], widgets: dict[str, str] = WIDGETS, root: Path = ROOT) -> dict[str, str]:
    return model_params.gather(params, widgets, root)


def test_what_is_no_widget_is_a_parameter_of_the_model():
    assert gather({"seed": "1", "depth": "4", "rate": "0.1"}) == {
        "seed": "1",
        "model_params": "depth=4, rate=0.1",
    }


def test_widgets_alone_are_handed_on_as_they_are():
    assert gather({"seed": "1"}) == {"seed": "1"}
    assert gather({}) == {}


def test_parameters_that_the_job_was_deployed_with_stay_where_no_other_is_given():
    deployed = WIDGETS | {"model_params": "rate=0.1, depth=3"}

    assert gather({"depth": "4"}, deployed) == {"model_params": "rate=0.1, depth=4"}
    assert gather({"seed": "1"}, deployed) == {"seed": "1"}
    assert gather({"model_params": "depth=5"}, deployed) == {"model_params": "depth=5"}
    assert gather({"model_params": "depth=5", "rate": "1"}, deployed) == {"model_params": "depth=5, rate=1"}


def test_a_job_without_such_a_widget_gets_what_is_given():
    assert gather({"alpha": "1"}, {"alpha": "0.5"}) == {"alpha": "1"}
    assert gather({"other": "1"}, {"alpha": "0.5"}) == {"other": "1"}


@pytest.mark.parametrize("given", [{"no_such_thing": "1"}, {"model_params": "no_such_thing=1"}])
def test_a_parameter_that_this_science_does_not_have_is_refused_with_both_lists(
    of_this_code: dict[str, str], given: dict[str, str]
):
    with pytest.raises(DeploymentError) as error:
        gather(given, of_this_code)

    said = str(error.value)
    assert "there is no parameter no_such_thing" in said and "'training_data'" in said
    assert all(f"{parameter.name}: {parameter.form}" in said for parameter in PROBLEM.parameters)


def test_other_code_than_this_is_left_to_say_what_it_takes():
    assert gather({"no_such_thing": "1"}) == {"model_params": "no_such_thing=1"}


def test_a_science_that_cannot_be_imported_here_is_left_to_the_run(
    of_this_code: dict[str, str], monkeypatch: pytest.MonkeyPatch
):
    monkeypatch.setitem(__import__("sys").modules, "diabetes", None)

    assert gather({"no_such_thing": "1"}, of_this_code) == {"model_params": "no_such_thing=1"}
