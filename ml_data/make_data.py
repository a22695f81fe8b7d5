"""Makes the two tables of this folder from scikit-learn's diabetes data; see README.md.

`python ml_data/make_data.py` writes them, `--check` compares them to the byte and exits 1 on a difference.
"""

import argparse
import csv
import io
import sys
from itertools import zip_longest
from pathlib import Path
from random import Random

from sklearn.datasets import load_diabetes

FOLDER = Path(__file__).parent
SEED = 442
MISSING_SHARE = 0.02
BATCH_ROWS = 100
FIRST_BATCH_ID = 1001
JITTER = 0.05
SEX = {1.0: "Female", 2.0: "Male"}
# Digits after the point in the batch; None rounds to a whole number, written without a point.
DECIMALS = {"AGE": None, "BMI": 1, "BP": 1, "S1": 0, "S2": 1, "S3": 0, "S4": 2, "S5": 4, "S6": 0}

Row = dict[str, float | str]


def main() -> int:
    """Write the tables, or check them with `--check`; return the exit code."""
    parser = argparse.ArgumentParser(description="Makes data_raw.csv and data_batch_input.csv.")
    parser.add_argument("--check", action="store_true", help="compare with the files, write nothing")
    check = parser.parse_args().check
    tables = make_tables()
    if check:
        differences = [text for name, made in tables.items() if (text := find_difference(name, made))]
        sys.stderr.writelines(f"{text}\n" for text in differences)
        return 1 if differences else 0
    for name, made in tables.items():
        (FOLDER / name).write_bytes(made)
    return 0


def make_tables() -> dict[str, bytes]:
    """Return the content of each file by its name."""
    source = read_source()
    # Only Random.random() is used: Python promises the same sequence in every version.
    rng = Random(SEED)
    raw = [with_gaps(row, rng) for row in source]
    batch = [with_gaps(row, rng) for row in make_batch(source, rng)]
    return {"data_raw.csv": to_csv(raw), "data_batch_input.csv": to_csv(batch)}


def read_source() -> list[Row]:
    """Return the 442 rows in original units, under the columns ID, AGE, SEX, ..., S6, Y."""
    data = load_diabetes(scaled=False)
    names = [name.upper() for name in data.feature_names]
    rows = []
    for number, (values, target) in enumerate(zip(data.data, data.target, strict=True), start=1):
        # The source has four digits; some versions of scikit-learn read them one bit off.
        features: Row = dict(zip(names, (round(float(value), 4) for value in values), strict=True))
        row = {"ID": number} | features | {"Y": float(target)}
        rows.append(row | {"AGE": int(row["AGE"]), "SEX": SEX[float(row["SEX"])]})
    return rows


def make_batch(source: list[Row], rng: Random) -> list[Row]:
    """Return rows like those of `source`: drawn with replacement, each number moved a little, without Y."""
    columns = {name: [float(row[name]) for row in source] for name in DECIMALS}
    batch = []
    for number in range(FIRST_BATCH_ID, FIRST_BATCH_ID + BATCH_ROWS):
        drawn = int(rng.random() * len(source))
        moved = {name: move(column[drawn], column, rng) for name, column in columns.items()}
        rounded = {name: round(value, DECIMALS[name]) for name, value in moved.items()}
        row = {name: value for name, value in source[drawn].items() if name != "Y"}
        batch.append(row | rounded | {"ID": number})
    return batch


def move(value: float, column: list[float], rng: Random) -> float:
    """Return `value` changed by at most JITTER of itself, inside the range of its column."""
    moved = value * (1 + JITTER * (2 * rng.random() - 1))
    return min(max(column), max(min(column), moved))


def with_gaps(row: Row, rng: Random) -> Row:
    """Return the row with each feature left empty with a chance of MISSING_SHARE."""
    return {name: "" if has_gap(name, rng) else value for name, value in row.items()}


def has_gap(name: str, rng: Random) -> bool:
    """Return whether to leave this value empty; the ID and the target never are."""
    return name not in ("ID", "Y") and rng.random() < MISSING_SHARE


def to_csv(rows: list[Row]) -> bytes:
    """Return the rows as CSV; a float is written as Python's `repr`, the shortest text that reads back."""
    text = io.StringIO()
    writer = csv.DictWriter(text, fieldnames=list(rows[0]), lineterminator="\n")
    writer.writeheader()
    writer.writerows(rows)
    return text.getvalue().encode()


def find_difference(name: str, made: bytes) -> str | None:
    """Return a sentence that shows the first line where the file differs, None where it does not."""
    path = FOLDER / name
    if not path.is_file():
        return f"{name} does not exist in {FOLDER}; make it with: python ml_data/make_data.py"
    found = path.read_bytes()
    if found == made:
        return None
    pairs = zip_longest(made.split(b"\n"), found.split(b"\n"), fillvalue=b"")
    line, (wanted, seen) = next((i, pair) for i, pair in enumerate(pairs, start=1) if pair[0] != pair[1])
    texts = wanted.decode(), seen.decode("utf-8", "replace")
    return f"{name} differs in line {line}: expected {texts[0]!r}, found {texts[1]!r}"


if __name__ == "__main__":
    sys.exit(main())
