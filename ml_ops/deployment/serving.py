"""Whether the code that the scoring job runs, and the input that it reads, fit a version of the model."""

from collections.abc import Mapping
from dataclasses import dataclass

from diabetes_mlops.models.champions import CHAMPION
from diabetes_mlops.models.contract import Contract

from deployment import inputs
from deployment.errors import DeploymentError
from deployment.jobs import find_job_in, parameters_of
from deployment.model_registry import Model, ModelVersion, find_model, find_needed, find_version
from deployment.records import CONTRACT, find_versions, read_record
from deployment.report import SCORING
from deployment.targets import Target
from deployment.workspace import Workspace


@dataclass(frozen=True)
class ScoringJob:
    """The scoring job that follows the champion, and the version of the code that it runs.

    `contract` is what that code asks of a model, None where its deployment did not write it down.
    """

    workspace: Workspace
    target: Target
    parameters: Mapping[str, str]
    code: str
    contract: Contract | None

    def check(self, version: ModelVersion, then: str) -> None:
        """Refuses a version that the next scoring would fail with; `then` is the command to give again."""
        contract = find_contract(self.workspace, self.target.text("model_name"), version)
        if contract is None or self.contract is None:
            print(f"Note: it is not known whether the code of {self.code} can use version {version.number}")
        elif problems := contract.differences(self.contract):
            raise DeploymentError(
                f"scoring runs the code of {self.code}, which cannot use version {version.number}: "
                f"{'; '.join(problems)}. Nothing was changed. {self._bring_back(version, contract)}, "
                f"then `{then}`"
            )
        columns = inputs.find_columns(self.workspace, self.parameters)
        if contract and columns and (lacking := [name for name in contract.features if name not in columns]):
            raise DeploymentError(
                f"the input of scoring, {self.parameters['input_data']}, lacks columns {lacking}, which "
                f"version {version.number} reads; it has {columns}. Nothing was changed. Bring a file with "
                f"these columns, then `{then}`"
            )

    def _bring_back(self, version: ModelVersion, contract: Contract) -> str:
        """How the jobs come to run code that can use a version."""
        if code := self._find_code_for(version, contract):
            return f"Roll the code back first with `make rollback-code VERSION={code}`"
        return f"Its code is not deployed: first {version.way_to_code}"

    def _find_code_for(self, version: ModelVersion, contract: Contract) -> str | None:
        """The deployed code that can use a version: that which trained it, or else the newest."""
        found = []
        for code in find_versions(self.workspace, self.target):
            record = read_record(self.workspace, self.target, code)
            asked, trained_it = Contract.from_json(record.get(CONTRACT)), version.is_of(code)
            fits = not contract.differences(asked) if asked else trained_it
            if record and fits and code != self.code:
                found.append((trained_it, str(record.get("deployed_at")), code))
        return max(found)[-1] if found else None


def find_scoring_job(workspace: Workspace, target: Target) -> ScoringJob | None:
    """The job of the target that scores with the champion of its model; None where there is none."""
    job = find_job_in(workspace, target.job_name(SCORING))
    parameters = parameters_of(job) if job else {}
    follows_champion = parameters.get("model_version", "") in ("", CHAMPION)
    code, name = parameters.get("wheel_dir", "").rpartition("/")[2], target.text("model_name")
    if not code or not follows_champion or parameters.get("model_name") != name:
        return None
    contract = Contract.from_json(read_record(workspace, target, code).get(CONTRACT))
    if contract is None:  # a deployment of before contracts were kept; what it trained tells as much
        of_it = (version for version in find_needed(workspace, name) or [] if version.is_of(code))
        contract = next((find_contract(workspace, name, version) for version in of_it), None)
    return ScoringJob(workspace, target, parameters, code, contract)


def find_contract(workspace: Workspace, name: str, version: ModelVersion) -> Contract | None:
    """What a version of the model asks of the code that scores with it; None where nothing tells."""
    if version.contract:
        return version.contract
    from deployment.models import read_contract  # here, because importing MLflow takes seconds

    return read_contract(workspace, name, version)


def warn_of_champion(workspace: Workspace, target: Target) -> None:
    """Says when the code that scoring now runs cannot score with the champion, and what to do about it."""
    name = target.text("model_name")
    try:
        if (job := find_scoring_job(workspace, target)) and (model := find_model(workspace, name)):
            _warn(job, model)
    except DeploymentError as error:
        print(f"Note: it was not looked whether this code can score with the champion of {name}: {error}")


def _warn(job: ScoringJob, model: Model) -> None:
    problems = _problems_with(job, model, model.champion)
    if not problems:
        return
    way_out = "`make promote` a version of this code once one is trained; `make models` lists them"
    if model.earlier_champion and _problems_with(job, model, model.earlier_champion) == []:
        way_out = f"`make rollback` goes to version {model.earlier_champion}, which it can use"
    print(
        f"Note: scoring fails from now on: the code of {job.code} cannot use version {model.champion}, "
        f"the champion of {model.name}: {'; '.join(problems)}. {way_out}"
    )


def _problems_with(job: ScoringJob, model: Model, number: str | None) -> list[str] | None:
    """What keeps the job from scoring with a version, None where that is not known."""
    version = find_version(job.workspace, model.name, number) if number else None
    contract = find_contract(job.workspace, model.name, version) if version else None
    return contract.differences(job.contract) if contract and job.contract else None
