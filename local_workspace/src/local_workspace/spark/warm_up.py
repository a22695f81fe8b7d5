"""Has a new Spark do once what runs ask of it, so that the first of them finds its code loaded and compiled.

Started as `python -m local_workspace.spark.warm_up FOLDER`, which is emptied before and gone afterwards.
Asked to end, it finishes the step that it is at.
"""

import os
import shutil
import signal
import sys
import threading
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession
from pyspark.sql import functions as F

from local_workspace.spark import classic


def main(folder: Path) -> None:
    """Does one step after another, each on tables under `folder`."""
    stop = threading.Event()
    signal.signal(signal.SIGTERM, lambda *_: stop.set())
    shutil.rmtree(folder, ignore_errors=True)
    try:
        with _session() as spark:
            for step in _steps(spark, f"file:{folder}"):
                if stop.is_set():
                    break
                step()
    finally:
        shutil.rmtree(folder, ignore_errors=True)


@contextmanager
def _session() -> Iterator[SparkSession]:
    """A session on the Spark that the environment leads to; to stop that of Classic would stop all."""
    if classic.IS_HERE_BY in os.environ:
        yield classic.open_session()
        return
    spark = SparkSession.builder.remote(os.environ["SPARK_REMOTE"]).getOrCreate()
    try:
        yield spark
    finally:
        spark.stop()


def _steps(spark: SparkSession, folder: str) -> list[Callable[[], Any]]:
    csv, table = f"{folder}/csv", f"{folder}/table"
    rows = spark.range(100).select("id", (F.col("id") / 3).alias("value"), F.lit("a").alias("part"))

    def read() -> DataFrame:
        return spark.read.csv(csv, header=True, inferSchema=True)

    def score(batches: Iterable[pa.RecordBatch]) -> Iterable[pa.RecordBatch]:
        yield from batches

    def write(mode: str, **options: str) -> None:
        found = read()
        scored = found.mapInArrow(score, found.schema)
        scored.write.format("delta").mode(mode).options(**options).partitionBy("part").save(table)

    return [
        lambda: rows.write.csv(csv, header=True),
        lambda: read().toPandas(),
        lambda: spark.catalog.listDatabases(),
        lambda: write("append"),
        lambda: write("overwrite", replaceWhere="part = 'a'"),
        lambda: spark.read.format("delta").load(table).groupBy("part").agg(F.max("value")).collect(),
        lambda: spark.sql(f"DESCRIBE HISTORY delta.`{table}`").collect(),
    ]


if __name__ == "__main__":
    main(Path(sys.argv[1]))
