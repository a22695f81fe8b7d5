"""What the benchmarks share: a Spark like a cluster's, data, a model, and how figures are shown."""

import json
import os
import platform
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import partial
from importlib.metadata import version
from pathlib import Path
from typing import Any

import mlflow
import numpy as np
import pandas as pd
import psutil
import pyarrow as pa
import pyarrow.parquet as pq
from diabetes import PROBLEM
from diabetes_mlops import batch_score, train
from diabetes_mlops.runs.settings import ScoringSettings, TrainingSettings
from lightgbm import LGBMRegressor
from pyspark.sql import SparkSession
from sklearn.ensemble import GradientBoostingRegressor
from sklearn.pipeline import Pipeline

ROOT = Path(__file__).resolve().parents[1]
LABELLED = ROOT / "ml_data" / "data_raw.csv"
ROWS_A_FILE = 1_000_000
MODEL = "spark_catalog.bench.diabetes"
TABLE = "spark_catalog.bench.scored"
# The models that can be measured: the sample's, and two in its place.
MODELS = ("linear", "gradient boosting", "lightgbm")
PACKAGES = ("pyspark", "mlflow", "scikit-learn", "pandas", "numpy", "pyarrow")


@dataclass(frozen=True)
class Bench:
    """A workplace of one benchmark: a folder, a warm Spark, a model in a registry."""

    folder: Path
    spark: SparkSession
    server: int

    def score(self, source: Path, table: str = TABLE) -> dict[str, Any]:
        """Run the scoring job, whole."""
        widgets = {
            "data_root": str(self.folder),
            "input_data": source.as_uri(),
            "output_table": table,
            "experiment_name": "/bench",
            "model_name": MODEL,
            "batch_id": "bench",
        }
        return batch_score.run(self.spark, ScoringSettings.from_widgets(widgets, PROBLEM), PROBLEM)


@contextmanager
def open_bench(model: str = "linear", spark: str = "connect") -> Iterator[Bench]:
    """Start Spark as the local workspace does, train a model, and clean up on the way out.

    `spark` is the Spark that a cluster has: `connect` with standard access mode, `classic` with dedicated.
    """
    from local_workspace.callers import USER_NAME
    from local_workspace.spark.access_modes import DEDICATED, STANDARD
    from local_workspace.spark.cluster import SparkCluster

    with tempfile.TemporaryDirectory(prefix=".benchmark-", dir=ROOT) as name:
        folder = Path(name)
        for part in ("dbfs", "volumes"):
            (folder / part).mkdir()
        cluster = SparkCluster(folder / "spark", folder / "dbfs", folder / "volumes", folder / "spark.log")
        try:
            cluster.start()
            cluster.ensure_running()
            mode = DEDICATED if spark == "classic" else STANDARD
            with cluster.attached(mode, "bench", USER_NAME, folder) as of_mode:
                os.environ |= of_mode or cluster.environment
                session = _open_session()
                _train(folder, session, model)
                yield Bench(folder, session, int((folder / "spark" / "server.pid").read_text().split()[0]))
                session.stop()  # else its client asks a Spark that has ended, on Connect for minutes
        finally:
            cluster.stop()


class Meter:
    """Measures the processor seconds that this process, Spark's server and its workers use for a way."""

    def __init__(self, server: int) -> None:
        self.used: dict[str, list[float]] = {}
        self._roots = [psutil.Process(), psutil.Process(server)]

    def run(self, name: str, way: Callable[[], object]) -> None:
        """Run a way, and keep under its name what it used."""
        before = self._total()
        way()
        self.used.setdefault(name, []).append(round(self._total() - before, 3))

    def _total(self) -> float:
        server = self._roots[1]
        # The workers' parent has those among its own times that have ended.
        return sum(sum(each.cpu_times()[:4]) for each in (*self._roots, *server.children(recursive=True)))


