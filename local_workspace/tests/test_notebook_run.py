"""Notebooks executed for real, each in a kernel of its own."""

import json
import os
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from databricks.sdk.service.workspace import Language
from local_workspace.kernel.pip_words import on_this_machine
from real_workspace import make_wheel

CELL = "\n\n# COMMAND ----------\n\n"


class Run:
    """A notebook that was executed: its result and what its cells printed."""

    def __init__(self, folder: Path) -> None:
        self.result = json.loads((folder / "result.json").read_text())
        self.notebook = nbformat.read(folder / "notebook.ipynb", as_version=4)

    def printed(self, cell: int) -> str:
        """All text that the cell with this position showed."""
        outputs = self.notebook.cells[cell].outputs
        return "".join(output.get("text") or str(output.get("data", "")) for output in outputs)


@pytest.fixture
def execute(tmp_path):
    def run(
        *cells: str, parameters: dict[str, str] | None = None, pip_arguments: tuple[str, ...] = ()
    ) -> Run:
        source = tmp_path / "notebook.py"
        source.write_text("# Databricks notebook source\n" + CELL.join(cells))
        task = {
            "notebook_path": "/Shared/notebook",
            "source_file": str(source),
            "format": "SOURCE",
            "parameters": parameters or {},
            "pip_arguments": pip_arguments,
        }
        (tmp_path / "task.json").write_text(json.dumps(task))
        environment = os.environ | {
            "LOCAL_WORKSPACE_STATE": str(tmp_path),
            "JUPYTER_RUNTIME_DIR": str(tmp_path / "jupyter"),
            "IPYTHONDIR": str(tmp_path / "ipython"),
        }
        command = [sys.executable, "-m", "local_workspace.kernel.execute", str(tmp_path)]
        subprocess.run(command, env=environment, timeout=120, check=False, capture_output=True)
        return Run(tmp_path)

    return run


def test_the_libraries_of_a_task_are_there_before_its_first_cell(execute, tmp_path):
    make_wheel(tmp_path / "dbfs" / "my wheels", "of_the_task", "3.1")
    wheel = "dbfs:/my wheels/of_the_task-3.1-py3-none-any.whl"

    run = execute("import of_the_task; dbutils.notebook.exit(of_the_task.VERSION)", pip_arguments=(wheel,))

    assert run.result["exit_value"] == "3.1"
    assert "Successfully installed of" in run.printed(0)


def test_job_parameters_win_over_defaults_and_the_exit_value_comes_back(execute):
    run = execute(
        'dbutils.widgets.text("alpha", "0.1"); dbutils.widgets.text("beta", "0.2")',
        'dbutils.notebook.exit(dbutils.widgets.get("alpha") + " " + dbutils.widgets.get("beta"))',
        'print("never reached")',
        parameters={"alpha": "0.7"},
    )

    assert run.result["status"] == "SUCCESS"
    assert run.result["exit_value"] == "0.7 0.2"
    assert run.notebook.cells[2].outputs == []


def test_an_error_fails_the_run_with_its_type_text_and_trace(execute):
    run = execute('def train():\n    raise ValueError("no column BMI")', "train()", 'print("never")')

    assert run.result["status"] == "FAILED"
    assert run.result["error"] == "ValueError: no column BMI"
    assert "train()" in run.result["error_trace"]
    assert run.notebook.cells[2].outputs == []


def test_exit_is_not_caught_by_the_notebooks_own_handlers(execute):
    run = execute('try:\n    dbutils.notebook.exit("done")\nexcept Exception:\n    print("caught")')

    assert run.result["exit_value"] == "done"


def test_an_unknown_widget_is_named_with_those_there_are(execute):
    run = execute('dbutils.widgets.get("beta")', parameters={"alpha": "1"})

    assert "'beta'" in run.result["error"]
    assert "['alpha']" in run.result["error"]


