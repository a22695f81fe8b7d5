"""Runs that are forked from a process with the imports done: like any other run, and sooner at work."""

import json
import os
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
from local_workspace.kernel.fork_server import ForkServer
from local_workspace.processes.forks import Fork
from local_workspace.processes.run_processes import MARK, end_processes, mark
from test_notebook_run import CELL, Run, make_wheel

pytestmark = pytest.mark.skipif(sys.platform != "linux", reason="runs are forked on Linux only")

DESCRIBE = (
    "import gc, json, os, sys, threading",
    'warm = "sklearn" in sys.modules and "mlflow" in sys.modules',
    "import pandas",
    'watches = "ParentPollerUnix" in {type(thread).__name__ for thread in threading.enumerate()}',
    "seen = [warm, os.getcwd(), sys.prefix, sys.executable, pandas.options.display.max_columns, watches]",
    'print(json.dumps([*seen, os.environ["COLOUR"], dbutils.widgets.get("alpha"), gc.isenabled()]))',
)

FIND_TRACES = r"""
import re, sys
modules = [(name, module) for name, module in sys.modules.items() if name != "__main__"]
values = [(f"{name}.{key}", value) for name, module in modules for key, value in list(vars(module).items())]
plain = [(name, repr(value)) for name, value in values if isinstance(value, (str, bytes, list, tuple, dict))]
traces = [(name, re.search("/[^ '\":]*/runs/fork-server[^ '\":]*", value)) for name, value in plain]
print("sys.prefix" in dict(plain), [(name, trace.group()) for name, trace in traces if trace])
"""


class Bench:
    """A folder with runs that are forked."""

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
        self.fork_server = ForkServer(self.runs)

    def start(self, name: str, *cells: str, **parameters: str) -> Fork:
        """Forks a run of these cells."""
        folder = self.runs / name
        folder.mkdir()
        source = folder / "notebook.source"
        source.write_text("# Databricks notebook source\n" + CELL.join(cells))
        task = {"notebook_path": "/Shared/n", "source_file": str(source), "format": "SOURCE"}
        (folder / "task.json").write_text(
            json.dumps(task | {"parameters": parameters, "pip_arguments": self.libraries})
        )
        self.fork_server.make_ready(self.environment)
        fork = self.fork_server.fork(folder, {**self.environment, **mark(folder)})
        assert fork is not None
        return fork

    def run(self, name: str, *cells: str, **parameters: str) -> Run:
        """Runs these cells to their end."""
        self.start(name, *cells, **parameters).wait()
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
    bench.fork_server.close()
    end_processes(bench.runs)


@pytest.fixture(scope="module")
def shared(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Bench]:
    """One for several runs."""
    bench = Bench(tmp_path_factory.mktemp("shared"))
    bench.environment |= {"DATABRICKS_TOKEN": "token-of-another-run"}
    yield bench
    bench.fork_server.close()
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


def test_a_run_that_is_forked_is_like_any_other(restarted):
    bench, run = restarted

    assert run.result == {"status": "SUCCESS", "exit_value": "done"}
    prefix = json.loads(run.printed(0))[2]
    python = f"{prefix}/bin/python"
    expected = [True, str(bench.runs / "1" / "workdir"), prefix, python, 20, True, "blue", "0.7", True]
    assert json.loads(run.printed(0)) == json.loads(run.printed(5)) == expected
    assert Path(prefix) == bench.runs / "1" / "python"
    assert run.printed(1) != run.printed(6), "each kernel draws numbers of its own"
    assert run.printed(7).startswith(prefix)
    assert "image/png" in run.printed(8)
    assert run.printed(2) == run.printed(9) == "64000000.0\n"


def test_a_package_that_the_run_installs_wins_over_an_imported_one(restarted):
    _, run = restarted

    assert run.printed(10) == "True True\n"
    assert run.printed(13) == "99.1 fresh\n"


@pytest.fixture
def with_library(shared: Bench, monkeypatch: pytest.MonkeyPatch) -> Bench:
    """The same one; the tasks have a library that was imported ahead in another version."""
    make_wheel(shared.wheels, "jinja2", "99.1")
    monkeypatch.setattr(shared, "libraries", ["--no-deps", "dbfs:/wheels/jinja2-99.1-py3-none-any.whl"])
    return shared


def test_a_library_of_the_task_wins_over_an_imported_package_from_the_first_cell_on(with_library):
    run = with_library.run("library", "import jinja2, sys; print(jinja2.VERSION, 'sklearn' in sys.modules)")

    assert "Successfully installed jinja2" in run.printed(0)
    assert run.printed(1) == "99.1 False\n"


