"""Reads a notebook in Databricks' source format into Jupyter's, cell by cell."""

import re

import nbformat
from nbformat import NotebookNode

HEADER = "# Databricks notebook source"
_SEPARATOR = re.compile(r"^# COMMAND -{10}[^\n]*$", re.MULTILINE)
_TITLE = re.compile(r"^# DBTITLE \d+,(?P<title>.*)$", re.MULTILINE)
_MAGIC = "# MAGIC"


def read_notebook(text: str, source_format: str) -> NotebookNode:
    """Reads a notebook from `text`, whose format is `SOURCE` or `JUPYTER`."""
    text = text.lstrip("\ufeff")
    if source_format == "JUPYTER":
        return nbformat.reads(text, as_version=4)
    body = text.replace("\r\n", "\n").removeprefix(HEADER)
    cells = [_read_cell(part.strip("\n")) for part in _SEPARATOR.split(body)]
    return nbformat.v4.new_notebook(cells=[cell for cell in cells if cell.source.strip()])


def _read_cell(text: str) -> NotebookNode:
    title = _TITLE.search(text)
    source = "\n".join(_strip_magic(line) for line in _TITLE.sub("", text).strip("\n").split("\n"))
    if source.startswith("%md"):
        cell = nbformat.v4.new_markdown_cell(re.sub(r"^%md(-sandbox)?[ \t]*\n?", "", source))
    else:
        cell = nbformat.v4.new_code_cell(source)
    if title:
        cell.metadata["title"] = title["title"].strip()
    return cell


def _strip_magic(line: str) -> str:
    if not line.startswith(_MAGIC):
        return line
    return line.removeprefix(_MAGIC).removeprefix(" ")
