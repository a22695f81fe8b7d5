"""A version is found by its number, its alias or as the champion, also after others are registered."""

import pytest
from diabetes_mlops import registry
from diabetes_mlops.registry import ModelNotFoundError
from mlflow import MlflowClient


@pytest.fixture
def name(tracking, request) -> str:
    """A model with three empty versions: 1 is the challenger, 2 the champion, 3 has no alias."""
    client, name = MlflowClient(), f"spark_catalog.tests.{request.node.name}"
    client.create_registered_model(name)
    for _ in range(3):
        client.create_model_version(name, source=tracking.as_uri())
    client.set_registered_model_alias(name, "challenger", "1")
    client.set_registered_model_alias(name, "champion", "2")
    return name


@pytest.mark.parametrize(
    ("wanted", "number"), [("", "2"), ("champion", "2"), ("challenger", "1"), ("3", "3")]
)
def test_a_version_is_found_by_number_alias_or_as_champion(name: str, wanted: str, number: str):
    assert str(registry.resolve_version(MlflowClient(), name, wanted).version) == number


def test_promoting_a_version_makes_it_the_one_that_is_scored_with(name: str):
    client = MlflowClient()

    registry.promote(client, registry.resolve_version(client, name, "challenger"))

    assert str(registry.resolve_version(client, name, "").version) == "1"
    assert "challenger" not in client.get_registered_model(name).aliases


@pytest.mark.parametrize("wanted", ["7", "canary"])
def test_an_unknown_version_lists_what_there_is(name: str, wanted: str):
    with pytest.raises(ModelNotFoundError) as error:
        registry.resolve_version(MlflowClient(), name, wanted)

    assert f"has no version or alias '{wanted}'; it has versions ['1', '2', '3']" in str(error.value)
    assert "'champion': '2'" in str(error.value)


def test_an_unknown_model_is_named(tracking):
    with pytest.raises(ModelNotFoundError, match=r"there is no registered model 'a\.b\.absent'"):
        registry.resolve_version(MlflowClient(), "a.b.absent", "")


def test_a_model_without_versions_has_no_champion(tracking):
    client = MlflowClient()
    client.create_registered_model("a.b.empty")

    assert registry.find_champion(client, "a.b.empty") is None
    with pytest.raises(ModelNotFoundError, match="has no version or alias 'champion'"):
        registry.resolve_version(client, "a.b.empty", "")
