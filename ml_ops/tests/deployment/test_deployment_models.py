"""What the Make targets of the registered model print and refuse, on a real MLflow registry."""

import re
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import pytest
from deployment.errors import DeploymentError
from deployment.models import RegisteredModel, describe_rows
from mlflow import MlflowClient
from rest_server import Server, workspace_at

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def client(tmp_path_factory: pytest.TempPathFactory) -> MlflowClient:
    store = f"sqlite:///{tmp_path_factory.mktemp('registry')}/mlflow.db"
    return MlflowClient(store, store)


@pytest.fixture
def model(client: MlflowClient, request: pytest.FixtureRequest) -> RegisteredModel:
    """A model with three versions and no champion: rmse 51, 52 and 53, the third refused by the gate."""
    name = f"main.tests.{request.node.name}"
    client.create_registered_model(name)
    for number in range(1, 4):
        run = client.create_run("0")
        client.log_metric(run.info.run_id, "rmse", 50.0 + number)
        verdict = {"gate": "refused", "gate_reasons": "rmse is too high"} if number == 3 else {}
        verdict["metrics"] = "rmse,r2"
        tags = {"git_commit": "0123456789abcdef", "git_dirty": str(number == 2).lower()} | verdict
        client.create_model_version(name, source="file:///tmp/none", run_id=run.info.run_id, tags=tags)
    return RegisteredModel(client, name, "ada@example.com")


@pytest.fixture
def printed(capsys: pytest.CaptureFixture[str]) -> Callable[[], str]:
    """What was printed since it was last asked."""
    return lambda: capsys.readouterr().out


def line_of(version: int, table: str) -> str:
    found = re.search(rf"^[* ] +{version} .*$", table, re.MULTILINE)
    assert found, table
    return found[0]


# The list


def test_versions_are_listed_newest_first_and_the_champion_is_marked(model, printed):
    model.promote("2")
    printed()

    model.print_versions()

    table = printed()
    assert re.findall(r"^[* ] +(\d+) ", table, re.MULTILINE) == ["3", "2", "1"]
    assert line_of(2, table).startswith("*")
    assert not line_of(1, table).startswith("*")
    for cell in ("champion", "52.0000", "ada@example.com", "0123456+changes"):
        assert cell in line_of(2, table)
    assert re.search(r"\d{4}-\d\d-\d\d \d\d:\d\d", line_of(2, table))
    assert "changes" not in line_of(1, table)


def test_what_is_not_known_of_a_version_is_left_empty(model, printed):
    model.print_versions()

    assert "None" not in printed()


def test_the_metrics_of_every_version_are_listed_whatever_they_are(model, client, printed):
    run = client.create_run("0")
    client.log_metric(run.info.run_id, "log_loss", 0.25)
    tags = {"metrics": "log_loss"}
    client.create_model_version(model.name, source="file:///tmp/none", run_id=run.info.run_id, tags=tags)
    client.create_model_version(model.name, source="file:///tmp/none")  # of an older wheel

    model.print_versions()

    table = printed()
    assert re.search(r"aliases +log_loss +rmse +r2 +gate", table)
    assert "0.2500" in line_of(4, table) and "52.0000" in line_of(2, table)
    assert re.search(r"^ +5$", table, re.MULTILINE)


def test_the_reasons_of_the_gate_stand_below_the_list(model, printed):
    model.print_versions()

    assert printed().endswith("The gate refused version 3: rmse is too high\n")


def test_a_version_that_waits_for_a_person_is_named_with_the_command(model, client, printed):
    client.set_registered_model_alias(model.name, "challenger", "2")
    model.print_versions()
    assert "waits for `make" not in printed()  # The gate has not seen it yet.

    client.set_model_version_tag(model.name, "2", "gate", "passed")
    model.print_versions()

    assert "Version 2 passed the gate and waits for `make promote VERSION=2`\n" in printed()


def test_the_list_says_where_a_roll_back_goes(model, printed):
    model.promote("1")
    model.print_versions()
    assert "make rollback" not in printed()

    model.promote("3")
    printed()
    model.print_versions()

    assert printed().endswith("`make rollback` makes version 1 the champion again\n")


