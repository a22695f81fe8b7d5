"""Reads, scores and counts the rows of a batch by expressions of Spark alone, where its model is SQL.

The expressions take the rows that they are sure of, which are nearly all: each value is one that
`diabetes.tabular.reading` takes as well, and reads as the same. The others are left to `worker.Scorer`, so
that what is wrong with a row is told in one place, whichever way the rest is scored.
"""

from collections.abc import Iterable, Iterator, Mapping
from dataclasses import dataclass
from datetime import date
from functools import reduce
from itertools import pairwise
from operator import and_

import numpy as np
from diabetes.tabular.columns import Column as SchemaColumn
from diabetes.tabular.columns import Schema
from diabetes.tabular.drift import PREDICTION, Counts, Profile
from diabetes.tabular.sql import SCORE, SqlModel
from pyspark.sql import Column, DataFrame
from pyspark.sql import functions as F
from pyspark.sql.types import (
    DataType,
    DateType,
    IntegralType,
    NumericType,
    StringType,
    StructType,
)

from diabetes_mlops.data.places import quote
from diabetes_mlops.data.worker import (
    BROKEN_LINE,
    DIGEST,
    LINES,
    PROBABILITIES,
    PROBABILITY,
    REPLACEMENT,
    LoadedModel,
)

# The columns as they were found, by their places, what the model's SQL gives, and whether all of it is sure.
_FOUND, _NUMBER, _OUTPUT, _IS_SURE = "_found_{}", "_number_{}", "_output_{}", "_is_sure"
# Our own names: a feature that has such a one is left to the workers.
_OURS = ("_found_", "_number_", "_output_", "_score_", _IS_SURE, DIGEST)
# A text that Java reads as a number is one to Arrow too, unless it has one of these.
_IN_NO_NUMBER = "[^0-9.eE+-]"
# Java compiles no method of more than 8,000 bytes, and without that a row takes ten times as long; the method
# that reads and predicts grows by 300 to 500 bytes for each feature.
_MOST_FEATURES = 14
# Java compiles an aggregate of fewer than a hundred columns.
_MOST_SUMS = 80
# What is added up of a column's bins, two at once.
_BINS = "bins_{}_{}"
_LARGEST = float(np.finfo(np.float64).max)
# A feature within this makes no score infinite, whatever it is multiplied by in a model that was fitted.
_MODERATE = 1e100
_HALF = 2**32


class OtherRowsError(RuntimeError):
    """The source gave other rows when it was read once more."""


@dataclass(frozen=True)
class Counted:
    """What is known of the rows of a batch before they are written.

    Those that are `sure` are scored by expressions, the `others` are not. `digest` is that of all rows, and
    `others_digest` that of the others, modulo 2**64; `written_digest` is that of what is to be written of the
    sure ones. `counts` are the sure rows in the bins of the model's profile.
    """

    sure: int
    others: int
    digest: int
    others_digest: int
    written_digest: int
    counts: Counts | None