def test_pip_installs_for_the_run_alone_and_restart_loses_the_state(execute, tmp_path):
    make_wheel(tmp_path / "dbfs" / "wheels", "made_up_package", "1.2")

    run = execute(
        'state = 1; wheels = "/dbfs/wheels"',
        "# MAGIC %pip install --quiet --no-index --find-links $wheels made_up_package",
        "dbutils.library.restartPython()",
        'print("state" in globals()); import made_up_package; print(made_up_package.__file__)',
    )

    assert run.result["status"] == "SUCCESS", run.result
    assert run.printed(3).startswith("False\n" + str(tmp_path / "python"))
    here = subprocess.run([sys.executable, "-c", "import made_up_package"], capture_output=True, check=False)
    assert here.returncode != 0


def test_a_comment_behind_pip_is_no_requirement_and_a_sign_within_a_word_is_no_comment(execute, tmp_path):
    make_wheel(tmp_path / "dbfs" / "of #1", "made_up_package", "1.2")

    run = execute(
        "# MAGIC %pip install --quiet --no-index --find-links '/dbfs/of #1' made_up_package # 'why' not",
        "import made_up_package",
        "# MAGIC %pip install --no-index absent#1",
    )

    assert "absent#1" in run.result["error"], run.result


def test_a_notebook_imports_and_reads_what_lies_beside_it(execute, tmp_path):
    beside = tmp_path / "workspace_files" / "Shared"
    (beside / "parts").mkdir(parents=True)
    (beside / "helper.py").write_text("VALUE = 1")
    (beside / "parts" / "more.py").write_text("VALUE = 2")
    (beside / "settings.json").write_text("{}")
    (beside / "requirements.txt").write_text("made_up_package")
    make_wheel(tmp_path / "dbfs" / "wheels", "made_up_package", "1.2")

    run = execute(
        "import helper, parts.more; print(helper.VALUE, parts.more.VALUE, open('settings.json').read())",
        "# MAGIC %pip install --quiet --no-index --find-links /dbfs/wheels -r requirements.txt",
        "dbutils.library.restartPython()",
        "import helper, made_up_package; print(helper.VALUE, made_up_package.VERSION)",
        "open('written.txt', 'w').write('by the notebook')",
    )

    assert run.result["status"] == "SUCCESS", run.result
    assert (run.printed(0), run.printed(3)) == ("1 2 {}\n", "1 1.2\n")
    assert (beside / "written.txt").read_text() == "by the notebook"
    assert not list(beside.rglob("__pycache__"))


@pytest.fixture
def upload(local, monkeypatch):
    """Puts a notebook beside the one that `execute` runs, where its `%run` finds it."""
    monkeypatch.setenv("DATABRICKS_HOST", local.host)
    monkeypatch.setenv("DATABRICKS_TOKEN", "x")

    def put(name: str, *cells: str) -> None:
        source = "# Databricks notebook source\n" + CELL.join(cells)
        upload = local.client.workspace.upload
        upload(f"/Shared/{name}", source.encode(), language=Language.PYTHON, overwrite=True)

    return put


ALL = "print(dbutils.widgets.getAll())"


def seen(run: Run, *cells: int) -> list[object]:
    """What each of these cells showed of the widgets."""
    assert run.result["status"] == "SUCCESS", run.result
    return [eval(line) for cell in cells for line in run.printed(cell).splitlines()]


@pytest.mark.parametrize(
    ("declared", "parameters", "own"),
    [
        ('dbutils.widgets.text("alpha", "0.1")', {}, {"alpha": "0.1"}),
        ("", {"alpha": "0.7"}, {"alpha": "0.7"}),
        ('dbutils.widgets.text("alpha", "0.1")', {"alpha": "0.7"}, {"alpha": "0.7"}),
        ("", {}, {}),
    ],
    ids=["a widget", "a parameter of the job", "both", "neither"],
)
def test_what_run_hands_over_is_the_childs_alone(execute, upload, declared, parameters, own):
    upload("reads", ALL)

    run = execute(declared + "\n1", '# MAGIC %run ./reads $alpha="0.5" $beta="2"', ALL, parameters=parameters)

    assert seen(run, 1, 2) == [{"alpha": "0.5", "beta": "2"}, own]


