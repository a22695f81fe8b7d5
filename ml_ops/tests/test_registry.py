"""A version is found by number or alias, becomes champion, and makes room again for the one before."""

import json
from typing import Any

import mlflow
import pytest
from diabetes_mlops.models import registry
from diabetes_mlops.models.registry import (
    AlreadyChampionError,
    ChampionChangedError,
    ModelNotFoundError,
    NoEarlierChampionError,
    SameVersionError,
    VersionDeletedError,
)
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

    registry.promote(
        client, registry.resolve_version(client, name, "challenger"), by="ann", expected_champion="2"
    )

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


def promote(name: str, number: int, by: str = "ann") -> None:
    client = MlflowClient()
    champion = registry.find_champion(client, name)
    version = registry.resolve_version(client, name, str(number))
    expected = str(champion.version) if champion else None
    registry.promote(client, version, by=by, expected_champion=expected)


def champion(name: str) -> str:
    return str(registry.resolve_version(MlflowClient(), name, "").version)


def test_a_roll_back_goes_one_step_further_each_time_and_the_history_is_kept(name: str):
    client = MlflowClient()
    for number in (3, 1):
        promote(name, number)

    seen = [str(registry.roll_back(client, name, by="ben").version) for _ in range(2)]
    promote(name, 1)
    seen.append(str(registry.roll_back(client, name, by="ben").version))

    assert seen == ["3", "2", "2"]
    assert champion(name) == "2"
    assert registry.history(client, name) == ["+2", "+3", "+1", "-1", "-3", "+1", "-1"]
    with pytest.raises(NoEarlierChampionError, match="version 2 was the first champion; `make promote"):
        registry.roll_back(client, name, by="ben")


def test_the_history_of_many_changes_fits_a_tag_and_still_rolls_back(name: str):
    client = MlflowClient()
    many = ["+3", "+1", "-1", "+2"] * 45
    client.set_registered_model_tag(name, "champion_history", json.dumps(many))
    promote(name, 1)

    seen = [str(registry.roll_back(client, name, by="ben").version) for _ in range(3)]

    assert seen == ["2", "3", "2"]
    assert len(client.get_registered_model(name).tags["champion_history"]) <= 1000


def test_who_promoted_and_who_rolled_back_is_on_the_version(name: str):
    client = MlflowClient()
    promote(name, 3, by="ann")
    registry.roll_back(client, name, by="ben")

    tags = client.get_model_version(name, "3").tags

    assert (tags["promoted_by"], tags["rolled_back_by"]) == ("ann", "ben")
    assert tags["promoted_at"] <= tags["rolled_back_at"]


def test_a_champion_that_was_named_by_hand_counts_as_an_earlier_one(name: str):
    client = MlflowClient()
    promote(name, 3)
    client.set_registered_model_alias(name, "champion", "1")

    assert str(registry.roll_back(client, name, by="ben").version) == "3"


def test_promoting_the_champion_is_refused(name: str):
    with pytest.raises(AlreadyChampionError, match="version 2 is the champion already"):
        promote(name, 2)


def test_two_people_who_promote_a_version_at_once_leave_one_event(name: str, monkeypatch):
    client, set_alias = MlflowClient(), registry._set_alias

    def set_alias_after_somebody_else(*arguments: Any) -> None:
        monkeypatch.setattr(registry, "_set_alias", set_alias)
        promote(name, 3, by="ben")
        set_alias(*arguments)

    monkeypatch.setattr(registry, "_set_alias", set_alias_after_somebody_else)
    promote(name, 3, by="ann")

    assert registry.history(client, name) == ["+2", "+3"]
    assert str(registry.roll_back(client, name, by="ann").version) == "2"


def test_without_a_champion_it_is_said_what_there_is_and_what_to_do(name: str):
    MlflowClient().delete_model_version(name, "2")

    with pytest.raises(ModelNotFoundError) as error:
        registry.resolve_version(MlflowClient(), name, "")

    assert f"{name} has no version or alias 'champion'; it has versions ['1', '3']" in str(error.value)
    assert "`make promote` makes a version the champion" in str(error.value)


def test_a_version_that_met_another_champion_is_refused(name: str):
    client = MlflowClient()

    with pytest.raises(ChampionChangedError, match="is version 2; version 3 was compared with 1"):
        registry.promote(client, registry.resolve_version(client, name, "3"), by="ann", expected_champion="1")

    assert champion(name) == "2"


def test_a_version_that_was_deleted_meanwhile_is_not_promoted(name: str):
    client = MlflowClient()
    version = registry.resolve_version(client, name, "3")
    client.delete_model_version(name, "3")

    with pytest.raises(VersionDeletedError, match="version 3 was deleted"):
        registry.promote(client, version, by="ann", expected_champion="2")


def test_a_roll_back_to_a_deleted_version_names_it_and_changes_nothing(name: str):
    client = MlflowClient()
    promote(name, 3)
    client.delete_model_version(name, "2")

    with pytest.raises(VersionDeletedError, match="before version 3 was version 2, which was deleted"):
        registry.roll_back(client, name, by="ben")

    assert champion(name) == "3"


def test_a_model_whose_champion_was_deleted_says_so_at_a_roll_back(name: str):
    promote(name, 3)
    MlflowClient().delete_model_version(name, "3")

    with pytest.raises(NoEarlierChampionError, match="there is no champion"):
        registry.roll_back(MlflowClient(), name, by="ben")


def test_versions_are_listed_newest_first_with_aliases_and_metrics(trained):
    jobs, result = trained

    rows = registry.list_versions(MlflowClient(), jobs.model_name)

    assert [row["version"] for row in rows] == ["1"]
    assert rows[0]["aliases"] == ["champion"]
    assert list(rows[0]["metrics"].items()) == list(result["metrics"].items())
    assert (rows[0]["gate"], rows[0]["run_id"]) == ("passed", result["run_id"])
    assert rows[0]["promoted_by"] == f"gate of run {result['run_id']}"


def test_versions_without_a_run_are_listed_too(name: str):
    rows = registry.list_versions(MlflowClient(), name)

    assert [(row["version"], row["aliases"]) for row in rows] == [
        ("3", []),
        ("2", ["champion"]),
        ("1", ["challenger"]),
    ]
    assert rows[0]["metrics"] == {}


def test_two_versions_are_compared_by_metrics_and_by_what_differs(name: str, tracking):
    client = MlflowClient()
    for alpha, rmse in ((0.5, 50.0), (2.0, 53.0)):
        with mlflow.start_run() as run:
            mlflow.log_params({"alpha": alpha, "seed": 0})
            mlflow.log_metric("rmse", rmse)
        client.create_model_version(name, source=tracking.as_uri(), run_id=run.info.run_id)

    lines = registry.compare(client, name, "4", "5")

    assert lines == [
        {"kind": "metric", "name": "rmse", "a": 50.0, "b": 53.0, "difference": 3.0},
        {"kind": "param", "name": "alpha", "a": "0.5", "b": "2.0", "difference": None},
    ]
    assert registry.compare(client, name, "1", "4")[0]["difference"] is None
    with pytest.raises(SameVersionError, match="'champion' and '2' are both version 2"):
        registry.compare(client, name, "champion", "2")
