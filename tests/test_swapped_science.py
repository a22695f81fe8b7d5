"""Another science, a classification of other columns by other metrics, runs by the same MLOps code."""

import io
import re
import shutil
import subprocess
import sys
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline
from test_deployments import Team, git, make_checkout
from workspace_under_test import ROOT, WorkspaceUnderTest

SCIENCE = Path(__file__).parent / "sciences" / "tumours"
MODULES = ("schema.py", "training.py", "evaluation.py")
FOLDER, DATA_ROOT = "/Shared/cancer", "dbfs:/cancer/data"
EXPERIMENT, CHAMPION = f"{FOLDER}/experiment", "models:/spark_catalog.cancer.diabetes@champion"
NIGHT, TABLE = "/Volumes/main/cancer/night", "spark_catalog.cancer.night"
PARAMS = {
    "model-training": "penalty=0.6 search_trials=2 search_on=workers",
    "batch-scoring": f"input_data={NIGHT} batch_id=night carry_columns=WARD output_table={TABLE}",
    "monitoring": f"labels_data=labels.csv output_table={TABLE}",
}
HERE = (
    *("CATALOG=spark_catalog", "SCHEMA=cancer", "SECRET_SCOPE=cancer"),
    *(f"WORKSPACE_FOLDER={FOLDER}", f"EXPERIMENT={EXPERIMENT}", f"DATA_ROOT={DATA_ROOT}"),
)
FEATURES = ["SIZE", "TEXTURE", "SMOOTHNESS", "CONCAVITY", "SYMMETRY", "FRACTAL", "AREA_ERROR"]
FEATURES += ["WORST_AREA", "WORST_TEXTURE"]

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Swapped:
    """What came of the three jobs, and the files that were replaced for them."""

    replaced: set[str]
    data: Path
    printed: dict[str, str]
    training_page: str
    pipeline: Pipeline
    runs: dict[str, Run]
    team: Team

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.data / name)

    def probabilities(self, table: pd.DataFrame) -> np.ndarray:
        """What scikit-learn says by itself, of the registered pipeline."""
        return self.pipeline.predict_proba(table[FEATURES].astype({"SIZE": "object"}))[:, 1]


def replace_science(checkout: Path) -> set[str]:
    """Puts the sample's modules and tables over those of a checkout; gives the files that differ."""
    git(checkout, "add", "--all")
    git(checkout, "commit", "--message", "The template")
    for name in MODULES:
        shutil.copy2(SCIENCE / name, checkout / "ml_source" / "src" / "diabetes" / name)
    subprocess.run([sys.executable, SCIENCE / "make_data.py", checkout / "ml_data"], check=True)
    changed = ["git", "status", "--porcelain", "--untracked-files=all", "--no-renames"]
    found = subprocess.run(changed, cwd=checkout, check=True, capture_output=True, text=True)
    return {line[3:] for line in found.stdout.splitlines()}


def upload_night(team: Team) -> None:
    """The batch as a folder of two files: one ends with a line of its own, the other has one more column."""
    header, *rows = (team.checkout / "ml_data" / "data_batch_input.csv").read_text().splitlines()
    files = {
        "a.csv": [header, *rows[:20], "x,1,2"],
        "b.csv": [f"{header},WARD", *(f"{row},east" for row in rows[20:])],
    }
    for name, lines in files.items():
        content = io.BytesIO("\n".join(lines).encode())
        team.workspace.client.files.upload(f"{NIGHT}/{name}", content, overwrite=True)


def page_of_last_run(workspace: WorkspaceUnderTest) -> str:
    run = workspace.client.jobs.get_run(workspace.last_run_id())
    sign_in = {"Authorization": f"Bearer {workspace.profile['token']}"}
    return requests.get(run.run_page_url, headers=sign_in, timeout=30).text


@pytest.fixture(scope="module")
def second(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swapped]:
    checkout = make_checkout(tmp_path_factory.mktemp("second") / "checkout")
    shutil.copytree(ROOT / "ml_data", checkout / "ml_data")
    replaced = replace_science(checkout)
    team = Team(demo.workspace, checkout, "staging")
    demo.workspace.delete_jobs("[staging] ")
    for target in ("databricks-init", "databricks-upload-data", "deploy"):
        team.make(target, *HERE)
    labels = io.BytesIO((checkout / "ml_data" / "labels.csv").read_bytes())
    demo.workspace.client.dbfs.upload(f"{DATA_ROOT}/labels.csv", labels)
    upload_night(team)
    printed = {}
    for job, params in PARAMS.items():
        printed[job] = team.make(f"run-diabetes-{job}", *HERE, f"PARAMS={params}")
        if job == "model-training":
            training_page = page_of_last_run(demo.workspace)
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", demo.workspace.profile["token"])
        for set_uri in (mlflow.set_tracking_uri, mlflow.set_registry_uri):
            set_uri(demo.workspace.profile["host"])
        client = MlflowClient()
        experiment = client.get_experiment_by_name(EXPERIMENT).experiment_id
        runs = {run.info.run_name: run for run in client.search_runs([experiment])}
        pipeline = mlflow.sklearn.load_model(CHAMPION)
        yield Swapped(replaced, checkout / "ml_data", printed, training_page, pipeline, runs, team)


def measure(actual: pd.Series, predicted: np.ndarray) -> dict[str, float]:
    """The metrics of that science, as scikit-learn has them."""
    return {
        "log_loss": log_loss(actual, predicted),
        "brier": brier_score_loss(actual, predicted),
        "roc_auc": roc_auc_score(actual, predicted),
    }


