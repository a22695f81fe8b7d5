"""The experiment of a target, against a small HTTP server."""

from pathlib import Path

from deployment.experiments import ensure_experiment
from rest_server import Server, workspace_at


def test_experiment_in_the_trash_is_restored(server: Server, tmp_path: Path) -> None:
    found = {"experiment": {"experiment_id": "5", "lifecycle_stage": "deleted"}}
    server.replies |= {
        "/api/2.0/mlflow/experiments/get-by-name": found,
        "/api/2.0/mlflow/experiments/restore": {},
    }

    assert ensure_experiment(workspace_at(server.host, tmp_path), "/Shared/x") == "5"
    assert server.body_sent_to("/api/2.0/mlflow/experiments/restore") == {"experiment_id": "5"}


def test_missing_experiment_is_created(server: Server, tmp_path: Path) -> None:
    server.replies["/api/2.0/mlflow/experiments/create"] = {"experiment_id": "6"}

    assert ensure_experiment(workspace_at(server.host, tmp_path), "/Shared/x") == "6"
    assert server.body_sent_to("/api/2.0/mlflow/experiments/create") == {
        "name": "/Shared/x",
        "tags": [{"key": "mlflow.experimentKind", "value": "custom_model_development"}],
    }
