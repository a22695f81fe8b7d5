"""Reads a small batch to the driver and scores it there, for which Spark starts no Python worker."""

import io
import re
from contextlib import redirect_stdout

import pyarrow as pa
from pyspark.sql import DataFrame, SparkSession

# What the driver scores in a second, and holds many times.
MOST_ROWS = 50_000
MOST_BYTES = 16 * 1024**2
_ESTIMATE = re.compile(r"sizeInBytes=([\d.E+]+) (\w+)")
_UNITS = {unit: 1024**power for power, unit in enumerate(("B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB"))}


def read_small(prepared: DataFrame) -> pa.Table | None:
    """Read the rows of a batch to the driver; None where they are many or large, or where nobody knows."""
    if _estimate_bytes(prepared) > MOST_BYTES:
        return None
    rows = prepared.limit(MOST_ROWS + 1).toArrow()
    # Files may be a fraction of what is in them.
    is_small = rows.num_rows <= MOST_ROWS and rows.nbytes <= 2 * MOST_BYTES
    return _with_zone(rows, prepared.sparkSession) if is_small else None


def _with_zone(rows: pa.Table, spark: SparkSession) -> pa.Table:
    """Have times told in the zone of the session, as its workers have them."""
    if not any(pa.types.is_timestamp(field.type) for field in rows.schema):
        return rows
    told = pa.timestamp("us", spark.conf.get("spark.sql.session.timeZone"))
    kinds = [(field.name, told if pa.types.is_timestamp(field.type) else field.type) for field in rows.schema]
    return rows.cast(pa.schema(kinds))


def _estimate_bytes(rows: DataFrame) -> float:
    """Ask Spark how large it takes some rows to be, before it reads any."""
    with redirect_stdout(io.StringIO()) as told:
        rows.explain(mode="cost")
    estimate = _ESTIMATE.search(told.getvalue())
    return float(estimate[1]) * _UNITS[estimate[2]] if estimate else float("inf")
