"""Reads, screens and scores a batch once, into a table of the run's own: nothing is published yet."""

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce

from diabetes.columns import SchemaError
from diabetes.drift import PREDICTION, Counts
from diabetes.schema import COLUMNS, ID
from pyspark.sql import Column, DataFrame, SparkSession
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    LongType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from diabetes_mlops import storage, telemetry
from diabetes_mlops.models import LoadedModel
from diabetes_mlops.sources import quote, quote_name
from diabetes_mlops.worker import (
    BROKEN_LINE,
    DIGEST,
    LINES,
    REASONS,
    ROW,
    TALLY,
    Scorer,
    Tally,
    read_tally,
    shows_distinct_ids,
)

# Names that a staged row has already.
_STAGED = (ID, PREDICTION, REASONS, ROW, TALLY, DIGEST, *LINES)


class RowCountError(RuntimeError):
    """The rows written are not the rows read."""


@dataclass(frozen=True)
class StagedBatch:
    """A batch that was read and scored, and what is known about it.

    `rows` has ID, prediction, reasons (null where the row was scored), row (as found, as a JSON object) and
    the carried columns. `digest` is the same for the same rows in whatever order. `counts` are the scored
    rows in the bins of the model's profile; rows that repeat an ID are still among them.
    """

    rows: DataFrame
    rows_in: int
    digest: str
    rejected: int
    counts: Counts | None

    @property
    def scored_rows(self) -> DataFrame:
        """The rows that have a prediction."""
        return self.rows.where(F.col(REASONS).isNull())

    @property
    def rejected_rows(self) -> DataFrame:
        """The rows that have none."""
        return self.rows.where(F.col(REASONS).isNotNull())


def check_columns(
    found: DataFrame, features: list[str], carried: tuple[str, ...], *, taken: Iterable[str] = ()
) -> None:
    """Raise one SchemaError that lists every column that is missing, of a wrong type, or in the way.

    The columns of a CSV have no type yet: each of its values is looked at instead. A carried column must not
    have one of the `taken` names, which the output has itself.
    """
    types = {field.name: field.dataType for field in found.schema if field.name not in LINES}
    missing = [name for name in (ID, *features, *carried) if name not in types]
    problems = [f"missing columns {missing}"] if missing else []
    if BROKEN_LINE not in found.columns:
        problems += [
            f"{name} is {types[name].simpleString()}, not {_wanted(name)}"
            for name in (ID, *features)
            if name in types and not _fits(name, types[name])
        ]
    reserved = {name.lower() for name in (*_STAGED, *taken)}
    if in_the_way := [name for name in carried if name.lower() in reserved]:
        problems.append(f"columns {in_the_way} cannot be carried: the output has columns of these names")
    if problems:
        raise SchemaError(f"{'; '.join(problems)}; the table has {list(types)}")


def check_carried(found: DataFrame, carried: tuple[str, ...], table: str) -> None:
    """Raise SchemaError when the output table has a carried column already, with another type."""
    spark = found.sparkSession
    if not (carried and spark.catalog.tableExists(table)):
        return
    present = {name.lower(): kind for name, kind in spark.table(quote_name(table)).dtypes}
    kinds = {name: kind for name, kind in _prepare(found).dtypes if name in carried}
    other = [
        f"{name} is {kind}, and {present[name.lower()]} in the table"
        for name, kind in kinds.items()
        if present.get(name.lower(), kind) != kind
    ]
    if other:
        raise SchemaError(f"columns cannot be carried into {table}: {'; '.join(other)}")


@contextmanager
def staging(
    found: DataFrame, model: LoadedModel, carried: tuple[str, ...], *, table: str, run_id: str
) -> Iterator[StagedBatch]:
    """Stage a batch, and remove what was staged on the way out; `table` is where it is to be published.

    Raises RowCountError unless each row read was staged.
    """
    spark = found.sparkSession
    columns = _staged_columns(found, carried)
    staged = storage.create_staging_table(spark, table, run_id, columns)
    try:
        scorer = Scorer(
            pickle.dumps(model.pipeline), model.profile, carried, is_text=BROKEN_LINE in found.columns
        )
        tallies, counts = _stage(found, scorer, columns, staged)
        rows = _staged_rows(spark, staged)
        if not shows_distinct_ids(tallies) and (repeated := _find_repeated(rows)) is not None:
            # Rows that are set aside need the row as it was found, and only now it is known which ones are.
            digest = _digest_of(tallies)
            tallies, counts = _stage(found, replace(scorer, keep_rows=True), columns, staged)
            if _digest_of(tallies) != digest:
                raise RowCountError("the input changed while it was read; run the job again")
            # `repeated` is not a result yet: it looks into the table as it is now.
            rows = _reject_repeated(_staged_rows(spark, staged), repeated)
        yield _look_over(rows, tallies, counts)
    finally:
        storage.drop_table(spark, staged)


