"""A parameter is of the type of its default, and a value that it cannot take is refused by name and value."""

import math
from typing import Any

import pytest
from diabetes.tabular import Parameter
from diabetes.tabular.parameters import ParameterError, Value, fill_in, read_values
from hypothesis import given
from hypothesis import strategies as st

ALPHA = Parameter("alpha", 0.5, low=1e-6, high=1e9, search=(0.01, 1000.0), scale="log")
DEPTH = Parameter("max_depth", 3, low=1, high=64, search=(2, 10))
SOLVER = Parameter("solver", "auto", choices=("auto", "svd", "least squares"), search=("auto", "svd"))
FAST = Parameter("fast", True)
PARAMETERS = (ALPHA, DEPTH, SOLVER, FAST)
TOLD = (
    "alpha: a number from 1e-06 to 1e+09, 0.5 if not given; "
    "max_depth: a whole number from 1 to 64, 3 if not given; "
    "solver: one of auto, svd, least squares, auto if not given; "
    "fast: true or false, true if not given"
)


# What a value looks like


@pytest.mark.parametrize(
    ("parameter", "form"),
    [
        (FAST, "true or false"),
        (SOLVER, "one of auto, svd, least squares"),
        (Parameter("n", 3), "a whole number"),
        (Parameter("x", 3.0), "a number"),
        (Parameter("n", 3, low=1), "a whole number from 1 on"),
        (Parameter("x", 3.0, high=4.5), "a number up to 4.5"),
        (ALPHA, "a number from 1e-06 to 1e+09"),
        (Parameter("n", 3, low=-1_234_567, high=2**53), "a whole number from -1234567 to 9007199254740992"),
        (Parameter("x", 0.5, low=0.12345678, high=1.0), "a number from 0.12345678 to 1"),
    ],
)
def test_the_form_says_the_type_and_the_limits_to_the_digit(parameter: Parameter, form: str) -> None:
    assert parameter.form == form


# Values that are read


@pytest.mark.parametrize(
    ("text", "values"),
    [
        ("", {}),
        (" , ", {}),
        ("alpha=0.3, max_depth=4", {"alpha": 0.3, "max_depth": 4}),
        ("max_depth = 4 ,alpha= 3,", {"max_depth": 4, "alpha": 3.0}),
        ("alpha=1e-3\n", {"alpha": 0.001}),
        ("alpha=+.5, max_depth=+04", {"alpha": 0.5, "max_depth": 4}),
        ("alpha=1e-6, max_depth=64", {"alpha": 1e-6, "max_depth": 64}),
        ("solver=least squares, fast=False", {"solver": "least squares", "fast": False}),
        ("fast=TRUE", {"fast": True}),
    ],
)
def test_values_are_read_in_the_type_of_the_parameter(text: str, values: dict[str, Value]) -> None:
    read = read_values(PARAMETERS, text)

    assert read == values
    assert [type(value) for value in read.values()] == [type(value) for value in values.values()]


@pytest.mark.parametrize(
    ("text", "message"),
    [
        *(
            (f"alpha={value}", f"alpha must be a number from 1e-06 to 1e+09; got '{value}'")
            for value in ("", "nan", "inf", "-inf", "true", "abc", "0", "-1", "1e10", "1e999", "0x10", "1_0")
        ),
        *(
            (f"max_depth={value}", f"max_depth must be a whole number from 1 to 64; got '{value}'")
            for value in ("", "3.0", "1e1", "0", "65", "true", "nan", "1_0", "\u0665")
        ),
        pytest.param(
            f"max_depth={'9' * 5000}",
            f"max_depth must be a whole number from 1 to 64; got '{'9' * 5000}'",
            id="more digits than Python reads",
        ),
        ("alpha=\u0665", "alpha must be a number from 1e-06 to 1e+09; got '\u0665'"),
        *((f"fast={value}", f"fast must be true or false; got '{value}'") for value in ("", "1", "yes")),
        *(
            (f"solver={value}", f"solver must be one of auto, svd, least squares; got '{value}'")
            for value in ("", "Auto", '"auto"', "lsqr")
        ),
    ],
)
def test_a_value_that_cannot_be_taken_is_refused_with_its_form(text: str, message: str) -> None:
    with pytest.raises(ParameterError) as error:
        read_values(PARAMETERS, text)

    assert str(error.value) == message


