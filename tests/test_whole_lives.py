"""Sciences of other shapes live a whole life by Make, and none of the code beside theirs is touched."""

import re

import pandas as pd
import pytest
from lives import FOLDER, SCIENCES, Life, live

pytestmark = pytest.mark.filterwarnings("ignore")


@pytest.fixture(scope="module", params=SCIENCES)
def life(request: pytest.FixtureRequest, demo, tmp_path_factory: pytest.TempPathFactory) -> Life:
    return live(request.param, demo.workspace, tmp_path_factory)


def test_the_science_and_the_data_are_all_that_is_replaced(life: Life):
    modules = {path.name for path in (FOLDER / life.name).glob("*.py")} - {"make_data.py"}
    tables = {f"ml_data/{name}" for name in ("data_raw.csv", "data_batch_input.csv", "labels.csv")}

    assert life.changed == {f"ml_source/src/diabetes/{name}" for name in modules} | tables


def test_all_parameters_are_searched_together_and_the_first_version_passes_the_gate(life: Life):
    trials = [run for run in life.runs if run.info.run_name.startswith("trial ")]
    training = life.first_run("diabetes_model_training")

    assert len(trials) == 2
    tried = [{name: run.data.params[name] for name in life.science.searched} for run in trials]
    drawn = [name for name in life.science.searched if name not in ("boosting", "balanced")]
    assert all(tried[0][name] != tried[1][name] for name in drawn)
    assert {name: training.data.params[name] for name in life.science.searched} in tried
    assert re.search(r"^ *alias +champion$", life.printed["train"], re.MULTILINE)


def test_each_row_is_scored_or_set_aside_with_its_reason(life: Life):
    rows = pd.read_csv(life.data / "data_batch_input.csv")
    reasons = life.science.reasons

    assert re.search(rf"rows_scored +{life.science.scored}\n", life.printed["score"])
    assert re.search(rf"rows_rejected +{len(reasons)}\n", life.printed["score"])
    assert life.table["columns"][life.science.key] == sorted(rows[life.science.key].tolist()[2:])
    assert life.table["types"].items() >= life.science.columns.items()
    assert all(any(reason in told for told in life.table["reasons"]) for reason in reasons)


def test_the_true_error_is_known_where_labels_have_come(life: Life):
    monitored, rows = life.first_run("diabetes_monitoring"), life.science.scored

    assert monitored.data.metrics["rows_labelled"] == rows
    assert f"true_{life.science.metric}" in monitored.data.metrics
    assert re.search(
        rf"true error +{life.science.metric} [0-9.]+ of version 1 on {rows} rows", life.printed["monitor"]
    )


def test_a_version_is_promoted_scored_with_and_taken_back(life: Life):
    assert "is the champion" in life.printed["promote"] and "ersion 2" in life.printed["promote"]
    assert re.search(r"^ *model_version +2$", life.printed["score again"], re.MULTILINE)
    assert re.search(r"Version 1 is the champion of \S+ again", life.printed["rollback"])
    assert re.search(rf"aliases +{life.science.metric}", life.printed["models"])
