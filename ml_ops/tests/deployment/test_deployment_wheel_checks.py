"""A wheel or a notebook with which the jobs would not run is not deployed."""

import sys
from pathlib import Path

import pytest
from deployment import wheel_checks, wheels
from deployment.errors import DeploymentError
from test_deployment_wheels import FILES, MODEL, PYPROJECT, root, settings_of_git, write

__all__ = ["root", "settings_of_git"]

JOB = "ml_ops/src/science_ops/job.py"
NOTEBOOK = "ml_ops/orchestrator/job.py"
HEAD = "# Databricks notebook source\n"


def refused(root: Path) -> str:
    """What is said of sources that are not built."""
    with pytest.raises(DeploymentError) as told:
        wheels.build_wheels(root)
    assert list(root.glob("dist/*/*.whl")) == []
    assert "\n" not in str(told.value)
    return str(told.value)


@pytest.mark.parametrize(
    ("name", "text", "said"),
    [
        (MODEL, "MARK = 1\nif MARK\n    pass\n", "model.py, line 2: SyntaxError: expected ':'"),
        (MODEL, "MARK = 1\n\treturn\n", "model.py, line 2: IndentationError: unexpected indent"),
        (MODEL, "MARK = 1\n'a\0b'\n", "model.py, line 1: "),
        (MODEL, "MARK = 1\nreturn\n", "model.py, line 2: SyntaxError: 'return' outside function"),
        (MODEL, "OTHER = 1\n", "job.py, line 1: ImportError: cannot import name 'MARK' from 'science.model'"),
        (MODEL, "MARK = 1 / 0\n", "model.py, line 1: ZeroDivisionError: division by zero"),
        (
            MODEL,
            "\nimport no_such_package\n",
            "model.py, line 2: ModuleNotFoundError: No module named 'no_su",
        ),
        (MODEL, "import sys\nsys.exit('early')\n", "model.py, line 2: SystemExit: early"),
        (
            MODEL,
            "def fill():\n    raise OSError('no\\ndisk')\n\n\nfill()\n",
            "model.py, line 2: OSError: no;",
        ),
        (MODEL, "import numpy\nnumpy.array('a', dtype=int)\n", "model.py, line 2: ValueError: invalid lit"),
        (JOB, "from science.other import MARK\n", "line 1: ModuleNotFoundError: No module named 'science.ot"),
        (JOB, "import science_tests\n", "line 1: ModuleNotFoundError: No module named 'science_tests'"),
        ("ml_source/src/science/unused.py", "def f(:\n", "science/unused.py, line 1: SyntaxError"),
        (
            "ml_source/src/science/deep/unused.py",
            "raise ValueError('x')\n",
            "deep/unused.py, line 1: ValueErr",
        ),
    ],
)
def test_a_module_that_does_not_compile_or_import_is_named(
    root: Path, name: str, text: str, said: str
) -> None:
    write(root, name, text)

    told = refused(root)

    assert said in told and told.endswith("the jobs would not run, and nothing is deployed")
    assert told.startswith(("ml_source/src/science", "ml_ops/src/science_ops"))


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("a = 1\n\n# COMMAND ----------\n\nif a\n", "job.py, line 6: SyntaxError: expected ':'"),
        ("# MAGIC %pip install x\nimport science_ops.gone\n", "job.py, line 3: ModuleNotFoundError"),
        ("from science_ops import gone\n", "line 2: ModuleNotFoundError: No module named 'science_ops.gone'"),
        (
            "from science_ops.job import walk\n",
            "line 2: ImportError: cannot import name 'walk' from 'science_",
        ),
        (
            "def later():\n    from science.model import LATER\n",
            "line 3: ImportError: cannot import name 'LAT",
        ),
    ],
)
def test_a_notebook_that_does_not_run_with_the_wheels_is_named(root: Path, text: str, said: str) -> None:
    write(root, NOTEBOOK, HEAD + text)

    told = refused(root)

    assert told.startswith("ml_ops/orchestrator/job.py") and said in told


