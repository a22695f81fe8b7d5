"""What the last training run and the last batch scoring run brought about."""

from collections.abc import Mapping
from typing import Any

from diabetes_mlops.models.approval import GATE_RUN

from deployment import deployment_job
from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import find_job_in, require_job
from deployment.model_registry import find_version
from deployment.runs import exit_value, get_run, succeeded
from deployment.tables import format_table, format_values
from deployment.targets import Target
from deployment.workspace import Workspace

TRAINING = "diabetes_model_training"
SCORING = "diabetes_batch_scoring"


def print_report(cli: DatabricksCli, target: Target) -> None:
    """Prints the metrics, the model version, scored rows, and the addresses of the pages to look at."""
    training_run, scoring_run = (find_success(cli, target.job_name(key)) for key in (TRAINING, SCORING))
    if training_run is None:
        raise DeploymentError(_no_success(target, TRAINING))
    training = exit_value(cli, training_run)
    _print_training(training)
    pages = {"MLflow run": mlflow_page(cli.workspace, training), "training run": training_run["run_page_url"]}
    if not training.get("decision"):
        pages |= _find_gate(cli.workspace, target, training)
    if scoring_run:
        _print_scored(exit_value(cli, scoring_run))
        pages["scoring run"] = scoring_run["run_page_url"]
    else:  # of a first version that still waits for a person
        print(f"\nNo scored rows: {_no_success(target, SCORING)}")
    print("\nPages")
    print(format_values(pages))


def _print_training(training: Mapping[str, Any]) -> None:
    print("\nMetrics on the holdout")
    print(format_values(training["metrics"]))
    version, alias = training["model_version"], training["alias"] or _why_none(training)
    print(f"\nModel {training['model_name']}, version {version}, alias {alias}")


def _print_scored(scoring: Mapping[str, Any]) -> None:
    print(f"\nRows of {scoring['output_table']}, batch {scoring['batch_id']}")
    print(format_table(read_scored_rows(scoring)))


def _why_none(training: Mapping[str, Any]) -> str:
    decided = training.get("decision")
    return "none, the gate refused it" if decided else "none of the training, its deployment job decides"


def _find_gate(workspace: Workspace, target: Target, training: Mapping[str, Any]) -> dict[str, str]:
    """The pages of the deployment job's run for the version that a training left to it."""
    name, number = training["model_name"], training["model_version"]
    pages: dict[str, str] = {}
    version = find_version(workspace, name, number)
    job = find_job_in(workspace, target.job_name(deployment_job.KEY))
    gate_run = version.tags.get(GATE_RUN) if version else None
    if gate_run and (found := workspace.find("/api/2.0/mlflow/runs/get", run_id=gate_run)):
        pages["report of the gate"] = mlflow_page(workspace, found["run"]["info"])
    if job and (run := deployment_job.find_run(workspace, str(job["job_id"]), name, number)):
        pages["deployment job run"] = run["run_page_url"]
    return pages


def find_success(cli: DatabricksCli, job_name: str) -> dict[str, Any] | None:
    """The newest run of the job that ended in SUCCESS, None where none of the last did."""
    for run in cli.ended_runs(int(require_job(cli, job_name)["job_id"])):
        if succeeded(run):
            return get_run(cli, int(run["run_id"]))
    return None


def _no_success(target: Target, key: str) -> str:
    return f"job '{target.job_name(key)}' has no successful run among its last 20"


def read_scored_rows(scoring: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that the scoring notebook read back from its table, the first ten of the batch."""
    return list(scoring.get("sample", []))


def mlflow_page(workspace: Workspace, run: Mapping[str, Any]) -> str:
    """The address of the page of an MLflow run, given by its id and that of its experiment."""
    folder = "#" if workspace.is_local else "ml"
    return f"{workspace.host}/{folder}/experiments/{run['experiment_id']}/runs/{run['run_id']}"