@pytest.mark.parametrize(
    ("parameters", "after"),
    [
        ({}, {"alpha": "0.1", "beta": "3", "gamma": "4"}),
        ({"beta": "7"}, {"alpha": "0.1", "beta": "7", "gamma": "4"}),
    ],
)
def test_widgets_that_a_child_declares_stay_without_what_was_handed_over(execute, upload, parameters, after):
    declares = [
        f'dbutils.widgets.text("{name}", "{value}")'
        for name, value in (("alpha", 9), ("beta", 3), ("gamma", 4))
    ]
    upload("declares", *declares, ALL)

    run = execute(
        'dbutils.widgets.text("alpha", "0.1")',
        '# MAGIC %run ./declares $alpha="0.5" $beta="2"',
        ALL,
        parameters=parameters,
    )

    assert seen(run, 1, 2) == [{"alpha": "0.5", "beta": "2", "gamma": "4"}, after]


def test_a_child_has_its_own_again_after_the_one_that_it_runs(execute, upload):
    upload("inner", ALL)
    upload("outer", ALL, '# MAGIC %run ./inner $alpha="0.9" $gamma="3"', ALL)

    run = execute('dbutils.widgets.text("alpha", "0.1")', '# MAGIC %run ./outer $alpha="0.5" $beta="2"', ALL)

    outer = {"alpha": "0.5", "beta": "2"}
    assert seen(run, 1, 2) == [outer, {"alpha": "0.9", "beta": "2", "gamma": "3"}, outer, {"alpha": "0.1"}]


def test_a_child_that_fails_leaves_nothing_of_what_it_was_given(execute, upload):
    upload("fails", 'raise ValueError("no BMI")')

    run = execute(
        'dbutils.widgets.text("alpha", "0.1")',
        "try:\n    get_ipython().run_line_magic('run', './fails $alpha=0.5 $beta=2')\n"
        "except ValueError as error:\n    print(repr(str(error)))",
        ALL,
    )

    assert seen(run, 1, 2) == ["no BMI", {"alpha": "0.1"}]


def test_what_a_child_removes_is_gone_and_the_parameter_of_the_job_still_wins(execute, upload):
    upload("removes", "dbutils.widgets.removeAll()", ALL)

    run = execute(
        'dbutils.widgets.text("alpha", "0.1"); dbutils.widgets.text("other", "1")',
        '# MAGIC %run ./removes $alpha="0.5" $beta="2"',
        ALL,
        'dbutils.widgets.text("alpha", "0.1")\n' + ALL,
        parameters={"alpha": "0.7", "gamma": "3"},
    )

    assert seen(run, 1, 2, 3) == [{}, {}, {"alpha": "0.7"}]


def test_pip_finds_what_lies_in_the_workspace_however_it_is_named(execute, tmp_path):
    files, dbfs = tmp_path / "workspace_files", tmp_path / "dbfs"
    words = {
        "equals": "/dbfs/a=b/{}",
        "extras": "'/Workspace/my wheels/{}[plots]'",
        "marker": "\"/Workspace/my wheels/{}; python_version >= '3.8'\"",
        "marker_outside_quotes": "/Workspace/plain/{}; python_version >= '3.8'",
        "no_marker_fits": "/Workspace/plain/{}; python_version < '3.8'",
        "escaped": r"/Workspace/my\ wheels/{}",
        "address": "file:///Workspace/my%20wheels/{}",
        "named_address": "'named_address @ file:///Workspace/my%20wheels/{}'",
        "of_a_volume": "dbfs:/Volumes/main/a/b/{}",
        "found": "--find-links='/Workspace/my wheels' found",
        "short": "-f/Workspace/plain short",
        "required": "-r /Workspace/requirements.txt",
    }
    (files / "plain").mkdir(parents=True)
    (files / "requirements.txt").write_text("--find-links ./plain\nrequired\n")
    for name in words:
        for folder in (dbfs / "a=b", files / "my wheels", files / "plain", tmp_path / "volumes/main/a/b"):
            make_wheel(folder, name, "1.2")

    pip = "# MAGIC %pip install --quiet --no-index --no-deps "
    run = execute(
        *[pip + word.format(f"{name}-1.2-py3-none-any.whl") for name, word in words.items()],
        "from importlib.util import find_spec",
        f"print([name for name in {list(words)} if not find_spec(name)])",
    )

    assert run.result["status"] == "SUCCESS", run.result
    assert run.printed(len(words) + 1) == "['no_marker_fits']\n"


