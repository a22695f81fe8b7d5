"""Reading the source format of Databricks notebooks."""

import json

import pytest
from local_workspace.notebooks.languages import LANGUAGES
from local_workspace.notebooks.notebook_formats import imported, recognised
from local_workspace.notebooks.source import read_notebook

SOURCE = """# Databricks notebook source
# MAGIC %md
# MAGIC # Title
# MAGIC
# MAGIC Text.

# COMMAND ----------

# DBTITLE 1,The answer
answer = 42
# a comment

# COMMAND ----------

# MAGIC %sql
# MAGIC SELECT 1
"""


def test_cells_keep_their_kind_order_and_text():
    cells = read_notebook(SOURCE, "SOURCE").cells

    assert [(cell.cell_type, cell.source) for cell in cells] == [
        ("markdown", "# Title\n\nText."),
        ("code", "answer = 42\n# a comment"),
        ("code", "%sql\nSELECT 1"),
    ]
    assert cells[1].metadata["title"] == "The answer"


def test_windows_line_ends_and_byte_order_mark_change_nothing():
    odd = "\ufeff" + SOURCE.replace("\n", "\r\n")

    cells = read_notebook(odd, "SOURCE").cells

    assert [cell.source for cell in cells] == [cell.source for cell in read_notebook(SOURCE, "SOURCE").cells]


def test_only_a_whole_word_is_magic():
    lines = ["# MAGICAL thing", "# MAGIC-al", "# MAGICs", "x = 1"]

    cells = read_notebook("# Databricks notebook source\n" + "\n".join(lines), "SOURCE").cells

    assert cells[0].source == "\n".join(lines)


@pytest.mark.parametrize("line", ["%mdx text", "%md_text", "%mdown"])
def test_what_only_begins_like_markdown_is_code(line):
    cells = read_notebook(f"# Databricks notebook source\n# MAGIC {line}\n", "SOURCE").cells

    assert [(cell.cell_type, cell.source) for cell in cells] == [("code", line)]


@pytest.mark.parametrize("line", ["# COMMAND ----------  \t", "# COMMAND ---------------"])
def test_blanks_or_more_dashes_still_separate_cells(line):
    cells = read_notebook(f"# Databricks notebook source \t\n1\n\n{line}\n\n2\n", "SOURCE").cells

    assert [cell.source for cell in cells] == ["1", "2"]


@pytest.mark.parametrize(
    "line", ["# COMMAND ---------- more", "# COMMAND ---------", "# COMMANDS ----------"]
)
def test_other_comments_separate_nothing(line):
    cells = read_notebook(f"# Databricks notebook source\n1\n{line}\n2\n", "SOURCE").cells

    assert [cell.source for cell in cells] == [f"1\n{line}\n2"]


def test_a_title_stands_before_all_else_of_its_cell():
    text = '# Databricks notebook source \n# DBTITLE 1,First \nx = """\n# DBTITLE 1,no title\n"""\n'

    cells = read_notebook(text, "SOURCE").cells

    assert cells[0].metadata["title"] == "First"
    assert cells[0].source == 'x = """\n# DBTITLE 1,no title\n"""'


@pytest.mark.parametrize("packages", ["", '# dependencies = [\n#   "requests",\n# ]\n'])
@pytest.mark.parametrize("end", ["\n", "\r\n"])
def test_what_a_notebook_says_of_its_environment_is_in_no_cell(packages: str, end: str):
    environment = f'# [tool.databricks.environment]\n# environment_version = "5"\n{packages}'
    first = f"# Databricks notebook source\n# /// script\n{environment}# ///\n"
    text = SOURCE.replace("# Databricks notebook source\n", first).replace("\n", end)

    assert [cell.source for cell in read_notebook(text, "SOURCE").cells] == [
        cell.source for cell in read_notebook(SOURCE, "SOURCE").cells
    ]


HEADERS = [(language.header, language.suffix, name) for name, language in LANGUAGES.items()]


@pytest.mark.parametrize(("header", "suffix", "name"), HEADERS)
@pytest.mark.parametrize("behind", ["", "\n1", "\r\n1", "  \t\n1", "\t"])
def test_a_header_may_have_blanks_behind_it(header, suffix, name, behind, tmp_path):
    content = (header + behind).encode()
    (tmp_path / "notebook").write_bytes(content)

    found = [imported(f"/a{suffix}", content, "AUTO", None), imported("/a", content, "SOURCE", name)]

    assert [(one.language, one.content) for one in found if one] == [(name, content)] * 2
    assert recognised(tmp_path / "notebook") is not None


@pytest.mark.parametrize(("header", "suffix", "name"), HEADERS)
@pytest.mark.parametrize("behind", [" of truth\n1", "s\n1", "-code", ": none"])
def test_a_line_that_begins_like_a_header_is_none(header, suffix, name, behind, tmp_path):
    content = (header + behind).encode()
    (tmp_path / "notebook").write_bytes(content)

    source = imported("/a", content, "SOURCE", name)

    assert imported(f"/a{suffix}", content, "AUTO", None) is None
    assert source is not None
    assert source.content == header.encode() + b"\n" + content
    assert recognised(tmp_path / "notebook") is None


def test_a_line_of_a_magic_ends_where_python_ends_it():
    cell = {"cell_type": "code", "metadata": {}, "source": "%sh echo 1\x0c2\u20283", "outputs": []}
    document = {"cells": [cell], "metadata": {}, "nbformat": 4, "nbformat_minor": 4}
    notebook = imported("/a.ipynb", json.dumps(document).encode(), "AUTO", None)

    assert notebook is not None
    again = read_notebook(notebook.exported("SOURCE")[0].decode(), "SOURCE")
    assert again.cells[0].source == cell["source"]
