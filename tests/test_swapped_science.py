"""Of a classification of other columns by other metrics each number is what scikit-learn says by itself."""

import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from hashlib import sha256
from pathlib import Path

import mlflow
import numpy as np
import pandas as pd
import pytest
import requests
from lives import Life, live, signed_in
from mlflow import MlflowClient
from mlflow.entities import Run
from sklearn.metrics import brier_score_loss, log_loss, roc_auc_score
from sklearn.pipeline import Pipeline

CHAMPION = "models:/spark_catalog.tumours.diabetes@champion"
FEATURES = ["SIZE", "TEXTURE", "SMOOTHNESS", "CONCAVITY", "SYMMETRY", "FRACTAL", "AREA_ERROR"]
FEATURES += ["WORST_AREA", "WORST_TEXTURE"]

pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass
class Swapped:
    """What came of the life of the tumours' science, and its champion."""

    life: Life
    pipeline: Pipeline
    training: Run

    def read(self, name: str) -> pd.DataFrame:
        return pd.read_csv(self.life.data / name)

    def probabilities(self, table: pd.DataFrame) -> np.ndarray:
        """What scikit-learn says by itself, of the registered pipeline."""
        return self.pipeline.predict_proba(table[FEATURES].astype({"SIZE": "object"}))[:, 1]


@pytest.fixture(scope="module")
def second(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Swapped]:
    life = live("tumours", demo.workspace, tmp_path_factory)
    with signed_in(life.team.workspace):
        pipeline = mlflow.sklearn.load_model(CHAMPION)
        yield Swapped(life, pipeline, life.first_run("diabetes_model_training"))


def measure(actual: pd.Series, predicted: np.ndarray) -> dict[str, float]:
    """The metrics of that science, as scikit-learn has them."""
    return {
        "log_loss": log_loss(actual, predicted),
        "brier": brier_score_loss(actual, predicted),
        "roc_auc": roc_auc_score(actual, predicted),
    }


def test_the_gate_passes_by_the_metrics_of_its_science(second: Swapped) -> None:
    raw = second.read("data_raw.csv")
    is_held_out = [
        int.from_bytes(sha256(str(case).encode()).digest()[:8], "big") / 2**64 < 0.2 for case in raw["CASE"]
    ]
    train, holdout = raw[~np.array(is_held_out)], raw[is_held_out]
    share = np.full(len(holdout), train["MALIGNANT"].mean())
    run, logged = second.training, second.training.data.metrics

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
    assert re.search(r"alias +champion", second.life.printed["train"])


def test_the_report_has_the_pictures_of_a_classifier(second: Swapped) -> None:
    run_id = second.training.info.run_id
    plots = {Path(item.path).name for item in MlflowClient().list_artifacts(run_id, "plots")}
    page = mlflow.artifacts.load_text(f"runs:/{run_id}/report.html")

    assert plots == {"features.png", "calibration.png", "roc.png", "importance.png"}
    assert page.count('src="data:image/png') == 3
    assert all(text in page for text in ("log_loss", "roc_auc", "SIZE=medium")) and "rmse" not in page


def test_the_page_of_a_training_shows_each_trial_of_its_search_on_one_line(second: Swapped) -> None:
    address = re.search(r"^Run \d+ of .*: (http\S+)$", second.life.printed["train"], re.MULTILINE)[1]
    sign_in = {"Authorization": f"Bearer {second.life.team.workspace.profile['token']}"}

    page = requests.get(address, headers=sign_in, timeout=30).text

    assert "fitting 2 trials, 5 folds each, in the Spark workers" in page
    assert re.search(
        r"trial 1 of 2: penalty 0\.6, balanced False, .*\ntrial 2 of 2: penalty .*\nbest of 2 trials", page
    )


def test_a_folder_of_a_volume_is_scored_and_what_is_wrong_in_it_set_aside(second: Swapped) -> None:
    counts = r"rows_in +170\n.*rows_scored +167\n.*rows_rejected +3\n"

    assert re.search(counts, second.life.printed["score"], re.DOTALL)
    assert Counter(second.life.table["columns"]["WARD"]) == {None: 18, "east": 149}


def test_every_case_is_scored_with_its_probability(second: Swapped) -> None:
    readable = second.read("data_batch_input.csv").iloc[2:]
    predictions = second.life.table["columns"]["prediction"]

    assert predictions == pytest.approx(second.probabilities(readable), rel=1e-9)


def test_the_model_gives_the_same_as_a_python_function(second: Swapped) -> None:
    readable = second.read("data_batch_input.csv").iloc[2:]

    given = mlflow.pyfunc.load_model(CHAMPION).predict(readable[FEATURES].astype({"WORST_AREA": "float64"}))

    assert given[:, 1] == pytest.approx(second.probabilities(readable))


def test_monitoring_measures_the_true_error_by_the_same_metrics(second: Swapped) -> None:
    rows = second.read("data_batch_input.csv").iloc[2:].merge(second.read("labels.csv"), on="CASE")
    logged = second.life.first_run("diabetes_monitoring").data.metrics

    expected = measure(rows["MALIGNANT"], second.probabilities(rows))

    assert {name: logged[f"true_{name}"] for name in expected} == pytest.approx(expected)
    holdout = second.training.data.metrics["log_loss"]
    assert logged["log_loss_ratio"] == pytest.approx(expected["log_loss"] / holdout)
    assert re.search(r"true error +log_loss 0\.\d+ of version 1 on 167 rows", second.life.printed["monitor"])


def test_the_versions_are_listed_with_their_own_metrics(second: Swapped) -> None:
    listed = second.life.printed["models"]

    assert re.search(r"aliases +log_loss +brier +roc_auc +gate", listed)
    assert "rmse" not in listed
