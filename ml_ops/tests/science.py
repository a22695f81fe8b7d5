"""The science and the data that these tests are about: the sample's, whatever the wheel holds by now.

A project begins with a copy of them in the folder `sample`, beside this file. Without that folder they are
those of the wheel. To be imported before anything that imports the wheel.
"""

import atexit
import importlib.util
import os
import shutil
import sys
import tempfile
from pathlib import Path

PACKAGE = "diabetes"
SAMPLE = Path(__file__).with_name("sample")
DATA = SAMPLE if SAMPLE.exists() else Path(__file__).parents[2] / "ml_data"
# For the processes that the tests start.
PYTHONPATH = os.environ.get("PYTHONPATH", "")


def copy_wheel() -> Path:
    """A folder with the package of the wheel, the sample's modules in place of its own."""
    folder = Path(tempfile.mkdtemp(prefix="sample-"))
    atexit.register(shutil.rmtree, folder, ignore_errors=True)
    spec = importlib.util.find_spec(PACKAGE)
    assert spec is not None and spec.origin is not None
    shutil.copytree(Path(spec.origin).parent, folder / PACKAGE, ignore=shutil.ignore_patterns("__pycache__"))
    for module in SAMPLE.glob("*.py"):
        shutil.copy2(module, folder / PACKAGE)
    return folder


if SAMPLE.exists():
    copy = str(copy_wheel())
    sys.path.insert(0, copy)
    PYTHONPATH = os.pathsep.join(filter(None, [copy, PYTHONPATH]))
    for name in [name for name in sys.modules if name.partition(".")[0] == PACKAGE]:
        del sys.modules[name]  # the tests of the wheel itself go on with what they have imported
