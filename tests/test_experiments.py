"""The exploration notebook, run from end to end against an MLflow store in a temporary folder."""

import shutil
from pathlib import Path

import nbformat
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOK = ROOT / "ml_experiments" / "explore_diabetes.ipynb"

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A copy of the notebook's folder, with the data beside it and no MLflow in the environment."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "ml_data", root / "ml_data")
    (root / "ml_experiments").mkdir()
    return root / "ml_experiments"


@pytest.fixture(scope="module")
def executed(folder: Path) -> nbformat.NotebookNode:
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    (folder.parent / "home").mkdir()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(folder.parent / "home"))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return client.execute()


@pytest.fixture(scope="module")
def runs(executed: nbformat.NotebookNode, folder: Path) -> dict[str, Run]:
    client = MlflowClient(f"sqlite:///{folder}/mlflow.db")
    experiment = client.get_experiment_by_name("/Shared/explore_diabetes")
    found = client.search_runs([experiment.experiment_id])
    return {run.info.run_name: run for run in found}


def test_the_exploration_logs_two_models_with_their_metrics(runs):
    assert set(runs) == {"ridge", "boosted_trees"}
    for run in runs.values():
        metrics = run.data.metrics
        assert run.info.status == "FINISHED"
        assert metrics["rmse_low"] < metrics["rmse"] < metrics["rmse_high"]
        assert {"mae", "r2", "train_rmse"} <= metrics.keys()
    assert runs["ridge"].data.params["alpha"] == "0.5"
    assert runs["boosted_trees"].data.params["max_leaf_nodes"] == "8"


def test_the_words_of_the_exploration_are_true(runs, executed):
    ridge, trees = (runs[name].data.metrics for name in ("ridge", "boosted_trees"))
    printed = text_of(executed, "compare")
    low, high = (float(number) for number in printed.split("interval ")[1].split(" to "))

    assert min(ridge["r2_low"], trees["r2_low"]) > 0
    assert ridge["rmse"] < trees["rmse"]
    assert low < 0 < high
    assert trees["train_rmse"] < 0.8 * trees["rmse"]
    assert ridge["train_rmse"] == pytest.approx(ridge["rmse"], rel=0.1)


def test_the_exploration_shows_three_figures(executed):
    outputs = [output for cell in executed.cells for output in cell.get("outputs", [])]

    assert sum("image/svg+xml" in output.get("data", {}) for output in outputs) == 3


def test_the_exploration_leaves_nothing_that_git_would_take(executed, folder):
    left = {path.name for path in folder.iterdir()}

    assert "mlflow.db" in left
    assert left <= {"mlflow.db", "mlruns"}
    assert list((folder.parent / "home").iterdir()) == []


def test_the_exploration_is_committed_without_outputs():
    notebook = nbformat.read(NOTEBOOK, as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)


def text_of(notebook: nbformat.NotebookNode, cell_id: str) -> str:
    cell = next(cell for cell in notebook.cells if cell.id == cell_id)
    return "".join(output.text for output in cell.outputs if output.output_type == "stream")
