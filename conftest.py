"""Keeps the caches of what the tests import in this checkout, and not in the user's HOME."""

import os
from pathlib import Path

CACHES = Path(__file__).with_name(".pytest_cache")
# Here, since matplotlib and IPython look at them while they are imported. What the user has set stays.
for variable, folder in {
    "IPYTHONDIR": "ipython",
    "JUPYTER_DATA_DIR": "jupyter",
    "JUPYTER_RUNTIME_DIR": "jupyter/runtime",
    "MPLCONFIGDIR": "matplotlib",
}.items():
    os.environ.setdefault(variable, str(CACHES / folder))
# MLflow would keep a number of this user there, and tell somebody what is tested.
os.environ.setdefault("MLFLOW_DISABLE_TELEMETRY", "true")