@dataclass(frozen=True)
class NativeScorer:
    """Reads and scores the rows of one batch by expressions.

    `found` are the columns of the batch, and `carried` those of them that go through as they are.
    """

    schema: Schema
    sql: SqlModel
    profile: Profile | None
    found: StructType
    carried: tuple[str, ...]

    def mark(self, prepared: DataFrame) -> DataFrame:
        """Give the rows as found with a digest, what is read and predicted, and whether all of it is sure.

        It is done step by step: Java compiles no method that is too long, and each step is one of its own.
        """
        places = [_FOUND.format(place) for place in range(len(self.found))]
        read = {name: self._read_number(self.schema.columns[name]) for name in self._numbers}
        numbers = {_NUMBER.format(place): read[name] for place, name in enumerate(self._numbers)}
        told = prepared.toDF(*places, DIGEST).select("*", *name_columns(numbers))
        values = {name: self._as_read(column) for name, column in self._needed.items()}
        sure = [*(self._is_sure(column) for column in self._needed.values()), *self._are_whole()]
        told = told.select("*", *name_columns(values), reduce(and_, sure).alias(_IS_SURE))
        told = predict(self.sql, told)
        if self.sql.is_total and self._is_bounded:
            return told
        # scikit-learn refuses what is infinite on its way through the steps, and no score is finite then.
        scores = [F.col(SCORE.format(place)) for place in range(len(self.sql.scores))]
        are_finite = [F.coalesce(F.abs(score) <= F.lit(_LARGEST), F.lit(False)) for score in scores]
        return told.withColumn(_IS_SURE, reduce(and_, are_finite, F.col(_IS_SURE)))

    def count(self, marked: DataFrame) -> Counted:
        """Count the rows, and in which bins they are, in as few passes over them as Java compiles well.

        Raises OtherRowsError where they are not the same each time.
        """
        is_sure, digest = F.col(_IS_SURE), F.col(DIGEST)
        digests = {
            "": digest,
            "others_": _if(is_sure, F.lit(0), digest),
            "written_": _if(is_sure, digest_rows(self._written().values()), F.lit(0)),
        }
        sums = {"rows": F.lit(1), "sure": is_sure.cast("int")}
        for name, each in digests.items():
            sums |= dict(zip((f"{name}high", f"{name}low"), halve(each), strict=True))
        found: dict[str, int] = {}
        for part in _take_parts(self._count_bins(self.profile) if self.profile else {}, _MOST_SUMS):
            added = marked.agg(*name_columns({name: F.sum(each) for name, each in (sums | part).items()}))
            more = {name: value or 0 for name, value in added.collect()[0].asDict().items()}
            if any(found.get(name, more[name]) != more[name] for name in sums):
                raise OtherRowsError("the source gave other rows when it was read once more")
            found |= more
        return Counted(
            sure=found["sure"],
            others=found["rows"] - found["sure"],
            digest=put_together(found["high"], found["low"]),
            others_digest=put_together(found["others_high"], found["others_low"]),
            written_digest=put_together(found["written_high"], found["written_low"]),
            counts=_read_counts(self.profile, found) if self.profile else None,
        )

    def stage(self, marked: DataFrame) -> DataFrame:
        """Give the sure rows as `worker.Scorer` does, without the columns that have nothing for them.

        A table takes such rows as they are, and to write nothing for each takes a tenth of the time.
        """
        return marked.where(_IS_SURE).select(*name_columns(self._written(with_all=True)))

    def leave(self, marked: DataFrame) -> DataFrame:
        """Give the other rows as they were found, their columns by place, and the digest of each."""
        places = [_FOUND.format(place) for place in range(len(self.found))]
        return marked.where(~F.col(_IS_SURE)).select(*places, DIGEST)

    def digest_written(self) -> Column:
        """Digest a row that was written, as `count` does before."""
        return digest_rows(F.col(quote(name)) for name in self._written())

    @property
    def _outputs(self) -> list[str]:
        return list_outputs(self.sql)

    def _written(self, with_all: bool = False) -> dict[str, Column]:
        """Give what is written of a row by the names of its columns; of a map there is no digest."""
        key, classes = self.schema.key.name, self.schema.classes
        outputs = [F.col(name) for name in self._outputs]
        written = {key: F.col(quote(key))}
        if classes:
            names = F.array(*map(F.lit, classes))
            written |= {PREDICTION: F.element_at(names, self._best + 1), PROBABILITY: F.greatest(*outputs)}
            written |= {PROBABILITIES: F.map_from_arrays(names, F.array(*outputs))} if with_all else {}
        else:
            written |= {PREDICTION: outputs[0]}
        return written | {name: self._as_found(name) for name in self.carried}

    @property
    def _best(self) -> Column:
        """The place of the most probable class, the first of equal ones, as `metrics.find_classes` has it."""
        outputs = [F.col(name) for name in self._outputs]
        return (F.array_position(F.array(*outputs), F.greatest(*outputs)) - 1).cast("int")

    def _as_found(self, name: str) -> Column:
        return F.col(_FOUND.format(self.found.names.index(name)))

    @property
    def _needed(self) -> dict[str, SchemaColumn]:
        return {column.name: column for column in (self.schema.key, *self.schema.features)}

    @property
    def _numbers(self) -> list[str]:
        """The columns that are read as numbers."""
        return [name for name, column in self._needed.items() if column.kind not in ("category", "text")]

    @property
    def _is_bounded(self) -> bool:
        """Whether no feature can be so large that a score is infinite."""
        numbers = [column for column in self.schema.features if column.kind != "category"]
        return all(abs(bound) <= _MODERATE for column in numbers for bound in column.bounds)

    def _number(self, name: str) -> Column:
        return F.col(_NUMBER.format(self._numbers.index(name)))

    def _read_number(self, column: SchemaColumn) -> Column:
        """Read a number, or a date as days since its first one: NaN where it is missing or cannot be read.

        NaN is larger than each other number to Spark, and no null makes the expressions longer.
        """
        found, kind = self._as_found(column.name), self._kind(column.name)
        if column.kind == "date":
            day = found.try_cast("date") if isinstance(kind, StringType) else found
            first = date.fromisoformat(column.first).toordinal() - date(1970, 1, 1).toordinal()
            found = F.unix_date(day).cast("double") - float(first)
        number = found.try_cast("double") if isinstance(kind, StringType) else found.cast("double")
        return F.coalesce(number, F.lit(float("nan")))

    def _as_read(self, column: SchemaColumn) -> Column:
        """Give a value as the model's SQL has it, null where it is missing; of the key, as it is written."""
        found = self._as_found(column.name)
        if column.kind == "category":
            return found
        if column.kind == "text":
            return found.cast("string")
        number = self._number(column.name)
        if column is self.schema.key:
            return F.when(self._is_sure(column), number.cast("bigint"))
        return F.when(~F.isnan(number), number)

    def _is_sure(self, column: SchemaColumn) -> Column:
        """Tell whether Python would read the same value, or find it missing as well."""
        found = self._as_found(column.name)
        if column.kind == "text":
            return F.coalesce(found.cast("string") != "", F.lit(False))
        if column.kind == "category":
            return F.coalesce(found.isin(*column.categories), F.lit(True))
        number = self._number(column.name)
        low, high = (max(min(bound, _LARGEST), -_LARGEST) for bound in column.bounds)
        is_real = (number >= F.lit(float(low))) & (number <= F.lit(float(high)))
        if column.kind == "integer":
            is_real &= F.rint(number) == number
        is_missing = F.lit(False) if column is self.schema.key else F.isnan(number)
        if not isinstance(self._kind(column.name), StringType):
            return is_real | is_missing
        if column.kind == "date":
            is_real &= F.coalesce(found.try_cast("date").cast("string") == found, F.lit(False))
        return is_real if column is self.schema.key else is_real | found.isNull()

    def _kind(self, name: str) -> DataType:
        return self.found[name].dataType

    def _are_whole(self) -> list[Column]:
        """Say of the lines of a CSV whether each is one row, in UTF-8."""
        if BROKEN_LINE not in self.found.names:
            return []
        # What is read as a number or as a category that is known has no such character anyhow.
        read = {
            name
            for name, column in self._needed.items()
            if column.kind != "text" and not any(REPLACEMENT in known for known in column.categories)
        }
        texts = [name for name in self.found.names if name not in {*read, *LINES}]
        lines = [self._as_found(name).isNull() for name in LINES if name in self.found.names]
        if numbers := [name for name in self._numbers if self._needed[name].kind != "date"]:
            # All numbers at once: a look at each takes as much code again as all else of it.
            lines.append(~F.concat_ws("", *map(self._as_found, numbers)).rlike(_IN_NO_NUMBER))
        return lines + [
            F.coalesce(~F.contains(self._as_found(name), F.lit(REPLACEMENT)), F.lit(True)) for name in texts
        ]

    def _count_bins(self, profile: Profile) -> dict[str, Column]:
        """Give what to add up for the bins of each column; two counts are the halves of one number.

        Java compiles each sum by itself; the place among all bins, found once, would be too long for it.
        """
        sums: dict[str, Column] = {}
        for column, name in enumerate(profile.baseline.bins):
            is_number = name in profile.edges
            held = [*self._list_conditions(profile, name), F.lit(False)]
            for first in range(0, len(held) - 1, 2):
                one, other = held[first : first + 2]
                # What is above an edge is above each lower one, and what is in a category is in no other.
                neither = F.lit(0) if is_number else _if(other, F.lit(_HALF), F.lit(0))
                both = _if(other, F.lit(_HALF + 1), F.lit(1)) if is_number else F.lit(1)
                added = _if(one, both, neither)
                sums[_BINS.format(column, first)] = _if(F.col(_IS_SURE), added, F.lit(0))
        return sums

    def _list_conditions(self, profile: Profile, name: str) -> list[Column]:
        """Give what holds of a row in each known category; of a number, above each edge, and then missing."""
        if name in profile.edges:
            value = F.col(self._outputs[0]) if name == PREDICTION else self._number(name)
            # NaN, which is what is missing, is above each edge.
            return [*(value > F.lit(edge) for edge in profile.edges[name]), F.isnan(value)]
        if name == PREDICTION:
            return [self._best == place for place in range(len(profile.categories[name]))]
        return [F.col(quote(name)).eqNullSafe(F.lit(category)) for category in profile.categories[name]]


