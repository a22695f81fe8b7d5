"""Runs that start from a process with the imports done: like any other run, and sooner at work."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_workspace.run_processes import MARK, end_processes, mark
from local_workspace.spares import Spares
from test_notebook_run import CELL, Run, make_wheel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="spare processes are kept on Linux only")

DESCRIBE = (
    "import gc, json, os, sys",
    'warm = "sklearn" in sys.modules and "mlflow" in sys.modules',
    "seen = [warm, os.getcwd(), sys.prefix, sys.executable]",
    'print(json.dumps([*seen, os.environ["COLOUR"], dbutils.widgets.get("alpha"), gc.isenabled()]))',
)


class Bench:
    """Spare processes in a folder, and runs that take them."""

    def __init__(self, folder: Path) -> None:
        self.runs = folder / "runs"
        self.runs.mkdir()
        self.wheels = folder / "dbfs" / "wheels"
        self.libraries: list[str] = []
        self.environment = os.environ | {
            "COLOUR": "blue",
            "LOCAL_WORKSPACE_STATE": str(folder),
            "JUPYTER_RUNTIME_DIR": str(folder / "jupyter"),
            "IPYTHONDIR": str(folder / "ipython"),
        }
        self.spares = Spares(self.runs)

    def start(self, name: str, *cells: str, **parameters: str) -> subprocess.Popen[bytes] | None:
        """Gives a run of these cells to a new spare process."""
        folder = self.runs / name
        folder.mkdir()
        source = folder / "notebook.source"
        source.write_text("# Databricks notebook source\n" + CELL.join(cells))
        task = {"notebook_path": "/Shared/n", "source_file": str(source), "format": "SOURCE"}
        (folder / "task.json").write_text(
            json.dumps(task | {"parameters": parameters, "pip_arguments": self.libraries})
        )
        self.spares.refill(self.environment)
        return self.spares.take(folder, {**self.environment, **mark(folder)})

    def run(self, name: str, *cells: str, **parameters: str) -> Run:
        """Runs these cells in a spare process to their end."""
        process = self.start(name, *cells, **parameters)
        assert process is not None
        process.wait(120)
        return Run(self.runs / name)

    def processes(self, name: str = "") -> list[int]:
        """The processes that carry the mark of a run, or any mark."""
        environs = {path.parent: path for path in Path("/proc").glob("[0-9]*/environ")}
        found = {folder: _mark_of(path) for folder, path in environs.items()}
        root = (self.runs / name).resolve()
        return [int(folder.name) for folder, value in found.items() if value and value.is_relative_to(root)]


def _mark_of(environ: Path) -> Path | None:
    try:
        words = environ.read_bytes().decode(errors="replace").split("\0")
    except OSError:  # it has ended, or is another user's
        return None
    return next((Path(word.partition("=")[2]).resolve() for word in words if word.startswith(MARK)), None)


@pytest.fixture
def bench(tmp_path: Path) -> Iterator[Bench]:
    bench = Bench(tmp_path)
    yield bench
    bench.spares.close()
    end_processes(bench.runs)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for several runs: each takes the spare process that the one before left."""
    bench = Bench(tmp_path_factory.mktemp("shared"))
    bench.environment |= {"DATABRICKS_TOKEN": "token-of-another-run"}
    yield bench
    bench.spares.close()
    end_processes(bench.runs)


