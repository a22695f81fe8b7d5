"""What the runs of jobs have logged to MLflow, found by the tag that their notebooks put on it."""

from pathlib import Path
from urllib.parse import quote

from mlflow import MlflowClient
from mlflow.entities import Run
from mlflow.utils.file_utils import local_file_uri_to_path
from sqlalchemy import create_engine, text

from local_workspace.store.state import StateFolder

RUN_TAG = "mlflow.databricks.jobRunID"
SHOWN_METRICS = 8
MOST_RUNS = 20
# MLflow itself looks for a tag only in experiments that one names, and all of them may be very many.
TAGGED = text("""
SELECT runs.run_uuid FROM tags JOIN runs USING (run_uuid) JOIN experiments USING (experiment_id)
WHERE tags.key = :tag AND tags.value = :task
AND runs.lifecycle_stage = 'active' AND experiments.lifecycle_stage = 'active'
ORDER BY runs.start_time DESC LIMIT :most
""")


class LoggedRuns:
    """Looks MLflow runs up in the workspace's own MLflow."""

    def __init__(self, state: StateFolder) -> None:
        uri = f"sqlite:///{state.mlflow_database}"
        self._engine = create_engine(uri)
        self._client = MlflowClient(uri, uri)

    def of_tasks(self, task_run_ids: list[str]) -> list[dict[str, object]]:
        """The MLflow runs that these task runs started, the oldest first, with their addresses."""
        found = [self._client.get_run(run_id) for run_id in self._tagged(task_run_ids)]
        names = {
            experiment_id: self._client.get_experiment(experiment_id).name
            for experiment_id in {run.info.experiment_id for run in found}
        }
        return [
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "experiment": names[run.info.experiment_id],
                "url": f"/mlflow#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
                "metrics": most_telling(run.data.metrics),
                "reports": _reports(run),
            }
            for run in sorted(found, key=lambda run: run.info.start_time)
        ]

    def _tagged(self, task_run_ids: list[str]) -> list[str]:
        """The ids of the newest runs with the tag of each task run."""
        with self._engine.connect() as connection:
            return [
                run_id
                for task in task_run_ids
                for (run_id,) in connection.execute(TAGGED, {"tag": RUN_TAG, "task": task, "most": MOST_RUNS})
            ]


def _reports(run: Run) -> dict[str, str]:
    """The pages that a run has logged at its top, and where MLflow shows them."""
    where: str = local_file_uri_to_path(run.info.artifact_uri)
    shown = f"/mlflow#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}/artifacts"
    return {file.name: f"{shown}/{quote(file.name)}" for file in sorted(Path(where).glob("*.html"))}


def most_telling(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics to show: short names first, and last another's with a prefix (`baseline_rmse`)."""

    def rank(name: str) -> tuple[bool, int, str]:
        ends = [name[place + 1 :] for place, letter in enumerate(name) if letter in "_./"]
        return any(end in metrics for end in ends), len(ends), name

    return {name: metrics[name] for name in sorted(metrics, key=rank)[:SHOWN_METRICS]}
