"""The walls between the packages are looked at, and an import through one is reported."""

import os
import shutil
import subprocess
import sys
from pathlib import Path

import pytest

ROOT = Path(__file__).resolve().parents[1]
PACKAGES = ("ml_source/src/diabetes", "ml_ops/src/diabetes_mlops", "ml_ops/deployment", "template")
PLANTED = {
    "ml_source/src/diabetes/tabular/columns.py": (
        "from diabetes.schema import SCHEMA",
        "nothing of the science",
    ),
    "ml_source/src/diabetes/tabular/drift.py": ("from diabetes import PROBLEM", "nothing of the science"),
    "ml_source/src/diabetes/tabular/reading.py": (
        "from diabetes.tabular.measuring import Interval",
        "The machinery stands in layers",
    ),
    "ml_source/src/diabetes/tabular/beside.py": ('"""Not in a layer."""', "The machinery stands in layers"),
    "ml_source/src/diabetes/training.py": ("import mlflow", "knows no platform"),
    "ml_ops/src/diabetes_mlops/data/worker.py": (
        "from diabetes.schema import SCHEMA",
        "nothing of the science",
    ),
    "ml_ops/src/diabetes_mlops/train.py": ("from diabetes import PROBLEM", "nothing of the science"),
    "ml_ops/src/diabetes_mlops/models/gate.py": (
        "from diabetes_mlops.reports import plots",
        "The MLOps wheel stands in layers",
    ),
    "ml_ops/src/diabetes_mlops/beside.py": ('"""Not in a layer."""', "The MLOps wheel stands in layers"),
    # only: local-workspace
    "ml_ops/deployment/tables.py": ("import local_workspace", "The deployment does not know where it runs"),
    # end only
}


@pytest.fixture(scope="module")
def checkout(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("walls")
    for package in PACKAGES:
        if (ROOT / package).exists():
            shutil.copytree(ROOT / package, folder / package, ignore=shutil.ignore_patterns("__pycache__"))
    shutil.copy2(ROOT / "pyproject.toml", folder)
    return folder


def look(checkout: Path) -> subprocess.CompletedProcess[str]:
    places = ("ml_source/src", "ml_ops/src", "ml_ops", ".")
    path = os.pathsep.join(str(checkout / place) for place in places)
    program = Path(sys.executable).with_name("lint-imports")
    return subprocess.run(
        [program, "--no-cache"],
        cwd=checkout,
        env=os.environ | {"PYTHONPATH": path, "COLUMNS": "200"},
        capture_output=True,
        text=True,
        check=False,
    )


def test_all_walls_stand(checkout: Path):
    seen = look(checkout)

    assert seen.returncode == 0, seen.stdout
    assert "0 broken" in seen.stdout


@pytest.mark.parametrize("file", PLANTED)
def test_an_import_through_a_wall_is_reported(checkout: Path, file: str):
    line, contract = PLANTED[file]
    place = checkout / file
    kept = place.read_text() if place.exists() else None
    place.write_text(f"{kept or ''}\n{line}\n")
    try:
        seen = look(checkout)
    finally:
        place.unlink() if kept is None else place.write_text(kept)

    assert seen.returncode == 1, seen.stdout
    broken = [name for name in seen.stdout.splitlines() if name.endswith("BROKEN")]
    assert [name for name in broken if contract in name], seen.stdout
