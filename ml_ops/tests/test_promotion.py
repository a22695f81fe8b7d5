"""A version gets the alias that it has earned against the champion of that very moment."""

import json
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from pathlib import Path
from typing import Any

import mlflow
import mlflow.sklearn
import pandas as pd
import pytest
from diabetes.tabular.features import select_features, select_label
from diabetes.tabular.fitting import fit
from diabetes.tabular.splitting import split_by_key
from diabetes_mlops.models import model_files, promotion, registry
from diabetes_mlops.models.assessment import Assessment, assess
from diabetes_mlops.models.registry import ChampionChangedError
from diabetes_mlops.runs.settings import Thresholds
from mlflow import MlflowClient
from mlflow.models import infer_signature
from problems import PATIENTS, make_patients
from sklearn.linear_model import LinearRegression
from sklearn.pipeline import Pipeline

SCHEMA = PATIENTS.schema


@pytest.fixture(scope="module")
def rows() -> tuple[pd.DataFrame, pd.DataFrame]:
    return split_by_key(SCHEMA, make_patients())


@pytest.fixture(scope="module")
def train_once(rows) -> Callable[[float], tuple[Pipeline, Assessment]]:
    """Trains and measures by an alpha; by the same one again it would come to the same."""

    @cache
    def train(alpha: float) -> tuple[Pipeline, Assessment]:
        model = fit(PATIENTS, rows[0], {"alpha": alpha})
        return model, assess(PATIENTS, model, *rows, seed=0)

    return train


class Contest:
    """Registers versions of one model and takes each to the gate, without Spark."""

    def __init__(self, name: str, rows: tuple[pd.DataFrame, pd.DataFrame], train: Callable[..., Any]):
        self.name, self.client, (self.train, self.holdout) = name, MlflowClient(), rows
        self.train_once = train

    def register(self, alpha: float):
        model, measured = self.train_once(alpha)
        with mlflow.start_run():
            logged = model_files.log_model(PATIENTS, model, select_features(SCHEMA, self.train).head(2))
            version = registry.register(self.client, logged, self.name, {})
        return version, measured

    def settle(self, version, measured, how="automatic", **thresholds: Any) -> promotion.Verdict:
        with mlflow.start_run(run_id=version.run_id):
            return promotion.settle(
                PATIENTS,
                version,
                measured,
                self.holdout,
                thresholds=replace(Thresholds.of(PATIENTS.evaluation), **thresholds),
                promotion=how,
                seed=0,
            )

    def enter(self, alpha: float, how: str = "automatic", **thresholds: Any) -> promotion.Verdict:
        return self.settle(*self.register(alpha), how, **thresholds)

    @property
    def aliases(self) -> dict[str, str]:
        aliases = self.client.get_registered_model(self.name).aliases
        return {alias: str(number) for alias, number in aliases.items()}

    def tags(self, number: int) -> dict[str, str]:
        return self.client.get_model_version(self.name, str(number)).tags


@pytest.fixture
def contest(tracking, rows, train_once, request) -> Contest:
    experiment = f"/tests/{request.node.name}"
    mlflow.create_experiment(experiment, artifact_location=(tracking / request.node.name).as_uri())
    mlflow.set_experiment(experiment)
    return Contest(f"a.b.{request.node.name}", rows, train_once)


def test_the_same_model_again_becomes_champion_and_a_poor_one_gets_no_alias(contest: Contest):
    verdicts = [contest.enter(alpha) for alpha in (0.5, 0.5, 1e5)]

    assert [verdict.alias for verdict in verdicts] == ["champion", "champion", ""]
    assert verdicts[1].decision.numbers["difference_high"] == 0
    assert contest.aliases == {"champion": "2"}
    assert contest.tags(1)["gate"] == contest.tags(2)["gate"] == "passed"
    assert contest.tags(3)["gate"] == "refused"
    assert "ends above the margin of 2" in contest.tags(3)["gate_reasons"]


def test_a_refused_first_version_stays_registered_without_an_alias(contest: Contest):
    verdict = contest.enter(0.5, metrics={"rmse": 10.0})

    assert (verdict.alias, contest.aliases) == ("", {})
    assert contest.tags(1)["gate_reasons"].endswith("is above the threshold of 10")


def test_after_the_champion_was_deleted_the_next_version_is_held_against_none(contest: Contest):
    contest.enter(0.5)
    contest.client.delete_model_version(contest.name, "1")

    verdict = contest.enter(0.5)

    assert (verdict.champion, verdict.alias) == (None, "champion")
    assert contest.aliases == {"champion": "2"}


def test_a_refused_version_leaves_another_challenger_alone(contest: Contest):
    version, measured = contest.register(0.5)
    contest.enter(0.5, "manual")

    contest.settle(version, measured, metrics={"rmse": 10.0})

    assert contest.aliases == {"challenger": "2"}


def test_manual_promotion_stops_before_the_last_step(contest: Contest):
    verdict = contest.enter(0.5, "manual")

    assert (verdict.alias, verdict.decision.promote) == ("challenger", True)
    assert contest.aliases == {"challenger": "1"}
    assert contest.tags(1)["gate"] == "passed"


def test_a_version_that_waits_for_a_person_gives_way_to_one_that_passes_too_and_to_no_other(contest: Contest):
    contest.enter(0.5, "manual")
    contest.enter(0.5, "manual", metrics={"rmse": 10.0})
    after_a_refusal = contest.aliases
    contest.enter(0.5, "manual")

    assert after_a_refusal == {"challenger": "1"}
    assert contest.aliases == {"challenger": "3"}


