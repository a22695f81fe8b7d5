"""The tasks of the deployment job: the gate, the wait for a person, the champion."""

import re

import pandas as pd
import pytest
from diabetes_mlops.deploy import GateRefusedError, NotApprovedError, UnknownDataError
from diabetes_mlops.models import registry
from diabetes_mlops.runs.settings import DeploymentSettings, SettingsError
from mlflow import MlflowClient
from problems import PATIENTS, data_folder

BY_THE_JOB = {"promotion": "deployment-job"}


def tags_of(jobs, version: str) -> dict[str, str]:
    tags: dict[str, str] = MlflowClient().get_model_version(jobs.model_name, version).tags
    return tags


def aliases_of(jobs) -> dict[str, str]:
    aliases = MlflowClient().get_registered_model(jobs.model_name).aliases
    return {alias: str(number) for alias, number in aliases.items()}


def approve(jobs, version: str) -> None:
    client = MlflowClient()
    registry.approve(client, client.get_model_version(jobs.model_name, version), by="ada@example.com")


def test_a_version_becomes_champion_when_the_gate_and_a_person_have_let_it_through(jobs, capsys):
    trained = jobs.train(**BY_THE_JOB)
    before, printed = tags_of(jobs, "1"), capsys.readouterr().out

    evaluated = jobs.deploy("evaluate", "1")
    with pytest.raises(NotApprovedError) as waits:
        jobs.deploy("approval", "1")
    waiting = aliases_of(jobs)
    approve(jobs, "1")
    approved, deployed = jobs.deploy("approval", "1"), jobs.deploy("deploy", "1")

    assert (trained["alias"], trained["decision"]) == ("", {}) and "gate" not in before
    assert "version 1 starts the deployment job of the model: `make models` shows when it waits" in printed
    assert evaluated["metrics"] == pytest.approx(trained["metrics"])
    assert evaluated["decision"]["promote"] and evaluated["alias"] == "challenger"
    assert "other holdout rows" not in capsys.readouterr().out
    logged = MlflowClient().list_artifacts(evaluated["run_id"])
    assert {"gate.json", "report.html"} <= {file.path for file in logged}
    assert waiting == {"challenger": "1"}
    said = str(waits.value)
    assert (
        "version 1 of" in said and "`make promote VERSION=1`" in said and "tag approval to Approved" in said
    )
    assert approved["approved_by"] == "ada@example.com"
    assert (deployed["alias"], deployed["replaced"]) == ("champion", "")
    assert aliases_of(jobs) == {"champion": "1"}
    tags = tags_of(jobs, "1")
    assert tags["gate"] == "passed"
    assert tags["gate_run"] == evaluated["run_id"] != trained["run_id"]
    assert tags["promoted_by"] == "ada@example.com, deployment job run 7"
    assert registry.history(MlflowClient(), jobs.model_name) == ["+1"]


def test_a_later_version_is_held_against_the_champion_and_replaces_it(jobs):
    for version in ("1", "2"):
        jobs.train(**BY_THE_JOB)
        evaluated = jobs.deploy("evaluate", version)
        approve(jobs, version)
        deployed = jobs.deploy("deploy", version)

    again = jobs.deploy("deploy", "2")

    assert evaluated["decision"]["champion"] == "1"
    assert evaluated["decision"]["numbers"]["difference_high"] == 0
    assert (deployed["replaced"], again["alias"]) == ("1", "champion")
    assert registry.earlier_champion(MlflowClient(), jobs.model_name) == "1"


def test_a_version_that_the_gate_refuses_ends_the_job_with_the_reasons(jobs):
    jobs.train(**BY_THE_JOB)

    with pytest.raises(GateRefusedError, match=r"refused version 1 .*: rmse \S+ is above the threshold of 1"):
        jobs.deploy("evaluate", "1", thresholds="rmse<=1")

    tags = tags_of(jobs, "1")
    assert tags["gate"] == "refused" and "above the threshold" in tags["gate_reasons"]
    assert aliases_of(jobs) == {}
    assert jobs.last_run().info.status == "FINISHED"  # it did what it was to do


def test_a_task_that_is_started_by_itself_deploys_nothing_that_was_not_let_through(jobs):
    for _ in range(3):
        jobs.train(**BY_THE_JOB)
    approve(jobs, "1")
    with pytest.raises(GateRefusedError, match=r"version 1 of .* has not passed the gate"):
        jobs.deploy("deploy", "1")
    for version in ("1", "2", "3"):
        jobs.deploy("evaluate", version)
    with pytest.raises(NotApprovedError, match=r"version 2 of .* waits for a person"):
        jobs.deploy("deploy", "2")
    assert "champion" not in aliases_of(jobs)

    for version in ("2", "3"):
        approve(jobs, version)
    jobs.deploy("deploy", "3")
    with pytest.raises(
        registry.ChampionChangedError, match=r"is version 3; version 2 was compared with none; `m"
    ):
        jobs.deploy("deploy", "2")
    jobs.deploy("evaluate", "2")
    assert jobs.deploy("deploy", "2")["replaced"] == "3"
    assert jobs.deploy("evaluate", "2")["alias"] == "champion"
    assert tags_of(jobs, "2")["gate"] == "passed"


def test_rows_that_came_since_the_training_are_told(jobs, capsys):
    table = pd.read_csv(data_folder() / "data_raw.csv")
    data = jobs.write(table.head(300), "growing.csv")
    jobs.train(training_data=data, **BY_THE_JOB)
    jobs.write(table, "growing.csv")

    jobs.deploy("evaluate", "1")

    assert f"{data} has other holdout rows than at the training of version 1" in capsys.readouterr().out


def test_a_version_of_another_origin_says_that_its_data_is_not_known(jobs):
    trained = jobs.train(**BY_THE_JOB)
    MlflowClient().delete_model_version_tag(jobs.model_name, trained["model_version"], "data_source")

    with pytest.raises(UnknownDataError, match=r"version 1 of .* has no tag data_source"):
        jobs.deploy("evaluate", "1")
    assert jobs.last_run().info.status == "FAILED"


@pytest.mark.parametrize(
    ("widgets", "said"),
    [
        ({"model_version": ""}, "model_version must not be empty"),
        ({"task": "ship"}, "task must be evaluate or approval or deploy; got 'ship'"),
    ],
    ids=["no_version", "no_task"],
)
def test_a_task_that_is_not_known_or_has_no_version_is_refused(widgets, said):
    given = {"experiment_name": "/tests/none", "model_name": "a.b.c", "model_version": "1"} | widgets

    with pytest.raises(SettingsError, match=re.escape(said)):
        DeploymentSettings.from_widgets(given, PATIENTS)
