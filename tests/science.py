"""What the tests of the whole loop have to know of the science, asked of `PROBLEM` and of the data.

So they hold whatever the science of this project is.
"""

import shlex
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
from diabetes import PROBLEM
from diabetes.tabular.metrics import find_classes
from diabetes.tabular.parameters import Value, fill_in
from diabetes.tabular.scoring import predict
from diabetes.tabular.screening import screen
from machine import ROOT
from sklearn.pipeline import Pipeline

SCHEMA, METRICS, PRIMARY = PROBLEM.schema, PROBLEM.evaluation.metrics, PROBLEM.evaluation.primary
KEY, LABEL, FEATURE = SCHEMA.key.name, SCHEMA.label.name, SCHEMA.feature_names[0]
TRAINING, BATCH = (ROOT / "ml_data" / name for name in ("data_raw.csv", "data_batch_input.csv"))
# Of the gate: what no model reaches, since 0 is perfect, and what any model does that beats the baseline.
NEVER, ALWAYS = f"thresholds={PRIMARY}<=-1", f"thresholds={PRIMARY}<=1e99 margin=1e99 max_slice_ratio=1e99"


def read_rows(path: Path) -> pd.DataFrame:
    """The texts of a file as they stand, as the jobs read it."""
    return pd.read_csv(path, dtype=str, keep_default_na=False, na_values=[""])


def read_batch() -> pd.DataFrame:
    """The rows to score that can be scored, indexed by their keys and in the order of these."""
    table = read_rows(BATCH)
    screened = screen(SCHEMA, pa.RecordBatch.from_pandas(table, preserve_index=False))
    table.index = pd.Index(screened.ids)
    return table[screened.is_readable & ~table.index.duplicated(keep=False)].sort_index()


def count_rows() -> str:
    """What scoring prints of the rows to score, as a regular expression."""
    rows, scored = len(read_rows(BATCH)), len(read_batch())
    return rf"rows_in +{rows}\n(.*\n)*? *rows_scored +{scored}\n(.*\n)*? *rows_rejected +{rows - scored}\n"


def score(model: Pipeline, rows: pd.DataFrame) -> dict[str, list[Any]]:
    """What the scored table has to hold of these rows, by its columns."""
    predicted = predict(SCHEMA, model, rows)
    if not SCHEMA.classes:
        return {"prediction": predicted.tolist()}
    names = [SCHEMA.classes[place] for place in find_classes(predicted)]
    return {"prediction": names, "probability": predicted.max(axis=1).tolist()}


def label(rows: pd.DataFrame) -> pd.DataFrame:
    """The same rows with labels, which are those of the training rows one after the other."""
    known = read_rows(TRAINING)[LABEL].to_numpy()
    return rows.assign(**{LABEL: np.resize(known, len(rows))})


def choose_params() -> dict[str, Value]:
    """A value for each parameter of the model: another one than its default where a search tries others."""
    others = {
        each.name: next(value for value in each.search if value != each.default)
        for each in PROBLEM.parameters
        if each.search
    }
    return fill_in(PROBLEM.parameters, others)


def write_params(values: dict[str, Value]) -> str:
    """Values as they stand in PARAMS."""
    return shlex.join(f"{name}={value}" for name, value in values.items())
