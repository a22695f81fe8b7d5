"""JupyterLab on the files of a project, as `make notebook` starts it; skipped where it is not installed."""

import json
import os
import re
import subprocess
import sys
import time
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import pytest
import requests
from browser import ARGUMENTS, MISSING, find_program
from playwright.sync_api import Page, sync_playwright
from real_workspace import RealWorkspace, free_port

pytest.importorskip("jupyterlab", reason="`make notebook` installs JupyterLab")

SOURCE = """# Databricks notebook source
# MAGIC %md
# MAGIC # Counts

# COMMAND ----------

# DBTITLE 1,Rows
rows   =  3

# COMMAND ----------

# MAGIC %sql
# MAGIC SELECT 40 + 2 AS answer
"""
HEADERLESS = "rows = 3\n"


@dataclass
class Lab:
    """A JupyterLab that runs on the files in `folder`."""

    host: str
    token: str
    folder: Path
    state: Path

    def contents(self, path: str, method: str = "GET", **options: Any) -> requests.Response:
        """Asks for a file or folder, or saves one."""
        headers = {"Authorization": f"token {self.token}"}
        address = f"{self.host}/api/contents/{path}".rstrip("/")
        return requests.request(method, address, headers=headers, timeout=60, **options)


@pytest.fixture(scope="module")
def lab(real_workspace: RealWorkspace, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Lab]:
    """JupyterLab, started as by `make notebook`, on a project of two files."""
    folder, port = tmp_path_factory.mktemp("project"), free_port()
    (folder / "counts_of_lab.py").write_text(SOURCE)
    (folder / "module_of_lab.py").write_text(HEADERLESS)
    options = (f"--ServerApp.port={port}", "--no-browser", "--IdentityProvider.token=of-the-test")
    command = (sys.executable, "-c", BEGIN, str(real_workspace.state), *options)
    home = {"HOME": str(tmp_path_factory.mktemp("home")), "PREFIX": str(tmp_path_factory.mktemp("prefix"))}
    log = (folder.parent / "lab.log").open("w")
    with subprocess.Popen(command, cwd=folder, env=os.environ | home, stdout=log, stderr=log) as process:
        try:
            lab = Lab(f"http://127.0.0.1:{port}", "of-the-test", folder, real_workspace.state)
            deadline = time.monotonic() + 90
            while not _answers(lab) and time.monotonic() < deadline:
                time.sleep(0.2)
            yield lab
        finally:
            process.terminate()
            process.wait(30)
    # npm, where there is one, is asked for its version.
    assert {path.name for path in Path(home["HOME"]).iterdir()} <= {".npm", ".rustup"}


# Its kernel is told of in a folder of the test, and not in the environment of who runs it.
BEGIN = """
import os, sys
from pathlib import Path
from local_workspace import work
from local_workspace.kernel import kernel_spec
from local_workspace.store.state import StateFolder
state = StateFolder(Path(sys.argv[1]))
prefix, sys.prefix = sys.prefix, os.environ["PREFIX"]
kernel_spec.write_kernel_spec(state.root)
sys.prefix = prefix
os.environ["JUPYTER_PATH"] = os.environ["PREFIX"] + "/share/jupyter"
work.open_notebook(state, sys.argv[2:])
"""


def _answers(lab: Lab) -> bool:
    try:
        return lab.contents("").ok
    except requests.ConnectionError:
        return False


def test_a_source_file_with_the_header_is_a_notebook_and_another_is_none(lab: Lab):
    listed = {each["name"]: each["type"] for each in lab.contents("").json()["content"]}
    opened = lab.contents("counts_of_lab.py").json()
    as_text = lab.contents("counts_of_lab.py", params={"type": "file"}).json()
    refused = lab.contents("module_of_lab.py", params={"type": "notebook"})

    assert listed == {"counts_of_lab.py": "notebook", "module_of_lab.py": "file"}
    cells = opened["content"]["cells"]
    assert [cell["cell_type"] for cell in cells] == ["markdown", "code", "code"]
    assert opened["content"]["metadata"]["kernelspec"]["name"] == "local-workspace"
    assert as_text["content"] == SOURCE
    assert refused.status_code == 400
    assert "its first line is not '# Databricks notebook source'" in refused.json()["message"]


def test_saving_changes_what_was_changed_and_nothing_else(lab: Lab):
    file = lab.folder / "counts_of_lab.py"
    mode, opened = file.stat().st_mode, lab.contents(file.name).json()
    save = {"type": "notebook", "format": "json", "content": opened["content"]}
    saved = lab.contents(file.name, "PUT", json=save)
    untouched = file.read_text()
    save["content"]["cells"][2]["source"] = "%sql\nSELECT 43 AS answer"
    lab.contents(file.name, "PUT", json=save).raise_for_status()
    changed = file.read_text()
    file.write_text(SOURCE)

    assert saved.ok and saved.json()["type"] == "notebook" and untouched == SOURCE
    assert changed == SOURCE.replace("SELECT 40 + 2 AS answer", "SELECT 43 AS answer")
    assert file.stat().st_mode == mode
    assert {path.name for path in lab.folder.iterdir()} == {"counts_of_lab.py", "module_of_lab.py"}
    assert list((lab.state / "jupyter" / "checkpoints").rglob("counts_of_lab-checkpoint.py"))


@pytest.fixture
def page(lab: Lab) -> Iterator[Page]:
    """A tab of a browser that looks at it."""
    if (program := find_program()) is None:
        pytest.skip(MISSING)
    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=program, args=[*ARGUMENTS, "--no-sandbox"])
        page = browser.new_page(viewport={"width": 1280, "height": 900})
        page.set_default_timeout(90_000)
        page.goto(f"{lab.host}/lab?token={lab.token}")
        yield page
        browser.close()


def test_a_double_click_opens_it_as_a_notebook_whose_cells_run_on_the_workspace(lab: Lab, page: Page):
    page.locator(".jp-DirListing-item", has_text="counts_of_lab.py").dblclick()
    page.locator(".jp-Notebook").wait_for()
    page.locator(".jp-RenderedMarkdown h1", has_text="Counts").wait_for()
    page.locator(".jp-Notebook .jp-CodeCell").last.click()
    page.keyboard.press("Control+Enter")
    page.locator(".jp-OutputArea-output", has_text="42").first.wait_for()
    page.keyboard.press("Control+s")

    page.locator(".jp-DirListing-item", has_text="module_of_lab.py").dblclick()
    page.locator(".jp-FileEditor").wait_for()

    assert page.locator(".jp-Notebook .jp-CodeCell").count() == 2
    assert (lab.folder / "counts_of_lab.py").read_text() == SOURCE


def test_without_a_workspace_it_does_not_start(tmp_path: Path):
    done = subprocess.run(
        (sys.executable, "-c", BEGIN, str(tmp_path)),
        env=os.environ | {"PREFIX": str(tmp_path)},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )

    assert re.search(
        r"no local workspace runs in .*; start it with `make local-workspace-start`", done.stderr
    )
    assert json.loads((tmp_path / "share/jupyter/kernels/local-workspace/kernel.json").read_text())
