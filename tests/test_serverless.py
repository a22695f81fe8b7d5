"""The three jobs live a life on serverless compute, as staging and prod have it, on data in a volume."""

import re
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import pytest
from science import KEY, read_batch
from test_deployments import Team, make_checkout

FOLDER = "/Shared/serverless"
SETTINGS = (
    *("COMPUTE=serverless", "NAME_PREFIX=[serverless] ", "CATALOG=spark_catalog", "SCHEMA=serverless"),
    *(f"WORKSPACE_FOLDER={FOLDER}", f"EXPERIMENT={FOLDER}/experiment", "SECRET_SCOPE=serverless"),
)
JOBS = ("diabetes_model_training", "diabetes_batch_scoring", "diabetes_monitoring")


@dataclass
class Life:
    """What each command printed, and the jobs afterwards."""

    team: Team
    printed: dict[str, str] = field(default_factory=dict)
    jobs: dict[str, Any] = field(default_factory=dict)

    def make(self, *arguments: str) -> None:
        self.printed[arguments[0]] = self.team.make(*arguments)


@pytest.fixture(scope="module")
def life(demo, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Life]:
    checkout: Path = make_checkout(tmp_path_factory.mktemp("serverless") / "checkout")
    life = Life(Team(demo.workspace, checkout, "staging", settings=SETTINGS))
    (checkout / "ml_data").symlink_to(Path(__file__).parents[1] / "ml_data")
    for target in ("databricks-init", "databricks-upload-data", "deploy"):
        life.make(target)
    life.jobs = {
        job.settings.name.removeprefix("[serverless] "): job
        for job in demo.workspace.client.jobs.list(expand_tasks=True)
        if job.settings.name.startswith("[serverless] ")
    }
    for target in ("model-training", "batch-scoring", "monitoring"):
        life.make(f"run-diabetes-{target}")
    yield life
    demo.workspace.delete_jobs("[serverless] ")


def test_no_job_has_a_cluster_and_none_is_made(life: Life) -> None:
    assert set(life.jobs) >= set(JOBS)
    for job in life.jobs.values():
        assert not job.settings.job_clusters
        assert not [task for task in job.settings.tasks if task.existing_cluster_id or task.job_cluster_key]
    assert "luster" not in life.printed["databricks-init"].replace("CLUSTER_NAME", "")


def test_a_model_is_trained_and_every_row_is_scored(life: Life) -> None:
    assert re.search(r"^ *alias +champion$", life.printed["run-diabetes-model-training"], re.MULTILINE)
    rows = life.team.workspace.run_cells(
        "import json",
        'rows = spark.table("spark_catalog.serverless.diabetes_scored").toPandas()',
        f'dbutils.notebook.exit(json.dumps(sorted(rows["{KEY}"].tolist())))',
    )
    assert rows == sorted(read_batch().index.tolist())


def test_the_monitoring_has_seen_the_batch(life: Life) -> None:
    printed = life.printed["run-diabetes-monitoring"]

    assert re.search(r"^ *batches +1$", printed, re.MULTILINE), printed


def test_data_of_dbfs_is_refused_before_anything_is_uploaded(life: Life) -> None:
    printed = life.team.make("deploy", "DATA_ROOT=dbfs:/elsewhere", ok=False)

    assert "Error: serverless compute has no DBFS and no mounts" in printed
    assert "'dbfs:/elsewhere'" in printed and "Deploying" not in printed
