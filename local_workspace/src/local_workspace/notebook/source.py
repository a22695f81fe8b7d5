"""Reads a notebook in Databricks' source format into Jupyter's, cell by cell."""

import re

import nbformat
from nbformat import NotebookNode

_HEADER = re.compile(r"\A# Databricks notebook source[ \t]*$", re.MULTILINE)
_SEPARATOR = re.compile(r"^# COMMAND -{10,}[ \t]*$", re.MULTILINE)
_TITLE = re.compile(r"\A\s*# DBTITLE \d+,(?P<title>.*)$", re.MULTILINE)
_MAGIC = re.compile(r"^# MAGIC(?:[ \t]|$)", re.MULTILINE)
_MARKDOWN = re.compile(r"\A%md(-sandbox)?(?:[ \t]+|$)\n?", re.MULTILINE)


def read_notebook(text: str, source_format: str) -> NotebookNode:
    """Reads a notebook from `text`, whose format is `SOURCE` or `JUPYTER`."""
    text = text.lstrip("\ufeff")
    if source_format == "JUPYTER":
        return nbformat.reads(text, as_version=4)
    body = _HEADER.sub("", re.sub(r"\r\n?", "\n", text))
    cells = [_read_cell(part.strip("\n")) for part in _SEPARATOR.split(body)]
    return nbformat.v4.new_notebook(cells=[cell for cell in cells if cell.source.strip()])


def _read_cell(text: str) -> NotebookNode:
    title = _TITLE.match(text)
    source = _MAGIC.sub("", _TITLE.sub("", text).strip("\n"))
    if _MARKDOWN.match(source):
        cell = nbformat.v4.new_markdown_cell(_MARKDOWN.sub("", source))
    else:
        cell = nbformat.v4.new_code_cell(source)
    if title:
        cell.metadata["title"] = title["title"].strip()
    return cell