def _stage(
    found: DataFrame, scorer: Scorer, columns: StructType, staged: str
) -> tuple[list[Tally], Counts | None]:
    """Fill the staging table; returns the tally of each task, and the counts of all."""
    rows = _prepare(found).mapInArrow(scorer, columns)
    with telemetry.step("stage"):
        rows.write.format("delta").mode("overwrite").saveAsTable(quote_name(staged))
    texts = found.sparkSession.table(quote_name(staged)).where(f"{TALLY} IS NOT NULL").select(TALLY).collect()
    tallies = [read_tally(row[TALLY]) for row in texts]
    counted = [counts for _, counts in tallies if counts is not None]
    nothing = scorer.profile.nothing() if scorer.profile else None
    counts = None if nothing is None else reduce(lambda one, other: one + other, counted, nothing)
    return [tally for tally, _ in tallies], counts


def _prepare(found: DataFrame) -> DataFrame:
    """Add a digest of each row; types that Arrow or the digest do not have become text."""
    ready = found.select(*[_simplified(field).alias(field.name) for field in found.schema])
    names = sorted(ready.columns)
    # The places between the columns tell a value from the same value one column further.
    parts = [part for place, name in enumerate(names) for part in (F.lit(place), F.col(quote(name)))]
    return ready.withColumn(DIGEST, F.xxhash64(*parts))


def _look_over(rows: DataFrame, tallies: list[Tally], counts: Counts | None) -> StagedBatch:
    staged, rejected = rows.agg(F.count("*"), F.count(REASONS)).collect()[0]
    rows_in = sum(tally.rows for tally in tallies)
    if staged != rows_in:
        raise RowCountError(f"{rows_in} rows read, but {staged} staged")
    return StagedBatch(rows, rows_in, _digest_of(tallies), rejected, counts)


def _digest_of(tallies: list[Tally]) -> str:
    return str(sum(tally.digest for tally in tallies) % 2**64)


def _find_repeated(rows: DataFrame) -> DataFrame | None:
    """Give the IDs that are there more than once with how often, None where there are none."""
    times = (
        rows.where(F.col(ID).isNotNull()).groupBy(ID).agg(F.count("*").alias("_times")).where("_times > 1")
    )
    return None if times.isEmpty() else times


def _reject_repeated(rows: DataFrame, repeated: DataFrame) -> DataFrame:
    """Add a reason to every row whose ID another row has too: nobody can say which one is meant."""
    text = F.format_string(f"{ID} is repeated: %d is there %d times", F.col(ID), F.col("_times"))
    reasons = F.concat(F.coalesce(REASONS, F.array().cast("array<string>")), F.array(text))
    known = F.when(F.col("_times").isNull(), F.col(REASONS)).otherwise(reasons)
    return rows.join(repeated, ID, "left").withColumn(REASONS, known).drop("_times")


def _staged_rows(spark: SparkSession, staged: str) -> DataFrame:
    return spark.table(quote_name(staged)).where(f"{TALLY} IS NULL").drop(TALLY)


def _staged_columns(found: DataFrame, carried: tuple[str, ...]) -> StructType:
    kinds = {field.name: field.dataType for field in _prepare(found).schema}
    own = {ID: LongType(), PREDICTION: DoubleType(), REASONS: ArrayType(StringType()), ROW: StringType()}
    columns = own | {name: kinds[name] for name in carried} | {TALLY: StringType()}
    return StructType([StructField(name, kind) for name, kind in columns.items()])


def _simplified(field: StructField) -> Column:
    value = F.col(quote(field.name))
    if isinstance(field.dataType, BinaryType):
        return F.base64(value)
    # A timestamp without a zone becomes text: Delta tables do not have the type unless asked for.
    simple = (NumericType, StringType, BooleanType, DateType, TimestampType)
    return value if isinstance(field.dataType, simple) else value.cast("string")


def _fits(name: str, kind: DataType) -> bool:
    return isinstance(kind, StringType if COLUMNS[name].kind == "category" else NumericType)


def _wanted(name: str) -> str:
    return "a text" if COLUMNS[name].kind == "category" else "a number"
