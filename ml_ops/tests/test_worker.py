"""The lines of a CSV that are inside quotes are told as Python's own reader tells them."""

import csv

import pyarrow as pa
from diabetes_mlops.data.worker import UNCLOSED_LINE, follow_quotes
from hypothesis import given, settings
from hypothesis import strategies as st

LINE = st.text('",a', min_size=1, max_size=12)


def find_inside(lines: list[str]) -> list[bool]:
    """Which of the lines belong to a record of more than one line."""
    reader, inside, before = csv.reader(f"{line}\n" for line in lines), [], 0
    for record in reader:
        last = reader.line_num
        # A record that the end of the file cuts short may have one line, and no end.
        is_cut = last == len(lines) and record[-1].endswith("\n")
        inside += [last - before > 1 or is_cut] * (last - before)
        before = last
    return inside


@settings(deadline=None)
@given(st.lists(st.lists(LINE, min_size=1, max_size=8), max_size=3), st.integers(1, 4))
def test_lines_inside_quotes_are_told_whatever_the_batches_are(files: list[list[str]], size: int) -> None:
    rows = [(line, f"{number}") for number, lines in enumerate(files) for line in ("ID,NOTE", "", *lines)]
    table = pa.table(
        {
            "value": pa.array([line.encode() for line, _ in rows], pa.binary()),
            "file_path": pa.array([path for _, path in rows], pa.string()),
            "file_block_start": pa.array([0] * len(rows), pa.int64()),
            "place": pa.array(range(len(rows)), pa.int64()),
        }
    )

    told = [row for batch in follow_quotes(table.to_batches(size)) for row in batch.to_pylist()]

    lines = [line for lines in files for line in lines]
    assert [row["value"] or row[UNCLOSED_LINE] for row in told] == lines
    assert [row["value"] is None for row in told] == [
        inside for lines in files for inside in find_inside(lines)
    ]
