"""What Spark's workers do in batch scoring: Arrow batches of rows in, of predictions and reasons out.

Imports neither MLflow nor Spark, because each worker imports this module when it starts.
"""

import json
import math
import pickle
import re
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import asdict, dataclass
from functools import lru_cache
from itertools import pairwise
from typing import Any, Self

import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from diabetes.tabular.columns import Schema
from diabetes.tabular.drift import PREDICTION, Counts, Profile
from diabetes.tabular.metrics import find_classes
from diabetes.tabular.reading import show_values
from diabetes.tabular.scoring import predict_arrays
from diabetes.tabular.screening import NO_ID, ScreenedBatch, screen, screen_labels
from diabetes.tabular.sql import SqlModel
from sklearn.pipeline import Pipeline

BROKEN_LINE, UNCLOSED_LINE = "_broken_line", "_unclosed_line"
# The columns that hold a line of a CSV whole, where it cannot be read as a row, and why it cannot.
LINES = {
    BROKEN_LINE: "the line does not fit the header",
    UNCLOSED_LINE: "the line begins or ends inside quotes",
}
# Values in quotes, and a quote that begins one, in a line without its doubled quotes; for Java as for Python.
CLOSED_QUOTES = r'(^|,)[\x00-\x20]*"[^"]*"'
OPEN_QUOTE = r'(^|,)[\x00-\x20]*"'
DIGEST = "_digest"
REASONS, ROW, TALLY = "reasons", "row", "tally"
# Beside the prediction, where that is a class: its probability, and those of all classes by their names.
PROBABILITY, PROBABILITIES = "probability", "probabilities"
# The key and the label, whatever a schema calls them.
KEY, LABEL = "_key", "_label"
# What is put where bytes are no UTF-8.
REPLACEMENT = "\ufffd"
# What Java takes for white space: a line of nothing else is no row.
BLANK = "".join(map(chr, range(33)))
_STAGED_TYPES = {REASONS: pa.list_(pa.string()), ROW: pa.string(), TALLY: pa.string()}


@dataclass(frozen=True)
class LoadedModel:
    """A registered pipeline, and the schema that its rows are read by.

    `profile` describes its training rows; None where a model was logged without one. `sql` is what the
    pipeline predicts as SQL; None where it cannot be written so.
    """

    pipeline: Pipeline
    schema: Schema
    profile: Profile | None = None
    sql: SqlModel | None = None


@dataclass(frozen=True)
class Tally:
    """What is known about the rows that one task, or all of them, read.

    `digest` is the sum of the rows' digests modulo 2**64, the same in whatever order. The IDs that are
    numbers and can be read go from `lowest` to `highest`; `ascending` says that each is larger than the one
    before it.
    """

    rows: int = 0
    digest: int = 0
    lowest: int | None = None
    highest: int | None = None
    ascending: bool = True

    def take_in(self, rows: int, digests: np.ndarray, ids: np.ndarray) -> Self:
        """Give the tally after another batch of the same task; `ids` are those that can be read."""
        digest = (self.digest + int(digests.view(np.uint64).sum(dtype=np.uint64))) % 2**64
        if not len(ids):
            return type(self)(self.rows + rows, digest, self.lowest, self.highest, self.ascending)
        ascending = self.ascending and bool((np.diff(ids) > 0).all())
        lowest, highest = int(ids.min()), int(ids.max())
        if self.lowest is not None and self.highest is not None:
            ascending = ascending and lowest > self.highest
            lowest, highest = min(lowest, self.lowest), max(highest, self.highest)
        return type(self)(self.rows + rows, digest, lowest, highest, ascending)


def shows_distinct_ids(tallies: Sequence[Tally]) -> bool:
    """Whether the tallies of all tasks alone prove that no ID is there twice: ascending, and disjoint."""
    spans = sorted((t.lowest, t.highest) for t in tallies if t.lowest is not None and t.highest is not None)
    disjoint = all(before[1] < after[0] for before, after in pairwise(spans))
    return disjoint and all(tally.ascending for tally in tallies)