def test_three_modules_and_the_data_are_all_that_was_replaced(second: Swapped) -> None:
    modules = {f"ml_source/src/diabetes/{name}" for name in MODULES}
    tables = {f"ml_data/{name}" for name in ("data_raw.csv", "data_batch_input.csv", "labels.csv")}

    assert second.replaced == modules | tables


def test_the_gate_passes_by_the_metrics_of_its_science(second: Swapped) -> None:
    raw = second.read("data_raw.csv")
    is_held_out = [
        int.from_bytes(sha256(str(case).encode()).digest()[:8], "big") / 2**64 < 0.2 for case in raw["CASE"]
    ]
    train, holdout = raw[~np.array(is_held_out)], raw[is_held_out]
    share = np.full(len(holdout), train["MALIGNANT"].mean())
    run = second.runs["diabetes_model_training"]
    logged = run.data.metrics

    expected = measure(holdout["MALIGNANT"], second.probabilities(holdout))
    baseline = measure(holdout["MALIGNANT"], share)

    assert {name: logged[name] for name in expected} == pytest.approx(expected)
    assert {name: logged[f"baseline_{name}"] for name in baseline} == pytest.approx(baseline)
    assert (logged["gate_max_log_loss"], logged["gate_min_roc_auc"], logged["gate_margin"]) == (
        0.3,
        0.95,
        0.02,
    )
    assert logged["log_loss_low"] < logged["log_loss"] < logged["log_loss_high"]
    assert "rmse" not in " ".join([*logged, *run.data.params])
    assert re.search(r"alias +champion", second.printed["model-training"])


def test_the_report_has_the_pictures_of_a_classifier(second: Swapped) -> None:
    run_id = second.runs["diabetes_model_training"].info.run_id
    plots = {Path(item.path).name for item in MlflowClient().list_artifacts(run_id, "plots")}
    page = mlflow.artifacts.load_text(f"runs:/{run_id}/report.html")

    assert plots == {"features.png", "calibration.png", "roc.png", "importance.png"}
    assert page.count('src="data:image/png') == 3
    assert all(text in page for text in ("log_loss", "roc_auc", "SIZE=medium")) and "rmse" not in page


def test_the_page_of_a_training_shows_each_trial_of_its_search_on_one_line(second: Swapped) -> None:
    page = second.training_page

    assert "fitting 2 trials, 5 folds each, in the Spark workers" in page
    assert re.search(
        r"trial 1 of 2: penalty 0\.6, balanced False, .*\ntrial 2 of 2: penalty .*\nbest of 2 trials", page
    )


@pytest.fixture(scope="module")
def tables(second: Swapped) -> dict[str, list[Any]]:
    """What is in the tables of the scored and of the rejected rows."""
    return second.team.workspace.run_cells(
        f'scored = spark.table("{TABLE}").orderBy("CASE").toPandas()\n'
        f'rejected = spark.table("{TABLE}_rejected").toPandas()\n'
        'found = {name: scored[name].tolist() for name in ("CASE", "prediction")}\n'
        f'found["WARD"] = [row.WARD for row in spark.table("{TABLE}").collect()]\n'
        'found["reasons"] = rejected["reasons"].astype(str).tolist()\n'
        "import json; dbutils.notebook.exit(json.dumps(found))"
    )


def test_a_folder_of_a_volume_is_scored_and_what_is_wrong_in_it_set_aside(
    second: Swapped, tables: dict[str, list[Any]]
) -> None:
    counts = r"rows_in +170\n.*rows_scored +167\n.*rows_rejected +3\n"

    assert re.search(counts, second.printed["batch-scoring"], re.DOTALL)
    assert len(tables["reasons"]) == 3
    assert Counter(tables["WARD"]) == {None: 18, "east": 149}


def test_every_case_is_scored_with_its_probability_or_set_aside(
    second: Swapped, tables: dict[str, list[Any]]
) -> None:
    readable = second.read("data_batch_input.csv").iloc[2:]
    reasons = "\n".join(tables["reasons"])

    assert tables["CASE"] == readable["CASE"].tolist()
    assert tables["prediction"] == pytest.approx(second.probabilities(readable), rel=1e-9)
    assert "SIZE is unknown: tiny" in reasons and "SMOOTHNESS is outside 0 to 1: -1" in reasons


def test_the_model_gives_the_same_as_a_python_function(second: Swapped) -> None:
    readable = second.read("data_batch_input.csv").iloc[2:]

    given = mlflow.pyfunc.load_model(CHAMPION).predict(readable[FEATURES].astype({"WORST_AREA": "float64"}))

    assert given[:, 1] == pytest.approx(second.probabilities(readable))


def test_monitoring_measures_the_true_error_by_the_same_metrics(second: Swapped) -> None:
    rows = second.read("data_batch_input.csv").iloc[2:].merge(second.read("labels.csv"), on="CASE")
    logged = second.runs["diabetes_monitoring"].data.metrics

    expected = measure(rows["MALIGNANT"], second.probabilities(rows))

    assert {name: logged[f"true_{name}"] for name in expected} == pytest.approx(expected)
    holdout = second.runs["diabetes_model_training"].data.metrics["log_loss"]
    assert logged["log_loss_ratio"] == pytest.approx(expected["log_loss"] / holdout)
    assert re.search(r"true error +log_loss 0\.\d+ of version 1 on 167 rows", second.printed["monitoring"])


def test_the_versions_are_listed_with_their_own_metrics(second: Swapped) -> None:
    listed = second.team.make("models", *HERE)

    assert re.search(r"aliases +log_loss +brier +roc_auc +gate", listed)
    assert "rmse" not in listed
