"""What the Makefile hands over: read, refused with its name, or the default."""

from typing import Any

import pytest
from deployment.errors import DeploymentError
from deployment.settings import DEFINITION, FOUND_OUT, ROOT, Settings, read_count, read_flag, read_yaml


def test_settings_that_are_missing_are_named() -> None:
    with pytest.raises(DeploymentError, match=r"\['WORKSPACE', 'TARGET'\] are not set"):
        Settings.from_environment({"TARGET": ""})


def test_what_a_make_variable_names_differs_from_the_target_and_nothing_else() -> None:
    given = {
        "WORKSPACE": "dev",
        "TARGET": "dev",
        "LOCAL_WORKSPACE_STATE": "x",
        "CATALOG": "trial",
        "SCHEMA": "",
    }

    assert Settings.from_environment(given | {"MAX_RMSE": "1"}).overrides == {"catalog": "trial"}


GIVEN = {"WORKSPACE": "dev", "TARGET": "dev"}
VARIABLES = read_yaml(ROOT / DEFINITION)["variables"]
OVERRIDABLE = [name for name in VARIABLES if name not in FOUND_OUT]


LISTS: dict[str, list[Any]] = {
    "notify_on_failure": ["a", "b"],
    "notify_webhooks": [{"id": "a"}, {"id": "b"}],
    "job_permissions": ["a", "b"],
}


def test_a_list_of_more_than_texts_is_written_as_in_the_definition() -> None:
    written = '[{group_name: "ml, all", level: CAN_VIEW}, {"user_name": "jo@x.y", "level": "CAN_MANAGE"}]'

    overrides = Settings.from_environment(GIVEN | {"JOB_PERMISSIONS": written}).overrides

    assert overrides["job_permissions"] == [
        {"group_name": "ml, all", "level": "CAN_VIEW"},
        {"user_name": "jo@x.y", "level": "CAN_MANAGE"},
    ]
    with pytest.raises(DeploymentError, match=r"^JOB_PERMISSIONS begins as a list and is not one: '\[\{'"):
        Settings.from_environment(GIVEN | {"JOB_PERMISSIONS": "[{"})


@pytest.mark.parametrize("name", OVERRIDABLE)
def test_every_variable_is_overridden_by_its_name_in_capitals(name: str) -> None:
    overrides = Settings.from_environment(GIVEN | {name.upper(): "a, b"}).overrides

    assert overrides == {name: LISTS.get(name, "a, b")}
    assert Settings.from_environment(GIVEN | {name.upper(): " "}).overrides == {}


def typed(name: str, value: str = "x") -> dict[str, str]:
    """What `make NAME=value` hands over."""
    known = " ".join([*GIVEN, "VERSION", *(each.upper() for each in VARIABLES)])
    return GIVEN | {name: value, "ON_COMMAND_LINE": name, "SETTINGS": known}


@pytest.mark.parametrize("name", [name.upper() for name in FOUND_OUT if name != "version"])
def test_what_a_deployment_finds_out_is_refused_by_name_and_left_alone_in_the_environment(name: str) -> None:
    with pytest.raises(DeploymentError, match=f"{name} cannot be given: `make deploy` finds it out itself"):
        Settings.from_environment(typed(name))
    assert Settings.from_environment(typed(name, "")).overrides == {}
    assert Settings.from_environment(GIVEN | {name: "x"}).overrides == {}


@pytest.mark.parametrize("value", ["true", "yes", "2", "-1", "1.5", "\u0661"])
def test_a_switch_or_a_count_that_cannot_be_read_is_refused_with_its_value(monkeypatch, value):
    monkeypatch.setenv("OVERWRITE", value)
    monkeypatch.setenv("KEEP_DEPLOYMENTS", "0" if value == "2" else value)

    with pytest.raises(DeploymentError, match=f"OVERWRITE is 1 or 0, not {value!r}"):
        read_flag("OVERWRITE")
    with pytest.raises(DeploymentError, match="KEEP_DEPLOYMENTS is a whole number from 1 on, not"):
        read_count("KEEP_DEPLOYMENTS", default=5)


@pytest.mark.parametrize(("value", "is_set", "count"), [("", True, 5), (" 1 ", True, 1)])
def test_a_switch_or_a_count_that_is_empty_is_the_default(monkeypatch, value, is_set, count):
    monkeypatch.setenv("WAIT", value)

    assert (read_flag("WAIT", default=True), read_count("WAIT", default=5)) == (is_set, count)


@pytest.mark.parametrize(
    ("name", "meant"),
    [
        ("CATALOGUE", "CATALOG"),
        ("OUTPUTTABLE", "OUTPUT_TABLE"),
        ("catalog", "CATALOG"),
        ("VERSOIN", "VERSION"),
    ],
)
def test_a_mistyped_variable_is_refused_with_the_one_that_was_meant(name: str, meant: str) -> None:
    with pytest.raises(DeploymentError, match=f"^{name} is not a variable .*; did you mean {meant}\\?"):
        Settings.from_environment(typed(name))


def test_a_variable_of_another_program_is_told_where_it_stands() -> None:
    with pytest.raises(DeploymentError, match=r"databricks\.yml\. .* stands before make: QQ=\.\.\. make"):
        Settings.from_environment(typed("QQ", "secret"))
