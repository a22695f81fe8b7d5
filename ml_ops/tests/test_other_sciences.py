"""The science may be another one: numbers alone, categories alone, no slices; what cannot be is refused."""

import shutil
import subprocess
import sys
from pathlib import Path

import diabetes
import pytest
import science

DATA = science.DATA / "data_raw.csv"
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


def run_with(
    changes: dict[str, tuple[str, str]], folder: Path, script: str, *arguments: object
) -> subprocess.CompletedProcess[str]:
    """Runs a script with a copy of the ML wheel, the last of a text in each of these modules replaced."""
    package = folder / "diabetes"
    shutil.copytree(Path(diabetes.__file__).parent, package)
    for name, (old, new) in changes.items():
        head, _, tail = (package / name).read_text().rpartition(old)
        assert head, f"no {old!r} in {name}"
        (package / name).write_text(head + new + tail)
    return subprocess.run(
        [sys.executable, "-c", script, *map(str, arguments)],
        cwd=folder,
        env={"PYTHONPATH": str(folder)},
        capture_output=True,
        text=True,
        check=False,
    )


@pytest.mark.parametrize(
    ("kept", "columns"),
    [("!=", ["AGE", "BMI", "BP", "S1", "S2", "S3", "S4", "S5", "S6"]), ("==", ["SEX"])],
    ids=["numbers alone", "categories alone"],
)
def test_training_and_scoring_work_with(kept: str, columns: list[str], tmp_path: Path):
    change = f'FEATURES = tuple(column for column in FEATURES if column.kind {kept} "category")\n_KEY ='
    changes = {
        "schema.py": ("_KEY =", change),
        "evaluation.py": ("    features =", "    return {}\n    features ="),
    }

    done = run_with(changes, tmp_path, USE, DATA)

    assert done.returncode == 0, done.stderr
    assert done.stdout.split() == [*columns, "0", "['rows',", "'rmse',", "'mae',", "'r2']"]


@pytest.mark.parametrize("primary", ["r2", "rmsle"])
def test_a_primary_metric_that_is_no_error_is_refused(primary: str, tmp_path: Path):
    changes = {"evaluation.py": ('PRIMARY = "rmse"', f'PRIMARY = "{primary}"')}

    done = run_with(changes, tmp_path, "import diabetes.measuring")

    assert f"must be one of METRICS that is better when lower; got '{primary}'" in done.stderr