def _read_counts(profile: Profile, found: Mapping[str, int]) -> Counts:
    """Read what the sums of `_count_bins` came to."""
    counts = {}
    for column, (name, bins) in enumerate(profile.baseline.bins.items()):
        pairs = [found[_BINS.format(column, first)] for first in range(0, len(bins) - 1, 2)]
        held = [half for pair in pairs for half in (pair % _HALF, pair // _HALF)][: len(bins) - 1]
        if name in profile.edges:
            missing, above = held[-1], [found["sure"], *held]
            counts[name] = (*(more - fewer for more, fewer in pairwise(above)), missing)
        else:
            counts[name] = (*held, found["sure"] - sum(held))
    return Counts(counts)


def find_scorer(found: DataFrame, model: LoadedModel, carried: tuple[str, ...]) -> NativeScorer | None:
    """Give what scores a batch by expressions; None where its model or a column has to be read in Python."""
    schema, kinds = model.schema, {field.name: field.dataType for field in found.schema}
    if model.sql is None or len(schema.features) > _MOST_FEATURES:
        return None
    if any(name.lower().startswith(_OURS) for name in schema.columns):
        return None
    if not all(_can_read(column, kinds[column.name]) for column in (schema.key, *schema.features)):
        return None
    return NativeScorer(schema, model.sql, model.profile, found.schema, carried)


def predict(sql: SqlModel, features: DataFrame) -> DataFrame:
    """Add the outputs of a model to its features, in columns that `list_outputs` names."""
    for name, expressions in ((SCORE, sql.scores), (_OUTPUT, sql.outputs)):
        made = [F.expr(each).alias(name.format(place)) for place, each in enumerate(expressions)]
        features = features.select("*", *made)
    return features


def list_outputs(sql: SqlModel) -> list[str]:
    """Name the columns of `predict`."""
    return [_OUTPUT.format(place) for place in range(len(sql.outputs))]


def digest_rows(columns: Iterable[Column]) -> Column:
    """Digest some columns; the places between them tell a value from the same one column further."""
    return F.xxhash64(*[part for place, column in enumerate(columns) for part in (F.lit(place), column)])


def _can_read(column: SchemaColumn, kind: DataType) -> bool:
    # Of a collated text Spark takes others for the same, such as those in other letters.
    if isinstance(kind, StringType) and kind != StringType():
        return False
    text, key, day = (StringType,), (StringType, IntegralType), (StringType, DateType)
    fitting: dict[str, tuple[type[DataType], ...]] = {"category": text, "text": key, "date": day}
    return isinstance(kind, fitting.get(column.kind, (NumericType, StringType)))


def name_columns(columns: Mapping[str, Column]) -> list[Column]:
    """Give each column the name that it stands under."""
    return [column.alias(name) for name, column in columns.items()]


def _if(condition: Column, value: Column, other: Column) -> Column:
    """Choose one of two values, as CASE does with twice the code."""
    return F.call_function("if", condition, value, other)


def _take_parts(sums: Mapping[str, Column], size: int) -> Iterator[dict[str, Column]]:
    """Give some sums in parts of so many, one part at least."""
    names = list(sums)
    for start in range(0, max(len(names), 1), size):
        yield {name: sums[name] for name in names[start : start + size]}


def halve(digest: Column) -> tuple[Column, Column]:
    """Give the high and the low half of a digest, of which sums do not overflow."""
    return F.shiftright(digest, 32), digest.bitwiseAND(F.lit(_HALF - 1))


def put_together(high: int, low: int) -> int:
    """Give the sum of digests, modulo 2**64, of the sums of their halves."""
    return (high * _HALF + low) % 2**64
