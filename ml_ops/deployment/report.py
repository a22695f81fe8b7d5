"""What the last training run and the last batch scoring run brought about."""

from collections.abc import Mapping
from typing import Any

from deployment.databricks_cli import DatabricksCli
from deployment.errors import DeploymentError
from deployment.jobs import require_job
from deployment.runs import exit_value, get_run, succeeded
from deployment.tables import format_table, format_values
from deployment.targets import Target
from deployment.workspace import Workspace

TRAINING = "diabetes_model_training"
SCORING = "diabetes_batch_scoring"


def print_report(cli: DatabricksCli, target: Target) -> None:
    """Prints the metrics, the model version, scored rows, and the addresses of the pages to look at."""
    training_run, scoring_run = (last_success(cli, target.job_name(key)) for key in (TRAINING, SCORING))
    training, scoring = exit_value(cli, training_run), exit_value(cli, scoring_run)
    print("\nMetrics on the holdout")
    print(format_values(training["metrics"]))
    version, alias = training["model_version"], training["alias"] or _why_none(training)
    print(f"\nModel {training['model_name']}, version {version}, alias {alias}")
    print(f"\nRows of {scoring['output_table']}, batch {scoring['batch_id']}")
    print(format_table(read_scored_rows(scoring)))
    print("\nPages")
    print(
        format_values(
            {
                "MLflow run": mlflow_page(cli.workspace, training),
                "training run": training_run["run_page_url"],
                "scoring run": scoring_run["run_page_url"],
            }
        )
    )


def _why_none(training: Mapping[str, Any]) -> str:
    decided = training.get("decision")
    return "none, the gate refused it" if decided else "none of the training, its deployment job decides"


def last_success(cli: DatabricksCli, job_name: str) -> dict[str, Any]:
    """The newest run of the job that ended in SUCCESS."""
    for run in cli.ended_runs(int(require_job(cli, job_name)["job_id"])):
        if succeeded(run):
            return get_run(cli, int(run["run_id"]))
    raise DeploymentError(f"job '{job_name}' has no successful run among its last 20")


def read_scored_rows(scoring: Mapping[str, Any]) -> list[dict[str, Any]]:
    """The rows that the scoring notebook read back from its table, the first ten of the batch."""
    return list(scoring.get("sample", []))


def mlflow_page(workspace: Workspace, training: Mapping[str, Any]) -> str:
    """The address of the training run's MLflow page."""
    folder = "#" if workspace.is_local else "ml"
    return f"{workspace.host}/{folder}/experiments/{training['experiment_id']}/runs/{training['run_id']}"
