"""What a run of the tests leaves on the machine: nothing but what pytest itself keeps."""

import subprocess
import sys
from pathlib import Path

from machine import ROOT, clean_environment, package_caches

# matplotlib makes its folders while it is imported.
TESTS = ("ml_ops/tests/test_report.py", "--collect-only")
CACHES = ("IPYTHONDIR", "JUPYTER_", "MPLCONFIGDIR", "PYTEST_", "XDG_")


def left_by(folder: Path, **environment: str) -> list[str]:
    """What these tests leave in HOME and the temporary folder of a user who has just got the machine."""
    home, temporary = folder / "home", folder / "tmp"
    for each in (home, temporary):
        each.mkdir()
    own = {name: value for name, value in clean_environment().items() if not name.startswith(CACHES)}
    own |= package_caches() | {"HOME": str(home), "TMPDIR": str(temporary)} | environment
    ran = subprocess.run(
        [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", *TESTS],
        cwd=ROOT,
        env=own,
        capture_output=True,
        text=True,
        timeout=300,
        check=False,
    )
    assert ran.returncode == 0, ran.stdout[-3000:] + ran.stderr
    return [path.name for path in (*home.iterdir(), *temporary.iterdir())]


def test_tests_leave_nothing_in_home_and_the_temporary_folder(tmp_path: Path):
    left = left_by(tmp_path)

    assert [name for name in left if not name.startswith("pytest-of-")] == []


def test_a_cache_of_the_users_own_is_used_as_it_is(tmp_path: Path):
    left_by(tmp_path, MPLCONFIGDIR=str(tmp_path / "figures"))

    assert list((tmp_path / "figures").glob("fontlist-*"))
