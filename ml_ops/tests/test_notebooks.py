"""The notebooks run from the first cell to the exit value with the versions of the runtime."""

import json
import os
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pandas as pd
import pytest

NOTEBOOKS = Path(__file__).parents[1] / "orchestrator"


class Widgets(dict[str, str]):
    """The widgets of a notebook: those that the job gives keep their values."""

    def text(self, name: str, default: str, _: str) -> None:
        self.setdefault(name, default)

    def dropdown(self, name: str, default: str, choices: list[str], _: str) -> None:
        assert self.setdefault(name, default) in choices


def run_notebook(name: str, spark: Any, parameters: dict[str, str]) -> dict[str, Any]:
    """Run the cells of a notebook but for `%pip`, as whose outcome the tests run; give its exit value."""
    exits: list[str] = []
    dbutils = SimpleNamespace(
        widgets=Widgets(parameters),
        library=SimpleNamespace(restartPython=lambda: None),
        notebook=SimpleNamespace(exit=exits.append),
    )
    source = (NOTEBOOKS / f"diabetes_orchestrator_{name}.py").read_text()
    exec(compile(source, name, "exec"), {"spark": spark, "dbutils": dbutils})
    (value,) = exits
    found: dict[str, Any] = json.loads(value)
    return found


@pytest.mark.parametrize("name", ["train", "deploy", "batch_score", "monitor"])
@pytest.mark.parametrize("empty", ["", "  "])
def test_a_notebook_without_its_wheels_says_which_widget_to_fill_in(name: str, empty: str):
    with pytest.raises(AssertionError, match="wheel_dir must not be empty"):
        run_notebook(name, None, {"wheel_dir": empty})


@pytest.mark.skipif(
    "TEST_RUNTIME" not in os.environ, reason="for make test-runtime; else the local workspace runs them"
)
def test_the_notebooks_train_score_and_monitor(make_jobs, spark):
    jobs = make_jobs("notebooks")
    data = Path(__file__).parents[2] / "ml_data"
    common = {"data_root": str(data), "experiment_name": "/tests/notebooks", "wheel_dir": "dist"}

    training = {"training_data": "data_raw.csv", "model_name": jobs.model_name}
    trained = run_notebook("train", spark, common | training)
    scoring = {
        "input_data": "data_batch_input.csv",
        "model_name": jobs.model_name,
        "output_table": jobs.table,
    }
    scored = run_notebook("batch_score", spark, common | scoring)
    monitored = run_notebook("monitor", spark, common | {"output_table": jobs.table})

    assert trained["alias"] == "champion"
    rows = len(pd.read_csv(data / "data_batch_input.csv"))
    assert scored["rows_in"] == scored["rows_scored"] + scored["rows_rejected"] == rows
    assert monitored["rows_scored"] == scored["rows_scored"] > 0
