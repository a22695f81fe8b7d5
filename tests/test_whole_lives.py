"""Sciences of other shapes live a whole life by Make: trained, judged, scored, watched and taken back."""

import io
import re
import shutil
import subprocess
import sys
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pandas as pd
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from test_deployments import Team, make_checkout
from workspace_under_test import ROOT

SCIENCES = Path(__file__).parent / "sciences"
pytestmark = pytest.mark.filterwarnings("ignore")


@dataclass(frozen=True)
class Science:
    """What is told apart between the sciences, and what comes of their tables."""

    key: str
    label: str
    first: str
    second: str
    searched: tuple[str, ...]
    scored: int
    reasons: tuple[str, ...]
    metric: str
    columns: dict[str, str]


WINE = Science(
    key="BOTTLE",
    label="CULTIVAR",
    first="trees=40 rate=0.2 search_trials=2",
    second="trees=80",
    searched=("trees", "leaves", "rate", "boosting"),
    scored=36,
    reasons=("HUE is unknown", "ALCOHOL is outside 5 to 25"),
    metric="log_loss",
    columns={
        "BOTTLE": "bigint",
        "prediction": "string",
        "probability": "double",
        "probabilities": "map<string,double>",
    },
)
HOUSES = Science(
    key="PARCEL",
    label="PRICE",
    first="trees=150 search_trials=2 search_on=workers",
    second="trees=100 depth=4",
    searched=("trees", "depth", "rate"),
    scored=98,
    reasons=("SOLD is not a date", "DISTRICT is unknown"),
    metric="mae",
    columns={"PARCEL": "string", "prediction": "double"},
)
ALL = {"wine": WINE, "houses": HOUSES}


@dataclass
class Life:
    """What each command printed, and what is left of it."""

    name: str
    science: Science
    team: Team
    printed: dict[str, str] = field(default_factory=dict)
    changed: set[str] = field(default_factory=set)
    table: dict[str, Any] = field(default_factory=dict)
    runs: list[Run] = field(default_factory=list)

    def make(self, moment: str, *arguments: str) -> None:
        here = (
            *("CATALOG=spark_catalog", f"SCHEMA={self.name}", f"SECRET_SCOPE={self.name}"),
            *(f"WORKSPACE_FOLDER=/Shared/{self.name}", f"EXPERIMENT=/Shared/{self.name}/experiment"),
            f"DATA_ROOT=dbfs:/{self.name}/data",
        )
        self.printed[moment] = self.team.make(*arguments, *here)


def replace_science(checkout: Path, name: str) -> set[str]:
    """Puts a science's modules and tables over those of a checkout; gives the files that differ."""
    subprocess.run(["git", "add", "--all"], cwd=checkout, check=True)
    for module in (SCIENCES / name).glob("*.py"):
        if module.name != "make_data.py":
            shutil.copy2(module, checkout / "ml_source" / "src" / "diabetes" / module.name)
    subprocess.run([sys.executable, SCIENCES / name / "make_data.py", checkout / "ml_data"], check=True)
    changed = ["git", "diff", "--name-only"]
    found = subprocess.run(changed, cwd=checkout, check=True, capture_output=True, text=True).stdout
    return set(found.split())


@pytest.fixture(scope="module", params=ALL)
def life(request: pytest.FixtureRequest, demo, tmp_path_factory: pytest.TempPathFactory) -> Life:
    name, workspace = request.param, demo.workspace
    checkout = make_checkout(tmp_path_factory.mktemp(name) / "checkout")
    shutil.copytree(ROOT / "ml_data", checkout / "ml_data")
    life = Life(name, ALL[name], Team(workspace, checkout, "staging"))
    life.changed = replace_science(checkout, name)
    workspace.delete_jobs("[staging] ")
    for target in ("databricks-init", "databricks-upload-data", "deploy"):
        life.make(target, target)
    labels = io.BytesIO((checkout / "ml_data" / "labels.csv").read_bytes())
    workspace.client.dbfs.upload(f"dbfs:/{name}/data/labels.csv", labels)
    life.make("train", "run-diabetes-model-training", f"PARAMS={life.science.first}")
    life.make("score", "run-diabetes-batch-scoring")
    life.make("monitor", "run-diabetes-monitoring", "PARAMS=labels_data=labels.csv")
    second = f"PARAMS={life.science.second} promotion=manual margin=1000"
    life.make("train again", "run-diabetes-model-training", second)
    life.make("promote", "promote", "VERSION=2")
    life.make("score again", "run-diabetes-batch-scoring")
    life.make("rollback", "rollback")
    life.make("models", "models")
    life.table = workspace.run_cells(
        f'scored, rejected = (spark.table("{name}.diabetes_scored" + end) for end in ("", "_rejected"))',
        "import json",
        "reasons = [reason for row in rejected.collect() for reason in row.reasons]",
        f'keys = [row["{life.science.key}"] for row in scored.collect()]',
        'told = {"types": dict(scored.dtypes), "keys": keys, "reasons": reasons}',
        "dbutils.notebook.exit(json.dumps(told))",
    )
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", workspace.profile["token"])
        before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
        mlflow.set_tracking_uri(workspace.profile["host"])
        client = MlflowClient()
        experiment = client.get_experiment_by_name(f"/Shared/{name}/experiment").experiment_id
        life.runs = list(client.search_runs([experiment], order_by=["attributes.start_time"]))
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])
    return life


def test_the_science_and_the_data_are_all_that_is_replaced(life: Life):
    science = {
        f"ml_source/src/diabetes/{name}.py" for name in ("__init__", "schema", "training", "evaluation")
    }
    tables = {"ml_data/data_raw.csv", "ml_data/data_batch_input.csv"}

    assert life.changed <= science | tables


def test_all_parameters_are_searched_together_and_the_first_version_passes_the_gate(life: Life):
    trials = [run for run in life.runs if run.info.run_name.startswith("trial ")]
    training = next(run for run in life.runs if run.info.run_name == "diabetes_model_training")

    assert len(trials) == 2
    tried = [{name: run.data.params[name] for name in life.science.searched} for run in trials]
    assert all(tried[0][name] != tried[1][name] for name in life.science.searched if name != "boosting")
    assert {name: training.data.params[name] for name in life.science.searched} in tried
    assert re.search(r"^ *alias +champion$", life.printed["train"], re.MULTILINE)


def test_each_row_is_scored_or_set_aside_with_its_reason(life: Life):
    rows = pd.read_csv(life.team.checkout / "ml_data" / "data_batch_input.csv")
    keys = life.table["keys"]

    assert re.search(rf"rows_scored +{life.science.scored}\n", life.printed["score"])
    assert re.search(r"rows_rejected +2\n", life.printed["score"])
    assert sorted({*keys}) == sorted(rows[life.science.key].tolist()[2:])
    assert life.table["types"].items() >= life.science.columns.items()
    assert all(any(reason in told for told in life.table["reasons"]) for reason in life.science.reasons)


def test_the_true_error_is_known_where_labels_have_come(life: Life):
    monitored = next(run for run in life.runs if run.info.run_name == "diabetes_monitoring")
    rows = life.science.scored

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
