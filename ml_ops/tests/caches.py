"""Keeps what libraries remember out of HOME; to be imported before them."""

import os
from pathlib import Path

# As the Makefile has it, for tests that are started without make.
os.environ.setdefault("MPLCONFIGDIR", str(Path(__file__).parents[2] / ".venv" / "matplotlib"))
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
