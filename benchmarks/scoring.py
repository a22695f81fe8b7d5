"""Measures batch scoring against MLflow's Spark UDF, against a floor, and against pandas on the driver.

All read the same Parquet files and predict with the same model: the sample's, which the job scores as SQL, or
another one. The UDF writes what people write with it, every column, and beside that what the job writes: the
ID, the prediction and the run. The job does more: it checks every row, finds repeated IDs, measures drift,
and publishes the batch as a whole. It runs once more without the SQL, as it does for every other model. Few
rows, up to 50,000, it scores on the driver.
"""

import argparse
import shutil
import sys
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from pathlib import Path
from unittest.mock import patch

import mlflow.pyfunc
import mlflow.sklearn
import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
from bench import MODEL, MODELS, TABLE, Bench, Meter, alternate, finish, medians, open_bench, write_rows
from diabetes import PROBLEM
from pyspark.sql import functions as F
from sklearn.pipeline import Pipeline

ID, FEATURE_NAMES = PROBLEM.schema.key.name, PROBLEM.schema.feature_names
ALLOWED_DIFFERENCE = 1e-9
# The number of a run, as the rows of the job have it.
RUN = 2**59
LABELS = {"model_name": MODEL, "model_version": "1", "batch_id": "bench", "run_id": "0" * 32}
BATCH_ROWS = 65_536


def score_with_udf(bench: Bench, source: Path) -> None:
    """Score with `mlflow.pyfunc.spark_udf` as people do: all columns and the prediction, as a Delta table."""
    udf = mlflow.pyfunc.spark_udf(bench.spark, f"models:/{MODEL}/1", result_type="double")
    rows = bench.spark.read.parquet(source.as_uri())
    scored = rows.withColumn("prediction", udf(*map(F.col, FEATURE_NAMES)))
    scored.write.format("delta").mode("overwrite").saveAsTable(f"{TABLE}_udf")


def score_with_udf_like_the_job(bench: Bench, source: Path) -> None:
    """Score with the UDF into a table as the job's: ID, prediction and run, statistics of the run alone."""
    udf = mlflow.pyfunc.spark_udf(bench.spark, f"models:/{MODEL}/1", result_type="double")
    rows = bench.spark.read.parquet(source.as_uri())
    run = F.lit(RUN).cast("bigint").alias("_run")
    scored = rows.select(run, ID, udf(*map(F.col, FEATURE_NAMES)).alias("prediction"))
    writer = scored.write.format("delta").option("delta.dataSkippingNumIndexedCols", 1)
    writer.mode("overwrite").saveAsTable(f"{TABLE}_udf_like_the_job")


def score_in_python(bench: Bench, source: Path) -> None:
    """Run the job as it is for a model that cannot be written as SQL."""
    where = "diabetes_mlops.data.staged_batch"
    with patch(f"{where}.find_scorer", return_value=None), patch(f"{where}.read_small", return_value=None):
        bench.score(source, f"{TABLE}_in_python")


def score_at_the_floor(model: Pipeline, source: Path, target: Path) -> None:
    """Score with nothing but pyarrow and the pipeline's own `predict`, in two threads; writes Parquet."""
    shutil.rmtree(target, ignore_errors=True)
    target.mkdir()

    def score_file(file: Path) -> None:
        writer = None
        for batch in pq.ParquetFile(file).iter_batches(BATCH_ROWS):
            table = _label(batch.column(ID), model.predict(batch.to_pandas()))
            writer = writer or pq.ParquetWriter(target / file.name, table.schema)
            writer.write_table(table)
        if writer:
            writer.close()

    with ThreadPoolExecutor(2) as pool:
        list(pool.map(score_file, sorted(source.glob("*.parquet"))))


def score_on_the_driver(model: Pipeline, source: Path, target: Path) -> None:
    """Score as the original sample did: one pandas table on the driver, one file at the end."""
    table = pq.read_table(source).to_pandas()
    table["prediction"] = model.predict(table[FEATURE_NAMES])
    pq.write_table(_label(pa.array(table[ID]), table["prediction"].to_numpy()), target)


