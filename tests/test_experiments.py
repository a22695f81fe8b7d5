"""Each notebook of ml_experiments, run from end to end against an MLflow store in a temporary folder."""

import shutil
from dataclasses import dataclass
from pathlib import Path

import nbformat
import pytest
from mlflow import MlflowClient
from nbclient import NotebookClient

ROOT = Path(__file__).parents[1]
NOTEBOOKS = {path.stem: path for path in sorted((ROOT / "ml_experiments").glob("*.ipynb"))}

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Executed:
    """A notebook with its outputs, the copy of its folder that it ran in, and the HOME that it had."""

    notebook: nbformat.NotebookNode
    folder: Path
    home: Path


@pytest.fixture(scope="module", params=NOTEBOOKS)
def executed(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> Executed:
    """The notebook after its run, which had the data beside it and no MLflow in the environment."""
    root = tmp_path_factory.mktemp("checkout")
    shutil.copytree(ROOT / "ml_data", root / "ml_data")
    folder, home = root / "ml_experiments", root / "home"
    folder.mkdir()
    home.mkdir()
    notebook = nbformat.read(NOTEBOOKS[request.param], as_version=4)
    client = NotebookClient(notebook, timeout=300, resources={"metadata": {"path": str(folder)}})
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("HOME", str(home))
        patch.delenv("MLFLOW_TRACKING_URI", raising=False)
        return Executed(client.execute(), folder, home)


def test_the_exploration_ends_each_run_that_it_logs(executed: Executed):
    client = MlflowClient(f"sqlite:///{executed.folder}/mlflow.db")
    experiments = [experiment.experiment_id for experiment in client.search_experiments()]

    assert {run.info.status for run in client.search_runs(experiments)} == {"FINISHED"}


def test_the_exploration_shows_its_figures(executed: Executed):
    cells = [cell for cell in executed.notebook.cells if cell.cell_type == "code"]
    outputs = [output for cell in cells for output in cell.outputs]

    figures = sum("image/svg+xml" in output.get("data", {}) for output in outputs)
    assert figures == sum(cell.source.count("plt.show()") for cell in cells)


def test_the_exploration_leaves_nothing_that_git_would_take(executed: Executed):
    left = {path.name for path in executed.folder.iterdir()}

    assert "mlflow.db" in left
    assert left <= {"mlflow.db", "mlruns"}
    assert list(executed.home.iterdir()) == []


@pytest.mark.parametrize("name", NOTEBOOKS)
def test_the_exploration_is_committed_without_outputs(name: str):
    notebook = nbformat.read(NOTEBOOKS[name], as_version=4)
    cells = [cell for cell in notebook.cells if cell.cell_type == "code"]

    assert all(cell.outputs == [] and cell.execution_count is None for cell in cells)