def test_pip_finds_what_requirements_files_name_in_the_workspace(execute, tmp_path):
    files = tmp_path / "workspace_files"
    for name in ("by_path", "by_address", "found", "beside", "nested", "constrained"):
        for version in ("1.2", "1.3"):
            make_wheel(files / "my wheels", name, version)
            make_wheel(files / "Shared" / "wheels", name, version)
    lines = [
        "# what the job's notebook needs \\",
        '--find-links "/Workspace/my wheels"  # isn\'t it',
        "-f wheels",
        "/Workspace/my wheels/by_path-1.2-py3-none-any.whl ; python_version > '3'",
        "by_address @ file:///Workspace/my%20wheels/by_address-1.2-py3-none-any.whl",
        "found==1.2 \\",
        "  --config-settings=a=b",
        "beside==1.2",
        "-r more/nested.txt",
        "-c/Workspace/constraints.txt",
        "constrained",
    ]
    (files / "Shared" / "more").mkdir()
    (files / "Shared" / "requirements.txt").write_text("\n".join(lines))
    (files / "Shared" / "more" / "nested.txt").write_text(
        "/Workspace/my wheels/nested-1.2-py3-none-any.whl\n"
    )
    (files / "constraints.txt").write_text("constrained<1.3\n")

    run = execute(
        "# MAGIC %pip install --quiet --no-index -r requirements.txt",
        "import by_path, by_address, found, beside, nested, constrained",
        "print({m.VERSION for m in (by_path, by_address, found, beside, nested, constrained)})",
    )

    assert run.result["status"] == "SUCCESS", run.printed(0)
    assert run.printed(2) == "{'1.2'}\n"


@pytest.mark.parametrize(
    "word",
    [
        "/Workspaces/x.whl",
        "/home/Workspace/x.whl",
        "https://a.example/dbfs/x.whl",
        "x==1",
        "--a=b=/dbfs/x",
        "dbfs:x",
    ],
)
def test_what_is_no_path_of_the_workspace_goes_to_pip_as_it_is(word, monkeypatch, tmp_path):
    monkeypatch.setenv("LOCAL_WORKSPACE_STATE", str(tmp_path))

    assert on_this_machine(word) == word


def test_a_failed_pip_fails_the_run_and_names_the_line(execute):
    run = execute("# MAGIC %pip install --no-index --find-links /dbfs/none absent_package")

    assert run.result["status"] == "FAILED"
    assert "%pip install --no-index" in run.result["error"]
    assert "No matching distribution found for absent_package" in run.printed(0)


def test_a_developers_working_copy_is_out_of_sight(execute):
    editable = subprocess.run(
        [sys.executable, "-m", "pip", "list", "--editable", "--format=json"], capture_output=True, check=True
    )
    names = {package["name"] for package in json.loads(editable.stdout)} - {"local_workspace"}
    assert names, "the packages of this repository are installed in editable form"

    run = execute(
        "import importlib.util",
        'print(importlib.util.find_spec("pytest") is not None)',
        f"print([n for n in {names} if importlib.util.find_spec(n)])",
    )

    assert run.printed(1) == "True\n"
    assert run.printed(2) == "[]\n"


@pytest.mark.parametrize("blank", [" ", "\t", "\n# MAGIC "])
def test_any_blank_ends_the_name_of_a_magic(execute, blank):
    run = execute(f"# MAGIC %sh{blank}echo from the shell")

    assert run.printed(0) == "from the shell\n"