def find_difference(bench: Bench, others: dict[str, Path | str]) -> float:
    """Give the largest difference of any prediction from the job's; infinite where a row is missing."""
    ours = bench.spark.table(TABLE).select(ID, F.col("prediction").alias("ours"))
    worst = 0.0
    for name, place in others.items():
        table = (
            bench.spark.table(place) if isinstance(place, str) else bench.spark.read.parquet(place.as_uri())
        )
        joined = ours.join(table.select(ID, "prediction"), ID, "full")
        apart = F.coalesce(F.abs(F.col("ours") - F.col("prediction")), F.lit(float("inf")))
        found = joined.agg(F.max(apart)).collect()[0][0]
        print(f"  largest difference from {name}: {found:.2g}", flush=True)
        worst = max(worst, found)
    return worst


def _label(ids: pa.Array, predictions: np.ndarray) -> pa.Table:
    columns = {ID: ids, "prediction": pa.array(predictions)}
    codes = pa.array(np.zeros(len(predictions), dtype=np.int32))
    labels = {
        name: pa.DictionaryArray.from_arrays(codes, pa.array([value])) for name, value in LABELS.items()
    }
    return pa.table(columns | labels)


def main() -> int:
    """Run the benchmark; returns 1 when the ways do not agree."""
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--rows", type=int, default=10_000_000)
    parser.add_argument("--runs", type=int, default=5)
    parser.add_argument("--model", choices=MODELS, default="linear")
    parser.add_argument("--spark", choices=("connect", "classic"), default="connect")
    options = parser.parse_args()
    with open_bench(options.model, options.spark) as bench:
        print(f"Writing {options.rows:,} rows", flush=True)
        source = write_rows(bench.folder / "rows", options.rows)
        model = mlflow.sklearn.load_model(f"models:/{MODEL}/1")
        floor, driver = bench.folder / "floor", bench.folder / "driver.parquet"
        ways = {
            "the job": partial(bench.score, source),
            "the job, in Python": partial(score_in_python, bench, source),
            "spark_udf": partial(score_with_udf, bench, source),
            "spark_udf into the job's layout": partial(score_with_udf_like_the_job, bench, source),
            "floor, 2 threads": partial(score_at_the_floor, model, source, floor),
            "pandas on the driver": partial(score_on_the_driver, model, source, driver),
        }
        if options.model != "linear":
            del ways["the job, in Python"]  # it is the job itself
        meter = Meter(bench.server)
        metered = {name: partial(meter.run, name, way) for name, way in ways.items()}
        seconds = medians(alternate(metered, options.runs))
        processor = medians({name: used[1:] for name, used in meter.used.items()})
        others = {
            "the job, in Python": f"{TABLE}_in_python",
            "spark_udf": f"{TABLE}_udf",
            "spark_udf into the job's layout": f"{TABLE}_udf_like_the_job",
            "floor, 2 threads": floor,
            "pandas on the driver": driver,
        }
        difference = find_difference(bench, {name: place for name, place in others.items() if name in ways})
    job = seconds["the job"]
    ratios = {name: round(value / job, 2) for name, value in seconds.items() if name != "the job"}
    print("\nTimes as fast as the others (above 1: the job is faster)")
    for name, ratio in ratios.items():
        print(f"  {name:32} {ratio:5.2f}   ({seconds[name]:.2f} s against {job:.2f} s)")
    finish(
        {
            "benchmark": "scoring",
            "model": options.model,
            "spark": options.spark,
            "rows": options.rows,
            "runs": options.runs,
            "median_seconds": seconds,
        }
        | {"median_processor_seconds": processor, "times_as_fast_as": ratios}
        | {"largest_difference": difference}
    )
    if difference > ALLOWED_DIFFERENCE:
        print(f"predictions differ by {difference}, more than {ALLOWED_DIFFERENCE}", file=sys.stderr)
        return 1
    return 0


if __name__ == "__main__":
    sys.exit(main())
