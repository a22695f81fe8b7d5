"""Reading the source format of Databricks notebooks."""

from local_workspace.notebook.source import read_notebook

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