def write_rows(folder: Path, rows: int) -> Path:
    """Write that many rows to score, drawn from the labelled ones and varied a little, as Parquet files."""
    folder.mkdir()
    table = pd.read_csv(LABELLED).drop(columns=PROBLEM.schema.label.name)
    random = np.random.default_rng(0)
    for start in range(0, rows, ROWS_A_FILE):
        count = min(ROWS_A_FILE, rows - start)
        drawn = table.iloc[random.integers(len(table), size=count)].reset_index(drop=True)
        drawn[PROBLEM.schema.key.name] = np.arange(start + 1, start + count + 1)
        for name in (column.name for column in PROBLEM.schema.features if column.kind == "number"):
            drawn[name] = drawn[name] * random.uniform(0.995, 1.005, count)
        file = folder / f"part-{start // ROWS_A_FILE:04}.parquet"
        pq.write_table(pa.Table.from_pandas(drawn, preserve_index=False), file)
    return folder


def alternate(
    ways: Mapping[str, Callable[[], object]], runs: int, idle_seconds: float = 0
) -> dict[str, list[float]]:
    """Run all ways in turn, `runs` times after one run to warm up; returns the seconds of each run.

    Before each there are `idle_seconds`, so that none pays for what another left to be done.
    """
    seconds: dict[str, list[float]] = {name: [] for name in ways}
    for run in range(runs + 1):
        for name, way in ways.items():
            time.sleep(idle_seconds)
            start = time.perf_counter()
            way()
            took = time.perf_counter() - start
            print(f"  {'warm-up' if run == 0 else f'run {run}'}  {name:32} {took:7.2f} s", flush=True)
            if run:
                seconds[name].append(took)
    return seconds


def medians(seconds: Mapping[str, list[float]]) -> dict[str, float]:
    """Give the median of each way's seconds."""
    return {name: round(statistics.median(values), 3) for name, values in seconds.items()}


def finish(figures: dict[str, Any]) -> None:
    """Print the machine, and all figures as the last line."""
    model = next(
        (line.split(":")[1].strip() for line in _cpu_lines() if line.startswith("model name")), "unknown"
    )
    memory = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES") / 2**30
    machine = {"cpu": model, "cores": os.cpu_count(), "memory_gib": round(memory, 1)}
    load = {"load_average_at_the_end": round(os.getloadavg()[1], 2)}
    versions = {"python": platform.python_version()} | {name: version(name) for name in PACKAGES}
    commit = subprocess.run(
        ["git", "rev-parse", "--short", "HEAD"], cwd=ROOT, capture_output=True, text=True, check=False
    ).stdout.strip()
    date = time.strftime("%Y-%m-%d")
    print(json.dumps(figures | machine | load | {"versions": versions, "date": date, "commit": commit}))


def _cpu_lines() -> list[str]:
    path = Path("/proc/cpuinfo")
    return path.read_text().splitlines() if path.exists() else []


def _open_session() -> SparkSession:
    """Open a session whose workers have the packages of this environment, which are installed as editable."""
    if remote := os.environ.get("SPARK_REMOTE"):
        session = SparkSession.builder.remote(remote).getOrCreate()
        session.conf.set("spark.sql.execution.pyspark.python", sys.executable)
        return session
    from local_workspace.spark import classic

    session = classic.open_session()
    session.sparkContext.pythonExec = sys.executable
    return session


def _train(folder: Path, spark: SparkSession, model: str) -> None:
    problem = replace(PROBLEM, make_pipeline=partial(_make_pipeline, model), trusted=("lightgbm",))
    for set_uri in (mlflow.set_tracking_uri, mlflow.set_registry_uri):
        set_uri(f"sqlite:///{folder}/mlflow.db")
    mlflow.create_experiment("/bench", artifact_location=(folder / "artifacts").as_uri())
    widgets = {
        "training_data": LABELLED.as_uri(),
        "experiment_name": "/bench",
        "model_name": MODEL,
        "model_params": "alpha=0.5",
    }
    train.run(spark, TrainingSettings.from_widgets(widgets, problem), problem)


def _make_pipeline(model: str, alpha: float) -> Pipeline:
    """Make the sample's pipeline, with another last step where one is asked for."""
    pipeline = PROBLEM.make_pipeline(alpha=alpha)
    if model != "linear":
        last = LGBMRegressor(verbose=-1, n_jobs=1) if model == "lightgbm" else GradientBoostingRegressor()
        pipeline.steps[-1] = ("regress", last)
    return pipeline
