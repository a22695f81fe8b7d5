"""Reads, screens and scores a batch once, into rows that nobody is shown yet."""

import pickle
from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass, replace
from functools import reduce
from typing import Any, Literal

import pyarrow as pa
import pyarrow.compute as pc
from diabetes.tabular.columns import Column as SchemaColumn
from diabetes.tabular.columns import Schema, SchemaError
from diabetes.tabular.drift import PREDICTION, Counts, Profile
from pyspark.sql import Column, DataFrame, GroupedData
from pyspark.sql import functions as F
from pyspark.sql.types import (
    ArrayType,
    BinaryType,
    BooleanType,
    DataType,
    DateType,
    DoubleType,
    MapType,
    NumericType,
    StringType,
    StructField,
    StructType,
    TimestampType,
)

from diabetes_mlops.data import delta_tables
from diabetes_mlops.data.native import (
    NativeScorer,
    OtherRowsError,
    digest_rows,
    find_scorer,
    halve,
    name_columns,
    put_together,
)
from diabetes_mlops.data.places import quote
from diabetes_mlops.data.reading import find_wrong_types
from diabetes_mlops.data.scored_tables import RUN, Output, Stage, open_stage
from diabetes_mlops.data.small_batch import read_small
from diabetes_mlops.data.worker import (
    BROKEN_LINE,
    DIGEST,
    LINES,
    PROBABILITIES,
    PROBABILITY,
    REASONS,
    ROW,
    TALLY,
    LoadedModel,
    Scorer,
    read_tally,
    shows_distinct_ids,
)
from diabetes_mlops.runs import telemetry
from diabetes_mlops.runs.telemetry import say

SAMPLE_ROWS = 10
# Names that a staged row has already.
_STAGED = (PREDICTION, REASONS, ROW, TALLY, DIGEST, RUN, *LINES)
# How a batch is scored: by expressions of Spark, by Spark's Python workers, or by the driver.
Way = Literal["sql", "python", "driver"]


class RowCountError(RuntimeError):
    """The rows written are not the rows read."""


@dataclass(frozen=True)
class StagedBatch:
    """A batch that was read and scored, and what is known about it.

    `rows` has key, the columns of `predicted_columns`, reasons (null where the row was scored), row (as
    found, as a JSON object) and the carried columns. `digest` is the same for the same rows in whatever
    order. `counts` are the scored rows in the bins of the model's profile; rows that repeat an ID are still
    among them. `has_distinct_ids` says that no ID was there twice as far as the tasks, each by itself, can
    tell; else nobody knows yet. Of the rows that were read, `rows_by_sql` were by expressions of Spark.
    `sample` are some of the scored rows, where they were read back already.
    """

    stage: Stage
    schema: Schema
    rows: DataFrame
    rows_in: int
    digest: str
    rejected: int
    counts: Counts | None
    has_distinct_ids: bool
    rows_by_sql: int = 0
    is_small: bool = False
    sample: list[dict[str, Any]] | None = None

    @property
    def way(self) -> Way:
        """How the rows were scored."""
        if self.is_small:
            return "driver"
        return "sql" if self.rows_by_sql else "python"

    def read_sample(self) -> list[dict[str, Any]]:
        """Read a few of the scored rows: their ID and what is predicted."""
        if self.sample is not None:
            return self.sample
        shown = map(quote, _sample_columns(self.schema))
        return [row.asDict() for row in self.scored_rows.limit(SAMPLE_ROWS).select(*shown).collect()]

    @property
    def scored_rows(self) -> DataFrame:
        """The rows that have a prediction."""
        return self.rows.where(F.col(REASONS).isNull())

    @property
    def rejected_rows(self) -> DataFrame:
        """The rows that have none."""
        return self.rows.where(F.col(REASONS).isNotNull())


def predicted_columns(schema: Schema) -> dict[str, DataType]:
    """Give the columns of a prediction with their types: of classes, a name and its numbers."""
    if not schema.classes:
        return {PREDICTION: DoubleType()}
    by_class = MapType(StringType(), DoubleType())
    return {PREDICTION: StringType(), PROBABILITY: DoubleType(), PROBABILITIES: by_class}


def check_predictions(scored: StructType, table: str, schema: Schema) -> None:
    """Raise SchemaError where scored rows have predictions of another kind than the schema's."""
    kinds = {field.name.lower(): field.dataType for field in scored}
    found, wanted = kinds.get(PREDICTION), predicted_columns(schema)[PREDICTION]
    if found is None or isinstance(found, StringType if schema.classes else NumericType):
        return
    raise SchemaError(
        f"{table} has predictions as {found.simpleString()}, and those of {schema.label.name} are "
        f"{wanted.simpleString()}; name another table with output_table"
    )