def test_the_list_says_who_rolled_a_version_back_until_it_is_champion_again(model, printed):
    model.promote("1")
    model.promote("2")
    replace(model, user="grace@example.com").roll_back()
    printed()

    model.print_versions()

    moment = r"\d{4}-\d\d-\d\d \d\d:\d\d:\d\d"
    assert re.search(
        rf"^Version 2 was rolled back by grace@example.com at {moment} \(UTC\)$", printed(), re.M
    )
    model.promote("2")
    printed()
    model.print_versions()
    assert "was rolled back" not in printed()


def test_a_model_that_is_not_there_is_named(client):
    with pytest.raises(DeploymentError, match=r"no registered model 'main\.tests\.absent'"):
        RegisteredModel(client, "main.tests.absent", "ada").print_versions()


# Promotion and roll-back


def test_promotions_are_rolled_back_one_by_one(model, client, printed):
    for number in ("1", "2", "3"):
        model.promote(number)
    assert "in place of version 2" in printed()

    model.roll_back()
    model.roll_back()

    assert "Version 1 is the champion" in printed()
    assert client.get_model_version_by_alias(model.name, "champion").version in ("1", 1)
    with pytest.raises(DeploymentError, match="no earlier champion"):
        model.roll_back()


def test_promoting_what_the_gate_refused_is_said_aloud(model, printed):
    model.promote("3")

    assert "Note: the gate had refused version 3: rmse is too high" in printed()


def test_promoting_the_champion_again_says_so_and_changes_nothing(model, client, printed):
    model.promote("2")
    model.promote("1")
    before = client.get_registered_model(model.name).tags, client.get_model_version(model.name, "1").tags
    printed()

    model.promote("1")

    assert printed() == f"Version 1 is the champion of {model.name} already\n"
    after = client.get_registered_model(model.name).tags, client.get_model_version(model.name, "1").tags
    assert after == before


def test_an_unknown_version_is_refused_with_those_that_exist(model, client):
    with pytest.raises(DeploymentError, match=r"no version or alias '9'; it has versions \['1', '2', '3'\]"):
        model.promote("9")
    assert client.get_registered_model(model.name).aliases == {}


def test_nothing_is_rolled_back_without_a_champion(model):
    with pytest.raises(DeploymentError, match="no earlier champion to roll back to"):
        model.roll_back()


# Comparison


def test_metrics_stand_side_by_side_with_their_difference(model, printed):
    model.promote("1")
    printed()

    model.compare("champion", "3")

    table = printed()
    assert "A is version 1, B is version 3" in table
    assert re.search(r"^rmse +51\.0000 +53\.0000 +2\.0000$", table, re.MULTILINE)
    assert re.search(r"^tag +gate_reasons +rmse is too high$", table, re.MULTILINE)


def test_what_the_gate_wrote_into_the_runs_is_not_compared(model, client, printed):
    for number in ("1", "3"):
        run_id = client.get_model_version(model.name, number).run_id
        client.log_metric(run_id, "gate_champion_rmse", 60.0)

    model.compare("1", "3")

    assert "gate_champion_rmse" not in printed()


def test_a_version_is_not_compared_with_itself(model):
    with pytest.raises(DeploymentError, match="are both version 2"):
        model.compare("2", "2")


def test_a_comparison_says_which_rows_it_rests_on():
    one, other = ({"holdout_digest": digest, "data_source": "data.csv"} for digest in ("aa", "bb"))

    assert describe_rows(one, one) == "Both were evaluated on the same holdout rows, of data.csv."
    assert describe_rows(one, other).startswith("They were evaluated on different holdout rows")
    assert describe_rows(one, {}) == "It is not known on which rows each was evaluated."


# A cloud workspace


def test_models_of_a_profile_are_asked_of_its_unity_catalog_whatever_the_environment_names(
    server: Server, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from deployment.models import open_model  # here, because importing MLflow takes seconds

    elsewhere = {"HOST": "http://127.0.0.1:9", "TOKEN": "other", "AUTH_TYPE": "", "CONFIG_FILE": ""}
    for name, value in elsewhere.items():
        monkeypatch.setenv(f"DATABRICKS_{name}", value)
    server.replies["/api/2.0/preview/scim/v2/Me"] = {"userName": "ada@example.com"}

    model = open_model(workspace_at(server.host, tmp_path, profile="dev"), "main.diabetes.diabetes")
    with pytest.raises(DeploymentError, match=r"no registered model 'main\.diabetes\.diabetes'"):
        model.print_versions()

    assert model.user == "ada@example.com"
    asked = [path for path, _ in server.received]
    assert "/api/2.0/mlflow/unity-catalog/registered-models/get" in asked