@dataclass(frozen=True)
class Scorer:
    """Screens and scores the rows of one task; Spark sends it to its workers.

    Each row that comes in goes out once: with its prediction, or with the reasons why it has none and the
    row as a JSON object (`keep_rows`: for every row). The columns come without their `names`, and then a
    digest of the row. `carried` columns go through as they are. A last row has nothing but the task's tally,
    and the counts of the rows in the profile's bins.
    """

    schema: Schema
    pickled_model: bytes
    names: tuple[str, ...]
    profile: Profile | None = None
    carried: tuple[str, ...] = ()
    is_text: bool = False
    keep_rows: bool = False

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Stage the batches of one task."""
        model, tally = load_once(self.pickled_model), Tally()
        counts = self.profile.empty_counts() if self.profile else None
        staged_schema = None
        for unnamed in batches:
            batch = pa.RecordBatch.from_arrays(unnamed.columns, names=[*self.names, DIGEST])
            screened = screen(self.schema, batch)
            reasons = self._collect_reasons(batch, screened)
            screened = ScreenedBatch(screened.ids, screened.numbers, screened.codes, reasons)
            staged, more = self._stage(batch, screened, model)
            staged_schema = staged.schema
            tally = tally.take_in(
                batch.num_rows, _to_numpy(batch.column(DIGEST)), self._numbers(screened.ids)
            )
            counts = counts + more if counts is not None and more is not None else counts
            yield staged
        if staged_schema is not None:
            yield _tally_row(staged_schema, tally, counts)

    @property
    def _no_id(self) -> int | None:
        return None if self.schema.key.kind == "text" else NO_ID

    def _collect_reasons(self, batch: pa.RecordBatch, screened: ScreenedBatch) -> dict[int, list[str]]:
        """Give the reasons of each row, those of its line as a whole among them."""
        reasons = dict(screened.reasons)
        if self.is_text:
            for row in np.flatnonzero(_has_replacement(batch)).tolist():
                reasons[row] = [*reasons.get(row, []), "the line is not valid UTF-8"]
            for name in LINES.keys() & set(batch.schema.names):
                for row in np.flatnonzero(_to_numpy(pc.is_valid(batch.column(name)))).tolist():
                    # Which value belongs to which column is anybody's guess: not even the ID counts.
                    reasons[row], screened.ids[row] = [LINES[name]], self._no_id
        return reasons

    def _numbers(self, ids: np.ndarray) -> np.ndarray:
        """Give the IDs that can be read, where they are numbers: of texts a tally tells nothing."""
        return np.array([], np.int64) if self.schema.key.kind == "text" else ids[ids != NO_ID]

    def _stage(
        self, batch: pa.RecordBatch, screened: ScreenedBatch, model: Pipeline
    ) -> tuple[pa.RecordBatch, Counts | None]:
        good, reasons = screened.is_readable, screened.reasons
        numbers, codes = screened.numbers, screened.codes
        if reasons:
            numbers, codes = numbers[good], codes[good]
        predictions = predict_arrays(self.schema, model, numbers, codes)
        counts = self.profile.count(self.schema, numbers, codes, predictions) if self.profile else None
        columns = {
            self.schema.key.name: _to_ids(self.schema, screened.ids),
            **_name_predictions(self.schema.classes, predictions, good),
            REASONS: _sparse(reasons, batch.num_rows, REASONS),
            ROW: _sparse(self._as_json(batch, reasons), batch.num_rows, ROW),
            **{name: batch.column(name) for name in self.carried},
            TALLY: pa.nulls(batch.num_rows, _STAGED_TYPES[TALLY]),
        }
        return pa.RecordBatch.from_pydict(columns), counts

    def _as_json(self, batch: pa.RecordBatch, reasons: dict[int, list[str]]) -> dict[int, str]:
        rows = list(range(batch.num_rows)) if self.keep_rows else sorted(reasons)
        if not rows:
            return {}
        found = batch.take(pa.array(rows)).drop_columns([DIGEST])
        columns = [show_values(column) for column in found.columns]
        names = found.schema.names
        values = (dict(zip(names, row, strict=True)) for row in zip(*columns, strict=True))
        return {row: _dump(each) for row, each in zip(rows, values, strict=True)}


def ends_open(line: str, begins_open: bool) -> bool:
    """Whether a line of a CSV ends inside quotes; they begin where a value does."""
    line = f'"{line}' if begins_open else line
    return '"' in line and bool(re.search(OPEN_QUOTE, re.sub(CLOSED_QUOTES, "x", line.replace('""', ""))))


def follow_quotes(batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
    """Tell the lines of CSV files that begin or end inside quotes; the lines of a file come in their order.

    Of `value` (bytes), `file_path` and any columns, each line that is not blank and not its file's header
    goes out: as text in `value`, or in UNCLOSED_LINE when it is one of those.
    """
    file, is_open = "", False
    for batch in batches:
        rows: list[int] = []
        texts: dict[str, list[str | None]] = {"value": [], UNCLOSED_LINE: []}
        columns = batch.column("file_path").to_pylist(), batch.column("value").to_pylist()
        for row, (path, value) in enumerate(zip(*columns, strict=True)):
            line = value.decode(errors="replace")
            if not line.strip(BLANK):
                continue
            if path != file:
                file, is_open = path, False
                continue
            began_open, is_open = is_open, ends_open(line, is_open)
            is_apart = began_open or is_open
            rows.append(row)
            texts["value"].append(None if is_apart else line)
            texts[UNCLOSED_LINE].append(line if is_apart else None)
        others = batch.drop_columns(["value", "file_path", "file_block_start", "place"]).take(
            pa.array(rows, pa.int64())
        )
        read = {name: pa.array(lines, pa.string()) for name, lines in texts.items()}
        yield pa.RecordBatch.from_pydict(dict(zip(others.schema.names, others.columns, strict=True)) | read)


@dataclass(frozen=True)
class LabelPicker:
    """Of the rows of key and label, gives those whose label has arrived: read, or why they cannot be.

    The two columns come without their names, as they do to a Scorer, and go out as KEY, LABEL and REASONS.
    """

    schema: Schema

    def __call__(self, batches: Iterable[pa.RecordBatch]) -> Iterator[pa.RecordBatch]:
        """Pick from the batches of one task."""
        for unnamed in batches:
            batch = pa.RecordBatch.from_arrays(
                unnamed.columns, names=[self.schema.key.name, self.schema.label.name]
            )
            ids, labels, reasons = screen_labels(self.schema, batch)
            told = pa.array(["; ".join(reasons.get(row, [])) or None for row in range(len(ids))], pa.string())
            rows = pa.RecordBatch.from_arrays(
                [_to_ids(self.schema, ids), pa.array(labels), told], names=[KEY, LABEL, REASONS]
            )
            yield rows.filter(pa.array(~np.isnan(labels) | _to_numpy(pc.is_valid(told))))


def read_tally(text: str) -> tuple[Tally, Counts | None]:
    """Read what a task left in its last row."""
    kept: dict[str, Any] = json.loads(text)
    counts = kept.pop("counts")
    return Tally(**kept), None if counts is None else Counts.from_json(counts)


@lru_cache(maxsize=1)
def load_once(pickled: bytes) -> Pipeline:
    """Unpickle a model, once in the life of a worker, whatever number of tasks it runs."""
    model: Pipeline = pickle.loads(pickled)
    return model


def _tally_row(schema: pa.Schema, tally: Tally, counts: Counts | None) -> pa.RecordBatch:
    text = json.dumps(asdict(tally) | {"counts": None if counts is None else counts.as_json()})
    columns = [pa.nulls(1, field.type) for field in schema]
    columns[schema.get_field_index(TALLY)] = pa.array([text])
    return pa.RecordBatch.from_arrays(columns, schema=schema)


def _to_ids(schema: Schema, ids: np.ndarray) -> pa.Array:
    """Make a column of IDs, null where there is none to read."""
    return pa.array(ids, pa.string()) if schema.key.kind == "text" else pa.array(ids, mask=ids == NO_ID)


def _has_replacement(batch: pa.RecordBatch) -> np.ndarray:
    found = np.zeros(batch.num_rows, dtype=bool)
    for field in batch.schema:
        if pa.types.is_string(field.type) or pa.types.is_large_string(field.type):
            hits = pc.match_substring(batch.column(field.name), REPLACEMENT)
            found |= _to_numpy(pc.fill_null(hits, False))
    return found


def _name_predictions(
    classes: tuple[str, ...], predictions: np.ndarray, good: np.ndarray
) -> dict[str, pa.Array]:
    """Make the columns of predictions, null where a row has none."""
    if not classes:
        return {PREDICTION: _spread(predictions, good)}
    names = pa.array(classes, pa.string())
    every_name = names.take(pa.array(np.tile(np.arange(len(classes)), len(predictions))))
    ends = np.append(0, np.cumsum(good) * len(classes)).astype(np.int32)
    # A map without a place to begin is null.
    places = pa.array(ends, mask=np.append(~good, False))
    return {
        PREDICTION: names.take(_spread(find_classes(predictions), good)),
        PROBABILITY: _spread(predictions.max(axis=1), good),
        PROBABILITIES: pa.MapArray.from_arrays(places, every_name, pa.array(predictions.ravel())),
    }


def _spread(predictions: np.ndarray, good: np.ndarray) -> pa.Array:
    if len(predictions) == len(good):
        return pa.array(predictions)
    values = np.zeros(len(good), dtype=predictions.dtype)
    values[good] = predictions
    return pa.array(values, mask=~good)


def _sparse(values: dict[int, Any], rows: int, name: str) -> pa.Array:
    """Make a column that is null but for a few rows."""
    if not values:
        return pa.nulls(rows, _STAGED_TYPES[name])
    return pa.array([values.get(row) for row in range(rows)], type=_STAGED_TYPES[name])


def _dump(row: dict[str, Any]) -> str:
    """Write a row as a JSON object: its columns, or the line as it stands where it cannot be read."""
    lines = {name: row.pop(name, None) for name in LINES}
    row = {name: line for name, line in lines.items() if line is not None} or row
    finite = {name: str(v) if isinstance(v, float) and not math.isfinite(v) else v for name, v in row.items()}
    return json.dumps(finite, default=str, ensure_ascii=False)


def _to_numpy(values: pa.Array) -> np.ndarray:
    array: np.ndarray = values.to_numpy(zero_copy_only=False)
    return array