def check_columns(
    found: DataFrame, schema: Schema, carried: tuple[str, ...], *, taken: Iterable[str] = ()
) -> None:
    """Raise one SchemaError that lists every column that is missing, of a wrong type, or in the way.

    The columns of a CSV have no type yet: each of its values is looked at instead. A carried column must not
    have one of the `taken` names, which the output has itself.
    """
    types = {field.name: field.dataType for field in found.schema if field.name not in LINES}
    needed = [schema.key, *schema.features]
    missing = [name for name in (*(column.name for column in needed), *carried) if name not in types]
    problems = [f"missing columns {missing}"] if missing else []
    if BROKEN_LINE not in found.columns:
        problems += find_wrong_types(found, needed)
    key, reserved = schema.key.name.lower(), {name.lower() for name in (*_STAGED, *taken)}
    if key in reserved:
        problems.append(f"the key cannot be called {schema.key.name!r}: the output has a column of this name")
    if in_the_way := [name for name in carried if name.lower() in {key, *reserved}]:
        problems.append(f"columns {in_the_way} cannot be carried: the output has columns of these names")
    lowered = [name.lower() for name in carried]
    if twice := [name for name in carried if lowered.count(name.lower()) > 1]:
        problems.append(f"columns {twice} cannot be carried: the output takes a name once, in whatever case")
    if unfit := [name for name in carried if delta_tables.UNFIT.search(name)]:
        problems.append(
            f"columns {unfit} cannot be carried: a table takes no name with a space, a tab, a line break or "
            "one of ,;{}()= in it; rename them in the source"
        )
    if problems:
        raise SchemaError(f"{'; '.join(problems)}; the table has {list(types)}")


def check_carried(found: DataFrame, carried: tuple[str, ...], present: StructType, table: str) -> None:
    """Raise SchemaError when the output table has a carried column already, with another type."""
    if not (carried and present.fields):
        return
    kinds = {name: kind for name, kind in _prepare(found).dtypes if name in carried}
    if other := [f"{each} in the table" for each in delta_tables.list_other_types(kinds, present)]:
        raise SchemaError(f"columns cannot be carried into {table}: {'; '.join(other)}")


@contextmanager
def staging(
    found: DataFrame, model: LoadedModel, carried: tuple[str, ...], *, output: Output, run_id: str
) -> Iterator[StagedBatch]:
    """Stage a batch for an output, and remove on the way out what is not shown then.

    Raises RowCountError unless each row read was staged.
    """
    prepared = _prepare(found)
    columns = _staged_columns(prepared, model.schema, carried)
    stage = open_stage(found.sparkSession, output, run_id, columns)
    try:
        scorer = Scorer(
            model.schema,
            pickle.dumps(model.pipeline),
            tuple(found.columns),
            model.profile,
            carried,
            is_text=BROKEN_LINE in found.columns,
        )
        with telemetry.step("stage"):
            if (small := read_small(_by_place(prepared))) is not None:
                batch = _write_small(stage, small, scorer, columns)
            else:
                batch = _write(stage, found, scorer, columns, find_scorer(found, model, carried))
        key = model.schema.key
        if not batch.has_distinct_ids and (repeated := _find_repeated(batch.rows, key)) is not None:
            # Rows that are rejected need the row as it was found, and only now it is known which ones are.
            keeping = replace(scorer, keep_rows=True)
            if small is None:
                again = _score(_prepare(found), keeping, columns)
            else:
                again = _to_frame(stage, _score_here(small, keeping), columns)
            stage.write_again(_reject_repeated(again, repeated, key))
            before, batch = batch.digest, replace(_read_back(stage, scorer), is_small=small is not None)
            if batch.digest != before:
                raise RowCountError("the input changed while it was read; run the job again")
        yield batch
    finally:
        stage.close()


def _write_small(stage: Stage, found: pa.Table, scorer: Scorer, columns: StructType) -> StagedBatch:
    """Score and write rows that the driver has, and read back what was written of them."""
    key, shown = scorer.schema.key.name, _sample_columns(scorer.schema)
    scored = _score_here(found, scorer)
    stage.write(_to_frame(stage, scored, columns))
    is_rejected = F.col(REASONS).isNotNull().alias("_is_rejected")
    written = _rows_of(stage).select(*map(quote, shown), is_rejected).toArrow()
    texts = [text for batch in scored for text in batch.column(TALLY).drop_null().to_pylist()]
    good, ids = written.filter(pc.invert(written["_is_rejected"])), written[key].drop_null()
    batch = _describe(stage, scorer, texts, len(written), len(written) - len(good))
    return replace(
        batch,
        has_distinct_ids=pc.count_distinct(ids).as_py() == len(ids),
        is_small=True,
        sample=good.select(shown).slice(0, SAMPLE_ROWS).to_pylist(),
    )


