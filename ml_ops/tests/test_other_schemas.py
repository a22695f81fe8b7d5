"""A schema may have numbers alone or categories alone, and an evaluation no slices."""

import shutil
import subprocess
import sys
from pathlib import Path

import diabetes
import pytest

DATA = Path(__file__).parents[2] / "ml_data" / "data_raw.csv"
# What training, scoring and monitoring do with a schema, and the figures.
USE = """
import sys
import pandas as pd
import pyarrow as pa
from diabetes import drift, measuring, scoring, screening, splitting, training
from diabetes_mlops import assessment, plots

table = pd.read_csv(sys.argv[1]).dropna()
train, holdout = splitting.split_by_id(table)
model = training.fit(train, alpha=1.0)
measured = assessment.assess(model, train, holdout, seed=0)
profile = drift.Profile.describe(*drift.arrays(train), scoring.predict(model, train))
screened = screening.screen(pa.RecordBatch.from_pandas(holdout, preserve_index=False))
predicted = scoring.predict_arrays(model, screened.numbers, screened.codes)
assert abs(predicted - measured.predicted).max() < 1e-9
counts = profile.count(screened.numbers, screened.codes, predicted)
compared = drift.compare(profile, counts)
statuses = drift.classify(compared, drift.DriftThresholds())
plots.draw_drift(profile, counts, compared, statuses).savefig("drift.png")
plots.draw_features(train).savefig("features.png")
for name, figure in assessment.draw(measured).items():
    figure.savefig(f"{name}.png")
print(*measuring.describe_features(train).index, len(measured.slices), measured.slices.columns.tolist())
"""


@pytest.mark.parametrize(
    ("kept", "columns"),
    [("!=", ["AGE", "BMI", "BP", "S1", "S2", "S3", "S4", "S5", "S6"]), ("==", ["SEX"])],
    ids=["numbers alone", "categories alone"],
)
def test_training_and_scoring_work_with(kept: str, columns: list[str], tmp_path: Path):
    package = tmp_path / "diabetes"
    shutil.copytree(Path(diabetes.__file__).parent, package)
    schema, evaluation = package / "schema.py", package / "evaluation.py"
    some = f'FEATURES = tuple(column for column in FEATURES if column.kind {kept} "category")\n_KEY ='
    schema.write_text(schema.read_text().replace("_KEY =", some, 1))
    evaluation.write_text(evaluation.read_text() + "\n\ndef slice_rows(table): return {}\n")

    done = subprocess.run(
        [sys.executable, "-c", USE, DATA],
        cwd=tmp_path,
        env={"PYTHONPATH": str(tmp_path)},
        capture_output=True,
        text=True,
        check=False,
    )

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*columns, "0", "['rows',", "'rmse',", "'mae',", "'r2']"]