@pytest.fixture(scope="module")
def restarted(tmp_path_factory: pytest.TempPathFactory) -> tuple[Bench, Run]:
    """A run that installs a package nobody knows and then one that was imported, each before a restart."""
    bench = Bench(tmp_path_factory.mktemp("restarted"))
    make_wheel(bench.wheels, "made_up_package", "1.2")
    make_wheel(bench.wheels, "jinja2", "99.1")
    product = "import numpy as np; print(np.ones((400, 400)).dot(np.ones((400, 400))).sum())"
    install = "# MAGIC %pip install --quiet --no-index --no-deps --find-links /dbfs/wheels"
    run = bench.run(
        "1",
        "\n".join(DESCRIBE),
        "import numpy as np; print(np.random.rand())",
        product,
        f"{install} made_up_package",
        "dbutils.library.restartPython()",
        "\n".join(DESCRIBE),
        "import numpy as np; print(np.random.rand())",
        "import made_up_package; print(made_up_package.__file__)",
        "import matplotlib.pyplot as plt; plt.plot([1, 2]); plt.show()",
        product,
        "import sys; print('jinja2' in sys.modules, 'sklearn' in sys.modules)",
        f"{install} jinja2==99.1",
        "dbutils.library.restartPython()",
        "import jinja2; print(jinja2.VERSION, 'sklearn' in sys.modules if 'sys' in globals() else 'fresh')",
        'dbutils.notebook.exit("done")',
        alpha="0.7",
    )
    return bench, run


def test_a_run_of_a_spare_process_is_like_any_other(restarted):
    bench, run = restarted

    assert run.result == {"status": "SUCCESS", "exit_value": "done"}
    prefix = json.loads(run.printed(0))[2]
    python = f"{prefix}/bin/python"
    expected = [True, str(bench.runs / "1" / "workdir"), prefix, python, "blue", "0.7", True]
    assert json.loads(run.printed(0)) == json.loads(run.printed(5)) == expected
    assert Path(prefix).parent.parent == bench.runs
    assert run.printed(1) != run.printed(6), "each kernel draws numbers of its own"
    assert run.printed(7).startswith(prefix)
    assert "image/png" in run.printed(8)
    assert run.printed(2) == run.printed(9) == "64000000.0\n"
    bench.spares.close()
    assert [path.name for path in bench.runs.iterdir()] == ["1"], "what the run installed is gone with it"


def test_a_package_that_the_run_installs_wins_over_an_imported_one(restarted):
    _, run = restarted

    assert run.printed(10) == "True True\n"
    assert run.printed(13) == "99.1 fresh\n"


def test_a_library_of_the_task_wins_over_an_imported_package_from_the_first_cell_on(shared, monkeypatch):
    make_wheel(shared.wheels, "jinja2", "99.1")
    monkeypatch.setattr(shared, "libraries", ["--no-deps", "dbfs:/wheels/jinja2-99.1-py3-none-any.whl"])

    run = shared.run("library", "import jinja2, sys; print(jinja2.VERSION, 'sklearn' in sys.modules)")

    assert "Successfully installed jinja2" in run.printed(0)
    assert run.printed(1) == "99.1 False\n"


def test_ending_a_run_interrupts_its_kernel_and_leaves_the_next_spare_alone(shared, eventually):
    asleep, interrupted = shared.runs / "asleep", shared.runs / "interrupted"
    process = shared.start(
        "ended",
        "import pathlib, subprocess, time",
        "subprocess.Popen(['sleep', '600'], start_new_session=True)",
        f"pathlib.Path('{asleep}').touch()\ntry:\n    time.sleep(600)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path('{interrupted}').touch()\n    raise",
    )
    shared.spares.refill(shared.environment)
    eventually(asleep.exists, seconds=60)
    # Forker, executor, kernel, sleep; a program that has only just begun shows no environment for a moment.
    eventually(lambda: len(shared.processes("ended")) >= 4)

    end_processes(shared.runs / "ended")

    assert process is not None
    process.wait(10)
    assert shared.processes("ended") == []
    assert interrupted.exists()
    assert len(shared.processes()) == 1


@pytest.fixture(scope="module")
def died(shared: Bench) -> tuple[bytes, Run]:
    """What a spare process had in its environment, and the run with another token that took and killed it."""
    shared.spares.refill(shared.environment)
    (spare,) = shared.processes()
    waiting = Path(f"/proc/{spare}/environ").read_bytes()
    shared.environment |= {"DATABRICKS_TOKEN": "token-of-this-run"}
    run = shared.run(
        "died",
        "import os; token = os.environ['DATABRICKS_TOKEN']; print(token, token[9:13])",
        "import signal; os.kill(os.getpid(), signal.SIGKILL)",
    )
    return waiting, run