def test_the_decision_is_logged_with_every_number(contest: Contest):
    contest.enter(0.5)
    verdict = contest.enter(1.0)

    run_id = contest.client.get_model_version(contest.name, "2").run_id
    logged = json.loads(mlflow.artifacts.load_text(f"{mlflow.get_run(run_id).info.artifact_uri}/gate.json"))
    metrics = mlflow.get_run(run_id).data.metrics

    assert logged == verdict.as_json()
    assert logged["champion"] == "1"
    assert {name: metrics[f"gate_{name}"] for name in logged["numbers"]} == logged["numbers"]


def test_a_champion_of_other_columns_is_a_reason_and_no_crash(contest: Contest):
    features = select_features(SCHEMA, contest.train)[["BMI", "BP"]]
    label = select_label(SCHEMA, contest.train)
    pipeline = LinearRegression().fit(features.fillna(0), label)
    with mlflow.start_run():
        logged = mlflow.sklearn.log_model(
            pipeline, name="model", signature=infer_signature(features), pip_requirements=[]
        )
    old = registry.register(contest.client, logged, contest.name, {})
    registry.promote(contest.client, old, by="ann", expected_champion=None)

    verdict = contest.enter(0.5)

    assert contest.aliases == {"champion": "1"}
    assert len(verdict.decision.reasons) == 1
    assert "champion version 1 cannot be scored on this holdout" in verdict.decision.reasons[0]
    assert "expects columns ['BMI', 'BP']" in verdict.decision.reasons[0]
    assert "`make promote` a version of this code" in verdict.decision.reasons[0]


def register_ready(contest: Contest, tags: dict[str, str], logged: Any = None):
    """A version whose tags say that other code trained it."""
    if logged is None:
        model, _ = contest.train_once(0.5)
        with mlflow.start_run():
            logged = model_files.log_model(PATIENTS, model, select_features(SCHEMA, contest.train).head(2))
    return registry.register(contest.client, logged, contest.name, {"diabetes_version": "0.9+gabc"} | tags)


def test_a_version_of_another_label_is_not_scored_with_and_its_code_is_named(contest: Contest):
    version = register_ready(contest, {})

    with pytest.raises(model_files.SignatureError) as error:
        model_files.load(version, replace(SCHEMA, label=replace(SCHEMA.label, name="COST")))

    assert f"models:/{contest.name}/1 expects columns" in str(error.value)
    assert "the model predicts Y, the label of the code is COST" in str(error.value)
    assert str(error.value).endswith("or `make rollback-code VERSION=0.9+gabc`")


def test_a_version_that_another_kind_of_library_wrote_says_so_and_what_to_do(contest: Contest):
    features = select_features(SCHEMA, contest.train).head(2)
    with mlflow.start_run():
        logged = mlflow.pyfunc.log_model(
            name="model",
            python_model=lambda model_input: [0.0] * len(model_input),
            signature=model_files.signature(SCHEMA, contest.train_once(0.5)[0]),
            input_example=features,
            pip_requirements=[],
        )
    version = register_ready(contest, {}, logged)

    with pytest.raises(model_files.ModelUnreadableError) as error:
        model_files.load(version, SCHEMA)

    assert f"models:/{contest.name}/1 cannot be loaded by this code (MlflowException: " in str(error.value)
    assert "It was trained by the code of 0.9+gabc: `make promote` a version of this code" in str(error.value)


def test_a_champion_whose_files_are_lost_is_a_reason_and_no_crash(contest: Contest, tracking: Path):
    contest.client.create_registered_model(contest.name)
    lost = contest.client.create_model_version(contest.name, source=(tracking / "lost").as_uri())
    registry.promote(contest.client, lost, by="ann", expected_champion=None)

    verdict = contest.enter(0.5)

    assert contest.aliases == {"champion": "1"}
    assert "cannot be scored on this holdout" in verdict.decision.reasons[0]


def change_the_champion(contest: Contest, monkeypatch: pytest.MonkeyPatch, numbers: list[int]) -> None:
    """Let somebody else promote the next of `numbers` each time that a version was just compared."""
    left = list(numbers)

    def compare_slowly(*arguments, **options):
        if left:
            other = str(left.pop(0))
            contest.client.set_registered_model_alias(contest.name, "champion", other)
        return compare(*arguments, **options)

    compare = promotion.compare_models
    monkeypatch.setattr(promotion, "compare_models", compare_slowly)


def test_a_champion_that_changed_meanwhile_is_met_too(contest: Contest, monkeypatch):
    contest.enter(1000.0)
    contest.enter(0.5, "manual")
    change_the_champion(contest, monkeypatch, [2])

    verdict = contest.enter(1000.0)

    assert verdict.champion.version == "2"
    assert verdict.alias == ""
    assert contest.aliases["champion"] == "2"


def test_a_champion_that_never_stands_still_ends_the_run(contest: Contest, monkeypatch):
    contest.enter(0.5)
    contest.enter(0.5, "manual")
    change_the_champion(contest, monkeypatch, [2, 1, 2])

    with pytest.raises(ChampionChangedError, match="is version 2; version 3 was compared with 1"):
        contest.enter(0.5)

    assert contest.aliases["champion"] == "2"