@pytest.mark.parametrize(
    "part",
    [
        "alpha=0.3 max_depth=4",
        "alpha=0.3; max_depth=4",
        "alpha=0.3\nmax_depth=4",
        "alpha==3",
        "alpha",
        "alpha:0.3",
        "0.3",
        "=3",
        "=",
        "{'alpha': 1}",
    ],
)
def test_what_is_not_one_name_with_one_value_is_shown_beside_how_it_is_written(part: str) -> None:
    with pytest.raises(ParameterError) as error:
        read_values(PARAMETERS, f"fast=true, {part}")

    assert (
        str(error.value) == f"{part!r} is not name=value, with a comma between two of them; there is {TOLD}"
    )


def test_a_decimal_comma_is_refused() -> None:
    with pytest.raises(ParameterError, match="'3' is not name=value, with a comma between"):
        read_values(PARAMETERS, "alpha=0,3")


def test_a_parameter_that_is_there_twice_is_refused() -> None:
    with pytest.raises(
        ParameterError, match=r"^alpha is there twice in 'alpha=0\.3,fast=true, alpha =0\.3'$"
    ):
        read_values(PARAMETERS, "alpha=0.3,fast=true, alpha =0.3")


def test_an_unknown_parameter_is_refused_with_all_that_are_known() -> None:
    with pytest.raises(ParameterError) as error:
        read_values(PARAMETERS, "depth=3, alpha=1, Alpha=2")

    assert str(error.value) == f"there is no parameter depth, Alpha; there is {TOLD}"


def test_a_model_without_parameters_says_so() -> None:
    with pytest.raises(ParameterError, match=r"there is no parameter alpha; the model takes no parameter$"):
        read_values((), "alpha=1")


@given(st.text() | st.from_regex(r"(alpha|max_depth|solver|fast)=\S*(, ?\w*=\S*)?"))
def test_whatever_is_written_is_read_or_refused(text: str) -> None:
    try:
        read = read_values(PARAMETERS, text)
    except ParameterError:
        return
    assert fill_in(PARAMETERS, read) | read == fill_in(PARAMETERS, read)


@given(st.floats(1e-6, 1e9), st.integers(1, 64), st.sampled_from(SOLVER.choices), st.booleans())
def test_what_is_written_out_is_read_back_to_the_digit(
    alpha: float, depth: int, solver: str, fast: bool
) -> None:
    values = {"alpha": alpha, "max_depth": depth, "solver": solver, "fast": fast}

    text = ", ".join(f"{name}={value}" for name, value in values.items())

    assert read_values(PARAMETERS, text) == values


# Values that are given


def test_what_is_not_given_has_its_default_in_the_order_of_the_parameters() -> None:
    values = fill_in(PARAMETERS, {"fast": False, "alpha": 3})

    assert list(values.items()) == [("alpha", 3.0), ("max_depth", 3), ("solver", "auto"), ("fast", False)]
    assert type(values["alpha"]) is float


