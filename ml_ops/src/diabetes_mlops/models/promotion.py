"""Lets a new version meet the champion at the gate, and gives it the alias that it has earned."""

from dataclasses import asdict, dataclass
from typing import Any

import mlflow
import numpy as np
import pandas as pd
from diabetes.tabular.columns import Column, Schema
from diabetes.tabular.measuring import compare_models
from diabetes.tabular.problem import Problem
from diabetes.tabular.scoring import predict
from diabetes.tabular.screening import find_readable
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from mlflow.exceptions import MlflowException

from diabetes_mlops.models import model_files, registry
from diabetes_mlops.models.approval import GATE_RUN
from diabetes_mlops.models.assessment import Assessment
from diabetes_mlops.models.contract import CONTRACT, Contract
from diabetes_mlops.models.gate import Champion, Decision, Evidence, Slice, decide
from diabetes_mlops.models.registry import ChampionChangedError, ModelNotFoundError
from diabetes_mlops.runs.settings import Promotion, Thresholds
from diabetes_mlops.runs.telemetry import say

ATTEMPTS = 3
# The tags of a version that say how it fared at the gate, and against which champion; empty: there was none.
GATE, PASSED, COMPARED_WITH = "gate", "passed", "gate_champion"
# Of the holdout, to compare two versions on.
FEWEST_ROWS = 10
# What a lost, damaged or too old model brings about when it is loaded or asked to predict.
CANNOT_SCORE = (MlflowException, OSError, ValueError, TypeError, AttributeError, ImportError)


@dataclass(frozen=True)
class Verdict:
    """What the gate decided on a version, against which champion, and the alias that the version has."""

    decision: Decision
    champion: Champion | None
    alias: str

    @property
    def headline(self) -> str:
        """The verdict in a few words."""
        if self.alias == registry.CHAMPION:
            return "passed, champion"
        return "passed, waits for a person to promote it" if self.decision.promote else "refused"

    def as_json(self) -> dict[str, Any]:
        """Give the verdict as values that JSON has."""
        return {
            "promote": self.decision.promote,
            "alias": self.alias,
            "champion": self.champion.version if self.champion else "",
            "reasons": self.decision.reasons,
            "numbers": {name: float(value) for name, value in self.decision.numbers.items()},
            "checks": [asdict(check) for check in self.decision.checks],
        }


def settle(
    problem: Problem,
    version: ModelVersion,
    assessment: Assessment,
    holdout: pd.DataFrame,
    *,
    thresholds: Thresholds,
    promotion: Promotion,
    seed: int,
) -> Verdict:
    """Decide on a version and act on it: champion, challenger that waits for a person, or no alias.

    When another run changes the champion meanwhile, the version meets the new one. Raises
    ChampionChangedError when that happens each of ATTEMPTS times; the version then stays what it is.
    """
    client = MlflowClient()
    for attempt in range(1, ATTEMPTS + 1):
        champion = meet_champion(problem, client, version.name, assessment, holdout, seed=seed)
        decision = decide(gather(problem, assessment, champion), thresholds)
        try:
            alias = _act(client, version, decision, champion, promotion)
        except ChampionChangedError as error:
            if attempt == ATTEMPTS:
                raise
            say(f"{error}: comparing again")
            continue
        break
    verdict = Verdict(decision, champion, alias)
    _write_down(client, version, verdict)
    return verdict


def find_champion_columns(client: MlflowClient, model_name: str, schema: Schema) -> list[Column]:
    """Give the features that the champion needs and this schema does not have.

    Empty where the champion cannot be read: that is told when a version meets it.
    """
    try:
        champion = registry.find_champion(client, model_name)
    except ModelNotFoundError:  # this is the first training
        return []
    asked = Contract.from_text(champion.tags.get(CONTRACT, "")) if champion else None
    if champion is None or (asked and asked.features and asked.features.keys() <= set(schema.feature_names)):
        return []
    try:
        own = model_files.read_schema(champion)
    except CANNOT_SCORE as error:
        say(f"the columns of champion version {champion.version} cannot be read: {error}")
        return []
    return [column for column in own.features if column.name not in schema.columns] if own else []


def meet_champion(
    problem: Problem,
    client: MlflowClient,
    model_name: str,
    assessment: Assessment,
    holdout: pd.DataFrame,
    *,
    seed: int,
) -> Champion | None:
    """Score the holdout with the present champion; None while there is none.

    It reads the rows by its own schema, and those that it cannot read are left out for both. A champion that
    cannot be scored, such as one of a column that the data has no longer, is described with its problem.
    """
    version = registry.find_champion(client, model_name)
    if version is None:
        return None
    number = str(version.version)
    try:
        model = model_files.load(version, problem.schema)
        both = find_readable(model.schema, holdout)
        predicted = predict(model.schema, model.pipeline, holdout[both])
    except CANNOT_SCORE as error:
        return Champion(number, problem=f"cannot be scored on this holdout: {error}")
    if both.sum() < FEWEST_ROWS and not both.all():
        return Champion(
            number, problem=f"can read {both.sum()} of {len(both)} holdout rows, too few to compare"
        )
    evaluation, actual = problem.evaluation, assessment.actual[both]
    difference = compare_models(evaluation, actual, assessment.predicted[both], predicted, seed=seed)
    own_error = evaluation.measure(actual, predicted)[evaluation.primary]
    note = "" if both.all() else f"on the {both.sum()} of {len(both)} holdout rows that both can read"
    return Champion(number, own_error, difference, note=note)


def gather(problem: Problem, assessment: Assessment, champion: Champion | None) -> Evidence:
    """Collect from an assessment what the gate looks at."""
    evaluation, slices = problem.evaluation, assessment.slices
    primary = evaluation.primary
    measured = zip(slices.index, slices["rows"].tolist(), slices[primary].tolist(), strict=True)
    return Evidence(
        evaluation=evaluation,
        metrics=assessment.metrics,
        baseline=assessment.baseline[primary],
        slices={name: Slice(rows, error) for name, rows, error in measured},
        champion=champion,
    )


def _act(
    client: MlflowClient,
    version: ModelVersion,
    decision: Decision,
    champion: Champion | None,
    promotion: Promotion,
) -> str:
    """Give the version its alias and return it."""
    if not decision.promote:
        registry.drop_challenger(client, version)
        return ""
    if promotion != "automatic":
        registry.set_challenger(client, version)
        return registry.CHALLENGER
    expected = champion.version if champion else None
    registry.promote(client, version, by=f"gate of run {version.run_id}", expected_champion=expected)
    return registry.CHAMPION


def _write_down(client: MlflowClient, version: ModelVersion, verdict: Verdict) -> None:
    """Log the decision into the active run, and tag the version with it."""
    mlflow.log_dict(verdict.as_json(), "gate.json")
    numbers = {name: value for name, value in verdict.decision.numbers.items() if np.isfinite(value)}
    mlflow.log_metrics({f"gate_{name}": value for name, value in numbers.items()})
    champion = verdict.champion.version if verdict.champion else ""
    tags = {GATE: PASSED if verdict.decision.promote else "refused", COMPARED_WITH: champion}
    if active := mlflow.active_run():
        tags[GATE_RUN] = active.info.run_id
    if verdict.decision.reasons:
        tags["gate_reasons"] = "; ".join(verdict.decision.reasons)[: registry.LONGEST_TAG]
    for key, value in tags.items():
        client.set_model_version_tag(version.name, version.version, key, value)
    say(f"gate: {verdict.headline}", *verdict.decision.reasons)
