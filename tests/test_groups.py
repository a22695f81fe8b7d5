"""The tests of one group run in one process: else each process would start every Spark of its own, unnoticed."""

import subprocess
import sys
from pathlib import Path

SAMPLE = """
import os
import pytest

@pytest.mark.parametrize("number", range(10))
@pytest.mark.parametrize("group", [pytest.param(g, marks=pytest.mark.xdist_group(g)) for g in ("a", "b")])
def test_where_it_runs(group, number):
    with open(group, "a") as seen:
        seen.write(os.environ["PYTEST_XDIST_WORKER"] + "\\n")
"""


def test_the_tests_of_a_group_run_in_one_process(tmp_path: Path) -> None:
    (tmp_path / "test_sample.py").write_text(SAMPLE)
    command = [sys.executable, "-m", "pytest", "--numprocesses", "2", "--dist", "loadgroup", "--rootdir", str(tmp_path)]

    finished = subprocess.run(command, cwd=tmp_path, capture_output=True, text=True, timeout=120)

    assert finished.returncode == 0, finished.stdout + finished.stderr
    workers = {group: (tmp_path / group).read_text().split() for group in ("a", "b")}
    assert [len(each) for each in workers.values()] == [10, 10]
    assert [len(set(each)) for each in workers.values()] == [1, 1]
