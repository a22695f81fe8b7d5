"""The deployment job: takes a version to the gate, waits for a person to approve it, makes it the champion.

MLflow starts it for each new version of a model that is linked to it. It has three tasks, and each of them is
one call of `run`.
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from diabetes.tabular.problem import Problem
from mlflow import MlflowClient
from mlflow.entities.model_registry import ModelVersion
from pyspark.sql import SparkSession

from diabetes_mlops import train
from diabetes_mlops.models import approval, assessment, model_files, promotion, registry
from diabetes_mlops.reports import plots
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.settings import DeploymentSettings
from diabetes_mlops.runs.telemetry import say, step
from diabetes_mlops.runs.tracking import digest_rows, open_run

JOB = "diabetes_model_deployment"
SOURCE, DIGEST = "data_source", "holdout_digest"


class UnknownDataError(ValueError):
    """A version does not say which data it was trained on, so that it cannot be evaluated."""


class GateRefusedError(ValueError):
    """The gate refused a version."""


class NotApprovedError(ValueError):
    """No person has approved a version yet."""


def run(
    spark: SparkSession,
    settings: DeploymentSettings,
    problem: Problem,
    target: telemetry.Target | None = None,
) -> dict[str, Any]:
    """Carry out one task for one version; returns what the task reports, as values that JSON has.

    Raises UnknownDataError, GateRefusedError or NotApprovedError, and what the registry raises. Telemetry
    goes to `target`.
    """
    with telemetry.job(JOB, target, model_name=settings.model_name, model_version=settings.model_version):
        version = registry.resolve_version(MlflowClient(), settings.model_name, settings.model_version)
        tasks: dict[str, Callable[[], dict[str, Any]]] = {
            approval.EVALUATE: lambda: evaluate(spark, settings, problem, version),
            approval.APPROVAL: lambda: require_approval(version),
            approval.DEPLOY: lambda: deploy(settings, version),
        }
        of_version = {"model_name": version.name, "model_version": str(version.version)}
        with step(settings.task):
            return of_version | tasks[settings.task]()


def evaluate(
    spark: SparkSession, settings: DeploymentSettings, problem: Problem, version: ModelVersion
) -> dict[str, Any]:
    """Measure a version on the holdout of its data and take it to the gate; a refused one ends the job."""
    champion = registry.find_champion(MlflowClient(), version.name)
    if champion and champion.version == version.version:
        say(f"version {version.version} is the champion of {version.name} already")
        return {"alias": registry.CHAMPION}
    with open_run(settings.experiment_name, JOB, settings.git_commit) as active:
        loaded = model_files.load(version, problem.schema)
        own = replace(problem, schema=loaded.schema)
        source = _find_source(version)
        extra = promotion.find_champion_columns(MlflowClient(), version.name, own.schema)
        rows, holdout, of_champion = train.read(spark, source, own, extra)
        if digest_rows(holdout) != version.tags.get(DIGEST):
            say(f"{source} has other holdout rows than at the training of version {version.version}")
        measured = assessment.assess(own, loaded.pipeline, rows, holdout, seed=settings.seed)
        figures = plots.draw_assessment(own, measured)
        assessment.log(measured, figures)
        verdict = train.take_to_gate(
            own,
            version,
            measured,
            figures,
            holdout.join(of_champion),
            thresholds=settings.thresholds,
            promotion=approval.DEPLOYMENT_JOB,
            seed=settings.seed,
            origin={"run": version.run_id or "", "evaluated by": active.info.run_id, SOURCE: source},
        )
    if not verdict.decision.promote:
        raise GateRefusedError(
            f"the gate refused version {version.version} of {version.name}: "
            f"{'; '.join(verdict.decision.reasons)}. It is not deployed"
        )
    return {
        "alias": verdict.alias,
        "metrics": assessment.defined(measured.metrics),
        "decision": verdict.as_json(),
        "run_id": active.info.run_id,
        "experiment_id": active.info.experiment_id,
    }


def require_approval(version: ModelVersion) -> dict[str, Any]:
    """Say who has approved a version; where nobody has, raise with what to do."""
    name, number = version.name, version.version
    if not approval.is_approved(version.tags):
        raise NotApprovedError(
            f"version {number} of {name} waits for a person: approve it with `make promote "
            f"VERSION={number}`, or with Approve on the page of the version. Both set its tag "
            f"{approval.APPROVAL} to {approval.APPROVED} and repair this run"
        )
    say(f"version {number} of {name} is approved")
    return {"approved_by": version.tags.get(registry.APPROVED_BY, "")}


def deploy(settings: DeploymentSettings, version: ModelVersion) -> dict[str, Any]:
    """Make a version the champion, and write down who approved it; one that is champion already stays it.

    Raises NotApprovedError, GateRefusedError for one that did not pass the gate, and ChampionChangedError
    where it met another champion there: a task can be started without those before it.
    """
    require_approval(version)
    name, number = version.name, str(version.version)
    if version.tags.get(promotion.GATE) != promotion.PASSED:
        raise GateRefusedError(f"version {number} of {name} has not passed the gate; it is not deployed")
    met = version.tags.get(promotion.COMPARED_WITH) or None
    by = [version.tags.get(registry.APPROVED_BY, ""), f"deployment job run {settings.job_run_id}"]
    try:
        registry.promote(MlflowClient(), version, by=", ".join(filter(None, by)), expected_champion=met)
    except registry.AlreadyChampionError as error:
        say(str(error))
    except registry.ChampionChangedError as error:
        again = f"`make promote VERSION={number}` takes it to the gate again"
        raise registry.ChampionChangedError(f"{error}; {again}") from error
    else:
        say(f"version {number} is the champion of {name}, in place of {met or 'none'}")
    return {"alias": registry.CHAMPION, "replaced": met or ""}


def _find_source(version: ModelVersion) -> str:
    if source := version.tags.get(SOURCE):
        return source
    raise UnknownDataError(
        f"version {version.version} of {version.name} has no tag {SOURCE}: this project's training job did "
        "not register it, so it is not known which rows to evaluate it on"
    )