@pytest.mark.parametrize(
    "text",
    [
        "# MAGIC %sql\n# MAGIC select 1\nspark.sql('select 1')\ndbutils.notebook.exit('')\n",
        "await something()\n\n# COMMAND ----------\n\nfrom __future__ import annotations\n",
        "import of_another_team\nfrom of_another_team import science_ops\n",
        "try:\n    from science.fast import run\nexcept ImportError:\n    from science_ops.job import run\n",
        "from science.model import *\nfrom science_ops import job as j\nimport science_ops.job as it\n",
    ],
)
def test_a_notebook_of_the_platform_is_deployed(root: Path, text: str) -> None:
    write(root, NOTEBOOK, HEAD + text)

    assert len(list(wheels.build_wheels(root).glob("*.whl"))) == 2


@pytest.mark.parametrize(
    "text",
    [
        "from databricks.feature_engineering import FeatureEngineeringClient\n",
        "from pyspark.dbutils import DBUtils\n",
        "from acme.monitor.exporter import Exporter\n",
        "def late():\n    import no_such_package\n",
        "try:\n    import no_such_package\nexcept ImportError:\n    pass\n",
    ],
)
def test_what_only_the_jobs_have_may_be_missing_here(
    root: Path, capsys: pytest.CaptureFixture[str], text: str
) -> None:
    extra = '[project.optional-dependencies]\ntelemetry = ["acme-monitor_exporter>=1"]\n\n[tool.setup'
    write(
        root, "ml_source/pyproject.toml", FILES["ml_source/pyproject.toml"].replace("[tool.setup", extra, 1)
    )
    write(root, "ml_source/src/science/platform.py", text)

    wheels.build_wheels(root)

    at_the_top = not text.startswith(("def", "try"))
    assert (
        "Not imported, for a package that only the jobs have: sci" in capsys.readouterr().out
    ) == at_the_top


def test_a_file_that_the_wheel_leaves_out_is_named(root: Path) -> None:
    write(root, "ml_ops/src/science_ops/templates/page.css", "p {}\n")
    assert refused(root).startswith("ml_ops/src/science_ops/templates/page.css is not in the wheel")

    (root / "ml_ops/src/science_ops/templates/page.css").unlink()
    without = PYPROJECT.format(name="science_ops").replace(', "templates/*.html"', "")
    write(root, "ml_ops/pyproject.toml", without)
    assert "templates/page.html is not in the wheel" in refused(root)


def test_it_is_the_wheel_that_is_imported_and_not_the_checkout(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("PYTHONPATH", str(root / "ml_source/src"))
    only_ops = PYPROJECT.format(name="science").replace(
        'where = ["src"]', 'where = ["src"]\nexclude = ["science*"]'
    )
    write(root, "ml_source/pyproject.toml", only_ops)
    monkeypatch.chdir(root / "ml_source/src")

    assert "science/__init__.py is not in the wheel" in refused(root)


def test_a_version_that_failed_is_looked_at_again_and_one_that_passed_is_not(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    needs = root.parent / "needed"
    write(root, MODEL, f"MARK = open({str(needs)!r}).read()\n")
    assert "FileNotFoundError" in refused(root)

    needs.touch()
    folder = wheels.build_wheels(root)
    needs.unlink()

    assert wheels.build_wheels(root) == folder


@pytest.mark.parametrize(
    ("text", "said"),
    [
        ("import os\nos._exit(0)\n", "the process that imports the wheels ended: exit code 0"),
        ("import time\ntime.sleep(60)\n", "the modules of the wheels are not imported after 2 s"),
    ],
)
def test_a_process_that_does_not_come_back_is_told(
    root: Path, monkeypatch: pytest.MonkeyPatch, text: str, said: str
) -> None:
    monkeypatch.setattr(wheel_checks, "SECONDS", 2)
    write(root, MODEL, text)

    assert said in refused(root)


def test_a_module_that_imports_sees_no_sign_in(root: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("DATABRICKS_TOKEN", "s3cret")
    write(root, MODEL, "import os\nMARK = 1\nassert 'DATABRICKS_TOKEN' not in os.environ\n")

    before = set(sys.modules)  # tests of the wheels have a module of that name

    wheels.build_wheels(root)

    assert not [name for name in set(sys.modules) - before if name.startswith("science")]