# Starts Spark's daemon as Spark does, and tells whose process listens, and how and that it ended.
DAEMON = """
import json, psutil, struct, subprocess, sys

def listens(process, port):
    try:
        return port in [connection.laddr.port for connection in process.net_connections() if connection.laddr]
    except psutil.Error:
        return False

def daemon(end):
    command = [sys.executable, "-m", "local_workspace.spark.spark_daemon", "pyspark.worker"]
    with subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as process:
        port = struct.unpack("!i", process.stdout.read(4))[0]
        (found,) = [one for one in psutil.process_iter() if listens(one, port)]
        program = found.cmdline()[2]
        end(process)
        code = process.wait(timeout=20)
    return program, code, psutil.wait_procs([found], timeout=20)[1] == []

how = (lambda process: process.stdin.close(), subprocess.Popen.terminate)
print(json.dumps([daemon(end) for end in how]))
"""


def test_sparks_daemon_is_forked_from_the_run_and_ends_when_spark_says_so(shared):
    run = shared.run("daemon", DAEMON)

    forked = "local_workspace.kernel.forking"
    assert json.loads(run.printed(0)) == [[forked, 1, True]] * 2


def test_sparks_daemon_is_sparks_own_where_the_run_has_installed_an_imported_package(with_library):
    run = with_library.run("own daemon", DAEMON)

    assert json.loads(run.printed(1)) == [["pyspark.daemon", 1, True]] * 2


def test_ending_a_run_interrupts_its_kernel_and_leaves_the_fork_server_alone(shared, eventually):
    asleep, interrupted = shared.runs / "asleep", shared.runs / "interrupted"
    process = shared.start(
        "ended",
        "import os, pathlib, subprocess, time\nif os.fork() == 0: os.setsid(); time.sleep(600)",
        "subprocess.Popen(['sleep', '600'], start_new_session=True)",
        f"pathlib.Path('{asleep}').touch()\ntry:\n    time.sleep(600)\n"
        f"except KeyboardInterrupt:\n    pathlib.Path('{interrupted}').touch()\n    raise",
    )
    other = shared.start("other", "import time; time.sleep(600)")
    eventually(asleep.exists, seconds=60)
    # Forker, executor, kernel, its fork, sleep; a program that has only just begun shows no environment.
    eventually(lambda: len(shared.processes("ended")) == 5)
    eventually(lambda: len(shared.processes("other")) == 3)

    end_processes(shared.runs / "ended")

    process.wait()
    assert shared.processes("ended") == []
    assert interrupted.exists()
    assert (other.poll(), len(shared.processes("other"))) == (None, 3)
    end_processes(shared.runs / "other")
    assert len(shared.processes()) == 1


def test_what_was_imported_ahead_names_no_other_environment_than_the_runs_own(shared):
    run = shared.run("traces", FIND_TRACES, "import sysconfig; print(sysconfig.get_paths()['purelib'])")

    assert run.printed(0) == "True []\n"
    assert run.printed(1).startswith(f"{shared.runs}/traces/python/lib/")


@pytest.fixture(scope="module")
def died(shared: Bench) -> tuple[bytes, Run]:
    """What the process had in its environment before, and a run with a token whose kernel kills itself."""
    shared.fork_server.make_ready(shared.environment)
    (server,) = shared.processes()
    waiting = Path(f"/proc/{server}/environ").read_bytes()
    shared.environment |= {"DATABRICKS_TOKEN": "token-of-this-run"}
    run = shared.run(
        "died",
        "import os; token = os.environ['DATABRICKS_TOKEN']; print(token, token[9:13])",
        "import signal; os.kill(os.getpid(), signal.SIGKILL)",
    )
    return waiting, run


def test_a_run_brings_its_token_and_the_process_before_it_has_none(died):
    waiting, run = died

    assert b"COLOUR=blue" in waiting and b"token-of" not in waiting
    assert run.printed(0) == "[REDACTED] this\n"


def test_a_kernel_that_dies_is_reported_though_it_is_nobodys_child(died):
    _, run = died

    assert run.result["status"] == "FAILED"
    assert "was killed (SIGKILL): most likely the machine ran out of memory" in run.result["error"]


def test_a_run_goes_on_when_the_process_it_was_forked_from_is_killed_and_the_next_one_has_another(shared):
    go = shared.runs / "go"
    going = shared.start(
        "going", f"import pathlib, time\nwhile not pathlib.Path('{go}').exists(): time.sleep(0.1)"
    )
    (server,) = set(shared.processes()) - set(shared.processes("going"))
    os.kill(server, signal.SIGKILL)
    time.sleep(0.1)

    assert going.poll() is None
    assert shared.fork_server.fork(shared.runs / "next", shared.environment) is None
    assert shared.run("next", "import sys; print('sklearn' in sys.modules)").printed(0) == "True\n"
    go.touch()
    going.wait()
    assert Run(shared.runs / "going").result["status"] == "SUCCESS"
    assert len(list(shared.runs.glob("fork-server-*"))) == 1