def test_a_kernel_that_dies_fails_the_run_with_a_reason(execute):
    run = execute("import os; os._exit(7)")

    assert run.result["status"] == "FAILED"
    assert run.result["error"] == "The Python process of the notebook died (exit code 7)"


def test_a_kernel_that_the_system_kills_for_its_memory_says_so(execute):
    run = execute(
        "from pathlib import Path; print(Path('/proc/self/oom_score_adj').read_text())",
        "import os, signal; os.kill(os.getpid(), signal.SIGKILL)",
    )

    assert run.result["error"].startswith(
        "The Python process of the notebook was killed (SIGKILL): most likely"
    )
    assert "LOCAL_WORKSPACE_RUN_MEMORY_GB" in run.result["error"]
    if sys.platform == "linux":
        assert run.printed(0).strip() == "500"  # it is the first to go, before the server and Spark


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux limits the memory of a process")
def test_a_notebook_that_takes_too_much_memory_fails_with_the_limit(execute, monkeypatch):
    monkeypatch.setenv("LOCAL_WORKSPACE_RUN_MEMORY_GB", "1.5")
    run = execute("import numpy; numpy.ones(2**28)")  # 2 GB

    assert run.result["status"] == "FAILED"
    assert "Unable to allocate 2.00 GiB" in run.result["error"]
    assert "each process of a run may take 1.5 GB of memory" in run.result["error"]
    assert "LOCAL_WORKSPACE_RUN_MEMORY_GB" in run.result["error"]


def test_a_secret_of_two_prints_with_a_display_between_is_hidden(execute, monkeypatch):
    monkeypatch.setenv("DATABRICKS_TOKEN", "pl4nted-secret-of-the-run")

    run = execute("print('see pl4nted-se', end=''); display(1); print('cret-of-the-run', end='')")

    assert run.printed(0).replace("'text/plain': '1'", "") == "see [REDACTED]{}"


@pytest.mark.parametrize(
    "cell",
    [
        "print('z' * 5_000_000, end='')",
        "for _ in range(500): print('z' * 10_000, end='', flush=True)",
    ],
)
def test_of_a_very_long_text_the_end_is_kept_and_how_much_came_before(execute, cell):
    run = execute(cell, "print('after')")

    note, _, text = run.printed(0).partition("\n")
    assert note == "[4,000,000 characters before this are not kept.]"
    assert text == "z" * 1_000_000
    assert run.printed(1) == "after\n"


def test_what_a_cell_shows_is_bounded_and_said_to_be(execute):
    run = execute(
        "display('z' * 20_000_000)",
        "for number in range(3000): display(number)",
        "for number in range(50): print(number, end='\\r')\nprint('ready')",
        "raise ValueError('z' * 5_000_000)",
    )

    assert "An output of 19.1 MiB is not kept; the largest is 8 MiB." in run.printed(0)
    assert len(run.notebook.cells[1].outputs) == 1000
    assert "Only the first 999 outputs of this cell are kept." in run.printed(1)
    assert run.printed(2) == "ready\n"
    assert len(run.result["error"]) < 21_000
    assert "characters are not kept." in run.result["error"]
    assert len(json.dumps(run.notebook)) < 500_000


def test_what_is_shown_as_text_and_is_no_text_is_kept_as_the_text_that_it_has(execute):
    run = execute(
        "from IPython.display import display as show\n"
        "show({'text/plain': 5, 'text/html': None, 'image/png': 7, 3: 'x'}, raw=True)",
        "show({'text/plain': ['a', 'b'], 'application/json': [1, 2]}, raw=True)",
        "show({'text/html': {'a': 1}}, raw=True, metadata={'text/html': 5}); print('on')",
    )

    assert run.result["status"] == "SUCCESS"
    shown = [dict(cell.outputs[0].data) for cell in run.notebook.cells]
    assert shown == [
        {"text/plain": "5", "text/html": "None", "image/png": "7", "3": "x"},
        {"text/plain": "ab", "application/json": [1, 2]},
        {"text/html": "{'a': 1}"},
    ]
    assert run.printed(2).endswith("on\n")
