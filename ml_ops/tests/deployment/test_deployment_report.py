"""Where a report points to."""

from pathlib import Path

from deployment.report import mlflow_page
from rest_server import workspace_at


def test_mlflow_page_of_a_run_is_where_each_kind_of_workspace_has_it(tmp_path: Path) -> None:
    training = {"experiment_id": "5", "run_id": "abc"}
    local = workspace_at("http://127.0.0.1:5115", tmp_path)
    cloud = workspace_at("https://adb-1.azuredatabricks.net", tmp_path, profile="dev")

    assert mlflow_page(local, training) == "http://127.0.0.1:5115/#/experiments/5/runs/abc"
    assert mlflow_page(cloud, training) == "https://adb-1.azuredatabricks.net/ml/experiments/5/runs/abc"