def test_a_run_with_other_variables_is_not_forked_before_the_imports_were_done_with_them(shared, monkeypatch):
    red = shared.environment | {"COLOUR": "red"}  # as when Spark came up again on another port
    shared.fork_server.make_ready(shared.environment)
    (blue,) = shared.processes()

    assert shared.fork_server.fork(shared.runs / "red", red) is None
    shared.fork_server.ensure(red)
    assert shared.fork_server.fork(shared.runs / "red", red) is None, "its imports are not done"
    assert shared.processes() != [blue]
    assert len(list(shared.runs.glob("fork-server-*"))) == 1
    monkeypatch.setattr(shared, "environment", red)
    run = shared.run("red", "import os, sys; print(os.environ['COLOUR'], 'sklearn' in sys.modules)")
    assert run.printed(0) == "red True\n"


def test_a_kernel_with_more_variables_than_a_message_takes_starts_the_ordinary_way(shared, monkeypatch):
    large = {f"LARGE_{number}": "x" * 100_000 for number in range(3)}
    monkeypatch.setattr(shared, "environment", shared.environment | large)

    run = shared.run("large", "import os, sys; print(len(os.environ['LARGE_2']), 'sklearn' in sys.modules)")

    assert run.printed(0) == "100000 False\n"


def test_imports_that_hang_or_fail_are_tried_once_and_hold_nobody_up(bench, tmp_path, monkeypatch, caplog):
    monkeypatch.setattr("local_workspace.kernel.fork_server.IMPORT_SECONDS", 1)
    (tmp_path / "ipykernel.py").write_text("import time; print('it hangs', flush=True); time.sleep(600)")
    environment = bench.environment | {"PYTHONPATH": str(tmp_path)}
    bench.fork_server.make_ready(environment)
    began = time.monotonic()
    bench.fork_server.make_ready(environment)

    assert time.monotonic() - began < 0.5
    assert bench.fork_server.fork(bench.runs / "1", environment) is None
    assert bench.processes() == []
    assert [record.message for record in caplog.records] == [
        "no imports are done ahead of runs; it said: it hangs\n"
    ]
    bench.fork_server.ensure(environment | {"COLOUR": "red"})
    assert len(bench.processes()) == 1


def test_a_fork_server_that_does_not_answer_is_given_up_and_the_workspace_goes_on(bench, monkeypatch):
    monkeypatch.setattr("local_workspace.kernel.fork_server.FORK_SECONDS", 0.5)
    bench.fork_server.make_ready(bench.environment)
    (server,) = bench.processes()
    os.kill(server, signal.SIGSTOP)
    (bench.runs / "1").mkdir()

    assert bench.fork_server.fork(bench.runs / "1", {**bench.environment, **mark(bench.runs / "1")}) is None
    assert bench.processes() == []


def test_nothing_is_left_when_the_workspace_stops(bench):
    bench.fork_server.ensure(bench.environment)
    assert len(bench.processes()) == 1

    bench.fork_server.close()
    bench.fork_server.ensure(bench.environment)

    assert bench.processes() == []
    assert list(bench.runs.iterdir()) == []


def test_the_process_ends_with_a_workspace_that_is_killed(bench, eventually):
    code = (
        "import os, pathlib, sys; from local_workspace.kernel.fork_server import ForkServer; "
        "ForkServer(pathlib.Path(sys.argv[1])).ensure(dict(os.environ)); os.kill(os.getpid(), 9)"
    )
    subprocess.run([sys.executable, "-c", code, str(bench.runs)], env=bench.environment, check=False)

    eventually(lambda: bench.processes() == [], seconds=60)
    assert len(list(bench.runs.iterdir())) == 1
    ForkServer(bench.runs)
    assert list(bench.runs.iterdir()) == []


@pytest.fixture
def imports(tmp_path):
    from local_workspace.kernel import forking

    own, base = tmp_path / "own", tmp_path / "base"
    own.mkdir()
    base.mkdir()
    (own / "base-environment.pth").touch()
    module = tmp_path / "wants_an_option.py"
    module.write_text("try:\n    import made_up_option\nexcept ImportError:\n    made_up_option = None\n")
    sys.path.insert(0, str(tmp_path))
    done = forking.Imports(base)
    done.do(["wants_an_option", "absent_module"])
    yield done
    sys.path.remove(str(tmp_path))
    del sys.modules["wants_an_option"]


def test_imports_hold_where_a_run_installed_what_none_of_them_knows(imports, tmp_path):
    info = tmp_path / "own" / "new_package-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[console_scripts]\nnew = new_package:main\n")
    (tmp_path / "own" / "new_package").mkdir()

    assert imports.hold(tmp_path / "own")


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
    assert imports.hold(tmp_path / "own")
    (tmp_path / installed).parent.mkdir(exist_ok=True)
    (tmp_path / installed).touch()

    assert not imports.hold(tmp_path / "own")


def test_imports_do_not_hold_where_a_run_installed_a_plug_in(imports, tmp_path):
    info = tmp_path / "own" / "new_package-1.0.dist-info"
    info.mkdir()
    (info / "entry_points.txt").write_text("[mlflow.tracking_store]\nnew = new_package:Store\n")

    assert not imports.hold(tmp_path / "own")
