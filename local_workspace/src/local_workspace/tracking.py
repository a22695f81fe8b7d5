"""What the runs of jobs have logged to MLflow, found by the tag that their notebooks put on it."""

from mlflow import MlflowClient

from local_workspace.state import StateFolder

RUN_TAG = "mlflow.databricks.jobRunID"
SHOWN_METRICS = 8
MOST_RUNS = 20


class LoggedRuns:
    """Looks MLflow runs up in the workspace's own MLflow."""

    def __init__(self, state: StateFolder) -> None:
        uri = f"sqlite:///{state.mlflow_database}"
        self._client = MlflowClient(uri, uri)

    def of_tasks(self, task_run_ids: list[str]) -> list[dict[str, object]]:
        """The MLflow runs that these task runs started, the oldest first, with their addresses."""
        client = self._client
        experiments = {e.experiment_id: e.name for e in client.search_experiments()} if task_run_ids else {}
        found = [
            run
            for task in task_run_ids
            for run in client.search_runs(
                list(experiments), f"tags.`{RUN_TAG}` = '{task}'", max_results=MOST_RUNS
            )
        ]
        return [
            {
                "name": run.info.run_name,
                "status": run.info.status,
                "experiment": experiments[run.info.experiment_id],
                "url": f"/mlflow#/experiments/{run.info.experiment_id}/runs/{run.info.run_id}",
                "metrics": most_telling(run.data.metrics),
            }
            for run in sorted(found, key=lambda run: run.info.start_time)
        ]


def most_telling(metrics: dict[str, float]) -> dict[str, float]:
    """The metrics to show: short names first, and last another's with a prefix (`baseline_rmse`)."""

    def rank(name: str) -> tuple[bool, int, str]:
        ends = [name[place + 1 :] for place, letter in enumerate(name) if letter in "_./"]
        return any(end in metrics for end in ends), len(ends), name

    return {name: metrics[name] for name in sorted(metrics, key=rank)[:SHOWN_METRICS]}
