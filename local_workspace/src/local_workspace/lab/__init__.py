"""JupyterLab on the files of a project: its kernel is a run's, its notebooks are Databricks' source files."""
