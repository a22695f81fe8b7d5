"""Notebooks: their source format, the process that runs one, and what its kernel offers."""