@pytest.mark.parametrize(
    "value", [None, [1.0], "1.0", True, math.nan, math.inf, 0, pytest.param(10**400, id="10**400")]
)
def test_a_given_value_is_of_the_type_and_in_the_range(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^alpha must be a number from 1e-06 to 1e\+09; got "):
        fill_in(PARAMETERS, {"alpha": value})


@pytest.mark.parametrize("value", [None, 3.0, "3", True, math.nan])
def test_a_whole_number_is_given_as_one(value: Any) -> None:
    with pytest.raises(ParameterError, match=r"^max_depth must be a whole number from 1 to 64; got "):
        fill_in(PARAMETERS, {"max_depth": value})


@pytest.mark.parametrize("value", [1, 0, None, "true"])
def test_a_boolean_is_given_as_one(value: Any) -> None:
    with pytest.raises(ParameterError, match=f"^fast must be true or false; got {value!r}$"):
        fill_in(PARAMETERS, {"fast": value})


def test_an_unknown_parameter_is_not_filled_in() -> None:
    with pytest.raises(ParameterError, match="there is no parameter depth; there is alpha: a number from"):
        fill_in(PARAMETERS, {"depth": 3})


# Declarations


@pytest.mark.parametrize("name", ["", " ", "max depth", "max-depth", "1st", "class", "a=b", "a,b", "größe"])
def test_a_name_that_make_pipeline_cannot_take_is_refused(name: str) -> None:
    with pytest.raises(ParameterError) as error:
        Parameter(name, 1.0)

    assert str(error.value) == f"the name of a parameter is one of Python's, such as max_depth; got {name!r}"


@pytest.mark.parametrize(
    ("declared", "message"),
    [
        ({"default": None}, "default must be a whole number, a number, a boolean or a text; got None"),
        ({"default": 3, "low": 6, "high": 2}, "low is above high: 6 and 2"),
        ({"default": 5.0, "high": 3}, "default must be a number up to 3; got 5.0"),
        ({"default": math.nan}, "default must be a number; got nan"),
        ({"default": 10**400, "low": 0}, "default must be a whole number from 0 on; got 1000"),
        ({"default": 3, "search": (2, 4.5)}, "search must be a whole number; got 4.5"),
        ({"default": 3.0, "low": 1, "search": (0.5, 4.5)}, "search must be a number from 1 on; got 0.5"),
        ({"default": 3.0, "search": (0.0, math.inf)}, "search must be a number; got inf"),
        ({"default": 3, "search": (2,)}, "search must be the lowest and the highest; got (2,)"),
        ({"default": 3, "search": (2, 3, 4)}, "search must be the lowest and the highest; got (2, 3, 4)"),
        ({"default": 3, "search": (5, 2)}, "search must be the lowest and the highest; got (5, 2)"),
        ({"default": 3, "search": (2, 2)}, "search must be the lowest and the highest; got (2, 2)"),
        ({"default": 3, "search": [2, 5]}, "search must be a tuple; got [2, 5]"),
        ({"default": 3, "search": 5}, "search must be a tuple; got 5"),
        (
            {"default": 3.0, "search": (0.0, 3.0), "scale": "log"},
            "search on a log scale begins above 0; got 0.0",
        ),
        ({"default": 3.0, "scale": "logg"}, "scale must be linear or log; got 'logg'"),
        ({"default": "x"}, "choices must be there for a text, and for nothing else; got ()"),
        (
            {"default": 1.5, "choices": ("x",)},
            "choices must be there for a text, and for nothing else; got ('x',)",
        ),
        ({"default": "x", "choices": "xyz"}, "choices must be a tuple; got 'xyz'"),
        ({"default": "x", "choices": ("y", "z")}, "default must be one of y, z; got 'x'"),
        ({"default": "x", "choices": ("x", "y", "x")}, "choices has a value twice: ('x', 'y', 'x')"),
        ({"default": "x", "choices": ("x", "y,z")}, "a choice must be a text that can be written; got 'y,z'"),
        ({"default": "x", "choices": ("x", "y=z")}, "a choice must be a text that can be written; got 'y=z'"),
        ({"default": "x", "choices": ("x", " y")}, "a choice must be a text that can be written; got ' y'"),
        ({"default": "x", "choices": ("x", "")}, "a choice must be a text that can be written; got ''"),
        ({"default": "x", "choices": ("x", 1)}, "a choice must be a text that can be written; got 1"),
        ({"default": "x", "choices": ("x", "y"), "search": ("z",)}, "search must be one of x, y; got 'z'"),
        ({"default": True, "search": (True, True)}, "search has a value twice: (True, True)"),
        ({"default": True, "search": (True, 1)}, "search must be true or false; got 1"),
    ],
)
def test_a_declaration_that_cannot_be_meant_is_refused(declared: dict[str, Any], message: str) -> None:
    with pytest.raises(ParameterError) as error:
        Parameter("it", **declared)

    assert str(error.value).startswith(f"it: {message}")


def test_a_text_may_be_searched_whatever_the_scale() -> None:
    assert Parameter("it", "x", choices=("x", "y"), search=("x", "y"), scale="log").search == ("x", "y")
    assert Parameter("it", True, search=(True, False)).search == (True, False)
