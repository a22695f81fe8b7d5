"""Sciences of other shapes live a whole life by Make: trained, judged, scored, watched and taken back."""

import io
import shutil
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import mlflow
import pytest
from mlflow import MlflowClient
from mlflow.entities import Run
from test_deployments import Team, git, make_checkout
from workspace_under_test import ROOT, WorkspaceUnderTest

FOLDER = Path(__file__).parent / "sciences"
NIGHT = "/Volumes/main/tumours/night"


@dataclass(frozen=True)
class Science:
    """What is told apart between the sciences, and what comes of their tables."""

    key: str
    first: str
    second: str
    searched: tuple[str, ...]
    scored: int
    reasons: tuple[str, ...]
    metric: str
    columns: dict[str, str]
    scoring: str = ""
    """What the first scoring is told; the second one scores what lies where the job looks by itself."""


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


TUMOURS = Science(
    key="CASE",
    first="penalty=0.6 search_trials=2 search_on=workers",
    second="penalty=2 balanced=true",
    searched=("penalty", "balanced"),
    scored=167,
    reasons=("SIZE is unknown: tiny", "SMOOTHNESS is outside 0 to 1: -1", "the line does not fit the header"),
    metric="log_loss",
    columns={"CASE": "bigint", "prediction": "double", "WARD": "string"},
    scoring=f"input_data={NIGHT} batch_id=night carry_columns=WARD",
)
WINE = Science(
    key="BOTTLE",
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
    first="trees=150 search_trials=2 search_on=workers",
    second="trees=100 depth=4",
    searched=("trees", "depth", "rate"),
    scored=98,
    reasons=("SOLD is not a date", "DISTRICT is unknown"),
    metric="mae",
    columns={"PARCEL": "string", "prediction": "double"},
)
SCIENCES = {"tumours": TUMOURS, "wine": WINE, "houses": HOUSES}


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
    """The oldest first."""

    @property
    def data(self) -> Path:
        return self.team.checkout / "ml_data"

    def make(self, moment: str, *arguments: str) -> None:
        here = (
            *("CATALOG=spark_catalog", f"SCHEMA={self.name}", f"SECRET_SCOPE={self.name}"),
            *(f"WORKSPACE_FOLDER=/Shared/{self.name}", f"EXPERIMENT=/Shared/{self.name}/experiment"),
            f"DATA_ROOT=dbfs:/{self.name}/data",
        )
        self.printed[moment] = self.team.make(*arguments, *here)

    def first_run(self, name: str) -> Run:
        return next(run for run in self.runs if run.info.run_name == name)


LIVES: dict[str, Life] = {}


def replace_science(checkout: Path, name: str) -> set[str]:
    """Puts a science's modules and tables over those of a checkout; gives the files that differ."""
    git(checkout, "add", "--all")
    git(checkout, "commit", "--message", "The template")
    for module in (FOLDER / name).glob("*.py"):
        if module.name != "make_data.py":
            shutil.copy2(module, checkout / "ml_source" / "src" / "diabetes" / module.name)
    subprocess.run([sys.executable, FOLDER / name / "make_data.py", checkout / "ml_data"], check=True)
    changed = ["git", "status", "--porcelain", "--untracked-files=all", "--no-renames"]
    found = subprocess.run(changed, cwd=checkout, check=True, capture_output=True, text=True)
    return {line[3:] for line in found.stdout.splitlines()}


@contextmanager
def signed_in(workspace: WorkspaceUnderTest) -> Iterator[MlflowClient]:
    """MLflow of this process, at the workspace."""
    before = mlflow.get_tracking_uri(), mlflow.get_registry_uri()
    with pytest.MonkeyPatch.context() as patch:
        patch.setenv("MLFLOW_TRACKING_TOKEN", workspace.profile["token"])
        for set_uri in (mlflow.set_tracking_uri, mlflow.set_registry_uri):
            set_uri(workspace.profile["host"])
        yield MlflowClient()
        mlflow.set_tracking_uri(before[0])
        mlflow.set_registry_uri(before[1])


def begin(name: str, workspace: WorkspaceUnderTest, folder: Path) -> Life:
    """A science in a checkout of its own, deployed, with its data and labels where the jobs look for them."""
    checkout = make_checkout(folder / "checkout")
    shutil.copytree(ROOT / "ml_data", checkout / "ml_data")
    life = Life(name, SCIENCES[name], Team(workspace, checkout, "staging"))
    life.changed = replace_science(checkout, name)
    workspace.delete_jobs("[staging] ")
    for target in ("databricks-init", "databricks-upload-data", "deploy"):
        life.make(target, target)
    labels = io.BytesIO((life.data / "labels.csv").read_bytes())
    workspace.client.dbfs.upload(f"dbfs:/{name}/data/labels.csv", labels)
    if NIGHT in life.science.scoring:
        upload_night(life.team)
    return life


def lead(life: Life) -> Life:
    life.make("train", "run-diabetes-model-training", f"PARAMS={life.science.first}")
    life.make("score", "run-diabetes-batch-scoring", f"PARAMS={life.science.scoring}")
    life.make("monitor", "run-diabetes-monitoring", "PARAMS=labels_data=labels.csv")
    life.table = life.team.workspace.run_cells(
        "import json",
        f'scored, rejected = (spark.table("{life.name}.diabetes_scored" + end) for end in ("", "_rejected"))',
        f'rows = scored.drop("scored_at").orderBy("{life.science.key}").collect()',
        "columns = {name: [row[name] for row in rows] for name in rows[0].asDict()}",
        "reasons = [reason for row in rejected.collect() for reason in row.reasons]",
        'told = {"types": dict(scored.dtypes), "columns": columns, "reasons": reasons}',
        "dbutils.notebook.exit(json.dumps(told))",
    )
    second = f"PARAMS={life.science.second} promotion=manual margin=1000"
    life.make("train again", "run-diabetes-model-training", second)
    life.make("promote", "promote", "VERSION=2")
    life.make("score again", "run-diabetes-batch-scoring")
    life.make("rollback", "rollback")
    life.make("models", "models")
    with signed_in(life.team.workspace) as client:
        experiment = client.get_experiment_by_name(f"/Shared/{life.name}/experiment").experiment_id
        life.runs = list(client.search_runs([experiment], order_by=["attributes.start_time"]))
    return life


def live(name: str, workspace: WorkspaceUnderTest, folders: pytest.TempPathFactory) -> Life:
    """The life of a science, which is led once for all tests that look at it."""
    if name not in LIVES:
        LIVES[name] = lead(begin(name, workspace, folders.mktemp(name)))
    return LIVES[name]