def _write(
    stage: Stage, found: DataFrame, scorer: Scorer, columns: StructType, native: NativeScorer | None
) -> StagedBatch:
    """Score and write each row once, by expressions of Spark where there is such a scorer.

    The rows are prepared anew for each look at the source: of a plan that was analysed before, Spark Connect
    keeps what it found then.
    """
    if native is None:
        stage.write(_score(_prepare(found), scorer, columns))
        return _read_back(stage, scorer)
    try:
        return _write_natively(stage, native, native.mark(_prepare(found)), scorer, columns)
    except OtherRowsError as error:
        say(f"{error}; the batch is scored once more in Python, which reads each row once")
        stage.write_again(_score(_prepare(found), scorer, columns))
        return _read_back(stage, scorer)


def _write_natively(
    stage: Stage, native: NativeScorer, marked: DataFrame, scorer: Scorer, columns: StructType
) -> StagedBatch:
    """Write what the expressions are sure of, and then what they leave to Python.

    The rows are read more than once. Raises OtherRowsError unless they were the same each time.
    """
    counted = native.count(marked)
    if counted.sure:
        stage.write(native.stage(marked))
    written, digest, has_distinct_ids = _look_at(_rows_of(stage), native)
    if (written, digest) != (counted.sure, counted.written_digest):
        raise OtherRowsError(f"{counted.sure} rows were counted and {written} written, or other ones")
    batch = StagedBatch(
        stage=stage,
        schema=scorer.schema,
        rows=_rows_of(stage),
        rows_in=counted.sure,
        digest=str(counted.digest),
        rejected=0,
        counts=counted.counts,
        has_distinct_ids=has_distinct_ids,
        rows_by_sql=counted.sure,
    )
    if not counted.others:
        return batch
    stage.write(_score(native.leave(marked), scorer, columns))
    both = _read_back(stage, scorer, already=counted.sure)
    if (both.rows_in - counted.sure, both.digest) != (counted.others, str(counted.others_digest)):
        raise OtherRowsError(f"{counted.others} rows were left to Python, which found others")
    counts = _add_up([batch.counts, both.counts], scorer.profile)
    return replace(both, digest=batch.digest, counts=counts, rows_by_sql=counted.sure)


def _score(prepared: DataFrame, scorer: Scorer, columns: StructType) -> DataFrame:
    """Give the scored rows, and of each task one more with its tally."""
    return _by_place(prepared).mapInArrow(scorer, columns)


def _by_place(rows: DataFrame) -> DataFrame:
    """Name columns by their places: on its way out Spark takes a dot or a quote in a name for its own."""
    return rows.toDF(*map(str, range(len(rows.columns))))


def _score_here(found: pa.Table, scorer: Scorer) -> list[pa.RecordBatch]:
    """Give what a worker would, of all rows at once: the scored ones, and then one with a tally."""
    return list(scorer(found.combine_chunks().to_batches()))


def _to_frame(stage: Stage, batches: list[pa.RecordBatch], columns: StructType) -> DataFrame:
    rows = pa.Table.from_batches(batches) if batches else []
    return stage.spark.createDataFrame(rows, columns).coalesce(1)


def _read_back(stage: Stage, scorer: Scorer, already: int = 0) -> StagedBatch:
    """Look at what was written."""
    is_row = F.col(TALLY).isNull()
    texts, staged_rows, rejected = stage.rows.agg(
        F.collect_list(TALLY), F.count_if(is_row), F.count_if(is_row & F.col(REASONS).isNotNull())
    ).collect()[0]
    return _describe(stage, scorer, texts, staged_rows, rejected, already)


def _describe(
    stage: Stage, scorer: Scorer, texts: list[str], staged_rows: int, rejected: int, already: int = 0
) -> StagedBatch:
    """Tell of rows that were written; the `texts` of tallies say how many there ought to be beside others."""
    tallies, counts = zip(*map(read_tally, texts), strict=True) if texts else ((), ())
    rows_in = already + sum(tally.rows for tally in tallies)
    if staged_rows != rows_in:
        raise RowCountError(f"{rows_in} rows read, but {staged_rows} staged")
    return StagedBatch(
        stage=stage,
        schema=scorer.schema,
        rows=_rows_of(stage),
        rows_in=rows_in,
        digest=str(sum(tally.digest for tally in tallies) % 2**64),
        rejected=rejected,
        counts=_add_up(counts, scorer.profile),
        # Of texts, no tally knows an order.
        has_distinct_ids=not already and scorer.schema.key.kind != "text" and shows_distinct_ids(tallies),
    )


