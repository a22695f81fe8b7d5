"""A notebook that is saved back into its source: what was not changed keeps its spelling."""

import difflib
from pathlib import Path

import nbformat
import pytest
from hypothesis import given
from hypothesis import strategies as st
from local_workspace.notebooks.source import read_notebook
from local_workspace.notebooks.source_changes import changed_source
from real_workspace import NOTEBOOKS

SEPARATOR = "\n\n# COMMAND ----------\n\n"
CELLS = (
    "# MAGIC %md\n# MAGIC # A title\n# MAGIC",
    "# DBTITLE 1,Look\nx = 1   \n",
    "# MAGIC %sql\n# MAGIC SELECT 1\n# MAGIC FROM t",
    "# MAGIC %pip install made-up",
    "y = {\n    'a': 1,\n\n}",
)
SOURCE = "# Databricks notebook source\n" + SEPARATOR.join(CELLS) + "\n"
SERVERLESS = '# /// script\n# [tool.databricks.environment]\n# environment_version = "5"\n# ///\n'


def changed(before: str, after: str) -> list[str]:
    """The lines that were taken away and those that came."""
    lines = difflib.ndiff(before.splitlines(), after.splitlines())
    return [line for line in lines if not line.startswith(("  ", "? "))]


@pytest.mark.parametrize("file", sorted(NOTEBOOKS.rglob("*.py")), ids=lambda file: file.name)
def test_a_source_that_is_only_opened_stays_as_it_is(file: Path):
    source = file.read_text()

    assert changed_source(source, read_notebook(source, "SOURCE")) == source


@given(st.lists(st.sampled_from(CELLS)), st.sampled_from(["\n", "\n\n\n", ""]), st.booleans())
def test_whatever_cells_there_are_opening_changes_nothing(cells: list[str], end: str, has_environment: bool):
    head = "# Databricks notebook source\n" + (SERVERLESS if has_environment else "")
    source = head + SEPARATOR.join(cells) + end

    assert changed_source(source, read_notebook(source, "SOURCE")) == source


@given(
    st.lists(st.sampled_from([*CELLS, "", "\n"]), min_size=1),
    st.sampled_from([SEPARATOR, "\n# COMMAND ----------\n", "\n\n\n# COMMAND ----------\n"]),
    st.data(),
)
def test_whatever_is_changed_the_source_has_the_cells_that_were_saved(cells, separator, data):
    source = "# Databricks notebook source\n" + separator.join(cells) + "\n"
    notebook = read_notebook(source, "SOURCE")
    for place in range(len(notebook.cells)):
        if data.draw(st.booleans()):
            notebook.cells[place].source = f"changed = {place}"
    if notebook.cells and data.draw(st.booleans()):
        notebook.cells.insert(data.draw(st.integers(0, len(notebook.cells))), notebook.cells.pop())
    if notebook.cells and data.draw(st.booleans()):
        del notebook.cells[data.draw(st.integers(0, len(notebook.cells) - 1))]
    notebook.cells.append(nbformat.v4.new_code_cell("added = 1"))

    saved = read_notebook(changed_source(source, notebook), "SOURCE")

    assert [cell.source for cell in saved.cells] == [cell.source for cell in notebook.cells]


def test_a_changed_cell_changes_its_own_lines_alone():
    notebook = read_notebook(SOURCE, "SOURCE")
    notebook.cells[1].source = "x = 2"
    notebook.cells[1].outputs = [nbformat.v4.new_output("stream", text="shown")]
    notebook.cells[1].execution_count = 7

    assert changed(SOURCE, changed_source(SOURCE, notebook)) == ["- x = 1   ", "+ x = 2"]


def test_a_cell_that_moves_keeps_its_spelling_and_one_that_goes_takes_its_line_along():
    notebook = read_notebook(SOURCE, "SOURCE")
    notebook.cells.insert(0, notebook.cells.pop())
    del notebook.cells[3:]

    expected = SEPARATOR.join([CELLS[4], CELLS[0], CELLS[1].rstrip("\n")])
    assert changed_source(SOURCE, notebook) == f"# Databricks notebook source\n{expected}\n"


NEW_CELLS = [
    (nbformat.v4.new_code_cell("a = 1"), "a = 1"),
    (
        nbformat.v4.new_code_cell("# first\n%pip install b\nimport b"),
        "# first\n# MAGIC %pip install b\nimport b",
    ),
    (nbformat.v4.new_code_cell("%sql\n\nSELECT 2"), "# MAGIC %sql\n# MAGIC\n# MAGIC SELECT 2"),
    (nbformat.v4.new_markdown_cell("## More\n\ntext"), "# MAGIC %md\n# MAGIC ## More\n# MAGIC\n# MAGIC text"),
    (nbformat.v4.new_code_cell("b", metadata={"title": "B"}), "# DBTITLE 1,B\nb"),
]


@pytest.mark.parametrize(("cell", "written"), NEW_CELLS)
def test_a_new_cell_is_written_as_databricks_writes_it_and_read_back_the_same(
    cell: nbformat.NotebookNode, written: str
):
    notebook = read_notebook(SOURCE, "SOURCE")
    notebook.cells.insert(1, cell)

    after = changed_source(SOURCE, notebook)

    assert after == SOURCE.replace(SEPARATOR, f"{SEPARATOR}{written}{SEPARATOR}", 1)
    read = read_notebook(after, "SOURCE").cells[1]
    assert (read.cell_type, read.source) == (cell.cell_type, cell.source)
    assert read.metadata.get("title") == cell.metadata.get("title")


def test_line_ends_and_what_serverless_compute_reads_stay():
    source = ("# Databricks notebook source\n" + SERVERLESS + SEPARATOR.join(CELLS)).replace("\n", "\r\n")
    notebook = read_notebook(source, "SOURCE")
    notebook.cells[4].source = "y = 2"

    after = changed_source(source, notebook)

    assert after.startswith(("# Databricks notebook source\n" + SERVERLESS).replace("\n", "\r\n"))
    assert after.count("\n") == after.count("\r\n")
    assert [line.strip() for line in changed(source, after) if line.startswith("+")] == ["+ y = 2"]


def test_an_empty_cell_that_an_editor_adds_is_no_change():
    notebook = read_notebook(SOURCE, "SOURCE")
    notebook.cells.append(nbformat.v4.new_code_cell("  \n"))

    assert changed_source(SOURCE, notebook) == SOURCE