def test_a_run_brings_its_token_and_the_spare_process_has_none(died):
    waiting, run = died

    assert b"COLOUR=blue" in waiting and b"token-of" not in waiting
    assert run.printed(0) == "[REDACTED] this\n"


def test_a_kernel_that_dies_is_reported_though_it_is_nobodys_child(died):
    _, run = died

    assert run.result["status"] == "FAILED"
    assert "was killed (SIGKILL): most likely the machine ran out of memory" in run.result["error"]


def test_a_spare_process_that_was_killed_is_not_missed(bench):
    bench.spares.refill(bench.environment)
    (spare,) = bench.processes()
    os.kill(spare, signal.SIGKILL)
    time.sleep(0.1)

    assert bench.spares.take(bench.runs / "1", bench.environment) is None
    bench.spares.refill(bench.environment)
    assert bench.processes() != [spare]
    assert len(list(bench.runs.glob("spare-*"))) == 1


def test_a_run_with_other_variables_does_not_get_the_spare_process(bench):
    bench.spares.refill(bench.environment)

    assert bench.spares.take(bench.runs / "1", bench.environment | {"COLOUR": "red"}) is None


def test_the_next_spare_process_has_the_variables_that_runs_have_now(bench):
    bench.spares.refill(bench.environment)
    bench.environment |= {"COLOUR": "red"}  # as when Spark came up again on another port

    assert bench.start("1", "1 + 1") is not None
    assert len(list(bench.runs.glob("spare-*"))) == 1


def test_nothing_is_left_when_the_workspace_stops(bench):
    bench.spares.refill(bench.environment)
    assert len(bench.processes()) == 1

    bench.spares.close()
    bench.spares.refill(bench.environment)

    assert bench.processes() == []
    assert list(bench.runs.iterdir()) == []


def test_a_spare_process_ends_with_a_workspace_that_is_killed(bench, eventually):
    code = (
        "import os, pathlib, sys; from local_workspace.spares import Spares; "
        "Spares(pathlib.Path(sys.argv[1])).refill(dict(os.environ)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(bench.runs)], env=bench.environment, check=False)

    eventually(lambda: bench.processes() == [], seconds=60)
    assert len(list(bench.runs.iterdir())) == 1
    Spares(bench.runs)
    assert list(bench.runs.iterdir()) == []


@pytest.fixture
def imports(tmp_path):
    from local_workspace.notebook import spare

    own, base = tmp_path / "own", tmp_path / "base"
    own.mkdir()
    base.mkdir()
    (own / "base-environment.pth").touch()
    module = tmp_path / "wants_an_option.py"
    module.write_text("try:\n    import made_up_option\nexcept ImportError:\n    made_up_option = None\n")
    sys.path.insert(0, str(tmp_path))
    done = spare.Imports(own, base)
    done.do(["wants_an_option", "absent_module"])
    yield done
    sys.path.remove(str(tmp_path))
    del sys.modules["wants_an_option"]


def test_imports_hold_where_a_run_installed_what_none_of_them_knows(imports, tmp_path):
    info = tmp_path / "own" / "new_package-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[console_scripts]\nnew = new_package:main\n")
    (tmp_path / "own" / "new_package").mkdir()

    assert imports.hold()


@pytest.mark.parametrize(
    "installed",
    [
        "own/wants_an_option.py",
        "own/made_up_option/__init__.py",
        "own/starts-code.pth",
        "base/another_package/__init__.py",
    ],
)
def test_imports_do_not_hold_where_a_new_interpreter_would_import_something_else(
    imports, tmp_path, installed
):
    assert imports.hold()
    (tmp_path / installed).parent.mkdir(exist_ok=True)
    (tmp_path / installed).touch()

    assert not imports.hold()


def test_imports_do_not_hold_where_a_run_installed_a_plug_in(imports, tmp_path):
    info = tmp_path / "own" / "new_package-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[mlflow.tracking_store]\nnew = new_package:Store\n")

    assert not imports.hold()