def _look_at(rows: DataFrame, native: NativeScorer) -> tuple[int, int, bool]:
    """Count rows and add up their digests; tell whether each ID is there once, unless it is a text."""
    halves = dict(zip(("high", "low"), halve(native.digest_written()), strict=True))
    counted = {"rows": F.count("*"), **{name: F.sum(half) for name, half in halves.items()}}
    if native.schema.key.kind == "text":
        found = rows.agg(*name_columns(counted)).collect()[0]
        is_distinct = False
    else:
        alike = _group_ids(rows, native.schema.key).agg(*name_columns(counted | _count_ids()))
        sums = {name: F.sum(name) for name in (*counted, *_count_ids())}
        found = alike.agg(*name_columns(sums)).collect()[0]
        is_distinct = found["ids"] == found["different"]
    if not found["rows"]:
        return 0, 0, True
    return found["rows"], put_together(found["high"], found["low"]), is_distinct


def _sample_columns(schema: Schema) -> list[str]:
    return [schema.key.name, *(name for name in predicted_columns(schema) if name != PROBABILITIES)]


def _rows_of(stage: Stage) -> DataFrame:
    return stage.rows.where(F.col(TALLY).isNull()).drop(TALLY)


def _prepare(found: DataFrame) -> DataFrame:
    """Add a digest of each row; types that Arrow or the digest do not have become text."""
    ready = found.select(*[_simplified(field).alias(field.name) for field in found.schema])
    return ready.withColumn(DIGEST, digest_rows(F.col(quote(name)) for name in sorted(ready.columns)))


def _add_up(counts: Iterable[Counts | None], profile: Profile | None) -> Counts | None:
    if profile is None:
        return None
    return reduce(lambda one, other: one + other, filter(None, counts), profile.empty_counts())


def _find_repeated(rows: DataFrame, key: SchemaColumn) -> DataFrame | None:
    """Give the keys that are there more than once with how often, None where there are none."""
    if key.kind != "text":
        alike = _group_ids(rows, key).agg(*name_columns(_count_ids()))
        if alike.where("ids > different").isEmpty():
            return None
    keyed = rows.where(F.col(quote(key.name)).isNotNull()).groupBy(quote(key.name))
    times = keyed.agg(F.count("*").alias("_times")).where("_times > 1")
    return None if key.kind == "text" and times.isEmpty() else times


def _group_ids(rows: DataFrame, key: SchemaColumn) -> GroupedData:
    """Put 64 numbers in a row together, each of which is one bit of `_bit` then: that takes no sort."""
    number = quote(key.name)
    bit = F.expr(f"shiftleft(1L, CAST({number} & 63 AS INT))").alias("_bit")
    return rows.select("*", bit, F.shiftright(number, 6).alias("_group")).groupBy("_group")


def _count_ids() -> dict[str, Column]:
    """Count the IDs of a group of `_group_ids`, and the different ones among them."""
    return {"ids": F.count("_bit"), "different": F.coalesce(F.bit_count(F.bit_or("_bit")), F.lit(0))}


def _reject_repeated(rows: DataFrame, repeated: DataFrame, key: SchemaColumn) -> DataFrame:
    """Add a reason to every row whose key another row has too: nobody can say which one is meant.

    The rows that are not rejected lose the text that they were kept in for this.
    """
    text = F.format_string(
        f"{key.name.replace('%', '%%')} is repeated: %s is there %d times",
        F.col(quote(key.name)),
        F.col("_times"),
    )
    reasons = F.concat(F.coalesce(REASONS, F.array().cast("array<string>")), F.array(text))
    known = F.when(F.col("_times").isNull(), F.col(REASONS)).otherwise(reasons)
    joined = rows.join(repeated, key.name, "left").withColumn(REASONS, known).drop("_times")
    return joined.withColumn(ROW, F.when(F.col(REASONS).isNotNull(), F.col(ROW)))


def _staged_columns(prepared: DataFrame, schema: Schema, carried: tuple[str, ...]) -> StructType:
    kinds = {field.name: field.dataType for field in prepared.schema}
    own = {schema.key.name: delta_tables.KEY_TYPES[schema.key.kind], **predicted_columns(schema)}
    own |= {REASONS: ArrayType(StringType()), ROW: StringType()}
    columns = own | {name: kinds[name] for name in carried} | {TALLY: StringType()}
    return StructType([StructField(name, kind) for name, kind in columns.items()])


def _simplified(field: StructField) -> Column:
    value = F.col(quote(field.name))
    if isinstance(field.dataType, BinaryType):
        return F.base64(value)
    # A timestamp without a zone becomes text: Delta tables do not have the type unless asked for.
    simple = (NumericType, StringType, BooleanType, DateType, TimestampType)
    return value if isinstance(field.dataType, simple) else value.cast("string")
